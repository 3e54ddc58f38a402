"""Which HTTP status each error gets. This is the one place that knows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from seatrial_contracts.errors import Refusal, SeatrialError, Unavailable
from seatrial_serve.process.codes import status_of

log = logging.getLogger("seatrial.edge")


NO_FAULTS: Mapping[str, Any] = MappingProxyType({})


class ToldError(NamedTuple):
    """What a client is told of an error."""

    status: int
    code: str
    text: str
    request_id: str
    where: str = ""
    """Of a refusal: the place that its text begins with."""
    faults: Mapping[str, Any] = NO_FAULTS
    """Of a refusal of rows: see `Refusal.described`."""


def plain_error(told: ToldError) -> bytes:
    """The shape of every error of ours; `errors` are all that is wrong with the rows."""
    told_first = {"error": told.text, "code": told.code, "request_id": told.request_id}
    return orjson.dumps({**told_first, **told.faults})


def error_body(text: str, code: str, request_id: str) -> bytes:
    """The one shape of every error: `{"error": ..., "code": ..., "request_id": ...}`."""
    return orjson.dumps({"error": text, "code": code, "request_id": request_id})


def answer_to(
    error: BaseException, request_id: str, shape: Callable[[ToldError], bytes] = plain_error
) -> tuple[int, str, bytes, list[tuple[bytes, bytes]]]:
    """Return status, code, body and extra headers for anything that was raised.

    `shape` writes the body.

    What is not ours is logged and shown as a bug.
    """
    if not isinstance(error, SeatrialError):
        log.error("an error that should not be", exc_info=error, extra={"request_id": request_id})
        text = "seatrial failed on this request; this is a bug in seatrial"
        return 500, "E_INTERNAL", shape(ToldError(500, "E_INTERNAL", text, request_id)), []
    status, code = status_of(error)
    headers = (
        [(b"retry-after", b"%d" % max(1, round(error.retry_after_s)))]
        if isinstance(error, Unavailable) and status in (429, 503)
        else []
    )
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="seatrial"'))  # RFC 6750, 3
    told = ToldError(status, code, str(error), request_id)
    if isinstance(error, Refusal):
        told = told._replace(where=error.where, faults=error.described())
    return status, code, shape(told), headers
