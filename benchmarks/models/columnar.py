"""10,000 penguin rows in one V2 call over binary tensors, beside the harness's own preprocessing.

    python benchmarks/models/columnar.py HARNESS MODELS BUNDLE

`make bench` seals the bundle and makes the models. The harness's preprocessing and onnxruntime run
in this process. Ratios in one run: the two take turns. One core for the server, one for this
process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tritonclient.http as client_of

ROWS, TURNS = 10_000, 20
PORT, METRICS = 18_700, 18_702


def main(harness: Path, models: Path, bundle: Path) -> None:
    """Print rows per second of both, and their ratio."""
    sys.path.insert(0, str(harness))
    os.environ["BENCH_MODELS"] = str(models)
    import workload

    workload.MODELS = models
    instances = [
        json.loads(path.read_text())["instances"][0]
        for path in sorted((bundle.parents[2] / "bodies/tabular").iterdir())
    ]
    rows = (instances * (ROWS // len(instances) + 1))[:ROWS]
    inside = workload.Model("tabular")
    inputs = []
    for name in rows[0]:
        word = name in ("island", "sex")
        array = np.array(
            [
                [
                    (row[name] or "").encode()
                    if word
                    else (np.nan if row[name] is None else row[name])
                ]
                for row in rows
            ],
            object if word else np.float32,
        )
        tensor = client_of.InferInput(name, [ROWS, 1], "BYTES" if word else "FP32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    command = [
        "taskset",
        "-c",
        "0",
        sys.executable,
        "-m",
        "seatrial",
        "serve",
        str(bundle),
        "--http-port",
        str(PORT),
        "--metrics-port",
        str(METRICS),
        "--no-grpc",
        "--log-level",
        "warning",
    ]
    os.sched_setaffinity(0, {1})
    with subprocess.Popen(command) as server:
        try:
            asker = client_of.InferenceServerClient(f"127.0.0.1:{PORT}")
            while True:
                try:
                    if asker.is_server_ready():
                        break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            times: dict[str, list[float]] = {"in process": [], "served": []}
            for _ in range(TURNS):
                start = time.perf_counter()
                expected = inside(rows)
                times["in process"].append(time.perf_counter() - start)
                start = time.perf_counter()
                got = asker.infer("tabular", inputs).as_numpy("output")
                times["served"].append(time.perf_counter() - start)
            assert np.allclose(got, expected, atol=1e-4)
            asker.close()
        finally:
            server.terminate()
    rates = {name: ROWS / statistics.median(seconds) for name, seconds in times.items()}
    print(
        {name: round(rate) for name, rate in rates.items()},
        "served / in process:",
        round(rates["served"] / rates["in process"], 2),
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
