"""The log of administration: a line for each call that loads or unloads a model.

A line says who called, what the call does, and how it ended. Calls that are refused before they are
let in are bounded: whoever may ask nothing must not fill a disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.access.caller import Caller, EndedKey
from seatrial_serve.models.repository import Repository
from seatrial_serve.process.audit_log import record
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.codes import Code, status_of
from seatrial_serve.process.token_bucket import TokenBucket

log = logging.getLogger("seatrial.audit")
OK, LEFT = "ok", "left"
UNKNOWN, UNREAD = "an unknown model", "not read"
"""In place of a model's name: one that is not served is the client's own word."""
NOT_LET_IN = frozenset((Code.KEY, Code.SCOPE, Code.RATE, Code.OVERLOADED, LEFT))
"""How calls may end before they were let in."""
REFUSED_PER_S, REFUSED_AT_ONCE = 0.1, 20
"""How many refused calls have a line: those of known callers, and as many of others."""
TELL_S = 60.0
"""After which time the refused calls without a line are counted in one."""


class AdminCall(NamedTuple):
    """A call of administration, and who makes it."""

    action: str
    """What it does: load or unload; `access.paths.OTHER` for one that this server does not have."""
    model: str | None
    """None where the call names it in a body that was not read."""
    address: str
    over: str
    """The protocol."""
    request_id: str
    caller: Callable[[], Caller | None]
    """Whoever makes it, once that is known."""


class AdminAudit:
    """Writes the lines of administration. Use on the event loop."""

    def __init__(self, repository: Repository, clock: Callable[[], float] = now_s) -> None:
        self._repository = repository
        self._rates = {
            known: TokenBucket(REFUSED_PER_S, clock, REFUSED_AT_ONCE) for known in (True, False)
        }
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def audited(self, call: AdminCall) -> Iterator[None]:
        """Write how a call ends.

        The line names a model that the repository knows before or after the call.
        """
        named, result, error = self._named(call.model), OK, None
        try:
            yield
        except Exception as raised:  # whatever ends it, the line says so, and it goes on
            result, error = status_of(raised)[1], raised
            raise
        except BaseException:  # the client left, or the server ends: the call may be half done
            result = LEFT
            raise
        finally:
            named = self._named(call.model) if named == UNKNOWN else named
            self._write(call, named, result, error, bounded=result in NOT_LET_IN)

    def refused(self, call: AdminCall, error: SeatrialError) -> None:
        """Write that a call was refused before it was let in."""
        self._write(call, self._named(call.model), status_of(error)[1], error, bounded=True)

    def tell(self) -> None:
        """Count in a line the refused calls that have none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count, self._left_out = self._left_out, 0
        if count:
            log.warning("%d more calls of administration were refused", count)
            record("left_out", of="administration", calls=count)

    def _named(self, model: str | None) -> str:
        if model is None:
            return UNREAD
        return model if self._repository.find(model) is not None else UNKNOWN

    def _write(
        self, call: AdminCall, named: str, result: str, error: Exception | None, *, bounded: bool
    ) -> None:
        caller = error.caller if isinstance(error, EndedKey) else call.caller()
        if bounded and not self._rates[caller is not None].take():
            self._left_out += 1
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(TELL_S, self.tell)
            return
        fields = {
            "action": call.action,
            "model": named,
            "who": said_of(caller, call.address),
            "over": call.over,
            "result": result,
            "request_id": call.request_id,
        }
        level = logging.INFO if result == OK else logging.WARNING
        log.log(level, "%s of %s by %s over %s: %s, request %s", *fields.values(), extra=fields)
        record("administration", **fields)


def said_of(caller: Caller | None, address: str) -> str:
    """Who calls: the address, and the name and the id of the key, if it has one."""
    return address if caller is None else f"{caller.name} ({caller.client}) at {address}"
