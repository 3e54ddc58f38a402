"""The pipeline's file once more, in a fresh process: is it the same model?

The process has another time, another hash seed and an empty environment.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.elsewhere import HOURS_AHEAD, clock, elsewhere
from seatrial_export.gate.surroundings import lines_of
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.gate.torch_export import check_torch_export
from seatrial_export.load_pipeline import NOUN, WANT, pipeline_at
from seatrial_export.user_file import UserFiles

Facts = dict[str, Any]
"""What stands in a program -> text, or the numbers of a tensor."""
MOST_S = 300
"""Of one run. A file that trains for longer is waited for in vain, and the receipt says so."""
FEW_ROWS = 8
RELATIVE = 1e-4
"""The bound on a difference, relative to a tensor's norm.

Training that sums in another order moves weights in their last bits, which is no finding.
"""
KEPT = re.compile(
    r"PATH|HOME|PYTHON.*|LD_.*|DYLD_.*|LANG|LC_.*|TE?MP(DIR)?|SYSTEMROOT|.*_NUM_THREADS|VIRTUAL_ENV|CONDA_.*|CUDA_VISIBLE_DEVICES|(HF|TORCH)_(HOME|HUB_.*)"
)
"""Variables without which Python and its libraries do not start, or compute otherwise."""
CHANGES = {
    "the hash seed": (2, 0, False),
    "the clock": (1, HOURS_AHEAD[0], False),
    "the environment": (1, 0, True),
}
"""What is changed -> hash seed, hours ahead, empty environment."""
PIECE = 2**20
"""Numbers that are summed at once."""
WEIGHTS = np.cos(np.arange(PIECE))
ALIKE, ALL = (1, 0, False), (2, HOURS_AHEAD[0], True)
MEND = (
    "what the file makes must not depend on it: sort sets, use hashlib in place of hash(), "
    "pass settings as arguments; "
    "if it is meant, say waive={'fresh process': 'why'}"
)


class FreshProcess:
    """Runs of one file in processes of their own; the first begins at once, beside the gate."""

    def __init__(self, target: str, folder: Path) -> None:
        self.target = target
        self._folder = folder
        self._running = dict[str, subprocess.Popen[bytes]]()
        self.start("first", ALL)

    def start(self, name: str, change: tuple[int, int, bool]) -> None:
        """Begin one run."""
        seed, hours, empty = change
        environment = {
            key: value for key, value in os.environ.items() if not empty or KEPT.fullmatch(key)
        }
        command = [
            sys.executable,
            "-P",
            "-m",
            __name__,
            self.target,
            str(self._folder / name),
            str(hours),
        ]
        environment |= {
            "PYTHONHASHSEED": str(seed),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        nothing = subprocess.DEVNULL
        self._running[name] = subprocess.Popen(
            command, env=environment, stdin=nothing, stdout=nothing, stderr=nothing
        )

    def wait(self, name: str) -> bool:
        """Wait until a run is over; False where it takes too long."""
        try:
            self._running[name].wait(MOST_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def facts(self, name: str) -> Facts | None:
        """What a run found; None where the file did not run, or took too long."""
        if not self.wait(name):
            return None
        place = self._folder / name
        found: Facts | None = json.loads(place.read_bytes()) if place.exists() else None
        return found

    def stop(self) -> None:
        """End what still runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def fresh_process(target: str | None) -> Iterator[FreshProcess | None]:
    """Inside, the file runs in a process of its own; None where there is no file."""
    if target is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="seatrial-") as folder:
        fresh = FreshProcess(target, Path(folder))
        try:
            yield fresh
        finally:
            fresh.stop()


def check_fresh_process(candidate: TorchCandidate) -> None:
    """Check that the file makes the same program, weights and answers in a fresh process.

    Raises `GateError` that names the difference and what the difference depends on. A difference
    between two runs that are alike is chance, and left out: training need not have a seed. The
    receipt lists what was compared.
    """
    fresh = candidate.fresh
    if fresh is None:
        note(
            candidate,
            "not made: the pipeline was handed over by Python code, and no file can be run again",
        )
        return
    found = fresh.facts("first")
    suspects = None if found is None else set(differing(facts_of(candidate), found))
    if suspects is not None and not suspects:
        note(candidate, "")
        return
    fresh.start("alike", ALIKE)
    fresh.start("alike again", ALIKE)
    alike, again = fresh.facts("alike"), fresh.facts("alike again")
    if alike is None or again is None:
        note(
            candidate,
            f"not made: the file does not run in a process of its own, or not within {MOST_S} s",
        )
        return
    by_chance = set(differing(alike, again))
    chance = f"{len(by_chance)} values differ from run to run and were not compared"
    # Training without a seed: three runs more would show no more.
    if suspects is not None and suspects <= by_chance:
        note(candidate, chance)
        return
    for what, change in CHANGES.items():
        fresh.start(what, change)
        other = fresh.facts(what)
        names = (
            []
            if other is None
            else [name for name in differing(alike, other) if name not in by_chance]
        )
        if names:
            raise GateError(
                "fresh process", f"{names[0]} is another when one changes {what}{also(names)}", MEND
            )
    note(
        candidate,
        chance
        if by_chance
        else "not compared with an empty environment: the file needs a variable of it",
    )


def also(names: Sequence[str]) -> str:
    """How many more."""
    return f", and {len(names) - 1} values more" if len(names) > 1 else ""


def note(candidate: TorchCandidate, finding: str) -> None:
    """What the receipt says of it: rows are answered alone."""
    rows = 0 if finding.startswith("not made") else len(few(candidate))
    candidate.trials.append(
        Trial(
            runner="fresh process",
            variant="fp32",
            provider="torch cpu",
            batch_sizes=(1,) if rows else (),
            rows=rows,
            worst_error=None,
            allowed=None,
            passed=True,
            finding=finding,
        )
    )


def few(candidate: TorchCandidate) -> list[Any]:
    """The golden rows whose answers are compared."""
    return candidate.pipeline.encoded_golden[:FEW_ROWS]


def differing(one: Facts, other: Facts) -> list[str]:
    """Names of what is not the same."""
    return [name for name in {**one, **other} if not same(one.get(name), other.get(name))]


def same(one: Any, other: Any) -> bool:
    """The same text, or numbers as near as training in another order comes."""
    if not (isinstance(one, list) and isinstance(other, list)) or one[0] != other[0]:
        return bool(one == other)
    return bool(
        abs(one[2] - other[2]) <= RELATIVE * max(one[1], other[1])
        and abs(one[1] - other[1]) <= RELATIVE * max(one[1], other[1])
    )


def facts_of(candidate: TorchCandidate) -> Facts:
    """Programs, weights, and the answers to a few golden rows."""
    facts: Facts = {}
    for name, _, graph in candidate.calls:
        if graph.program is not None:
            facts |= {
                f"{name}, line {place}": line
                for place, line in enumerate(lines_of(graph.program, constants=False))
            }
            tensors = {**graph.program.state_dict, **graph.program.constants}
        else:
            tensors = graph.module.state_dict()
        facts |= {
            f"{name}, '{key}'": numbers(value.detach().cpu().numpy())
            for key, value in tensors.items()
            if isinstance(value, torch.Tensor)
        }
    answers = [candidate.pipeline.answer_encoded(row) for row in few(candidate)]
    for place, answer in enumerate(answers):
        facts |= {
            f"the answer '{key}' to golden row {place}": numbers(array)
            for key, array in answer.items()
        }
    return facts


def numbers(array: Array) -> list[Any]:
    """Shape and type, norm, and a sum with weights that tells places apart.

    A piece of the array is in memory as float64 at a time.
    """
    flat, squares, weighed = array.reshape(-1), 0.0, 0.0
    for place, start in enumerate(range(0, flat.size, PIECE)):
        values = np.nan_to_num(np.asarray(flat[start : start + PIECE], np.float64))
        squares += float(values @ values)
        weighed += (1 + place % 7 / 7) * float(values @ WEIGHTS[: values.size])
    return [f"{array.dtype}{list(array.shape)}", math.sqrt(squares), weighed]


def main(target: str, place: str, hours: str) -> None:
    """The other process: run the file, and write down what it makes."""
    ahead = clock(int(hours)) if int(hours) else []
    with elsewhere(ahead):
        value = UserFiles().value(target, NOUN, WANT)
    # Once more: now there is the file's module, which may have names of its own for the clock.
    with elsewhere(ahead):
        candidate = TorchCandidate(pipeline_at(target, value))
        candidate.pipeline = candidate.pipeline.calibrated
        if "torch.export" not in candidate.pipeline.waive:
            check_torch_export(candidate)
        facts: Mapping[str, Any] = facts_of(candidate)
    Path(place).write_bytes(json.dumps(facts).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
