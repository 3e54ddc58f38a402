"""A runtime for tests: a Python function in place of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from seatrial_contracts.kinds.kind import Array
from seatrial_serve.runtimes.runtime import Batches, Placement, no_batches


@dataclass
class FakeRuntime:
    """Runs `answer` and keeps the size of every batch it saw."""

    answer: Callable[[Mapping[str, Array]], dict[str, Array]]
    inputs: Mapping[str, str]
    outputs: Sequence[str]
    provider: str = "FakeExecutionProvider"
    version: str = "fake 1"
    batches: list[int] = field(default_factory=list)
    outliers: int = 0
    remote: bool = False
    healthy: bool = True
    placement: Placement | None = None
    closed: int = 0

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """See `Runtime.run`."""
        self.outliers += outlier
        self.batches.append(len(next(iter(feeds.values()))))
        return self.answer(feeds)

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """See `Runtime.warm_up`: every batch is like the first."""

    def close(self) -> None:
        """See `Runtime.close`; counted."""
        self.closed += 1
