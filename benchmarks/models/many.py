"""What many models cost a server that loads them on demand, beside one that holds the warm ones.

Run:  python benchmarks/models/many.py stream        1,000 bundles of 1 MB, a Zipf stream, 50 warm
      python benchmarks/models/many.py start         processor time until 10,000 bundles are served
      python benchmarks/models/many.py cold BUNDLE   the first answer of a cold model, receipt kept

`stream` takes turns between two servers: one with the 50 warm bundles alone, all loaded, and one
with all 1,000 and room for about those 50. Both get the same requests for the warm ones, at the
same times; the second gets those for the cold ones beside them. Memory is VmRSS of the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, MANIFEST, PROFILE, open_bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.manifest import Manifest, SealedFile, Variant
from seatrial_contracts.profile import DriftFeatures

WIDE, ANSWERS, ROWS = 64, 8, 8
MODELS, WARM, EXPONENT = 1000, 50, 1.1
RATE, SECONDS, THREADS, TURNS = 150.0, 20.0, 8, 3
SERVE = (sys.executable, "-m", "seatrial", "serve")


class Given(st.Row):
    """What every model takes."""

    x: st.Tensor[np.float32, WIDE]


class Answer(st.Answer):
    """What every model answers."""

    y: st.Tensor[np.float32, ANSWERS]


def make(folder: Path, names: Sequence[str], hidden: int, *, alike: bool = False) -> None:
    """Write a bundle for each name: two layers, of weights of its own unless they are `alike`.

    Written plainly: `write_bundle` would check each one and sync it to the disk.
    """
    files: dict[str, bytes] = {}
    variant = Variant(name="fp32", format="onnx", graph="graphs/fp32.onnx")
    for number, name in enumerate(names):
        if not (files and alike):
            files = files_of(hidden, number)
        sealed = {
            file: SealedFile(sha256=sha256(held), size=len(held))
            for file, held in sorted(files.items())
        }
        manifest = Manifest(
            schema=1, name=name, version="1.0.0", batchable=True, variants=(variant,), files=sealed
        )
        for file, held in {**files, MANIFEST: manifest.to_json()}.items():
            path = folder / name / "1.0.0" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(held)


def files_of(hidden: int, seed: int) -> dict[str, bytes]:
    """The files of one bundle."""
    contract, chance = st.contract_from_rows(Given, Answer), np.random.default_rng(seed)
    one = chance.standard_normal((WIDE, hidden)).astype(np.float32) / WIDE
    two = chance.standard_normal((hidden, ANSWERS)).astype(np.float32) / hidden
    x = chance.standard_normal((ROWS, WIDE)).astype(np.float32)
    y = np.maximum(x @ one, 0) @ two
    golden = Golden(tuple({"x": row.tolist()} for row in x), tuple({"y": row} for row in y), ())
    profile = DriftFeatures(HostStage(contract, {})).profile(golden.rows, golden.answers)
    return {
        CONTRACT: contract.to_json(), PROFILE: profile.to_json(),
        "graphs/fp32.onnx": graph(one, two), **golden.to_files(),
    }  # fmt: skip


def graph(one: Any, two: Any) -> bytes:
    """The two layers as an ONNX graph."""
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "two"], ["y"]),
    ]
    made = helper.make_graph(
        nodes, "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", ANSWERS])],
        [numpy_helper.from_array(one, "one"), numpy_helper.from_array(two, "two")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20)]
    return bytes(
        onnx.helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()
    )


@contextmanager
def server(folder: Path, *flags: str) -> Iterator[tuple[psutil.Process, str, float]]:
    """A server that is ready: its process, its address, and its processor time until then."""
    ports = ("--http-port", "0", "--no-grpc", "--no-metrics")
    running = subprocess.Popen(
        [*SERVE, str(folder), *ports, *flags], stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "http://" in line)
        threading.Thread(target=running.stderr.read, daemon=True).start()
        url = "http://" + line.split("http://")[1].split()[0].rstrip(",")
        process = psutil.Process(running.pid)
        while not is_ready(url):
            time.sleep(0.05)
        times = process.cpu_times()
        yield process, url.removeprefix("http://"), times.user + times.system
    finally:
        running.terminate()
        running.wait()


def is_ready(url: str) -> bool:
    """Does every model take traffic?"""
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=60) as reply:
            return reply.status == 200
    except OSError:
        return False


def ask(connection: http.client.HTTPConnection, name: str, body: bytes) -> tuple[int, float]:
    """Status, and seconds until the answer was here."""
    begin = time.perf_counter()
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"/v1/models/{name}:predict", body, headers)
    reply = connection.getresponse()
    reply.read()
    return reply.status, time.perf_counter() - begin


def stream(address: str, due: Sequence[tuple[float, str]], body: bytes) -> dict[str, list[Any]]:
    """Send each request when it is due, from so many threads; name -> status and seconds.

    Seconds count from when a request was due.
    """
    found: dict[str, list[Any]] = {}
    lock, begin = threading.Lock(), time.perf_counter() + 0.2
    waiting = iter(due)

    def work() -> None:
        connection = http.client.HTTPConnection(address, timeout=60)
        while True:
            with lock:
                nearest = next(waiting, None)
            if nearest is None:
                return
            at, name = nearest
            time.sleep(max(begin + at - time.perf_counter(), 0))
            status, _ = ask(connection, name, body)
            with lock:
                found.setdefault(name, []).append((status, time.perf_counter() - begin - at))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def run_stream(out: Path) -> dict[str, Any]:
    """Warm models beside a thousand, and alone."""
    names = [f"m{number:04}" for number in range(MODELS)]
    make(out / "all", names, 3600)
    (out / "warm").mkdir()
    for name in names[:WARM]:
        (out / "warm" / name).symlink_to(out / "all" / name)
    chance = np.random.default_rng(1)
    share = 1 / np.arange(1, MODELS + 1) ** EXPONENT
    drawn = chance.choice(MODELS, int(RATE * SECONDS), p=share / share.sum())
    at = np.sort(chance.uniform(0, SECONDS, len(drawn)))
    due = [(float(t), names[number]) for t, number in zip(at, drawn, strict=True)]
    warm = [(t, name) for t, name in due if name in names[:WARM]]
    body = json.dumps({"instances": [{"x": [0.5] * WIDE}]}).encode()
    with server(out / "warm") as (process, address, _):
        size = footprint(address, names[:WARM])
    limit = round(size * WARM * 1.05)
    turns: dict[str, list[Any]] = {"alone": [], "beside": []}
    with (
        server(out / "warm") as alone,
        server(out / "all", "--load", "on-demand", "--model-memory-bytes", str(limit)) as beside,
    ):
        for name in names[:WARM]:  # both begin warm
            for _, address, _ in (alone, beside):
                ask(http.client.HTTPConnection(address, timeout=60), name, body)
        for _ in range(TURNS):
            for which, (process, address, _), requests in (
                ("alone", alone, warm), ("beside", beside, due),
            ):  # fmt: skip
                answers = stream(address, requests, body)
                of_warm = [
                    s for name in names[:WARM] for code, s in answers.get(name, ()) if code == 200
                ]
                codes = [code for each in answers.values() for code, _ in each]
                turns[which].append(
                    {
                        "p99_ms": round(float(np.percentile(of_warm, 99)) * 1e3, 3),
                        "p50_ms": round(float(np.percentile(of_warm, 50)) * 1e3, 3),
                        "rss_mb": round(process.memory_info().rss / 1e6, 1),
                        "requests": len(codes),
                        "not_answered": sum(code != 200 for code in codes),
                    }
                )
    middle = {
        which: {key: statistics.median(turn[key] for turn in each) for key in each[0]}
        for which, each in turns.items()
    }
    return {
        "footprint_mb": round(size / 1e6, 2), "limit_mb": round(limit / 1e6, 1), "turns": turns,
        "memory_ratio": round(middle["beside"]["rss_mb"] / middle["alone"]["rss_mb"], 3),
        "p99_ratio": round(middle["beside"]["p99_ms"] / middle["alone"]["p99_ms"], 3),
    }  # fmt: skip


def footprint(address: str, names: Sequence[str]) -> float:
    """What one of these models takes, as their loads measured it: the median."""
    found = []
    for name in names:
        with urllib.request.urlopen(f"http://{address}/v1/models/{name}", timeout=60) as reply:
            found.append(json.loads(reply.read())["memory_bytes"])
    return statistics.median(found)


def run_start(out: Path) -> dict[str, Any]:
    """Many bundles, of which none is loaded."""
    make(out / "all", [f"m{number:05}" for number in range(10_000)], 16, alike=True)
    with server(out / "all", "--load", "on-demand") as (process, _, seconds):
        return {
            "bundles": 10_000, "cpu_s": round(seconds, 2),
            "rss_mb": round(process.memory_info().rss / 1e6, 1),
        }  # fmt: skip


def run_cold(bundle: Path) -> dict[str, Any]:
    """The first answer of a model in a server that has just started, and later ones."""
    opened = open_bundle(bundle)
    body = json.dumps({"instances": [opened.contract.example_row()]}).encode()
    found = []
    for _ in range(1 + TURNS):  # the first run keeps the receipt
        with server(bundle, "--load", "on-demand") as (_, address, _):
            connection = http.client.HTTPConnection(address, timeout=60)
            times = [ask(connection, opened.name, body)[1] for _ in range(20)]
            found.append((times[0], statistics.median(times[1:])))
    beyond = [first - later for first, later in found[1:]]
    return {
        "cold_ms": [round(first * 1e3, 1) for first, _ in found],
        "warm_ms": [round(later * 1e3, 2) for _, later in found],
        "beyond_its_time_ms": round(statistics.median(beyond) * 1e3, 1),
    }


def main() -> None:
    """Run one of the measurements, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("stream", "start", "cold"))
    parser.add_argument("bundle", nargs="?", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.what == "cold":
            found = run_cold(asked.bundle)
        else:
            found = {"stream": run_stream, "start": run_start}[asked.what](Path(folder))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
