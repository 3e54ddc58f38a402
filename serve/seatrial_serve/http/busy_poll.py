"""Adaptive busy polling: while requests follow closely, the event loop does not sleep.

It looks for the next request instead.

A core that sleeps takes some 50 us to wake in a virtual machine, as long as a small model takes to
answer. Linux does the same for virtual machines (haltpoll) and for network devices (SO_BUSY_POLL).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from seatrial_serve.process.clock import now_s

POLL_S = 0.0002
"""How soon after an answer the next request must come, and how long it is looked for.

It is about the time that waking takes on both sides, and a round trip.
"""
IN_A_ROW = 8
"""How many requests must have come that soon, one after another, before one is looked for.

A client that thinks in between costs nothing.
"""


class BusyPoll:
    """Looks for the next request, where it is worth it. Call it on the event loop."""

    def __init__(self, clock: Callable[[], float] = now_s) -> None:
        self._clock = clock
        self._in_a_row, self._looking = 0, False
        self._idle_since_s = -math.inf
        """When the last answer left; never while a request is on its way."""

    @property
    def _just_idle(self) -> bool:
        return self._clock() - self._idle_since_s <= POLL_S

    def came(self) -> None:
        """A request came while nothing else was on its way."""
        self._in_a_row = self._in_a_row + 1 if self._just_idle else 0
        self._idle_since_s = -math.inf

    def left(self) -> None:
        """The last request on its way was answered."""
        self._idle_since_s = self._clock()
        if self._in_a_row >= IN_A_ROW and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """The loop reads its sockets without waiting as long as something is to be done: this."""
        self._looking = self._just_idle
        if self._looking:
            asyncio.get_running_loop().call_soon(self._look)
