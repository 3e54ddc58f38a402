"""Values that may be missing, where the value itself cannot say so: a mark beside a fill value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, Column, Features, Stage, StageTogether

Made = tuple[Any, ...]


def marked_stage(stage: Stage, fill: Made) -> Stage:
    """A host stage that also takes None, which becomes `fill`.

    Behind what the stage makes stands whether the value is there.
    """
    kind = MarkedTogether if isinstance(stage, StageTogether) else Marked
    return kind(stage, fill)


class Marked:
    """See `marked_stage`."""

    def __init__(self, stage: Stage, fill: Made) -> None:
        self.stage, self._missing = stage, (*fill, False)

    def __call__(self, value: Any) -> Made:
        """What the graph sees of a value, and whether the value is there."""
        return self._missing if value is None else (*self.stage(value), True)


class MarkedTogether(Marked):
    """The same of a stage that takes several values at once."""

    def together(self, values: Sequence[Any]) -> Sequence[Made | Refusal]:
        """See `StageTogether`."""
        assert isinstance(self.stage, StageTogether)
        found = iter(self.stage.together([value for value in values if value is not None]))
        made: list[Made | Refusal] = []
        for value in values:
            each = self._missing if value is None else next(found)
            there = value is not None and not isinstance(each, Refusal)
            made.append((*each, True) if there else each)
        return made


def marked_features(features: Features, example: Any) -> Features:
    """The traits of a column in which values may be missing: a missing one has none.

    `example` is a validated value, which shows what traits there are.
    """
    names = list(features([example]))

    def of(values: Column) -> dict[str, Column]:
        places = [place for place, value in enumerate(values) if value is not None]
        if len(places) == len(values):
            return dict(features(values))
        there = [values[place] for place in places]
        found = features(there) if there else {name: [] for name in names}
        return {name: scattered(of_name, places, len(values)) for name, of_name in found.items()}

    return of


def present_rows(
    values: Sequence[Any] | Array, present: Array | None, read: Callable[[Any], Column]
) -> Column:
    """A column of which only some rows are there, read by `read`; None stands for the others.

    `present` is bool, `(rows,)`; None where every row is there whose value is not None. Raises the
    `Refusal` of `read` at the row that it is about.
    """
    if present is None:
        missing = [value is None for value in values] if isinstance(values, list) else []
        if not any(missing):
            return read(values)
        present = ~np.array(missing)
    places = np.flatnonzero(present).tolist()
    if len(places) == len(values):
        return read(values)
    if not places:
        return [None] * len(values)
    there = (
        values[places] if isinstance(values, np.ndarray) else [values[place] for place in places]
    )
    try:
        return scattered(read(there), places, len(values))
    except Refusal as refusal:
        row = refusal.row
        raise (refusal if row is None else refusal.in_row(places[row])) from None


def scattered(values: Column, places: Sequence[int], rows: int) -> list[Any]:
    """`values` at their places in a column of `rows`, and None at the others."""
    whole: list[Any] = [None] * rows
    for place, value in zip(places, values, strict=True):
        whole[place] = value
    return whole
