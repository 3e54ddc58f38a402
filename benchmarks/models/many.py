"""What many models cost a server that loads them on demand, beside one that holds the warm ones.

Run:  python benchmarks/models/many.py stream        1,000 bundles of 1 MB, a Zipf stream, 50 warm
      python benchmarks/models/many.py start         processor time until 10,000 bundles are served
      python benchmarks/models/many.py cold BUNDLE   the first answer of a cold model, receipt kept

`stream` takes turns between two servers: one with the 50 warm bundles alone, all loaded, and one
with all 1,000 and room for about those 50. Both get the same requests for the warm ones, at the
same times; the second gets those for the cold ones beside them. Memory is VmRSS of the server.
A process of the scheduler's idle class keeps each core awake: on a virtual machine a request that
wakes a core waits for milliseconds, and the server that loads nothing has to wake its core more
often.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
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
from typing import Any, NamedTuple

import numpy as np
import onnx
import psutil
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))
from open_loop import Due, play

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, MANIFEST, PROFILE, open_bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.manifest import Manifest, SealedFile, Variant
from seatrial_contracts.profile import DriftFeatures

WIDE, ANSWERS, ROWS = 64, 8, 8
MODELS, WARM, EXPONENT = 1000, 50, 1.1
RATE, SECONDS, TURNS = 60.0, 30.0, 3
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


class Served(NamedTuple):
    """A server that is ready."""

    process: psutil.Process
    address: str
    start_cpu_s: float
    """Its processor time until then."""
    log: list[str]
    """Its lines so far, to which later ones are added."""


@contextmanager
def server(folder: Path, *flags: str, core: int | None = None) -> Iterator[Served]:
    """A server that is ready, on one core if it is named."""
    ports = ("--http-port", "0", "--no-grpc", "--no-metrics")
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    running = subprocess.Popen(
        [*pinned, *SERVE, str(folder), *ports, *flags], stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "http://" in line)
        log: list[str] = []
        threading.Thread(target=log.extend, args=(running.stderr,), daemon=True).start()
        url = "http://" + line.split("http://")[1].split()[0].rstrip(",")
        process = psutil.Process(running.pid)
        while not is_ready(url):
            time.sleep(0.05)
        yield Served(process, url.removeprefix("http://"), cpu_s(process), log)
    finally:
        running.terminate()
        running.wait()


@contextmanager
def awake(core: int) -> Iterator[None]:
    """Something on a core that runs only while nothing else does, so that the core never sleeps."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(spinning.pid, {core})
        os.sched_setscheduler(spinning.pid, os.SCHED_IDLE, os.sched_param(0))
        yield
    finally:
        spinning.kill()
        spinning.wait()


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
    turns: dict[str, list[Any]] = {"alone": [], "beside": []}
    with awake(0), awake(1), server(out / "warm", core=0) as alone:
        size = footprint(alone.address, names[:WARM])
        limit = round(size * WARM * 1.05)
        flags = ("--load", "on-demand", "--model-memory-bytes", str(limit))
        with server(out / "all", *flags, core=0) as beside:
            ask_each(beside.address, names[::-1], body)  # receipts are kept, the warm ones stay
            ask_each(alone.address, names[:WARM], body)
            for _ in range(TURNS):
                turns["alone"].append(turn(alone, warm, body, names[:WARM]))
                turns["beside"].append(turn(beside, due, body, names[:WARM]))
    middle = {
        which: {key: statistics.median(turn[key] for turn in each) for key in each[0]}
        for which, each in turns.items()
    }
    return {
        "footprint_mb": round(size / 1e6, 2), "limit_mb": round(limit / 1e6, 1), "turns": turns,
        "memory_ratio": round(middle["beside"]["rss_mb"] / middle["alone"]["rss_mb"], 3),
        "p99_ratio": round(middle["beside"]["p99_ms"] / middle["alone"]["p99_ms"], 3),
        "p50_ratio": round(middle["beside"]["p50_ms"] / middle["alone"]["p50_ms"], 3),
    }  # fmt: skip


def turn(served: Served, due: Sequence[Due], body: bytes, warm: Sequence[str]) -> dict[str, Any]:
    """What came of requests: of the `warm` models those that waited for no load are timed."""
    spent, waited = cpu_s(served.process), cpu_s(served.process, waited=True)
    loads = sum("passed its load gate" in line for line in list(served.log))
    replies = play(served.address, due, body, core=1)
    timed = [
        each.seconds
        for each in replies
        if each.model in warm and each.status == 200 and not each.load_s
    ]
    return {
        "p50_ms": round(float(np.percentile(timed, 50)) * 1e3, 3),
        "p99_ms": round(float(np.percentile(timed, 99)) * 1e3, 3),
        "rss_mb": round(served.process.memory_info().rss / 1e6, 1),
        "requests": len(replies),
        "of_warm_models": sum(each.model in warm for each in replies),
        "that_found_them_warm": len(timed),
        "not_answered": sum(each.status != 200 for each in replies),
        "loads": sum("passed its load gate" in line for line in list(served.log)) - loads,
        "cpu_s": round(cpu_s(served.process) - spent, 2),
        "waited_for_a_core_s": round(cpu_s(served.process, waited=True) - waited, 2),
    }


def ask_each(address: str, names: Sequence[str], body: bytes) -> None:
    """One request to each model after the other."""
    connection = http.client.HTTPConnection(address, timeout=60)
    for name in names:
        status, _ = ask(connection, name, body)
        assert status == 200, (name, status)
    connection.close()


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
    with server(out / "all", "--load", "on-demand") as served:
        return {
            "bundles": 10_000, "cpu_s": round(served.start_cpu_s, 2),
            "rss_mb": round(served.process.memory_info().rss / 1e6, 1),
        }  # fmt: skip


def run_cold(bundle: Path) -> dict[str, Any]:
    """The first answer of a model in a server that has just started, and later ones."""
    opened = open_bundle(bundle)
    body = json.dumps({"instances": [opened.contract.example_row()]}).encode()
    found = []
    for _ in range(1 + TURNS):  # the first run keeps the receipt
        with server(bundle, "--load", "on-demand") as served:
            connection = http.client.HTTPConnection(served.address, timeout=60)
            time.sleep(1)  # what the start leaves to do is done by then
            before = cpu_s(served.process)
            times = [ask(connection, opened.name, body)[1]]
            spent = cpu_s(served.process) - before
            times += [ask(connection, opened.name, body)[1] for _ in range(20)]
            found.append((times[0], statistics.median(times[1:]), spent))
    beyond = [first - later for first, later, _ in found[1:]]
    return {
        "cold_ms": [round(first * 1e3, 1) for first, _, _ in found],
        "cold_cpu_ms": [round(spent * 1e3, 1) for _, _, spent in found],
        "warm_ms": [round(later * 1e3, 2) for _, later, _ in found],
        "beyond_its_time_ms": round(statistics.median(beyond) * 1e3, 1),
    }


def cpu_s(process: psutil.Process, *, waited: bool = False) -> float:
    """Processor time of a process so far, to the nanosecond: the sum over its threads.

    With `waited`, the time for which they waited for a core.
    """
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text("ascii").split()[int(waited)]) for task in tasks) / 1e9


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
