"""Receipts of hub models: worst error, time to seal, size, and speed beside the library itself.

    python benchmarks/zoo/run.py [--only TEXT] [--rounds 2] [--seconds 3] [--out RESULTS.md]

It needs what `make setup` installs, wrk and taskset. Every model is a folder made here
(`entries.py`), adopted as `seatrial adopt hf:FOLDER` does it, and judged by its library. Models of
usual size get an int8 variant and are served beside the library's own pipeline behind FastAPI
(`peer.py`): each server on one core with one thread, asked in turns by wrk on the other core, one
row a request. Ratios are those of the same round. CPU time is what the kernel books for the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks" / "load")]

from entries import ENTRIES, Entry  # noqa: E402  (found through the line above)
from table import Line, Speed, write_page  # noqa: E402  (beside the line above)
from turns import (  # noqa: E402  (found through the line above)
    Served,
    Turn,
    end,
    free_port,
    in_turns,
    on_one_core,
    ours,
)

from seatrial_contracts.bundle import Bundle  # noqa: E402  (behind what comes from those folders)
from seatrial_contracts.errors import SeatrialError  # noqa: E402  (as above)
from seatrial_contracts.receipt import Trial  # noqa: E402  (as above)
from seatrial_export.export import export_pipeline  # noqa: E402  (as above)
from seatrial_export.hub.folder import quiet  # noqa: E402  (as above)
from seatrial_export.hub.from_pretrained import read_hub_model  # noqa: E402  (as above)
from seatrial_export.quantize.quantize_bundle import quantize_bundle  # noqa: E402  (as above)
from seatrial_export.quantize.subject import Subject  # noqa: E402  (as above)

PEER, FP32 = "library", "fp32"
CONNECTIONS = (1, 16)
STARTED_S = 120


@dataclass(frozen=True)
class Sealed:
    """A model of the zoo as a bundle."""

    bundle: Bundle
    seconds: float
    """From the folder to the bundle, the int8 variant aside."""
    trials: Sequence[Trial]
    refused: str = ""
    """Why there is no int8 variant."""


def seal(entry: Entry, folder: Path, bundles: Path) -> Sealed:
    """Adopt the folder, then make its int8 variant, in a version of its own."""
    start = time.perf_counter()
    with quiet():
        found = read_hub_model(folder, task=entry.task, rows=list(entry.rows()), name="zoo")
        bundle = export_pipeline(found.pipeline(), bundles / "fp32")
    seconds = time.perf_counter() - start
    trials = [trial for receipt in bundle.receipts() for trial in receipt.trials]
    if entry.variant is None:
        return Sealed(bundle, seconds, trials)
    try:
        both = quantize_bundle(Subject(bundle), [entry.variant], bundles / "both", "1.0.1")
    except SeatrialError as error:
        return Sealed(bundle, seconds, trials, str(error).splitlines()[0])
    return Sealed(both, seconds, [*trials, *both.receipts()[-1].trials])


@contextmanager
def library(folder: Path, task: str, body: str) -> Iterator[Served]:
    """The library's own pipeline behind FastAPI, once it has answered."""
    port = free_port()
    program = str(Path(__file__).with_name("peer.py"))
    process = on_one_core([sys.executable, program, str(folder), task, str(port)])
    served = Served(f"127.0.0.1:{port}", "/predict", process)
    try:
        until = time.perf_counter() + STARTED_S
        while True:
            try:
                answered(served, body)
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() > until:
                    assert process.stderr is not None
                    raise SystemExit(process.stderr.read()[-3000:]) from None
                time.sleep(0.5)
        yield served
    finally:
        end(process)


def answered(served: Served, body: str) -> None:
    """One request, which has to succeed."""
    client = http.client.HTTPConnection(served.address, timeout=60)
    client.request("POST", served.path, body, {"content-type": "application/json"})
    reply = client.getresponse()
    told = reply.read()
    assert reply.status == 200, told[:500]


def measure(
    entry: Entry, sealed: Sealed, folder: Path, work: Path, rounds: int, seconds: int
) -> dict[str, Speed]:
    """Server and connections -> its rate and CPU time, and both beside the library's."""
    bundle, found = sealed.bundle, {}
    lines = [json.dumps({"instances": [row]}) for row in bundle.golden.rows]
    names = [variant.name for variant in bundle.manifest.variants]
    with ExitStack() as stack:
        servers = {PEER: stack.enter_context(library(folder, entry.task, lines[0]))}
        for name in names:
            server = ours(bundle.path.parent.parent, name, "/v1/models/zoo:predict")
            servers[name] = stack.enter_context(server)
            answered(servers[name], lines[0])
        for connections in CONNECTIONS:
            turns = in_turns(servers, lines, work, rounds, seconds, connections)
            for name in servers:
                key = name if name in (PEER, FP32) else "int8"
                found[f"{key}, {connections}"] = speed(turns, name)
    return found


def speed(turns: Mapping[str, Sequence[Turn]], name: str) -> Speed:
    """The medians of one server's turns."""
    pairs = list(zip(turns[name], turns[PEER], strict=True))
    return Speed(
        rate=statistics.median(own.rate for own, _ in pairs),
        cpu_ms=statistics.median(own.cpu_s for own, _ in pairs) * 1e3,
        by_rate=statistics.median(own.rate / peer.rate for own, peer in pairs),
        by_cpu=statistics.median(peer.cpu_s / own.cpu_s for own, peer in pairs),
    )


def line_of(entry: Entry, sealed: Sealed, speeds: Mapping[str, Speed]) -> Line:
    """What the table says of one model."""
    judged = [trial for trial in sealed.trials if trial.runner == "judge"]
    int8 = [
        trial
        for trial in sealed.trials
        if entry.variant is not None and trial.variant == entry.variant.variant and trial.measures
    ]
    files, variants = sealed.bundle.manifest.files, sealed.bundle.manifest.variants
    sizes = {variant.name: files[variant.graph].size / 1e6 for variant in variants}
    others = [size for name, size in sizes.items() if name != FP32]
    return Line(
        name=entry.name,
        task=entry.task,
        family=entry.family,
        rows=sum(trial.rows for trial in judged),
        worst=max(trial.worst_error or 0.0 for trial in judged),
        allowed=min(trial.allowed or 0.0 for trial in judged),
        seconds=sealed.seconds,
        megabytes=sizes[FP32],
        int8=entry.variant.variant if others and entry.variant is not None else sealed.refused,
        int8_megabytes=others[0] if others else None,
        int8_measures=int8[0].measures if int8 else None,
        speeds=dict(speeds),
    )


def main() -> None:
    """Make, prove, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="entries whose name or task holds this")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    asked = parser.parse_args()
    wanted = [each for each in ENTRIES if asked.only in f"{each.name} {each.task}"]
    started, lines = time.perf_counter(), []
    for entry in wanted:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            folder = entry.make(work / "model")
            sealed = seal(entry, folder, work / "bundles")
            speeds = (
                measure(entry, sealed, folder, work, asked.rounds, asked.seconds)
                if entry.variant is not None
                else {}
            )
            lines.append(line_of(entry, sealed, speeds))
            print(lines[-1], flush=True)
            write_page(asked.out, lines, time.perf_counter() - started)


if __name__ == "__main__":
    main()
