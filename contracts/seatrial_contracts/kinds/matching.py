"""How two lists of scored things are matched: those that are alike, whatever their order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance, compare_arrays, mismatch

Scored = Mapping[Hashable, float]
"""What tells a thing from others, and its score."""


def match_scored(
    want: Scored, got: Scored, tolerance: Tolerance, says: Callable[[Any, float], str],
    edge: Callable[[Any, Scored], float | None], scale: float = 1.0,
) -> Comparison:  # fmt: skip
    """Compare things that both have by their scores; one that only one of both has is a mismatch.

    `edge` gives, for a thing and the answer that lacks it, the score at which it may be lacking; a
    thing is no mismatch if its score is as near to that as two scores may be to each other. None:
    it may not be lacking. `says` names a thing, with its score, for messages. `scale` is the
    largest |score| of the output.
    """
    for thing in [*want, *got]:
        if thing in want and thing in got:
            continue
        here, there = (want, got) if thing in want else (got, want)
        score, least = here[thing], edge(thing, there)
        if least is not None and abs(score - least) <= tolerance.allowed(np.asarray(score), scale):
            continue
        side = "only wanted" if thing in want else "not wanted"
        return mismatch(f"{says(thing, score)}: {side}")
    both = [thing for thing in want if thing in got]
    return compare_arrays(
        np.array([want[thing] for thing in both]),
        np.array([got[thing] for thing in both]),
        tolerance,
        scale,
    )
