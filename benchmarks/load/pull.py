"""Bundles out of a registry on the loopback, and restarts from the warm cache, in turns.

    python benchmarks/load/pull.py [--turns 7] [--out results.json]

The bundle has one matrix of 100 MB. Needs Debian's docker-registry. A pull is compared with copying
the bundle's files and hashing them; a restart from the cache with one from the bundle's own folder,
both until the server is ready, with kept receipts and compiled modules. Seconds are of the clock;
`cpu` is the processor time of the process, which other load on the machine does not change as much.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.resolve import pull

CHUNK_BYTES = 2**20
SIDE = 5000
"""Of a square matrix of float32, 100 MB."""


class In(st.Row):
    x: st.Tensor[np.float32, 5000]


class Out(st.Answer):
    y: st.Tensor[np.float32, 5000]


def make_bundle(folder: Path) -> Bundle:
    """A permutation as a matrix: its answers are known without running it."""
    order = np.random.default_rng(0).permutation(SIDE)
    matrix = np.zeros((SIDE, SIDE), np.float32)
    matrix[order, np.arange(SIDE)] = 1
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "matrix",
        [value("x", TensorProto.FLOAT, ["batch", SIDE])],
        [value("y", TensorProto.FLOAT, ["batch", SIDE])],
        [numpy_helper.from_array(matrix, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    rows = [np.roll(np.arange(SIDE, dtype=np.float32), turn) for turn in range(4)]
    golden = Golden(
        tuple({"x": row.tolist()} for row in rows), tuple({"y": row[order]} for row in rows), ()
    )
    files = {
        CONTRACT: st.contract_from_rows(In, Out).to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": model.SerializeToString(),
        **golden.to_files(),
    }
    manifest = Manifest(
        schema=1, name="matrix", version="1.0.0", batchable=True,
        variants=(Variant(name="fp32", format="onnx", graph="graphs/model.onnx"),), files={},
    )  # fmt: skip
    return write_bundle(folder, manifest, files)


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=quiet, stderr=quiet
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/", 30)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(url: str, within_s: float) -> None:
    end = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def copy_and_hash(bundle: Path, folder: Path) -> None:
    """What a careful person would do with the files of a disk."""
    for file in sorted(each for each in bundle.rglob("*") if each.is_file()):
        target = folder / file.relative_to(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        digest = hashlib.sha256()
        with target.open("rb") as read:
            while chunk := read.read(CHUNK_BYTES):
                digest.update(chunk)


def timed(work: Callable[[Path], object]) -> tuple[float, float]:
    """Seconds of work in a new folder, and processor seconds of this process."""
    folder = Path(tempfile.mkdtemp(prefix="pull-"))
    try:
        begun, cpu = time.perf_counter(), time.process_time()
        work(folder)
        return time.perf_counter() - begun, time.process_time() - cpu
    finally:
        shutil.rmtree(folder)


def restart(address: str, cache: Path) -> tuple[float, float]:
    """Seconds until a server is ready, and processor seconds that it took until then."""
    port = free_port()
    command = [sys.executable, "-m", "seatrial", "serve", address, "--no-grpc", "--no-metrics"]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--http-port", str(port)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": ""},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/health/ready", 300)
        ready_s = time.perf_counter() - begun
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return ready_s, sum(map(int, ticks[11:13])) / os.sysconf("SC_CLK_TCK")
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place, registry(Path(place)) as host:
        bundle = make_bundle(Path(place) / "bundles")
        address = InRegistry(host, "bench/model", bundle.version, None)
        push_to_registry(bundle, address)
        ways: dict[str, Callable[[Path], object]] = {
            "copy": lambda folder: copy_and_hash(bundle.path, folder),
            "pull": lambda folder: pull(address, folder),
        }
        seconds: dict[str, list[float]] = {}
        for _ in range(asked.turns):
            for name, way in ways.items():
                clock_s, cpu_s = timed(way)
                seconds.setdefault(name, []).append(clock_s)
                seconds.setdefault(f"{name} cpu", []).append(cpu_s)
        cache, starts = Path(place) / "cache", {"path": str(bundle.path), "cache": address.shown}
        for each in starts.values():
            restart(each, cache)
        for _ in range(asked.turns):
            for name, each in starts.items():
                ready_s, cpu_s = restart(each, cache)
                seconds.setdefault(f"restart {name}", []).append(ready_s)
                seconds.setdefault(f"restart {name} cpu", []).append(cpu_s)
    told = {name: round(statistics.median(each), 4) for name, each in seconds.items()}
    least = {name: round(min(each), 4) for name, each in seconds.items()}
    result = {
        "megabytes": round(bundle.size_bytes / 1e6, 1), "turns": asked.turns,
        "load": [round(load, 1), round(os.getloadavg()[0], 1)], "median_s": told, "least_s": least,
        "pull_speed_of_copy_and_hash": round(told["copy"] / told["pull"], 3),
        "restart_cache_over_path": round(told["restart cache"] / told["restart path"], 3),
        "restart_cache_over_path_cpu": round(
            told["restart cache cpu"] / told["restart path cpu"], 3
        ),
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
