"""What a variant costs on one machine: its size, its speed beside fp32, its memory."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.measures import Count, Measures

MAX_POINTS, MAX_BATCH_SIZES = 1000, 100
BySize = Annotated[dict[Count, float], Field(min_length=1, max_length=MAX_BATCH_SIZES)]
"""Rows in a batch -> a number."""


class Cost(BaseModel):
    """The cost of a variant: measured in turns with fp32, on one thread, the best of several.

    Measured so, ratios bear a busy machine better than seconds do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size_bytes: Count
    """Of its graph."""
    seconds: BySize
    """Rows in a batch -> seconds that the batch takes; rows of middling length."""
    speed: BySize
    """Rows in a batch -> fp32's seconds over these."""
    peak_memory_bytes: Count | None = None
    """The most memory that loading it and running a batch of 8 takes, beyond the bare interpreter.

    None where the system does not report it.
    """
    batch_error: float | None = None
    """The largest |a - b| of a row among mates against that row alone.

    None where rows never run together.
    """


class Point(BaseModel):
    """One candidate of a search: the nodes that stay in fp32, its error, and its speed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    keep: tuple[str, ...]
    measures: Measures
    """Of the golden rows or of the held-out ones, whichever are farther off."""
    speed: float
    """fp32's seconds over its own, batches of 8 (1 where rows never run together)."""
    met: bool
    """Does it keep the budget?"""


class Search(BaseModel):
    """The candidates of a search within a parity budget.

    They go from all nodes quantised to the nodes that the search kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    variant: str
    recipe: str
    budget: str
    nodes: Count
    """How many could be quantised."""
    sensitivity: dict[str, float]
    """Node -> the error that the node alone brings, end to end.

    The error is the mean distance 1 - cosine, or the mean largest error where outputs are single
    numbers.
    """
    points: tuple[Point, ...] = Field(max_length=MAX_POINTS)
    chosen: Count | None
    """Place of the choice among the points; None where no candidate met the budget."""
    nearest: Count
    """Place of the candidate that comes nearest to the budget."""


class Choice(BaseModel):
    """The default variant as the fastest within a budget (`--fastest`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: str
    variant: str
    told: str = Field(max_length=400)
    """What was gained and what it cost, in one line for people."""
