"""The log of requests: one line for each that failed or was late, sampled above a rate.

A request is late if it came later than its contract's objective.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.token_bucket import TokenBucket

log = logging.getLogger("seatrial.request")


class RequestLog:
    """A `RequestObserver` that logs callers' faults, refusals for want of room, and our failures.

    Each of the three has a rate of its own, so that none hides another.

    A line holds ids, codes and times, and never what a client sent.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = now_s) -> None:
        self._rates = {
            level: TokenBucket(per_s, clock)
            for level in (logging.INFO, logging.WARNING, logging.ERROR)
        }
        self._unsaid = dict.fromkeys(self._rates, 0)

    def ended(self, record: RequestRecord) -> None:
        """See `RequestObserver`."""
        partial = record.answer is not None and record.answer.errors
        if not record.code or (record.code == "ok" and not record.slow and not partial):
            return
        level = level_of(record)
        if not self._rates[level].take():
            self._unsaid[level] += 1
            return
        unsaid, self._unsaid[level] = self._unsaid[level], 0
        fields = facts(record) | ({"unsaid": unsaid} if unsaid else {})
        error = record.error if level == logging.ERROR else None
        log.log(level, sentence_of(fields), extra=fields, exc_info=error)


def level_of(record: RequestRecord) -> int:
    """Return the level of a request's line.

    Callers' faults are information, delay and want of room a warning, the rest an error. A partial
    answer is as its worst row.
    """
    errors = record.answer.errors.values() if record.answer is not None else ()
    if not all(isinstance(error, Refusal) for error in errors):
        return logging.ERROR
    if errors and not record.slow:
        return logging.INFO
    if record.code == "ok" or isinstance(record.error, Unavailable):
        return logging.WARNING
    return logging.INFO if isinstance(record.error, Refusal) else logging.ERROR


def facts(record: RequestRecord) -> dict[str, Any]:
    """The fields of a line."""
    named = dict(zip(("model", "model_version", "digest"), record.named or (), strict=False))
    timings = {f"{name}_s": round(seconds, 6) for name, seconds in record.timings.items()}
    return {
        "request_id": record.request_id,
        "route": record.route,
        **named,
        "code": record.code,
        "status": record.status,
        "slow": record.slow,
        **row_errors(record),
        "total_s": round(record.seconds, 6),
        **timings,
    }


def row_errors(record: RequestRecord) -> dict[str, Any]:
    """How many rows of a partial answer have none, by code."""
    errors = record.answer.errors.values() if record.answer is not None else ()
    return {"row_errors": dict(Counter(error.code for error in errors))} if errors else {}


def sentence_of(fields: dict[str, Any]) -> str:
    """The same for people."""
    phases = ", ".join(
        f"{name.removesuffix('_s')} {fields[name] * 1e3:.3g} ms"
        for name in fields
        if name.endswith("_s")
    )
    what = " ".join(str(fields[name]) for name in ("model", "model_version") if name in fields)
    late = " later than its objective" if fields["slow"] else ""
    rows = ", ".join(f"{count} {code}" for code, count in fields.get("row_errors", {}).items())
    late += f", rows failed ({rows})" if rows else ""
    more = f"; {fields['unsaid']} more like it were not logged" if "unsaid" in fields else ""
    return (
        f"{fields['code']} {fields['status']}{late}: {what or 'no model'}, {phases}, "
        f"request {fields['request_id']}{more}"
    )
