"""What a reply holds: an answer, or an error of the server as an exception with its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from seatrial_client.plan import Reply, retry_after_s
from seatrial_contracts.errors import (
    MOST_FAULTS,
    ModelError,
    Refusal,
    SeatrialError,
    Unavailable,
    printable,
)

LATER = frozenset({429, 503, 504})
SHOWN_CHARS = 500


class ToldRefusal(Refusal):
    """A refusal by a server, with the server's text."""

    def __init__(self, code: str, text: str) -> None:
        where, _, self._rest = text.partition(": ")
        super().__init__(code, where)
        self.args = (printable(text),)

    def at(self, where: str) -> Refusal:
        """See `Refusal`."""
        return ToldRefusal(self.code, f"{where}: {self._rest}")


def told_refusal(code: str, text: str, said: Mapping[str, Any]) -> ToldRefusal:
    """The refusal of a reply, with each fault that it lists."""
    refusal = ToldRefusal(code, text)
    errors = said.get("errors")
    faults = [
        ToldRefusal(str(each["code"]), str(each["error"])[:SHOWN_CHARS])
        for each in (errors if isinstance(errors, list) else ())[:MOST_FAULTS]
        if isinstance(each, dict) and {"code", "error"} <= each.keys()
    ]
    if len(faults) < 2:
        return refusal
    more = said.get("more_errors")
    return refusal.listing(faults, len(faults) + (more if isinstance(more, int) else 0))


def object_in(reply: Reply) -> dict[str, Any]:
    """The JSON object of a reply.

    Raises `Refusal`, `Unavailable` or `ModelError` with the server's code and text where it is an
    error, and `Unavailable` where it is none of ours, such as a proxy's page.
    """
    said = _object(reply.content)
    if reply.status != 200:
        raise error_of(reply, said)
    if said is None:
        raise odd_answer(f"status {reply.status} and no JSON object", "one")
    return said


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


def error_of(reply: Reply, said: dict[str, Any] | None) -> SeatrialError:
    """An error as the exception that the same fault raises in this process."""
    text, code, request = ((said or {}).get(name) for name in ("error", "code", "request_id"))
    if not isinstance(text, str) or not isinstance(code, str):
        return odd_answer(f"status {reply.status} without an error of seatrial's", "one")
    told = text[:SHOWN_CHARS]
    told += f" (request {request})" if isinstance(request, str) and request else ""
    if reply.status in LATER:
        return Unavailable(code, told, retry_after_s(reply) or 1.0)
    if reply.status < 500:
        return told_refusal(code, told, said or {})
    return ModelError(code, told)


def odd_answer(got: str, want: str) -> Unavailable:
    """The error for a reply that breaks its protocol."""
    return Unavailable("E_ODD_ANSWER", f"the server: got {got}, want {want}")
