"""Who is told of every request that ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seatrial_serve.models.request_record import Journey, log


class Watcher(Protocol):
    """Is told of every request that ended, on the event loop: it must be quick."""

    def ended(self, journey: Journey) -> None:
        """A request was answered or failed."""
        ...


Watchers = Sequence[Watcher]


def tell_watchers(watchers: Watchers, journey: Journey) -> None:
    """A request has ended: one watcher that fails takes neither the others nor the request with it."""
    for watcher in watchers:
        try:
            watcher.ended(journey)
        except Exception:  # as said above
            log.exception("a watcher failed; this is a bug in seatrial", extra={"request_id": journey.request_id})
    journey.error = None  # its traceback holds this journey: a circle, and in it all that the request sent
