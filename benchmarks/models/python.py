"""Predictions from Python: a frame of 100,000 penguins, `st.Client` beside raw httpx, and `repr`.

    python benchmarks/models/python.py [BUNDLES]

The limit of a frame is onnxruntime's own `session.run` on columns that are ready (strings as
objects, float32, int64), in the same batches, one after another in one thread. `Bundle.predict`
checks the frame, makes the columns, runs the batches on every core and makes the frame of answers.
Both are measured in turns, in wall time and in CPU time; the best turn of each counts.

The client's limit is `httpx.Client.post(url, json=...).json()`, one row, over one kept connection
to a server in a process of its own. Turns alternate; the CPU time of this process for each request
counts, since that is what the client adds to.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import onnxruntime
import pandas as pd
from palmerpenguins import load_penguins

import seatrial as st
from seatrial_contracts.tables import columns_of_table, table_of
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.predictor import Predictor
from seatrial_serve.runtimes.runtime import RuntimeOptions

ROWS, TURNS, REQUESTS = 100_000, 15, 400


def timed(job: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def in_turns(
    jobs: dict[str, Callable[[], Any]], turns: int
) -> dict[str, list[tuple[float, float]]]:
    """The turns of each job, alternating."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for _ in range(turns):
        for name, job in jobs.items():
            found[name].append(timed(job))
    return found


def frame_of_penguins() -> pd.DataFrame:
    raw = load_penguins().drop(columns="species")
    return pd.concat([raw] * (ROWS // len(raw) + 1), ignore_index=True)[:ROWS]


def measure_frame(bundle: st.Bundle) -> None:
    """100,000 rows beside `session.run` alone."""
    frame = frame_of_penguins()
    bundle.predict(frame.head(10))
    engine = load_engine(bundle, RuntimeOptions())
    size = Predictor(engine).batch_rows
    table = table_of(frame)
    columns = columns_of_table(table, bundle.contract)
    block = engine.front.encode_columns(columns)
    feeds = dict(zip([spec.name for spec in engine.specs], block.columns, strict=True))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = bundle.files[bundle.manifest.variants[0].graph]
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def limit() -> None:
        for start in range(0, ROWS, size):
            part = {name: column[start : start + size] for name, column in feeds.items()}
            session.run(None, part)

    jobs = {"limit": limit, "predict": lambda: bundle.predict(frame)}
    found = in_turns(jobs, TURNS)
    for place, what in enumerate(("wall", "CPU")):
        limit_s, predict_s = (min(turn[place] for turn in found[name]) for name in jobs)
        print(
            f"{what}: session.run {limit_s * 1e3:.1f} ms, bundle.predict {predict_s * 1e3:.1f} ms: "
            f"{limit_s / predict_s:.2f} of the limit, {ROWS / predict_s:,.0f} rows/s"
        )


def measure_client(bundle: st.Bundle) -> None:
    """One row, beside httpx alone."""
    command = [sys.executable, "-m", "seatrial", "serve", str(bundle.path), "--http-port", "0"]
    command += ["--no-grpc", "--no-metrics"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    url = next(m[1] for line in server.stderr if (m := re.search(r"(http://[0-9.:]+)", line)))
    row = bundle.contract.example_row()
    path = f"{url}/v1/models/{bundle.name}:predict"
    try:
        with httpx.Client() as raw, st.Client(url, bundle.name) as client:
            while raw.get(f"{url}/v2/health/ready").status_code != 200:
                time.sleep(0.1)
            want = raw.post(path, json={"instances": [row]}).json()["predictions"][0]
            assert client.predict(row) == want

            def plain() -> None:
                for _ in range(REQUESTS):
                    raw.post(path, json={"instances": [row]}).json()

            def ours() -> None:
                for _ in range(REQUESTS):
                    client.predict(row)

            found = in_turns({"httpx": plain, "st.Client": ours}, TURNS)
    finally:
        server.terminate()
        server.wait(30)
        server.stderr.close()
    cpu_us = {
        name: min(turn[1] for turn in turns) / REQUESTS * 1e6 for name, turns in found.items()
    }
    ratios = [
        ours[1] / raw[1] for raw, ours in zip(found["httpx"], found["st.Client"], strict=True)
    ]
    raw_us, ours_us = cpu_us["httpx"], cpu_us["st.Client"]
    print(f"CPU of one request: httpx {raw_us:.0f} us, st.Client {ours_us:.0f} us")
    print(f"  median of {TURNS} turns: {statistics.median(ratios) - 1:+.1%}")


def measure_repr(bundle: st.Bundle) -> None:
    """The first text of a bundle that was just opened."""
    times_s = [timed(lambda: repr(st.open_bundle(bundle.path)))[0] for _ in range(3)]
    again = st.open_bundle(bundle.path)
    first_s, text = timed(lambda: repr(again))[0], repr(again)
    print(f"repr: {first_s * 1e6:.0f} us, {len(text)} characters (opening: {min(times_s):.3f} s)")


def main() -> None:
    bundles = Path(sys.argv[1] if len(sys.argv) > 1 else "bundles")
    bundle = st.open_bundle(bundles / "penguins" / "1.0.0")
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    measure_frame(bundle)
    measure_client(bundle)
    measure_repr(bundle)


if __name__ == "__main__":
    main()
