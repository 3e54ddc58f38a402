"""Who is told of every request that ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seatrial_serve.models.request_record import RequestRecord, log


class RequestObserver(Protocol):
    """Is told of every request that ended, on the event loop: it must be quick."""

    def ended(self, record: RequestRecord) -> None:
        """A request was answered or failed."""
        ...


RequestObservers = Sequence[RequestObserver]


def tell_observers(observers: RequestObservers, records: Sequence[RequestRecord]) -> None:
    """Tell the observers that requests have ended.

    An observer that fails takes neither the other observers nor the request with it.
    """
    for record in records:
        for observer in observers:
            try:
                observer.ended(record)
            except Exception:  # as said above
                log.exception(
                    "an observer failed; this is a bug in seatrial",
                    extra={"request_id": record.request_id},
                )
        record.error = (
            None  # its traceback holds this record: a circle, and in it all that the request sent
        )
