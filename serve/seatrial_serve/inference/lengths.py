"""The lengths to which batches are padded on a card: few enough to run each before traffic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from seatrial_contracts.host_stage import EncodedRow, Lengths, collate
from seatrial_contracts.kinds.kind import Array, TensorSpec

STEP = 8
"""Lengths are multiples of it: 8 numbers of 16 bits are what tensor cores take at once (NVIDIA's
Deep Learning Performance Guide)."""
MOST = 64
"""Lengths of an input. Where its longest row has more steps than that, a step is longer."""


def settled_lengths(specs: Sequence[TensorSpec], rows: Sequence[EncodedRow]) -> Lengths:
    """Input -> the lengths to which it is padded, for each input that is padded.

    `rows`: the golden ones. None is longer than the longest of them, which the contract allows.
    """
    longest = {
        spec.name: max(len(row[place]) for row in rows)
        for place, spec in enumerate(specs)
        if spec.pad is not None and fills_alone(spec, specs)
    }
    return {name: lengths_up_to(length) for name, length in longest.items() if length}


def fills_alone(spec: TensorSpec, specs: Sequence[TensorSpec]) -> bool:
    """May a padded input be filled up further without another one that would have to follow?"""
    name = spec.dims[0]
    if isinstance(name, int):
        return False
    sides = Counter(side for each in specs for side in each.dims)
    return sides[name] == sum(each.pad is not None and each.dims[0] == name for each in specs)


def lengths_up_to(longest: int) -> tuple[int, ...]:
    """The multiples of a step below it, and itself."""
    step = STEP * math.ceil(longest / (STEP * MOST))
    return *range(step, longest, step), longest


def each_length(
    specs: Sequence[TensorSpec], row: EncodedRow, lengths: Lengths, most_rows: int,
    most_elements: int,
) -> Iterator[dict[str, Array]]:  # fmt: skip
    """Batches of each length, by one row and by as many as a batch may have.

    `row`: the shortest golden one, which is filled up. A batch has at most `most_elements` in its
    inputs, unless one row has more. An input with fewer lengths than another stays at its last.
    """
    for place in range(max(map(len, lengths.values()))):
        at = {name: each[place : place + 1] or each[-1:] for name, each in lengths.items()}
        elements = sum(array.size for array in collate(specs, [row], at).values())
        for rows in sorted({1, max(1, min(most_rows, most_elements // max(1, elements)))}):
            yield collate(specs, [row] * rows, at)
