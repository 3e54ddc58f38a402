"""A receipt: what was proven of one bundle on one machine. It lies beside the bundle and names the digest it is about."""

from __future__ import annotations

import hashlib
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.calibration import Calibration
from seatrial_contracts.canonical import readable_json
from seatrial_contracts.cost import Cost, Search
from seatrial_contracts.measures import Measures
from seatrial_contracts.whole_file import write_whole

RECEIPTS_FOLDER = "receipts"
ERROR_EDGES = tuple(10.0**power for power in range(-9, 3))
"""Where the counts of a trial's errors part."""


class WorstRow(BaseModel):
    """A row whose answer is among the farthest from the training side's, and what was answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: int
    """Its place in the golden or held-out set."""
    output: str
    index: tuple[int, ...] = ()
    """Where in the output the error is worst."""
    want: float | None = None
    got: float | None = None
    error: float | None
    """Of that place. None where there is no number: shapes differ, or one side is not finite."""
    allowed: float
    cause: str = ""
    answers: dict[str, dict[int, float | None]]
    """What was answered to seven digits, by output and place in it, flattened: where the largest numbers are wanted, and at the worst place."""
    labels: dict[str, str] = {}
    """The class that was answered, by output, where an output is a label."""


class Trial(BaseModel):
    """One runner's answers against the training side's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: str
    """What answered: "onnxruntime", "http", ..."""
    variant: str
    provider: str | None = None
    batch_sizes: tuple[int, ...] = ()
    rows: int
    held_out: bool = False
    """Of the held-out set; else of the golden one."""
    refusals: int = 0
    """Rows that had to be refused, and were."""
    worst_error: float | None
    """None where there is no number: the runner failed, or shapes differ."""
    allowed: float | None
    """At the place of the worst error; None where no bound of single numbers is promised."""
    passed: bool
    finding: str = ""
    """Where it failed, for people."""
    measures: Measures | None = None
    slices: dict[str, Measures] = {}
    errors: tuple[int, ...] = ()
    """Rows whose worst error is 0, up to each of `ERROR_EDGES`, and beyond."""
    worst: tuple[WorstRow, ...] = ()
    flipped: tuple[int, ...] = ()
    """Rows with a label that is not the training side's: the first of them."""
    cost: Cost | None = None


class Machine(BaseModel):
    """What the trial ran on. No host name, no user, no path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    cores: int
    instruction_sets: tuple[str, ...]
    system: str
    python: str
    packages: dict[str, str] = {}


class Receipt(BaseModel):
    """The trials of one bundle on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=1, alias="schema")
    digest: str
    name: str
    version: str
    made_at: str
    machine: Machine
    trials: tuple[Trial, ...]
    searches: tuple[Search, ...] = ()
    """How a parity budget was met."""
    calibrations: tuple[Calibration, ...] = ()
    """What temperature scaling found at export."""

    @property
    def passed(self) -> bool:
        """Did every trial pass?"""
        return all(trial.passed for trial in self.trials)

    def write(self, bundle_path: Path) -> Path:
        """Write it into the bundle's `receipts` folder, named after what it holds; the new file appears whole."""
        folder = bundle_path / RECEIPTS_FOLDER
        folder.mkdir(exist_ok=True)
        data = readable_json(self.model_dump(mode="json", by_alias=True))
        target = folder / f"{self.made_at[:10]}-{hashlib.sha256(data).hexdigest()[:8]}.json"
        return write_whole(target, data)


INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "sve")
"""Those that change what a kernel computes or how fast, as Linux names them."""


def this_machine(packages: dict[str, str]) -> Machine:
    """The machine this runs on; `packages` are the versions that matter to the trial."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in reversed(lines) if ":" in line}
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return Machine(
        processor=facts.get("model name") or platform.machine(),
        cores=os.cpu_count() or 1,
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=packages,
    )


def now() -> str:
    """The time for a receipt, in UTC, to the millisecond: receipts are told apart by it, and sort by it as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
