"""Which HTTP status each error gets. This is the one place that knows."""

from __future__ import annotations

import logging

import orjson

from seatrial_contracts.errors import SeatrialError, Unavailable
from seatrial_serve.process.codes import status_of

log = logging.getLogger("seatrial.edge")


def error_body(text: str, code: str, request_id: str) -> bytes:
    """The one shape of every error: `{"error": ..., "code": ..., "request_id": ...}`."""
    return orjson.dumps({"error": text, "code": code, "request_id": request_id})


def answer_to(
    error: BaseException, request_id: str
) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
    """Return status, code, body and extra headers for anything that was raised.

    What is not ours is logged and shown as a bug.
    """
    if not isinstance(error, SeatrialError):
        log.error("an error that should not be", exc_info=error, extra={"request_id": request_id})
        return (
            500,
            "E_INTERNAL",
            error_body(
                "seatrial failed on this request; this is a bug in seatrial",
                "E_INTERNAL",
                request_id,
            ),
            [],
        )
    status, code = status_of(error)
    headers = (
        [(b"retry-after", b"%d" % max(1, round(error.retry_after_s)))]
        if isinstance(error, Unavailable) and status in (429, 503)
        else []
    )
    return status, code, error_body(str(error), code, request_id), headers
