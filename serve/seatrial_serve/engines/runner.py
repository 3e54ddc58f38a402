"""Batches through an engine: on the event loop where that is over in a moment, else in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from seatrial_contracts.host_stage import Part
from seatrial_serve.inference.engine import Answers, Engine
from seatrial_serve.inference.pace import INLINE_S, Pace
from seatrial_serve.scheduling.fair_pool import FairPool


class BatchRunner:
    """Runs the batches of one engine."""

    def __init__(self, engine: Engine, pace: Pace, cores: FairPool, flow: Hashable) -> None:
        """`cores`: threads shared with other engines by what their batches cost; `flow`: of it."""
        self.engine = engine
        self._cores, self._flow = cores, flow
        base_s, unit_s = pace.line
        self._base_s, self._row_s = base_s, unit_s * pace.length
        self._inline = not (engine.remote or engine.slots)
        self._devices = (
            ThreadPoolExecutor(engine.slots, "seatrial-device") if engine.slots else None
        )
        """Make the engine's own threads.

        CUDA sets itself up in every thread that comes, and a batch that takes another thread each
        time waits for a cold one.
        """

    @property
    def runs_inline(self) -> bool:
        """Does one row run on the event loop itself?"""
        return self._inline and fits_inline(self._base_s, self._row_s)

    def run(self, parts: Sequence[Part], until_s: float) -> Answers | asyncio.Future[Answers]:
        """The answers, or a future of them where they are made in a thread.

        After `until_s`, a time of `now_s`, nobody waits for them.
        """
        rows_s = self._row_s * sum(map(len, parts))
        if self._inline and fits_inline(self._base_s, rows_s):
            return self.engine.run_rows(parts)
        run = partial(self.engine.run_rows, parts, until_s)
        if self._devices is not None:
            return asyncio.get_running_loop().run_in_executor(self._devices, run)
        return self._cores.run(run, flow=self._flow, cost=self._base_s + rows_s)

    def close(self) -> None:
        """End the engine's own threads, after what they are doing, and let go of the engine."""
        if self._devices is not None:
            self._devices.shutdown(wait=False)
        self.engine.close()


def fits_inline(base_s: float, rows_s: float) -> bool:
    """Does a batch run on the event loop itself, which waits for it?"""
    return base_s + rows_s <= INLINE_S
