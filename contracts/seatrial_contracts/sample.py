"""A sample: a raw row, with its truth and its slices, where these are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.row import Row

RawRow = Mapping[str, Any] | Row
MOST_SLICE_CHARS = 64


@dataclass(frozen=True)
class Sample:
    """`Sample(row, truth={"species": "Adelie"}, slices=("missing bill",))`.

    A bare row is `Sample(row)`.

    `truth` maps a label output to its true class, labels to the list of those that are true, or a
    number output to its true value; it may leave outputs out. `slices` name the sub-groups that are
    measured on their own: an island, a length, a kind of image.
    """

    row: RawRow
    truth: Mapping[str, Any] | None = None
    slices: Sequence[str] = ()


def samples_of(rows: Sequence[RawRow | Sample]) -> tuple[Sample, ...]:
    """Bare rows and samples, all as samples."""
    return tuple(row if isinstance(row, Sample) else Sample(row) for row in rows)


def check_samples(samples: Sequence[Sample], contract: Contract, where: str) -> None:
    """Check the truths and slices of samples.

    Raises `DeclarationError` where a truth is no answer of the contract, or a slice has no usable
    name.
    """
    kinds = {field.name: field.kind for field in contract.outputs}
    for place, sample in enumerate(samples):
        for output, value in (sample.truth or {}).items():
            kind = kinds.get(output)
            if isinstance(kind, Label) and isinstance(value, str) and value in kind.classes:
                continue
            if (
                isinstance(kind, Labels)
                and isinstance(value, (list, tuple))
                and all(isinstance(word, str) and word in kind.classes for word in value)
            ):
                continue
            if (
                isinstance(kind, Number)
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
            ):
                continue
            raise DeclarationError(
                f"{where}[{place}], truth of '{output}'", repr(value)[:60], wanted_truth(kind)
            )
        for name in [sample.slices] if isinstance(sample.slices, str) else sample.slices:
            if not isinstance(name, str) or not (
                name.isprintable() and 0 < len(name.strip()) <= MOST_SLICE_CHARS
            ):
                want = f"a name of 1 to {MOST_SLICE_CHARS} printable characters"
                raise DeclarationError(f"{where}[{place}], slice", repr(name)[:60], want)
        if isinstance(sample.slices, str):
            raise DeclarationError(
                f"{where}[{place}], slices", "one string", f"several: slices=({sample.slices!r},)"
            )


def wanted_truth(kind: object) -> str:
    """What a truth for this kind of output is, for messages."""
    if isinstance(kind, Label):
        return f"one of its {len(kind.classes)} classes"
    if isinstance(kind, Labels):
        return f"a list of some of its {len(kind.classes)} classes"
    return (
        "a number"
        if isinstance(kind, Number)
        else "the name of an output that is a label, labels or a number"
    )
