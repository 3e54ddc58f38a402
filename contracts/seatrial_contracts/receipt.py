"""A receipt: the proof of one bundle on one machine.

A receipt lies beside the bundle and names the bundle's digest.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.calibration import Calibration
from seatrial_contracts.canonical import readable_json
from seatrial_contracts.cost import Choice, Cost, Search
from seatrial_contracts.errors import BundleError
from seatrial_contracts.gate_steps import MAX_STEPS, GateStep
from seatrial_contracts.measures import Count, Measures

RECEIPTS_FOLDER = "receipts"
ERROR_EDGES = tuple(10.0**power for power in range(-9, 3))
"""Where the counts of a trial's errors part."""
MAX_RECEIPT_BYTES = 4 * 2**20
MAX_TRIALS, MAX_WORST_ROWS, MAX_PLACES, MAX_FLIPPED = 1000, 100, 100, 1000
INDEPENDENCE = "independence"
"""Runner of the trial that asks rows among others."""
MAX_SEARCHES = 100
"""What one receipt may say."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$")]


class WorstRow(BaseModel):
    """A row whose answer is among the farthest from the training side's, and what was answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sample: Count
    """Its place in the golden or held-out set."""
    output: str
    index: tuple[Count, ...] = Field(default=(), max_length=MAX_PLACES)
    """Where in the output the error is worst."""
    want: float | None = None
    got: float | None = None
    error: float | None
    """Of that place. None where there is no number: shapes differ, or one side is not finite."""
    allowed: float
    cause: str = ""
    answers: dict[str, Annotated[dict[Count, float | None], Field(max_length=MAX_PLACES)]]
    """The answers to seven digits, by output and place in it, flattened.

    The places are those of the largest numbers, and the worst place.
    """
    labels: dict[str, str] = {}
    """The class that was answered, by output, where an output is a label."""


class Trial(BaseModel):
    """One runner's answers against the training side's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    runner: str
    """What answered: "onnxruntime", "http", ..."""
    variant: str
    provider: str | None = None
    batch_sizes: tuple[Count, ...] = Field(default=(), max_length=MAX_PLACES)
    rows: Count
    held_out: bool = False
    """Of the held-out set; else, unless they were drawn, of the golden one."""
    drawn: bool = False
    """Of rows drawn from the contract, which no set of the bundle holds."""
    refusals: Count = 0
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
    errors: tuple[Count, ...] = Field(default=(), max_length=len(ERROR_EDGES) + 2)
    """Rows whose worst error is 0, up to each of `ERROR_EDGES`, and beyond."""
    worst: tuple[WorstRow, ...] = Field(default=(), max_length=MAX_WORST_ROWS)
    flipped: tuple[Count, ...] = Field(default=(), max_length=MAX_FLIPPED)
    """Rows with a label that is not the training side's: the first of them."""
    cost: Cost | None = None

    def without_values(self) -> Trial:
        """The same without answers to golden rows, which nobody writes of an encrypted bundle."""
        finding = self.finding
        if finding:
            places = [f"sample {row.sample}, output '{row.output}'" for row in self.worst[:1]]
            finding = "; ".join([*places, "numbers of an encrypted bundle are not shown"])
        return self.model_copy(update={"worst": (), "finding": finding})

    @property
    def row_set(self) -> Literal["golden", "held-out", "drawn"]:
        """Which rows were asked."""
        return "drawn" if self.drawn else "held-out" if self.held_out else "golden"


class Machine(BaseModel):
    """What the trial ran on. No host name, no user, no path."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    processor: str
    cores: Count
    instruction_sets: tuple[str, ...]
    system: str
    python: str
    packages: dict[str, str] = {}


class SignedBy(BaseModel):
    """Who signed the bundle, by a signature that was verified before the trials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signer: Annotated[str, Field(min_length=1, max_length=500)]
    """Its name in the policy of whoever ran the trials."""
    method: Literal["key", "certificate", "sigstore"]
    identity: Annotated[str, Field(max_length=4096)]
    """The fingerprint of the key, or what the certificate calls its holder."""


class Receipt(BaseModel):
    """The trials of one bundle on one machine, as whoever wrote it claims.

    A signature of the receipt may lie beside it (`seatrial sign`); whoever reads it checks that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    digest: Digest
    name: str
    version: str
    made_at: Time
    machine: Machine
    signed_by: SignedBy | None = None
    """None where no signature of the bundle was asked for."""
    gate: tuple[GateStep, ...] = Field(default=(), max_length=MAX_STEPS)
    """The steps of the export gate, in order; empty where no gate ran.

    They stand here and not in the manifest, since their seconds differ between two exports of one
    model, whose digest is the same.
    """
    trials: tuple[Trial, ...] = Field(max_length=MAX_TRIALS)
    searches: tuple[Search, ...] = Field(default=(), max_length=MAX_SEARCHES)
    """How a parity budget was met."""
    choice: Choice | None = None
    """Which variant became the default for its speed; None where nobody asked."""
    calibrations: tuple[Calibration, ...] = Field(default=(), max_length=MAX_SEARCHES)
    """What temperature scaling found at export."""

    @property
    def passed(self) -> bool:
        """Did every trial pass?"""
        return all(trial.passed for trial in self.trials)

    def write(self, bundle_path: Path) -> Path:
        """Write the receipt into the bundle's `receipts` folder.

        The file is named after its time and its content, and appears whole. Raises `BundleError`
        where the receipt is larger than the bound on reading, and `OSError`.
        """
        folder = bundle_path / RECEIPTS_FOLDER
        data = readable_json(self.model_dump(mode="json", by_alias=True))
        if len(data) > MAX_RECEIPT_BYTES:
            want = f"at most {MAX_RECEIPT_BYTES}"
            raise BundleError(
                "E_BUNDLE_RECEIPT",
                "receipt",
                f"{len(data)} bytes",
                want,
                "try fewer things at once",
            )
        folder.mkdir(exist_ok=True)
        target = (
            folder / f"{self.made_at.replace(':', '')}-{hashlib.sha256(data).hexdigest()[:8]}.json"
        )
        return write_whole(target, data)


INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "sve",
)
"""Those that change what a kernel computes or how fast, as Linux names them."""


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed.

    An installed package may go by another name, as onnxruntime-gpu does.
    """
    found = {name: installed_version(name) for name in packages}
    return {name: known for name, known in found.items() if known is not None}


@cache
def installed_version(package: str) -> str | None:
    """The version of a package that was installed when somebody first looked; None if none was.

    What a process has imported does not change, whatever is installed beside it since.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def this_machine(packages: dict[str, str]) -> Machine:
    """The machine this runs on; `packages` are the versions that matter to the trial."""
    lines = (
        Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    facts = {
        line.split(":")[0].strip(): line.split(":", 1)[1].strip()
        for line in reversed(lines)
        if ":" in line
    }
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
    """The time for a receipt, in UTC, to the millisecond.

    Receipts are told apart by the time, and sort by it as text.
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
