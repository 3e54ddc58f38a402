"""Adopted boosters beside each library's own predict behind plain FastAPI, at 16 connections.

    build/boosters/bin/python benchmarks/load/boosters.py [--seconds 4] [--rounds 3]

It needs what `make test-boosters` installs, and wrk. A classifier of 100 trees over 20 numbers is
trained with each library, adopted and served with one worker. The other server is FastAPI with one
uvicorn process, a Pydantic row of 20 floats and the library's own predict_proba in a thread, as
most people write it. Both get one row a request over the loopback, in turns. Requests a second are
those of wrk. CPU time for each request is what the kernel books for all of the server's threads: on
a machine that others use, it is the steadier of the two. The medians of the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import catboost
import joblib
import lightgbm
import numpy as np
import xgboost
from embeddings import TICK, ticks
from turns import free_port

import seatrial as st

COLUMNS, TREES, CONNECTIONS = 20, 100, 16
BOOSTERS: dict[str, Any] = {
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=TREES, verbose=-1),
    "xgboost": xgboost.XGBClassifier(n_estimators=TREES, max_depth=6),
    "catboost": catboost.CatBoostClassifier(
        iterations=TREES, depth=6, verbose=0, allow_writing_files=False
    ),
}
PLAIN = """
import sys, joblib, numpy
from fastapi import FastAPI
from pydantic import BaseModel, create_model

model = joblib.load(sys.argv[1])
Row = create_model("Row", **{f"f{i}": (float, ...) for i in range(%d)})

class Asked(BaseModel):
    instances: list[Row]

app = FastAPI()

@app.post("/predict")
def predict(asked: Asked):
    rows = numpy.array([list(row.__dict__.values()) for row in asked.instances])
    return {"predictions": model.predict_proba(rows).tolist()}

import uvicorn
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""
WRK = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[%s]]
"""


def seal(model: Any, name: str, rows: np.ndarray[Any, Any], folder: Path) -> None:
    """Adopt the model."""
    fields = {f"f{place}": float for place in range(COLUMNS)}
    inputs = type("Rows", (st.Row,), {"__annotations__": fields})
    label = {"label": Annotated[str, st.Label("0", "1")]}
    outputs = type("Answers", (st.Answer,), {"__annotations__": label})
    golden = [dict(zip(fields, map(float, row), strict=True)) for row in rows[:8]]
    adoption = st.Adoption.of_estimator(
        model, name=name, version="1.0.0", inputs=inputs, outputs=outputs, golden=golden
    )
    st.adopt_model(adoption, folder)


def started(command: list[str], url: str, body: bytes) -> subprocess.Popen[bytes]:
    """A server that has answered."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            urllib.request.urlopen(asked, timeout=5).read()
            return process
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit(f"{command} does not answer")


def run(url: str, pid: int, script: Path, seconds: int) -> tuple[float, float, int]:
    """Requests a second, CPU time of the server for each in us, and answers other than 200."""
    before = ticks(pid)
    said = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    spent = (ticks(pid) - before) / TICK
    count = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]  # wrk's own words
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return count / seconds, spent / max(1, count) * 1e6, int(bad[1]) if bad else 0


def main() -> None:
    """Measure all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, COLUMNS)).astype(np.float32).astype(np.float64)
    target = (rows[:, :5].sum(1) + rng.normal(0, 1, len(rows)) > 0).astype(int)
    one = {f"f{place}": float(value) for place, value in enumerate(rows[0])}
    body = json.dumps({"instances": [one]})
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "plain.py").write_text(PLAIN % COLUMNS)
        script = folder / "post.lua"
        script.write_text(WRK % body)
        for name, booster in BOOSTERS.items():
            model = booster.fit(rows, target)
            joblib.dump(model, folder / f"{name}.joblib")
            seal(model, name, rows, folder / name)
            ports = free_port(), free_port()
            serve = [
                "-m",
                "seatrial",
                "serve",
                str(folder / name),
                "--http-port",
                str(ports[1]),
                "--grpc-port",
                "0",
            ]
            plain = [str(folder / "plain.py"), str(folder / f"{name}.joblib"), str(ports[0])]
            urls = {
                "FastAPI": f"http://127.0.0.1:{ports[0]}/predict",
                "seatrial": f"http://127.0.0.1:{ports[1]}/v1/models/{name}:predict",
            }
            servers = {
                side: started([sys.executable, *command], urls[side], body.encode())
                for side, command in (("FastAPI", plain), ("seatrial", serve))
            }
            try:
                seen: dict[str, list[tuple[float, float, int]]] = {side: [] for side in urls}
                for _ in range(asked.rounds):
                    for side, url in urls.items():
                        seen[side].append(run(url, servers[side].pid, script, asked.seconds))
            finally:
                for server in servers.values():
                    server.terminate()
                    server.wait()
            middle = {
                side: [statistics.median(column) for column in zip(*found, strict=True)]
                for side, found in seen.items()
            }
            ours, theirs = middle["seatrial"], middle["FastAPI"]
            print(
                f"{name}: FastAPI {theirs[0]:.0f} req/s, {theirs[1]:.0f} us; seatrial "
                f"{ours[0]:.0f} req/s, {ours[1]:.0f} us; {ours[0] / theirs[0]:.1f}x the rate, "
                f"{theirs[1] / ours[1]:.1f}x less CPU time; bad {theirs[2]:.0f}, {ours[2]:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
