"""What a thousand models cost: a start, the pages that list them all, and everybody else meanwhile.

    python benchmarks/load/thousand.py [--models 1000] [--base CHECKOUT] [--rounds 3]

One small bundle is sealed (a number and a word in, twice the number out) and copied under unlike
names. With `--base`, the same is measured
of the code in another checkout, first without gRPC and then as `--base-grpc` says. Servers listen
on the loopback alone. Processor time is what the kernel books for the server's threads. A probe
asks one model for one prediction every 5 ms; its slowest answer beside each page, and alone before
it, is the latency that is printed. The worst and the median of the rounds are both given.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import numpy as np
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, MANIFEST, PROFILE, open_bundle, write_bundle
from seatrial_contracts.golden import Golden, Refused
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.profile import DriftFeatures

PACKAGES = ("contracts", "export", "serve", "parity_tests", "cli")
TICK = os.sysconf("SC_CLK_TCK")
MOST_START_S = 1200
PAUSE_S, ALONE_S = 0.005, 2.0
HERE = Path(__file__).resolve().parents[2]


class Given(st.Row):
    """What the small model takes."""

    x: Annotated[float, st.Number(ge=-100, le=100)]
    word: Literal["a", "b"]


class Twice(st.Answer):
    """What it answers."""

    twice: float


def seal_small(folder: Path) -> Path:
    """Seal the small model; returns its bundle's folder."""
    number = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows"]) for name in ("x", "twice")
    ]
    word = helper.make_tensor_value_info("word", TensorProto.STRING, ["rows"])
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"])]
    graph = helper.make_graph(nodes, "twice", [number[0], word], [number[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    rows = [{"x": float(place), "word": "ab"[place % 2]} for place in range(9)]
    answers = tuple({"twice": np.float32(2 * row["x"])} for row in rows)  # type: ignore[operator]
    contract = st.contract_from_rows(Given, Twice)
    profile = DriftFeatures(HostStage(contract, {})).profile(rows, answers)
    golden = Golden(tuple(rows), answers, (Refused({"x": 101.0, "word": "a"}, "E_RANGE"),))
    variant = Variant(name="fp32", format="onnx", graph="graphs/fp32.onnx")
    manifest = Manifest(
        schema=1,
        name="small",
        version="1.0.0",
        batchable=True,
        variants=(variant,),
        files={},
    )
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: profile.to_json(),
        variant.graph: model.SerializeToString(),
    }
    return write_bundle(folder, manifest, files | golden.to_files()).path


def copy_bundle(sealed: Path, folder: Path, names: list[str]) -> None:
    """The same bundle under other names: the manifest alone differs, since it holds the name."""
    bundle = open_bundle(sealed)
    ignored = shutil.ignore_patterns("receipts")
    for name in names:
        target = folder / name / bundle.version
        shutil.copytree(sealed, target, ignore=ignored)
        (target / MANIFEST).write_bytes(bundle.manifest.model_copy(update={"name": name}).to_json())


def add_version(folder: Path, name: str, version: str) -> None:
    """One more version of a model, for a reload to find."""
    (older,) = (folder / name).iterdir()
    target = folder / name / version
    shutil.copytree(older, target)
    manifest = open_bundle(older).manifest
    (target / MANIFEST).write_bytes(manifest.model_copy(update={"version": version}).to_json())


class Server:
    """A server of the code in `checkout`, on free ports. Use `with`."""

    def __init__(self, checkout: Path, bundles: Path, *flags: str) -> None:
        path = os.pathsep.join(str(checkout / each) for each in PACKAGES)
        ports = ("--http-port", "0", "--metrics-port", "0", "--grpc-port", "0", "--threads", "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "seatrial", "serve", str(bundles), *ports, *flags],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self.url = self.metrics = ""
        self.passed, self.lines = 0, threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.lines:
                if found := re.search(r"(http://[\d.]+:\d+).*metrics on port (\d+)", line):
                    self.url, self.metrics = found[1], f"http://127.0.0.1:{found[2]}/metrics"
                self.passed += "passed its load gate" in line
                self.lines.notify_all()

    def wait_for(self, passed: int) -> None:
        """Wait until so many load gates were passed."""
        with self.lines:
            if not self.lines.wait_for(lambda: self.passed >= passed, MOST_START_S):
                raise SystemExit(f"only {self.passed} of {passed} models after {MOST_START_S} s")

    def cpu_s(self) -> float:
        """Processor time so far, user and system."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text("ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident_mb(self) -> float:
        """Resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def get(self, url: str) -> bytes:
        """The body of an answer, of this server's page or of a whole address."""
        with urllib.request.urlopen(url if "://" in url else self.url + url, timeout=120) as reply:
            body: bytes = reply.read()
        return body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


class Probe:
    """Asks one model again and again over one connection, and keeps the slowest answer."""

    def __init__(self, server: Server, name: str) -> None:
        row = json.loads(server.get(f"/v1/models/{name}"))["example"]
        self._path, self._body = f"/v1/models/{name}:predict", json.dumps({"instances": [row]})
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)

    def ask(self) -> float:
        """Milliseconds that one prediction takes."""
        began = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", self._path, self._body, headers)
        reply = self._connection.getresponse()
        reply.read()
        assert reply.status == 200, reply.status
        return (time.perf_counter() - began) * 1e3

    def worst_while(self, work: Callable[[], object]) -> float:
        """The slowest answer while `work` runs in another thread."""
        thread = threading.Thread(target=work)
        worst = 0.0
        thread.start()
        while thread.is_alive():
            worst = max(worst, self.ask())
            time.sleep(PAUSE_S)
        return worst


def measure(title: str, checkout: Path, flags: list[str], models: int, rounds: int) -> float:
    """Print the figures of one server; returns the processor time of its start."""
    names = [f"model-{place:04}" for place in range(models)]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text, "bundles")
        copy_bundle(seal_small(Path(text)), folder, names)
        with Server(checkout, folder, *flags) as server:
            server.wait_for(models)
            server.get("/v2/health/ready")
            start_s = server.cpu_s()
            print(
                f"{title}: ready after {start_s:.1f} s of processor, {server.resident_mb():.0f} MB",
                flush=True,
            )
            time.sleep(ALONE_S)
            before = server.cpu_s()
            time.sleep(5)
            print(f"  idle: {(server.cpu_s() - before) / 5:.1%} of a core")
            size = len(server.get(server.metrics)) / models
            print(f"  /metrics: {size / 1e3:.1f} kB a model without traffic")
            probe = Probe(server, names[0])
            for _ in range(200):
                probe.ask()
            pages = {
                "/openapi.json": "/openapi.json",
                "/metrics": server.metrics,
                "/v1/models": "/v1/models",
                "/v2/models/stats": "/v2/models/stats",
                "console": f"/console/series?model={names[0]}",
            }
            work: dict[str, Callable[[], object]] = {
                what: lambda url=url: server.get(url)
                for what, url in pages.items()  # type: ignore[misc]
            }
            version = iter(range(1, rounds + 1))

            def reload() -> None:
                passed = server.passed
                add_version(folder, names[next(version)], "1.1.0")
                server.process.send_signal(signal.SIGHUP)
                server.wait_for(passed + 1)

            work["a reload"] = reload
            for what, do in work.items():
                alone, beside, took = [], [], []
                for _ in range(rounds):
                    alone.append(probe.worst_while(lambda: time.sleep(ALONE_S)))
                    before, began = server.cpu_s(), time.perf_counter()
                    beside.append(probe.worst_while(do))
                    took.append((server.cpu_s() - before, time.perf_counter() - began))
                cpu, wall = (statistics.median(each) for each in zip(*took, strict=True))
                print(
                    f"  beside {what}: worst {max(beside):.1f} ms "
                    f"(median {statistics.median(beside):.1f}), "
                    f"alone {max(alone):.1f} ({statistics.median(alone):.1f}); "
                    f"it took {wall:.2f} s, {cpu:.2f} of processor",
                    flush=True,
                )
            print(f"  afterwards {server.resident_mb():.0f} MB", flush=True)
    return start_s


def main() -> None:
    said = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    said.add_argument("--models", type=int, default=1000)
    said.add_argument("--rounds", type=int, default=3)
    said.add_argument("--base", type=Path, help="another checkout to compare with")
    said.add_argument("--base-grpc", action="store_true", help="its start with gRPC too: minutes")
    given = said.parse_args()
    common = given.models, given.rounds
    if given.base is not None:
        without = measure("base, no gRPC", given.base, ["--no-grpc"], *common)
        if given.base_grpc:
            measure("base, gRPC", given.base, [], *common)
    ours = measure("this, gRPC", HERE, [], *common)
    if given.base is not None:
        print(f"start: {ours / without:.2f} times the base's without gRPC")


if __name__ == "__main__":
    main()
