"""One comparison of two sets of answers.

The export gate, the load gate, the command line and the tests share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.declared import Declared

Array = NDArray[Any]
Answers = Sequence[Mapping[str, Array]]
"""One mapping for each row: output name -> the model's numbers, without the batch."""


class Tolerance(Declared):
    """`|a - b| <= relative_to_max * max|b| + relative * |b|`.

    `max|b|` is taken over all compared rows of that output.

    A purely relative bound misleads near zero, so the larger part of the allowance is tied to the
    output's own scale. Neighbouring float16 numbers, some 0.05 to 0.1 percent apart, are never too
    far from each other. Whole numbers and booleans (ids, flags, masks, counts) must be equal,
    whatever the tolerance: 30003 is not nearly 30000.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative_to_max: float = Field(default=1e-5, ge=0, le=1)
    relative: float = Field(default=1e-4, ge=0, le=1)
    """Both end at 1: an answer of 0 would be right for everything from there on."""

    def allowed(self, expected: Array, scale: float) -> Array:
        """The largest error allowed at each element of `expected`, where `scale` is max|b|."""
        return self.relative_to_max * scale + self.relative * np.abs(expected)

    def __str__(self) -> str:
        return f"{self.relative_to_max:g} of max + {self.relative:g} of value"


class Comparison(BaseModel):
    """How two sets of answers compare. The place named is where error over allowance is worst."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    rows: int
    worst_error: float
    """|a - b| at the place named.

    The error is inf where shapes differ, or a number is not finite on one side only.
    """
    allowed: float
    sample: int | None = None
    output: str | None = None
    index: tuple[int, ...] = ()
    got: float | None = None
    want: float | None = None
    cause: str = ""
    """Why the two cannot be compared at all: another shape, another number of answers."""
    mismatch: str = ""
    """What has no like in the other answer, in words: a box, a span."""

    @property
    def ratio(self) -> float:
        """The error as so many times what is allowed at its place."""
        if self.worst_error == 0:
            return 0.0
        return self.worst_error / self.allowed if self.allowed else float("inf")

    def __str__(self) -> str:
        if self.passed:
            return (
                f"{self.rows} rows agree: worst error {self.worst_error:.2e}, "
                f"allowed there {self.allowed:.2e}"
            )
        place = (
            f"sample {self.sample}, output '{self.output}'{''.join(f'[{i}]' for i in self.index)}"
        )
        if self.cause or self.mismatch:
            return f"{place}: {self.cause or self.mismatch}"
        return (
            f"{place}: got {self.got:.9g}, want {self.want:.9g}, error {self.worst_error:.2e}, "
            f"allowed {self.allowed:.2e}"
        )


def compare_outputs(expected: Answers, got: Answers, tolerance: Tolerance) -> Comparison:
    """Compare answers row by row, output by output.

    `expected` and `got` hold one mapping for each row, in the same order.
    """
    return worst_of(compare_rows(expected, got, tolerance))


def compare_beside(
    scales: Mapping[str, float],
    want: Mapping[str, Array],
    got: Mapping[str, Array],
    tolerance: Tolerance,
) -> Comparison:
    """Compare the answers to one row, by output.

    The row's scale is the larger of its own and that of other answers.

    So a small answer among large ones is held to no smaller error than in their company, and an
    unusually large one to its own.
    """
    own = {name: max(scales.get(name, 0.0), largest(array)) for name, array in want.items()}
    return worst_of([_compare_output(0, output, want, got, tolerance, own, 1) for output in want])


def scales_of(answers: Answers) -> dict[str, float]:
    """The largest finite |value| of each output."""
    return {output: max(largest(row[output]) for row in answers) for output in answers[0]}


def worst_of(rows: Sequence[Comparison]) -> Comparison:
    """The comparison whose error is the most times its allowance, the first of them.

    Of none, as where every output is compared in the client's terms, it is one that passes.
    """
    nothing = Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
    return max(rows, key=lambda row: row.ratio, default=nothing)


def compare_rows(expected: Answers, got: Answers, tolerance: Tolerance) -> list[Comparison]:
    """Compare each row: its comparison is that of its worst place.

    Where the numbers of rows differ, there is a single comparison. Where `expected` holds no
    outputs, since clients see all of them in their own terms, there is none.
    """
    if len(expected) != len(got):
        return [_broken(None, None, f"got {len(got)} answers, want {len(expected)}", len(expected))]
    if not expected:
        raise ValueError("nothing to compare: this is a bug in seatrial")
    if not expected[0]:
        return []
    scales = scales_of(expected)
    return [
        worst_of(
            [
                _compare_output(sample, output, want, have, tolerance, scales, len(expected))
                for output in want
            ]
        )
        for sample, (want, have) in enumerate(zip(expected, got, strict=True))
    ]


def _compare_output(
    sample: int, output: str, want: Mapping[str, Array], have: Mapping[str, Array],
    tolerance: Tolerance, scales: Mapping[str, float], rows: int,
) -> Comparison:  # fmt: skip
    if output not in have or want[output].shape != have[output].shape:
        shape = list(have[output].shape) if output in have else "no such output"
        return _broken(sample, output, f"got {shape}, want shape {list(want[output].shape)}", rows)
    found = compare_arrays(want[output], have[output], tolerance, scales[output])
    return found.model_copy(update={"rows": rows, "sample": sample, "output": output})


def largest(values: Array) -> float:
    """The largest finite |value|; 0 where there is none."""
    numbers = np.asarray(values, np.float64)
    return float(
        np.abs(numbers, where=np.isfinite(numbers), out=np.zeros(numbers.shape)).max(initial=0)
    )


def mismatch(what: str) -> Comparison:
    """Two answers of which one has what the other has not."""
    return Comparison(passed=False, rows=0, worst_error=float("inf"), allowed=0.0, mismatch=what)


def compare_arrays(want: Array, got: Array, tolerance: Tolerance, scale: float) -> Comparison:
    """Compare two arrays of one shape; `scale` is the largest |value| of their output."""
    if is_whole(want):
        return _compare_whole(want, got)
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    allowed = tolerance.allowed(np.where(finite, b, 0.0), scale)
    if want.dtype == np.float16:
        allowed = np.maximum(allowed, np.spacing(np.abs(np.where(finite, want, np.float16(1)))))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = np.where(same, 0.0, np.where(finite, np.abs(a - b), np.inf))
        ratio = np.where(same, 0.0, np.where(finite, error / allowed, np.inf))
    if not ratio.size:
        return Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
    index = np.unravel_index(int(ratio.argmax()), ratio.shape)
    return Comparison(
        passed=bool(ratio[index] <= 1),
        rows=0,
        worst_error=float(error[index]),
        allowed=float(allowed[index]),
        index=tuple(int(i) for i in index),
        got=float(a[index]),
        want=float(b[index]),
    )


def is_whole(array: Array) -> bool:
    """Does it hold whole numbers or booleans, which are right or wrong and never nearly right?"""
    return array.dtype.kind in "iub"


def _compare_whole(want: Array, got: Array) -> Comparison:
    """Equal or not; int64 is never made a float for it, which holds no odd number above 2**53."""
    other = got != want
    index = np.unravel_index(int(other.argmax()), other.shape) if other.size else ()
    if not other.any():
        return Comparison(passed=True, rows=0, worst_error=0.0, allowed=0.0)
    have, expected = got[index].item(), want[index].item()
    return Comparison(
        passed=False,
        rows=0,
        worst_error=float(abs(have - expected)),
        allowed=0.0,
        index=tuple(map(int, index)),
        got=float(have),
        want=float(expected),
    )


def _broken(sample: int | None, output: str | None, cause: str, rows: int) -> Comparison:
    return Comparison(
        passed=False,
        rows=rows,
        worst_error=float("inf"),
        allowed=0.0,
        sample=sample,
        output=output,
        cause=cause,
    )
