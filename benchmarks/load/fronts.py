"""What fronts and the engine process cost before a stand-in for a card: processor time of each.

    python benchmarks/load/fronts.py BUNDLES SENTENCES [--connections 256] [--seconds 6]

BUNDLES holds `sentences` (examples/sentences), SENTENCES is a file of texts, one a line. Two
servers are asked in turns by wrk on the second core: one process that holds the graph, and workers
that share an engine process, all on the first core. A batch sleeps 1.6 ms, whatever its size
(`models/stand_in.py`). Printed for each turn: answers a second, and for 1,000 texts the seconds of
processor time of the engine process, of the workers, and of all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from embeddings import TICK, loaded, ticks
from turns import ROTATE, Served, asked, end, on_one_core

MODELS = Path(__file__).parent.parent / "models"
PATCH = """
import sys
if "seatrial_serve.engine_process" in sys.orig_argv:
    sys.path.insert(0, {models!r})
    from stand_in import stand_in
    stand_in()
"""
PATH = "/v1/models/sentences:predict"


def children(pid: int) -> dict[str, list[int]]:
    """The processes of a supervisor, by what they are; of a server alone, itself."""
    found: dict[str, list[int]] = {"engine": [], "workers": []}
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    listed = [each for task in tasks for each in task.read_text("utf-8").split()]
    for each in map(int, listed):
        command = Path(f"/proc/{each}/cmdline").read_text("utf-8")
        if "engine_process" in command:
            found["engine"].append(each)
        elif "seatrial_serve.worker" in command:
            found["workers"].append(each)
    return found if found["workers"] else {"engine": [], "workers": [pid]}


def measured(
    served: Served, script: Path, bodies: Path, connections: int, seconds: int
) -> tuple[float, float, float]:
    """Answers a second; seconds of the engine process and of the workers for 1,000 of them."""
    roles = children(served.process.pid)
    before = {pid: ticks(pid) for pids in roles.values() for pid in pids}
    turn = asked(served, script, bodies, connections, seconds)
    answers = turn.rate * seconds
    spent = {
        role: sum(ticks(pid) - before[pid] for pid in pids) / TICK / answers * 1000
        for role, pids in roles.items()
    }
    return turn.rate, spent["engine"], spent["workers"]


def started(command: Sequence[str], gates: int, patched: Path | None = None) -> Served:
    """A server whose graph stands on the stand-in, once so many load gates are passed."""
    if patched is not None:
        os.environ["PYTHONPATH"] = str(patched)
    quiet = ["--no-grpc", "--live-parity-per-s", "0", "--prove", "always"]
    process = on_one_core([*command, "--http-port", "0", "--metrics-port", "0", *quiet])
    return Served(loaded(process, gates), PATH, process)


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    texts = options.sentences.read_text("utf-8").splitlines()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "sitecustomize.py").write_text(PATCH.format(models=str(MODELS)))
        script, bodies = folder / "rotate.lua", folder / "bodies.jsonl"
        script.write_text(ROTATE)
        bodies.write_text(
            "".join(json.dumps({"instances": [{"text": text}]}) + "\n" for text in texts)
        )
        bundle = str(options.bundles / "sentences" / "1.0.0")
        alone = [sys.executable, str(MODELS / "stand_in.py"), "serve", bundle]
        shared = [sys.executable, "-m", "seatrial", "serve", bundle, "--engine", "shared"]
        servers = {
            "one process": started(alone, 1),
            "shared": started(
                [*shared, "--workers", str(options.workers)], options.workers, folder
            ),
        }
        for served in servers.values():
            stack.callback(end, served.process)
        turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
        for place in range(options.rounds):
            names = list(servers)
            for name in names[place % 2 :] + names[: place % 2]:
                found = measured(
                    servers[name], script, bodies, options.connections, options.seconds
                )
                turns[name].append(found)
                rate, engine, workers = found
                print(
                    f"{name:12} {rate:7.0f}/s  for 1,000 texts: engine {engine:.3f} s, "
                    f"workers {workers:.3f} s, all {engine + workers:.3f} s",
                    flush=True,
                )
        for name, found_all in turns.items():
            medians = [statistics.median(each) for each in zip(*found_all, strict=True)]
            print(
                f"{name}, medians: {medians[0]:.0f}/s, engine {medians[1]:.3f} s, "
                f"workers {medians[2]:.3f} s"
            )


if __name__ == "__main__":
    main()
