"""The findings of all receipts beside a bundle: of each thing that was tried, the newest trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.calibration import Calibration
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.gate_steps import GateStep
from seatrial_contracts.golden import Golden
from seatrial_contracts.measures import ALL_ROWS, Measures, measure, measure_slices
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import INDEPENDENCE, Machine, Receipt, Trial, WorstRow
from seatrial_contracts.receipts_folder import MEND
from seatrial_parity.report.table import severity


@dataclass(frozen=True)
class Line:
    """The trials of one runner with one variant on one machine.

    The trials are those of the golden or the held-out rows at each batch size.
    """

    runner: str
    variant: str
    provider: str
    machine: int
    held_out: bool
    trials: Mapping[int, Trial]
    """By batch size."""
    refused: int | None
    """Rows that had to be refused, and were; None where it was not asked them."""
    passed: bool

    @property
    def rows(self) -> int:
        """How many rows each trial had."""
        return max((trial.rows for trial in self.trials.values()), default=0)

    @property
    def worst(self) -> Trial | None:
        """The trial nearest to what is allowed, or beyond it."""
        return max(self.trials.values(), key=severity, default=None)


@dataclass(frozen=True)
class SliceLine:
    """One slice as one variant answers it, beside the training side's own measures.

    `finding` describes where the slice breaks the promise.
    """

    variant: str
    held_out: bool
    name: str
    measures: Measures
    own: Measures
    finding: str


@dataclass(frozen=True)
class Findings:
    """A bundle, its receipts, and what they say."""

    bundle: Bundle
    receipts: tuple[Receipt, ...]
    machines: tuple[Machine, ...]
    trials: tuple[tuple[int, Trial], ...]
    """Place of the machine, and the trial."""

    @property
    def passed(self) -> bool:
        """Did the newest trial of everything pass?"""
        return all(trial.passed for _, trial in self.trials)

    @property
    def failures(self) -> list[Trial]:
        """Those that did not."""
        return [trial for _, trial in self.trials if not trial.passed]

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """What temperature scaling found when the bundle was sealed."""
        return next((receipt.calibrations for receipt in self.receipts if receipt.calibrations), ())

    @property
    def gate(self) -> tuple[GateStep, ...]:
        """The steps of the export gate, as the receipt of the export lists them."""
        return next((receipt.gate for receipt in self.receipts if receipt.gate), ())

    @cached_property
    def checks(self) -> list[Trial]:
        """Trials of no set of rows that the bundle holds.

        The rows are drawn from the contract, or stand among others.
        """
        return [trial for _, trial in self.trials if trial.drawn or trial.runner == INDEPENDENCE]

    @cached_property
    def lines(self) -> list[Line]:
        """The matrix: a line for each trial at single batch sizes, in the order of the receipts."""
        groups: dict[tuple[int, str, str, str, bool], list[Trial]] = {}
        for machine, trial in self.trials:
            if trial in self.checks:
                continue
            key = machine, trial.runner, trial.variant, trial.provider or "", trial.held_out
            groups.setdefault(key, []).append(trial)
        return [_line(*key, trials) for key, trials in groups.items()]

    @cached_property
    def sizes(self) -> list[int]:
        """The batch sizes that were tried."""
        return sorted({size for line in self.lines for size in line.trials})

    @cached_property
    def slices(self) -> list[SliceLine]:
        """All rows and each slice, for each variant.

        Each stands for the trial of the largest batch of the first runner that measured it.
        """
        measured: dict[tuple[str, bool], Trial] = {}
        for line in self.lines:
            trials = [trial for trial in line.trials.values() if trial.measures is not None]
            if (
                trials
                and (line.variant, line.held_out) not in measured
                and line.runner != "pytorch"
            ):
                measured[line.variant, line.held_out] = trials[-1]
        return [
            one
            for (_, held_out), trial in measured.items()
            for one in self._slices(trial, self.rows(held_out))
        ]

    def _slices(self, trial: Trial, golden: Golden) -> Iterator[SliceLine]:
        contract, promise = self.bundle.contract, self.promise(trial.variant)
        asked = contract, golden.answers, golden.answers, golden.truth
        own = {ALL_ROWS: measure(*asked, golden.notes)}
        own |= measure_slices(*asked, golden.slices, golden.notes)
        assert trial.measures is not None, "chosen for its measures"
        for name, measures in {ALL_ROWS: trial.measures, **trial.slices}.items():
            judged = name == ALL_ROWS or measures.rows >= promise.min_slice_rows
            finding = promise.finding(measures, own[name]) if judged else ""
            yield SliceLine(trial.variant, trial.held_out, name, measures, own[name], finding)

    def rows(self, held_out: bool) -> Golden:
        """The set of rows that a trial was about."""
        found = self.bundle.held_out if held_out else self.bundle.golden
        assert found is not None, "a receipt of this digest names only sets that it has"
        return found

    def promise(self, variant: str) -> Promise:
        """What a variant promises."""
        sealed = {each.name: each.promise for each in self.bundle.manifest.variants}
        return sealed.get(variant) or Promise(tolerance=self.bundle.contract.tolerance)


def gather(bundle: Bundle) -> Findings:
    """Read the receipts beside a bundle. Raises `DeclarationError` where there is none."""
    receipts = tuple(bundle.receipts())
    if not receipts:
        raise DeclarationError(
            f"bundle {bundle.name} {bundle.version}",
            "no receipt",
            "one at least",
            f"run: seatrial parity {bundle.path}",
        )
    for receipt in receipts:
        check_receipt(bundle, receipt)
    machines = tuple({_place(receipt.machine): receipt.machine for receipt in receipts}.values())
    places = {_place(machine): place for place, machine in enumerate(machines)}
    newest = {
        _question(trial, places[_place(receipt.machine)]): trial
        for receipt in receipts
        for trial in receipt.trials
    }
    return Findings(
        bundle, receipts, machines, tuple((key[0], trial) for key, trial in newest.items())
    )


def check_receipt(bundle: Bundle, receipt: Receipt) -> None:
    """Check a receipt against its bundle.

    Raises `BundleError` where a receipt holds rows, slices, outputs or places that the bundle does
    not have. Receipts are neither sealed nor signed, so nothing that they hold about the bundle is
    taken as it is.
    """
    for trial in receipt.trials:
        got = _unknown(bundle, trial)
        if got:
            where, runner = f"receipt of {receipt.made_at}", f"a trial of '{trial.runner}'"
            raise BundleError(
                "E_BUNDLE_RECEIPT",
                where,
                f"{got} of {runner}, which the bundle does not have",
                "what this bundle has",
                MEND,
            )


def _unknown(bundle: Bundle, trial: Trial) -> str:
    """What a trial tells of that the bundle does not have; empty where there is nothing."""
    golden = bundle.held_out if trial.held_out else bundle.golden
    if golden is None:
        return "held-out rows"
    if (trial.rows or trial.worst) and not trial.batch_sizes:
        return "rows in no batch"
    names = {name for row in golden.slices for name in row}
    strange = sorted(trial.slices.keys() - names)
    if strange:
        return f"slice '{strange[0]}'"
    odd = next((row.sample for row in trial.worst if not _known(golden, row)), None)
    return "" if odd is None else f"row {odd}"


def _known(golden: Golden, row: WorstRow) -> bool:
    answers = golden.answers[row.sample] if row.sample < len(golden.rows) else {}
    places = [(name, place) for name, numbers in row.answers.items() for place in numbers]
    here = row.output in answers and (
        not row.index or _inside(row.index, answers[row.output].shape)
    )
    return here and all(name in answers and place < answers[name].size for name, place in places)


def _inside(index: Sequence[int], shape: Sequence[int]) -> bool:
    return len(index) == len(shape) and all(
        0 <= place < size for place, size in zip(index, shape, strict=True)
    )


def _place(machine: Machine) -> str:
    """What makes a machine another one: hardware and system; packages may rise on the same."""
    return machine.model_dump_json(exclude={"packages", "python"})


def _question(trial: Trial, machine: int) -> tuple[int, str, str, str, Sequence[int], str, bool]:
    provider = trial.provider or ""
    return (
        machine,
        trial.runner,
        trial.variant,
        provider,
        trial.batch_sizes,
        trial.row_set,
        bool(trial.rows),
    )


def _line(
    machine: int, runner: str, variant: str, provider: str, held_out: bool, trials: Sequence[Trial]
) -> Line:
    answered = {max(trial.batch_sizes): trial for trial in trials if trial.rows}
    refusals = [trial.refusals for trial in trials if not trial.rows and trial.batch_sizes]
    passed = all(trial.passed for trial in trials)
    return Line(
        runner,
        variant,
        provider,
        machine,
        held_out,
        answered,
        sum(refusals) if refusals else None,
        passed,
    )
