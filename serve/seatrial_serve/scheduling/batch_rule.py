"""The rule that chooses which waiting requests make the next batch.

It is a frozen value with one pure method.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol


class Waiting(Protocol):
    """What the rule needs to know of a waiting ticket."""

    @property
    def count(self) -> int:
        """How many rows."""
        ...

    @property
    def shape(self) -> Hashable:
        """What rows must share to be run together."""
        ...

    @property
    def length(self) -> int:
        """Padded length of its longest row; 1 where nothing is padded."""
        ...

    @property
    def arrived_s(self) -> float:
        """When it came, on the batcher's clock."""
        ...


@dataclass(frozen=True)
class BatchRule:
    """A batch is bounded by rows, by cost and by the share of it that is padding.

    Cost is rows times padded length.

    The first ticket is always in, so none starves; others of its shape join in the order of how
    near they are in length.
    """

    max_rows: int = 32
    deep_rows: int = 0
    """How many rows a batch holds if twice as many wait.

    They bring the last few percent of the rate, for which nobody in a short queue shall wait.
    """
    max_cost: int | None = None
    max_padding: float = 0.1
    """The largest share of a batch that may be padding.

    A batch of unlike lengths is padded to its longest, and on a CPU that costs more than running
    together saves.
    """
    free_padding: int = 0
    """Padding of a batch, in units of cost, that costs no more than a batch more would.

    It is above 0 on a card, where a batch has its price and rows in it hardly any.
    """
    max_wait_s: float = 0.0
    """How long the oldest ticket may wait for company.

    0: a batch is what queued while the runtime was busy.
    """

    def wait_s(self, waiting: Sequence[Waiting], now_s: float) -> float:
        """How long to wait for more tickets before taking a batch; 0 is now."""
        if not self.max_wait_s or sum(ticket.count for ticket in waiting) >= self.max_rows:
            return 0.0
        return max(0.0, min(ticket.arrived_s for ticket in waiting) + self.max_wait_s - now_s)

    @property
    def most_rows(self) -> int:
        """The most rows that a batch ever holds."""
        return max(self.max_rows, self.deep_rows)

    def rows_of(self, length: int) -> int:
        """How many rows of one length a batch holds; at least one."""
        return (
            self.max_rows
            if self.max_cost is None
            else max(1, min(self.max_rows, self.max_cost // length))
        )

    def shrunk(self, cost: int) -> BatchRule:
        """Return the rule after a batch of `cost` was too large for the memory there is.

        A batch has half of that cost at most, from here on.
        """
        half = max(1, cost // 2)
        return replace(self, max_cost=half if self.max_cost is None else min(self.max_cost, half))

    def take(self, waiting: Sequence[Waiting]) -> list[int]:
        """Places in `waiting` (whose turn it is first, not empty) of the next batch, ascending."""
        if len(waiting) == 1:
            return [0]
        deep = (
            self.deep_rows > self.max_rows
            and sum(ticket.count for ticket in waiting) >= 2 * self.deep_rows
        )
        seed = waiting[0]
        shape, length = seed.shape, seed.length
        if all(ticket.length == length and ticket.shape == shape for ticket in waiting):
            places: Sequence[int] = range(len(waiting))
        else:
            like = [place for place in range(1, len(waiting)) if waiting[place].shape == shape]
            like.sort(key=lambda place: abs(waiting[place].length - length))
            places = [0, *like]
        return sorted(self._within(waiting, places, self.deep_rows if deep else self.max_rows))

    def _within(
        self, waiting: Sequence[Waiting], places: Sequence[int], max_rows: int
    ) -> list[int]:
        taken: list[int] = []
        rows = useful = longest = 0
        for place in places:
            ticket = waiting[place]
            rows_ = rows + ticket.count
            useful_ = useful + ticket.count * ticket.length
            longest_ = max(longest, ticket.length)
            cost = rows_ * longest_
            if taken and (
                rows_ > max_rows
                or cost - useful_ > max(self.max_padding * cost, self.free_padding)
                or (self.max_cost is not None and cost > self.max_cost)
            ):
                if rows >= max_rows:
                    break
                continue
            taken.append(place)
            rows, useful, longest = rows_, useful_, longest_
        return taken
