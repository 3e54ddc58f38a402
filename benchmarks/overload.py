"""Open loop at 0.7, 2 and 10 times the capacity that wrk finds: what is answered in time, and how soon.

    python benchmarks/overload.py HARNESS BUILD [WORKLOAD ...]

HARNESS is the shared harness's folder, BUILD what `seal_harness.py` wrote. The server has core 0, the load core 1; latency counts from when
a request was due. The clients wait as long as the harness's do, and say so.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

SECONDS, FACTORS = 8, (0.7, 2.0, 10.0)


def main(harness: Path, build: Path, workloads: list[str]) -> None:
    """Print one line of JSON for each load."""
    sys.path.insert(0, str(harness))
    bench: Any = importlib.import_module("bench")
    os.environ["BENCH_MAX_BATCH"] = "32"  # which the harness tells its contenders; we measure our own
    contender = bench.Contender.load(Path(__file__).resolve().parent / "contender.toml")
    options = argparse.Namespace(models=build / "work" / "models", work=build / "work")
    for workload in workloads:
        requests = bench.raw_requests(contender, workload, options.models, options.work)
        log = options.work / "logs" / f"overload.{workload}.log"
        with bench.serving(
            contender, workload, Path(sys.executable), requests[0].read_bytes(), options.models, log
        ) as server:
            bench.wrk(server, requests, 16, 1)
            capacity = statistics.median(bench.wrk(server, requests, 64, 3)["rps"] for _ in range(3))
            for factor in FACTORS:
                server.settle()
                command = [
                    sys.executable,
                    str(harness / "openloop.py"),
                    str(server.port),
                    str(factor * capacity),
                    str(SECONDS),
                    str(bench.DEADLINE[workload]),
                ]
                found = server.load([*command, *map(str, requests)])
                kept = {name: round(value, 3) for name, value in found.items() if isinstance(value, (int, float))}
                goodput = found["goodput_rps"] / (min(factor, 1.0) * capacity)
                print(
                    json.dumps(
                        {
                            "workload": workload,
                            "capacity": round(capacity, 1),
                            "factor": factor,
                            "goodput": round(goodput, 3),
                            **kept,
                        }
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:] or ["tabular", "text", "image"])
