"""Requests that were refused before a model was asked: counted and logged as those that were."""

from __future__ import annotations

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.metrics.metrics import NOBODY, Metrics
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.observers.observer import RequestObservers, tell_observers
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.codes import status_of

ROUTE = "none"
"""Of a request whose route nobody looked at."""


def record_refusal(
    metrics: Metrics | None,
    observers: RequestObservers,
    error: SeatrialError,
    request_id: str,
    route: str = ROUTE,
) -> None:
    """Such a request ends here, with this error. Without metrics it is logged alone."""
    status, code = status_of(error)
    record = RequestRecord(request_id, route, now_s())
    record.end(code, status, error)
    if metrics is not None:
        metrics.refused(*NOBODY, error)
    tell_observers(observers, [record])
