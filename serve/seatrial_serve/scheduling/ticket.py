"""Rows of one request that wait to run together, and who is told what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from seatrial_serve.scheduling.fair_order import Order


class Sliceable(Protocol):
    """The rows of a request, in whatever form."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, part: slice, /) -> Any:
        """Some of them, in the same form."""
        ...


Rows = TypeVar("Rows", bound=Sliceable)


class Answered(Protocol):
    """The answers of a batch."""

    @property
    def rows(self) -> Sized:
        """As many as there are answers."""
        ...

    def part(self, start: int, stop: int) -> Self:
        """Those from `start` to `stop`."""
        ...


Answers = TypeVar("Answers", bound=Answered)


class Observe(Protocol):
    """What is told of every batch."""

    def batch(
        self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float
    ) -> None:
        """Note a batch of `rows` that ran for `run_s` after its tickets waited `waited_s`.

        Of the batch's `cost` the share `padding` is padding.
        """
        ...

    def queued(self, waited_s: Sequence[float]) -> None:
        """Note tickets that waited so long for a batch that is noted elsewhere."""
        ...

    def waiting(self, rows: int) -> None:
        """So many rows wait now."""
        ...

    def out_of_memory(self, rows: int) -> None:
        """A batch of `rows` was too large for the memory there is."""
        ...


class TicketListener(Protocol):
    """A request that wants to know what became of its rows."""

    def ran(self, arrived_s: float, started_s: float, ended_s: float, batch: BatchInfo) -> None:
        """Note that some rows came, ran in a batch with others, and were answered or failed.

        The times are those of the clock.
        """
        ...


class Unobserved:
    """Tells nobody."""

    def batch(
        self, rows: int, cost: int, padding: float, waited_s: Sequence[float], run_s: float
    ) -> None:
        """See `Observe`."""

    def queued(self, waited_s: Sequence[float]) -> None:
        """See `Observe`."""

    def waiting(self, rows: int) -> None:
        """See `Observe`."""

    def out_of_memory(self, rows: int) -> None:
        """See `Observe`."""


@dataclass(eq=False, slots=True)
class Ticket(Generic[Rows, Answers]):
    """Rows of one request that run together, and what to call with their answers."""

    rows: Rows
    count: int
    shape: Hashable
    length: int
    arrived_s: float
    deadline_s: float
    order: Order
    reply: Callable[[Answers | Exception], None]
    """Called once, on the event loop, with the answers or with what went wrong.

    It is not called if `gone` is set. See `tell`.
    """
    listener: TicketListener | None = None
    gone: bool = False
    """Nobody waits for the answers any more: the caller has set it, or has its answer.

    Rows that still wait never run.
    """

    def tell(self, answers: Answers | Exception) -> None:
        """Reply, once."""
        if not self.gone:
            self.gone = True
            self.reply(answers)

    def leave(self) -> None:
        """Nobody waits for the answers any more."""
        self.gone = True


def resolve(future: asyncio.Future[Answers], answers: Answers | Exception) -> None:
    """Answer whoever awaits a future, where they still do."""
    if future.done():
        return
    if isinstance(answers, Exception):
        future.set_exception(answers)
    else:
        future.set_result(answers)


def batch_figures(mates: Sequence[tuple[int, int]]) -> tuple[int, int, float]:
    """Rows of a batch, its cost, and the share of that which is padding.

    `mates`: rows and padded length of each ticket in it. The cost is rows times the longest.
    """
    rows = useful = longest = 0
    for count, length in mates:
        rows += count
        useful += count * length
        longest = max(longest, length)
    cost = rows * longest
    return rows, cost, 1 - useful / cost


def tell_listeners(batch: Sequence[Ticket[Any, Any]], started_s: float, ended_s: float) -> None:
    """Tell each request of a batch that it ran, and with which others."""
    info = None
    for ticket in batch:
        if ticket.listener is not None:
            info = info or BatchInfo(
                ticket.shape, tuple([(mate.count, mate.length) for mate in batch])
            )
            ticket.listener.ran(ticket.arrived_s, started_s, ended_s, info)


def latest(batch: Sequence[Ticket[Any, Any]]) -> float:
    """The last deadline of a batch."""
    return max(ticket.deadline_s for ticket in batch)


def reply_to_all(batch: Sequence[Ticket[Any, Any]], error: Exception) -> None:
    """Tell all who still wait for a batch what went wrong."""
    for ticket in batch:
        ticket.tell(error)


@dataclass(slots=True)
class BatchInfo:
    """A batch that a request was in.

    It holds what its rows shared, and how many rows of which padded length each request in it had.
    """

    shape: Hashable
    mates: tuple[tuple[int, int], ...]
