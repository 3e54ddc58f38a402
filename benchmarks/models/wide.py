"""Rows of 20, 200 and 2,000 packed numbers: what one costs over V1, and 10,000 over V2 in binary.

    python benchmarks/models/wide.py [TURNS]

The script seals a network with a hidden layer of 256 for each width. The server has core 0, the
client core 1. Cost is the server's processor time, as the scheduler counts
it, for each request. The in-process limit is onnxruntime alone over the same array, on core 0 as
well, in turns with the server.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import tritonclient.http as client_of
from pydantic import create_model

import seatrial as st

WIDTHS, HIDDEN, ROWS, REQUESTS = (20, 200, 2000), 256, 10_000, 100
PORT, METRICS = 18_720, 18_722


class Score(st.Answer):
    """What the models answer."""

    y: float


class Network(torch.nn.Module):
    """One hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1)
        )

    def forward(self, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        """A number for each row."""
        return {"y": self.layers(numbers).squeeze(1)}


def seal(width: int, out: Path) -> None:
    """Seal a model of so many columns."""
    torch.manual_seed(0)
    names = [f"sensor_{place}" for place in range(width)]
    fields: dict[str, Any] = dict.fromkeys(names, (float, ...))
    rows = create_model("Rows", __base__=st.Row, __cls_kwargs__={"packed": "numbers"}, **fields)
    chance = np.random.default_rng(0)
    golden = [dict(zip(names, row.tolist(), strict=True)) for row in chance.normal(size=(8, width))]
    pipeline = st.Pipeline(
        name=f"wide{width}",
        version="1.0.0",
        model=Network(width).eval(),
        inputs=rows,
        outputs=Score,
        golden=golden,
        limits=st.Limits(max_rows=ROWS, max_body_bytes=128 * 2**20),
    )
    st.export(pipeline, out)


class Served:
    """A server over the bundles."""

    def __init__(self, bundles: Path) -> None:
        flags = ["--http-port", str(PORT), "--metrics-port", str(METRICS), "--no-grpc"]
        command = ["taskset", "-c", "0", sys.executable, "-m", "seatrial", "serve", str(bundles)]
        self.process = subprocess.Popen(
            [*command, *flags, "--threads", "1", "--log-level", "warning"]
        )

    def cpu_us(self) -> float:
        """Processor time of its threads so far."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return (
            sum(int((each / "schedstat").read_text("ascii").split()[0]) for each in threads) / 1e3
        )

    def by_v1(self, width: int) -> float:
        """Processor time of a request of one row in JSON."""
        asker = HTTPConnection("127.0.0.1", PORT)
        row = {f"sensor_{place}": place / 7 for place in range(width)}
        body = json.dumps({"instances": [row]}).encode()
        head = {"Content-Type": "application/json"}
        before = 0.0
        for request in range(-REQUESTS // 5, REQUESTS):
            if request == 0:
                before = self.cpu_us()
            asker.request("POST", f"/v1/models/wide{width}:predict", body, head)
            reply = asker.getresponse()
            said = reply.read()
            if reply.status != 200:
                raise SystemExit(said.decode())
        return (self.cpu_us() - before) / REQUESTS


def by_v2(rows: np.ndarray[Any, Any], width: int) -> float:
    """Seconds for all rows in one call."""
    asker = client_of.InferenceServerClient(f"127.0.0.1:{PORT}")
    tensor = client_of.InferInput("numbers", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows)
    start = time.perf_counter()
    answer = asker.infer(f"wide{width}", [tensor]).as_numpy("y")
    seconds = time.perf_counter() - start
    if answer is None or len(answer) != len(rows):
        raise SystemExit("not every row was answered")
    return seconds


def main(turns: int) -> None:
    """Print the costs and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            seal(width, Path(folder))
        served = Served(Path(folder))
        os.sched_setaffinity(0, {1})
        try:
            asker = client_of.InferenceServerClient(f"127.0.0.1:{PORT}")
            while True:
                try:
                    if asker.is_server_ready():
                        break
                except OSError:
                    time.sleep(0.1)
            costs = {width: [served.by_v1(width) for _ in range(turns)] for width in WIDTHS}
            narrow = statistics.median(costs[WIDTHS[0]])
            for width, seen in costs.items():
                cost = statistics.median(seen)
                print(f"V1, a row of {width:5} columns: {cost:6.0f} us, {cost / narrow:.1f} times")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            for width in WIDTHS:
                rows = np.random.default_rng(1).normal(size=(ROWS, width)).astype(np.float32)
                graph = next(Path(folder, f"wide{width}/1.0.0/graphs").glob("*.onnx"))
                session = onnxruntime.InferenceSession(graph, options)
                session.run(None, {"numbers": rows})
                ratios = []
                for _ in range(turns):
                    seconds = by_v2(rows, width)
                    start = time.perf_counter()
                    session.run(None, {"numbers": rows})
                    ratios.append((time.perf_counter() - start) / seconds)
                print(
                    f"V2, {ROWS} rows of {width} columns: "
                    f"{statistics.median(ratios):.2f} of onnxruntime alone "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )
        finally:
            served.process.terminate()
            served.process.wait(30)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
