"""A sample: a raw row, with its truth and its slices, where these are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.row import Row

RawRow = Mapping[str, Any] | Row
MOST_SLICE_CHARS = 64


@dataclass(frozen=True)
class Sample:
    """`Sample(row, truth={"species": "Adelie"}, slices=("missing bill",))`.

    A bare row is `Sample(row)`.

    `truth` maps a label output to its true class, labels to the list of those that are true, a
    number output to its true value, spans to `[{"label", "start", "end"}, ...]` in code points of
    the text, and detections to `[{"label", "box": {"xmin", "ymin", "xmax", "ymax"}}, ...]` in
    pixels of the upright picture; it may leave outputs out. `slices` name the sub-groups that are
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
            if kind is not None and kind.is_truth(value):
                continue
            told = ", ".join(name for name, each in kinds.items() if each.truth_want)
            want = f"the name of an output whose truth can be told: {told or 'there is none'}"
            want = (kind.truth_want if kind else "") or want
            raise DeclarationError(f"{where}[{place}], truth of '{output}'", repr(value)[:60], want)
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
