"""What a large model costs: time and memory of sealing it, and until a server answers with it.

Run:  python benchmarks/models/large.py [GB ...] [--package FOLDER] [--variant NAME]

A stack of transformer blocks with so many GB of float32 weights (1.2 and 2.4 where none are given)
is made three times, each in processes of its own: alone, which is what PyTorch itself takes;
through `seatrial export`, with the fresh process of its gate; and by `seatrial serve` from the
bundle, up to the first answer. Memory is that of all processes of a run together, sampled ten times
a second: `rss` counts mapped files in each process that maps them (VmRSS), `pss` once
(/proc/PID/smaps_rollup). `--package` is a checkout of another state of seatrial to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH, WORDS, EVERY_S = 1024, 32_000, 0.1
BLOCK_BYTES, TABLE_BYTES = 4 * 12 * WIDTH * WIDTH, 4 * WORDS * WIDTH
PACKAGES = ("contracts", "export", "serve", "parity_tests", "cli")
ROW = {"words": list(range(1, 17))}
PIPELINE = """
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import nn
from torch.nn import functional

import seatrial as st


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm({width}), nn.LayerNorm({width})
        self.parts, self.joined = nn.Linear({width}, 3 * {width}), nn.Linear({width}, {width})
        self.wide, self.narrow = nn.Linear({width}, 4 * {width}), nn.Linear(4 * {width}, {width})

    def forward(self, x):
        rows, words = x.shape[0], x.shape[1]
        parts = self.parts(self.first(x)).view(rows, words, 3, 16, {width} // 16)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.joined(seen.transpose(1, 2).reshape(rows, words, {width}))
        return x + self.narrow(functional.gelu(self.wide(self.second(x))))


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding({words}, {width})
        self.blocks = nn.ModuleList(Block() for _ in range({blocks}))
        self.norm, self.out = nn.LayerNorm({width}), nn.Linear({width}, 8)

    def forward(self, words):
        x = self.table(words)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x)).mean(1)


class Words(st.Row):
    words: st.Tensor[np.int64, 16, Interval(ge=0, lt={words})]


class Scores(st.Answer):
    scores: st.Tensor[np.float32, 8]


def make():
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    rows = [{{"words": chance.integers(0, {words}, 16).tolist()}} for _ in range(8)]
    return st.Pipeline(
        name="large", version="1.0.0", inputs=Words, outputs=Scores, model=Large().eval(),
        golden=rows,{variants}
    )
"""


def tree(root: int) -> list[int]:
    """A process and all below it."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += map(int, task.read_text().split())
    return found


def memory(root: int) -> tuple[int, int]:
    """Resident and proportional bytes of a process and all below it."""
    rss = pss = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            rss += int(re.search(r"^Rss:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
            pss += int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
    return rss, pss


class Sampler(threading.Thread):
    """The most memory of a process and all below it, and when that was."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._root, self._over = root, threading.Event()
        self.rss = self.pss = 0

    def run(self) -> None:
        """Look until told to stop."""
        while not self._over.wait(EVERY_S):
            rss, pss = memory(self._root)
            self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)

    def stop(self) -> dict[str, float]:
        """Peaks in GB."""
        self._over.set()
        self.join()
        return {"rss_gb": round(self.rss / 1e9, 2), "pss_gb": round(self.pss / 1e9, 2)}


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], **options: Any) -> Iterator[Any]:
    """A process that is ended when the block is left."""
    process = subprocess.Popen(command, env=environment, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def timed(command: list[str], environment: dict[str, str], log: Path) -> dict[str, float]:
    """Seconds and peak memory of a command, which must succeed."""
    started = time.perf_counter()
    with log.open("wb") as file, running(command, environment, stdout=file, stderr=file) as process:
        sampler = Sampler(process.pid)
        sampler.start()
        status = process.wait()
        spent = time.perf_counter() - started
    if status:
        sys.exit(f"{command} ended with {status}:\n{log.read_text('utf-8', 'replace')[-3000:]}")
    return {"seconds": round(spent, 1), **sampler.stop()}


def served(bundles: Path, environment: dict[str, str], flags: list[str]) -> dict[str, float]:
    """Seconds until the server is ready and memory then, at its peak, and of one request."""
    command = [sys.executable, "-m", "seatrial", "serve", str(bundles), "--http-port", "0"]
    command += ["--grpc-port", "0", "--metrics-port", "0", *flags]
    started = time.perf_counter()
    with running(command, environment, stderr=subprocess.PIPE, text=True) as process:
        sampler = Sampler(process.pid)
        sampler.start()
        said = (re.search(r"(http://[0-9.]+:\d+)", line) for line in process.stderr)
        url = next(found[1] for found in said if found)
        threading.Thread(target=lambda: [*process.stderr], daemon=True).start()
        while not is_ready(url):
            time.sleep(0.05)
        ready = time.perf_counter() - started
        rss, pss = memory(process.pid)
        times = [asked(url) for _ in range(10)]
        return {
            "ready_s": round(ready, 1), "rss_at_ready_gb": round(rss / 1e9, 2),
            "pss_at_ready_gb": round(pss / 1e9, 2), **sampler.stop(),
            "request_ms": round(1000 * min(times), 1),
        }  # fmt: skip


def is_ready(url: str) -> bool:
    """Does the server say so?"""
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=60) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def asked(url: str) -> float:
    """Seconds of one request."""
    body = json.dumps({"instances": [ROW]}).encode()
    request = urllib.request.Request(
        f"{url}/v1/models/large:predict", body, {"Content-Type": "application/json"}
    )
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as reply:
        json.load(reply)
    return time.perf_counter() - started


def measured(size_gb: float, package: Path, variants: list[str], work: Path) -> dict[str, Any]:
    """All figures of one size."""
    blocks = round((size_gb * 1e9 - TABLE_BYTES) / BLOCK_BYTES)
    weights = TABLE_BYTES + blocks * BLOCK_BYTES
    pipeline = work / "large.py"
    wanted = f" variants={variants!r}," if variants else ""
    pipeline.write_text(
        PIPELINE.format(width=WIDTH, words=WORDS, blocks=blocks, variants=wanted), "utf-8"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(package / name) for name in PACKAGES),
        "XDG_CACHE_HOME": str(work / "cache"),
        "OMP_NUM_THREADS": str(os.cpu_count()),
    }
    alone = [sys.executable, "-c", "import large; large.make()"]
    found: dict[str, Any] = {"weights_gb": round(weights / 1e9, 3), "load": os.getloadavg()[0]}
    found["torch alone"] = timed(alone, environment | {"PYTHONPATH": os.pathsep.join(
        [environment["PYTHONPATH"], str(work)])}, work / "log")  # fmt: skip
    export = [sys.executable, "-m", "seatrial", "export", f"{pipeline}:make"]
    sealed = timed([*export, "--out", str(work / "bundles")], environment, work / "log")
    for name in ("rss_gb", "pss_gb"):
        above = (sealed[name] - found["torch alone"][name]) * 1e9 / weights
        sealed[name.replace("gb", "above_torch_in_weights")] = round(above, 2)
    found["seal"] = sealed
    for name in ["fp32", *variants]:
        flags = ["--variant", name]
        found[f"serve {name}"] = served(work / "bundles", environment, flags)
        found[f"serve {name} again"] = served(work / "bundles", environment, flags)
    return found


def main() -> None:
    """Measure each size and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("sizes", nargs="*", type=float, default=[1.2, 2.4], metavar="GB")
    parser.add_argument("--package", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--work", type=Path, help="Folder for bundles and models.")
    asked_for = parser.parse_args()
    for size in asked_for.sizes:
        work = Path(tempfile.mkdtemp(prefix="large.", dir=asked_for.work))
        try:
            found = measured(size, asked_for.package, asked_for.variant, work)
            print(json.dumps({"gb": size, **found}, indent=1), flush=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
