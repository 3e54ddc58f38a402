"""A whole run: the limit, a warm-up, the closed loop, then the open loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seatrial.bench.limit import Limit
from seatrial.bench.load import Load, event_loop, rates_around
from seatrial.bench.steps import Step, knee_of

WARM_UP_S, WARM_UP_CONNECTIONS = 0.5, 4


@dataclass
class Run:
    """What was measured, as far as it came."""

    title: str
    rows: int
    """Of a request."""
    limit: Limit | None = None
    closed: list[Step] = field(default_factory=list)
    open: list[Step] = field(default_factory=list)

    @property
    def knee(self) -> Step | None:
        """See `knee_of`."""
        return knee_of(self.open)

    @property
    def best(self) -> Step | None:
        """The step of the closed loop that answered most in a second."""
        return max(self.closed, key=lambda step: step.rate, default=None)

    @property
    def steps(self) -> list[Step]:
        """All of them."""
        return [*self.closed, *self.open]

    def as_json(self) -> dict[str, Any]:
        """As an object."""
        knee = self.knee
        return {
            "title": self.title,
            "rows_per_request": self.rows,
            "limit": None if self.limit is None else self.limit.as_json(),
            "closed": [step.as_json("connections", self.rows) for step in self.closed],
            "open": [step.as_json("rate", self.rows) for step in self.open],
            "knee": None if knee is None else knee.as_json("rate", self.rows),
            "client_busy": any(step.client_is_busy for step in self.steps),
        }


def run_load(
    run: Run, load: Load, connections: Sequence[int], rates: Sequence[float] | None,
    seconds: float, tell: Callable[[str], None],
) -> None:  # fmt: skip
    """Load a server step by step; what was measured is in `run`, also where Ctrl-C ends it.

    Without `rates` they are shares of the most that the closed loop reached. `tell` is given the
    name of each step when it begins.
    """

    async def steps() -> None:
        await load.closed(WARM_UP_CONNECTIONS, WARM_UP_S, lambda _: None)
        for count in connections:
            tell(f"closed loop, {count} connection{'s' * (count > 1)}")
            await load.closed(count, seconds, run.closed.append)
        best = run.best
        chosen = rates if rates is not None else [*rates_around(best.rate if best else 0.0)]
        for rate in chosen:
            if rate > 0:
                tell(f"open loop, {rate:,.0f} requests/s")
                await load.open(rate, seconds, run.open.append)

    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(steps())
