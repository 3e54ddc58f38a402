"""Whose turn it is: the higher priority, and among equals start-time fair queueing.

Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Hashable

Order = tuple[int, float]
"""Priority and start tag. What is smaller is served first."""
NO_PRIORITY = 2**31
"""Where a request names no priority: after all that do."""


class FairOrder:
    """The order of one queue over `flow`, which is a client.

    A client that asks for ten times as much as another waits ten times as long, and the parts of a
    large request let small ones pass.
    """

    def __init__(self) -> None:
        self._turn = 0.0
        self._next: dict[Hashable, float] = {}

    @property
    def now(self) -> Order:
        """The order of what is served at once."""
        return NO_PRIORITY, self._turn

    def place(self, flow: Hashable, cost: float, priority: int, *, empty: bool) -> Order:
        """The place of a flow's next request, which costs so much.

        `priority` 1 is the highest, 0 that of everybody. `empty`: nothing waits in the queue, so
        that nobody is owed anything.
        """
        if empty:
            self._next.clear()
        tag = max(self._turn, self._next.get(flow, 0.0))
        self._next[flow] = tag + cost
        return priority or NO_PRIORITY, tag

    def serve(self, order: Order) -> None:
        """What stood at this place is served now."""
        self._turn = max(self._turn, order[1])


class FinishOrder(FairOrder):
    """The same shares, by finish tags: what is cheap also waits for no dear thing that came first.

    Golestani, "A self-clocked fair queueing scheme", INFOCOM 1994.
    """

    def place(self, flow: Hashable, cost: float, priority: int, *, empty: bool) -> Order:
        """See `FairOrder.place`."""
        priority, tag = super().place(flow, cost, priority, empty=empty)
        return priority, tag + cost
