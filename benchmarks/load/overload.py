"""Open loop at 0.7, 2 and 10 times the capacity that wrk finds.

    python benchmarks/load/overload.py HARNESS BUILD [WORKLOAD ...]

Measured are the requests answered in time, those refused, and how soon each came back. HARNESS is
the shared harness's folder, BUILD the output of `seal_harness.py`. The server has core 0, the load
core 1; latency counts from the time when a request was due. The clients wait as long as the
harness's do, and send that deadline; in a last load of twice the capacity they wait twice the p99
that they saw at 0.7 of it. Capacity is measured before and after each load, since a shared machine
is faster in one minute than in the next. `lag_ms` is how far the generator itself was late: where
that is longer than its clients' patience, it measures itself.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS, FACTORS = 8, (0.7, 2.0, 10.0)
TIMEOUT = re.compile(rb"X-Request-Timeout-Ms: \d+", re.IGNORECASE)


def main(harness: Path, build: Path, workloads: list[str]) -> None:
    """Measure each workload."""
    for workload in workloads:
        measure(workload, harness, build)


@contextmanager
def served(workload: str, harness: Path, build: Path) -> Iterator[tuple[Any, Any, list[Path]]]:
    """The harness's own module, our server as its contender, and the requests."""
    sys.path.insert(0, str(harness))
    bench: Any = importlib.import_module("bench")
    os.environ["BENCH_MAX_BATCH"] = (
        "32"  # which the harness tells its contenders; we measure our own
    )
    work = build / "work"
    contender = bench.Contender.load(
        Path(__file__).resolve().parents[1] / "harness" / "contender.toml"
    )
    requests = bench.raw_requests(contender, workload, work / "models", work)
    first, log = requests[0].read_bytes(), work / "logs" / f"overload.{workload}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with bench.serving(
        contender, workload, Path(sys.executable), first, work / "models", log
    ) as server:
        yield bench, server, requests


def measure(workload: str, harness: Path, build: Path) -> None:
    """Print one line of JSON for each load."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(workload, harness, build) as (bench, server, requests),
    ):
        bench.wrk(server, requests, 16, 1)

        def capacity() -> float:
            server.settle()
            return float(
                statistics.median(bench.wrk(server, requests, 64, 2)["rps"] for _ in range(3))
            )

        def load(factor: float, deadline_s: float) -> dict[str, Any]:
            before = capacity()
            server.settle()
            files = [impatient(request, deadline_s, Path(scratch)) for request in requests]
            numbers = map(str, (server.port, factor * before, SECONDS, deadline_s))
            with Refused(server.port, files[0]) as refused:
                found: dict[str, Any] = server.load(
                    [sys.executable, str(harness / "openloop.py"), *numbers, *map(str, files)]
                )
            around = (before + capacity()) / 2
            said = {
                "workload": workload,
                "capacity": around,
                "factor": factor,
                "deadline_s": deadline_s,
                "goodput": found["goodput_rps"] / min(factor * before, around),
                "refusal_p50_ms": refused.quantile(50),
                "refusal_p99_ms": refused.quantile(99),
            }
            print(
                json.dumps(
                    {
                        name: round(value, 3) if isinstance(value, float) else value
                        for name, value in (said | found).items()
                    }
                ),
                flush=True,
            )
            return found

        calm = load(FACTORS[0], bench.DEADLINE[workload])
        for factor in FACTORS[1:]:
            load(factor, bench.DEADLINE[workload])
        load(2.0, 2 * calm["p99_ms"] / 1000)


def impatient(request: Path, deadline_s: float, folder: Path) -> Path:
    """The same request, saying how long its client waits."""
    copy = folder / request.name
    copy.write_bytes(
        TIMEOUT.sub(
            b"X-Request-Timeout-Ms: %d" % max(1, round(deadline_s * 1000)), request.read_bytes()
        )
    )
    return copy


class Refused:
    """Time until the refusal of a request that would wait one millisecond.

    Such a request goes out ten times a second meanwhile.
    """

    def __init__(self, port: int, request: Path) -> None:
        self._port, self._took, self._stop = port, list[float](), threading.Event()
        self._request = TIMEOUT.sub(b"X-Request-Timeout-Ms: 1", request.read_bytes())
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._stop.wait(0.1):
            start = time.perf_counter()
            with socket.create_connection(("127.0.0.1", self._port), 10) as sock:
                sock.sendall(self._request)
                status = sock.recv(65_536)[9:12]
            if status == b"503":
                self._took.append((time.perf_counter() - start) * 1e3)

    def __enter__(self) -> Refused:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def quantile(self, percent: int) -> float | None:
        """In milliseconds, the connection's making included; None where almost none was refused."""
        return (
            round(statistics.quantiles(self._took, n=100)[percent - 1], 2)
            if len(self._took) > 10
            else None
        )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).resolve(),
        Path(sys.argv[2]).resolve(),
        sys.argv[3:] or ["tabular", "text", "image"],
    )
