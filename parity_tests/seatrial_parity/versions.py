"""Two bundles of one model side by side.

Compared are their contracts, their answers to each other's golden rows, their size and speed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.answer_changes import Answered, Moved, compare_answers
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.contract_changes import Difference, compare_contracts, may_replace
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.golden import has_place
from seatrial_contracts.measures import ALL_ROWS, Measures, measure, measure_slices
from seatrial_contracts.release_notes import write_notes
from seatrial_contracts.sample import Sample
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

TURNS = 15


@dataclass(frozen=True, repr=False)
class Versions:
    """The result of `compare_versions`.

    `speed` is the new bundle's rate over the old one's, in turns, alone and on this machine.
    """

    old: Bundle
    new: Bundle
    differences: Sequence[Difference]
    moved: Moved
    rows: Sequence[Any]
    """The golden rows of both, the old one's first, each once: what `moved` counts."""
    speed: float
    measures: Mapping[str, tuple[Measures, Measures]]
    """The old bundle's measures and the new one's, for all rows and each slice of them.

    The rows are those whose truth is known, held-out ones too.
    """

    @property
    def may_replace(self) -> bool:
        """May the new one take the old one's place under its number?"""
        return may_replace(self.old.version, self.new.version, self.differences)

    @property
    def notes(self) -> str:
        """Release notes in Markdown."""
        versions = self.old.version, self.new.version
        return write_notes(self.new.name, *versions, self.differences, self.moved)

    def __repr__(self) -> str:
        """Both versions, and what changed between them in a few words."""
        breaking = sum(difference.breaking for difference in self.differences)
        return (
            f"<Versions {self.new.name} {self.old.version} -> {self.new.version}: "
            f"{breaking} breaking and {len(self.differences) - breaking} safe differences, "
            f"{len(self.rows)} rows>"
        )


def compare_versions(old: Bundle, new: Bundle) -> Versions:
    """Load both bundles and run both on every golden row.

    Raises `DeclarationError` for two models, `ModelError` where one does not load or answer.
    """
    if old.name != new.name:
        raise DeclarationError(
            "two versions", f"bundles of '{old.name}' and '{new.name}'", "two of one model"
        )
    before, after = (load_engine(bundle, RuntimeOptions()) for bundle in (old, new))
    rows = union(old, new)
    answers = [[answered(engine, row) for row in rows] for engine in (before, after)]
    moved = compare_answers(new.contract, *answers)
    taken = [
        row
        for row, *both in zip(rows, *answers, strict=True)
        if not any(isinstance(answer, str) for answer in both)
    ]
    differences = compare_contracts(old.contract, new.contract)
    return Versions(
        old, new, differences, moved, rows, speed(before, after, taken), measure_both(before, after)
    )


def measure_both(before: Engine, after: Engine) -> dict[str, tuple[Measures, Measures]]:
    """Both against the truth, on the rows of either whose truth is known and which both take."""
    samples = {
        canonical_json(sample.row): sample
        for engine in (before, after)
        for sample in known(engine.bundle)
    }
    asked = [
        (sample, [answered(engine, sample.row) for engine in (before, after)])
        for sample in samples.values()
    ]
    taken = [
        (sample, answers)
        for sample, answers in asked
        if not any(isinstance(one, str) for one in answers)
    ]
    truth, slices = [sample.truth for sample, _ in taken], [sample.slices for sample, _ in taken]
    found = []
    for place, engine in enumerate((before, after)):
        own = [one for _, answers in taken for one in [answers[place]] if not isinstance(one, str)]
        notes = [
            engine.front.notes(sample.row) if has_place(sample.truth) else () for sample, _ in taken
        ]
        whole = {ALL_ROWS: measure(engine.contract, own, own, truth, notes)} if own else {}
        found.append(whole | measure_slices(engine.contract, own, own, truth, slices, notes))
    return {name: (found[0][name], found[1][name]) for name in found[1]}


def known(bundle: Bundle) -> Iterator[Sample]:
    """The golden and held-out rows of a bundle whose truth is known."""
    for golden in (bundle.golden, bundle.held_out):
        for row, truth, slices in (
            zip(golden.rows, golden.truth, golden.slices, strict=True) if golden else ()
        ):
            if truth:
                yield Sample(row, truth, slices)


def union(old: Bundle, new: Bundle) -> list[Any]:
    """The golden rows of both, refusals included, each once."""
    rows = [
        row
        for bundle in (old, new)
        for row in (*bundle.golden.rows, *(refused.row for refused in bundle.golden.refusals))
    ]
    return list({canonical_json(row): row for row in rows}.values())


def answered(engine: Engine, row: Any) -> Answered:
    """The numbers that a row is answered with, alone, or the code it is refused with."""
    try:
        return engine.answer([row])[0]
    except Refusal as refusal:
        return refusal.code


def speed(old: Engine, new: Engine, rows: Sequence[Any]) -> float:
    """Rate of the new engine over that of the old one, the best of several turns.

    Both run one row that both take; the rate is 1 where there is no such row.
    """
    if not rows:
        return 1.0
    best = [float("inf")] * 2
    for _ in range(TURNS):
        for place, engine in enumerate((old, new)):
            start = time.perf_counter()
            engine.answer([rows[0]])
            best[place] = min(best[place], time.perf_counter() - start)
    return best[0] / best[1]
