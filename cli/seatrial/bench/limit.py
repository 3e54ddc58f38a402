"""What the runtime alone does on this machine: the bound that no server of the graph can pass."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.host_stage import EncodedRow, collate_parts
from seatrial_serve.inference.engine import Engine, load_engine, load_graph
from seatrial_serve.process.resources import usable_cores
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.runtime import RuntimeOptions

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
EACH_S = 0.25
"""For each batch size and number of threads."""


@dataclass(frozen=True)
class Limit:
    """Rows a second of a bundle's first variant, without a server."""

    variant: str
    provider: str
    graph_rows_per_s: dict[int, float]
    """Batch size -> rows a second of the graph, by one thread or one on each core."""
    encode_rows_per_s: float
    """Rows a second of validation, host stage and prepare graph, in one thread."""

    @property
    def best_size(self) -> int:
        """The batch size with the most rows a second."""
        return max(self.graph_rows_per_s, key=self.graph_rows_per_s.__getitem__)

    @property
    def best_rows_per_s(self) -> float:
        """The most rows a second."""
        return self.graph_rows_per_s[self.best_size]

    def as_json(self) -> dict[str, Any]:
        """As an object."""
        return {
            "variant": self.variant,
            "provider": self.provider,
            "graph_rows_per_s": self.graph_rows_per_s,
            "best_batch_rows": self.best_size,
            "best_rows_per_s": self.best_rows_per_s,
            "encode_rows_per_s": self.encode_rows_per_s,
        }


def runtime_limit(bundle: Bundle, rows: Sequence[Mapping[str, Any]]) -> Limit:
    """Run the first variant's graph alone, at several batch sizes.

    Rows of the most frequent shape fill the batches. Raises `ModelError` where a graph does not
    load or run.
    """
    engine = load_engine(bundle, RuntimeOptions())
    encode_rows_per_s, encoded = encode_rate(engine, rows)
    specs, variant = engine.specs, bundle.manifest.variants[0]
    keys = Counter(map(engine.batch_key, encoded))
    common = keys.most_common(1)[0][0]
    alike = [row for row in encoded if engine.batch_key(row) == common]
    engine.close()
    graph = load_graph(bundle, variant.graph, RuntimeOptions(), runtimes()[variant.format])
    most = bundle.contract.limits.max_rows if bundle.manifest.batchable else 1
    found = {}
    try:
        for size in [each for each in SIZES if each <= most]:
            feeds = collate_parts(specs, [list(islice(cycle(alike), size))])
            run = partial(graph.run, feeds)
            run()
            threads = {1, usable_cores()}
            found[size] = max(size * rate(run, each) for each in threads)
    finally:
        graph.close()
    return Limit(variant.name, graph.provider, found, encode_rows_per_s)


def encode_rate(
    engine: Engine, rows: Sequence[Mapping[str, Any]]
) -> tuple[float, list[EncodedRow]]:
    """Rows a second of everything before the graph, and the encoded rows."""

    def encode() -> list[EncodedRow]:
        return [engine.encode(engine.contract.validate_row(row)) for row in rows]

    encoded = encode()
    return len(rows) * rate(encode, 1), encoded


def rate(call: Callable[[], Any], threads: int) -> float:
    """Calls a second of so many threads, over `EACH_S`."""

    def calls(end_s: float) -> int:
        count = 0
        while time.perf_counter() < end_s:
            call()
            count += 1
        return count

    begun = time.perf_counter()
    if threads == 1:
        count = calls(begun + EACH_S)
    else:
        with ThreadPoolExecutor(threads) as pool:
            count = sum(pool.map(calls, [begun + EACH_S] * threads))
    return count / (time.perf_counter() - begun)
