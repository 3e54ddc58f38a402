"""A server whose models stand on a stand-in for a card: what its own front costs shows.

    python benchmarks/models/stand_in.py serve BUNDLES [SEATRIAL'S OPTIONS]

Until its load gate is passed, the graph runs as it does elsewhere. From then on every batch sleeps
1.6 ms, whatever its size, and answers with one number. One model a server; Python's own sleep is
some 0.06 ms longer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from seatrial.main import main
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.inference.load_gate import LoadGate
from seatrial_serve.inference.pace import Pace
from seatrial_serve.runtimes import onnx
from seatrial_serve.runtimes.runtime import Placement

BATCH_S, SLOTS, SIZES = 0.0016, 2, (1, 2, 4, 8, 16, 32)


class StandIn(onnx.OnnxRuntime):
    """As a card is to the batcher: two batches at once, none of them on the event loop."""

    loaded = False

    def __init__(self, session: Any, placement: Placement | None = None) -> None:
        super().__init__(session, placement or Placement("a stand-in", devices=(0,), slots=SLOTS))
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}

    def run(self, feeds: Mapping[str, Array], **options: Any) -> dict[str, Array]:
        """Sleep, once the load gate has measured; before that, run."""
        if not StandIn.loaded:
            answers = super().run(feeds, **options)
            self._shapes = {name: (each.shape[1:], each.dtype) for name, each in answers.items()}
            return answers
        time.sleep(BATCH_S)
        rows = len(next(iter(feeds.values())))
        return {
            name: np.full((rows, *shape), 0.01, dtype)
            for name, (shape, dtype) in self._shapes.items()
        }


MEASURE = LoadGate.measure


def measure(gate: LoadGate) -> Pace:
    """The stand-in's pace: a row more costs a nanosecond, so that padding counts for nothing."""
    length = MEASURE(gate).length
    StandIn.loaded = True
    return Pace({rows: BATCH_S + rows * 1e-9 for rows in SIZES}, length)


def stand_in() -> None:
    """Let this process's graphs stand on the stand-in."""
    onnx.OnnxRuntime = StandIn  # type: ignore[misc]
    LoadGate.measure = measure  # type: ignore[method-assign]


if __name__ == "__main__":
    stand_in()
    main()
