"""On a card: the server's answers over HTTP, beside a loop of raw onnxruntime.

    python benchmarks/models/cards.py HARNESS BUNDLES [PROVIDER [FLAG ...]]

Both run the same rows on the same card. HARNESS is the folder that holds `rotate.lua` (the load is
wrk's); every bundle in BUNDLES is measured over its golden rows, one a request; the flags are for
`seatrial serve`, such as `--workers 4`. The loop runs `session.run` on the rows in batches of like
lengths, encoded before the clock starts, so it is a limit without HTTP, contract and preprocessing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import seatrial as st
from seatrial_contracts.host_stage import collate_parts
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.runtimes.onnx.providers import CUDA, PRECISE, check_registered
from seatrial_serve.runtimes.onnx.session import open_session, settings_of
from seatrial_serve.runtimes.runtime import RuntimeOptions

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))
from support.servers import Server, fetch  # noqa: E402  (found through the line above)

CONNECTIONS, SIZES, SECONDS, LOOP_S = (1, 16, 64, 256), (1, 8, 32, 128), 3, 0.7
HEAD = (
    "POST /v1/models/{name}:predict HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


def main(harness: Path, bundles: Path, provider: str, flags: list[str]) -> None:
    """One line of JSON for each bundle's limits and for each load."""
    ort.preload_dlls()
    found = [st.open_bundle(path.parent) for path in sorted(bundles.glob("*/*/manifest.json"))]
    for bundle in found:
        tell(bundle.name, raw_rows_per_s=limits(bundle, provider))
    server = Server(bundles, "--providers", provider, *flags)
    try:
        status, said = server.wait_until_loaded(120)
        assert status == 200, said
        for bundle in found:
            execution = json.loads(
                fetch(f"{server.url}/v1/models/{bundle.name}/versions/{bundle.version}")[1]
            )["execution"]
            tell(
                bundle.name,
                batch_rows=execution["batch_rows"],
                batch_seconds=execution["batch_seconds"],
            )
            with tempfile.TemporaryDirectory() as scratch:
                requests = bodies(bundle, Path(scratch))
                for connections in CONNECTIONS:
                    tell(
                        bundle.name,
                        connections=connections,
                        **load(harness, server, requests, connections),
                    )
    finally:
        server.stop()


def tell(name: str, **said: Any) -> None:
    print(json.dumps({"bundle": name, **said}), flush=True)


def limits(bundle: st.Bundle, provider: str) -> dict[int, int]:
    """Rows a second of the loop, by rows in a batch."""
    engine = load_engine(bundle, RuntimeOptions())
    asked = RuntimeOptions((provider,))
    graph = bundle.files[bundle.manifest.variants[0].graph]
    session = open_session(
        graph, settings_of(asked), [(provider, PRECISE if provider == CUDA else {})]
    )
    check_registered(session, asked)
    rows = [engine.encode(engine.contract.validate_row(row)) for row in bundle.golden.rows]
    return {size: round(rate(session, batches(engine, rows, size), size)) for size in SIZES}


def batches(engine: Engine, rows: Sequence[Any], size: int) -> list[dict[str, Any]]:
    """Feeds of batches that hold all rows equally often, those of like length together."""
    many = sorted(list(rows) * size, key=lambda row: engine.batch_key(row)[1])
    return [
        collate_parts(engine.specs, [many[start : start + size]])
        for start in range(0, len(many), size)
    ]


def rate(session: Any, feeds: list[dict[str, Any]], size: int) -> float:
    """Of all batches in turn, after a first round that does not count."""
    order = np.random.default_rng(0).permutation(len(feeds))
    for each in feeds:
        session.run(None, each)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < LOOP_S:
        session.run(None, feeds[order[count % len(feeds)]])
        count += 1
    return count * size / (time.perf_counter() - start)


def bodies(bundle: st.Bundle, scratch: Path) -> list[Path]:
    """A raw request for each golden row."""
    files = []
    for place, row in enumerate(bundle.golden.rows):
        body = json.dumps({"instances": [row]})
        files.append(scratch / f"{place}.http")
        files[-1].write_bytes((HEAD.format(name=bundle.name, length=len(body)) + body).encode())
    return files


def load(harness: Path, server: Server, requests: list[Path], connections: int) -> dict[str, float]:
    """What wrk counts, after a second that does not."""
    found: dict[str, float] = {}
    for seconds in (1, SECONDS):
        command = [
            "wrk",
            f"-t{min(2, connections)}",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "60s",
            "-s",
            str(harness / "rotate.lua"),
        ]
        done = subprocess.run(
            [*command, server.url, "--", *map(str, requests)],
            check=True,
            capture_output=True,
            text=True,
        )
        found = json.loads(done.stdout[done.stdout.index("{") :])
    return {
        "rps": round(found["replies"] / found["seconds"]),
        "bad": found["bad"] + found["broken"],
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
    }


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).resolve(),
        Path(sys.argv[2]).resolve(),
        sys.argv[3] if len(sys.argv) > 3 else CUDA,
        sys.argv[4:],
    )
