"""The log of administration: one line for each call that loads or unloads a model.

A line says who called, what the call does, and how it ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from fastapi import Request

from seatrial_serve.access.caller import Caller
from seatrial_serve.api.fast_path import REQUEST_ID
from seatrial_serve.api.http_request import CALLER
from seatrial_serve.models.repository import Repository
from seatrial_serve.process.audit_log import record
from seatrial_serve.process.codes import status_of

log = logging.getLogger("seatrial.audit")
OK, LEFT = "ok", "left"


@contextmanager
def audited(
    action: str, model: str, repository: Repository, *, who: str, over: str, request_id: str
) -> Iterator[None]:
    """Log a call that does `action` to a model.

    `who` is who calls, as `said_of` has it, `over` the protocol.

    The line names a model that the repository knows before or after the call: other names are the
    client's own words.
    """
    known, result = repository.find(model) is not None, OK
    try:
        yield
    except Exception as error:  # whatever ends it, the line says so, and it goes on
        result = status_of(error)[1]
        raise
    except BaseException:  # the client left, or the server ends: the call may be half done
        result = LEFT
        raise
    finally:
        named = model if known or repository.find(model) is not None else "an unknown model"
        fields = {
            "action": action,
            "model": named,
            "who": who,
            "over": over,
            "result": result,
            "request_id": request_id,
        }
        level = logging.INFO if result == OK else logging.WARNING
        log.log(level, "%s of %s by %s over %s: %s, request %s", *fields.values(), extra=fields)
        record("administration", **fields)


def said_of(caller: Caller | None, address: str) -> str:
    """Who calls: the address, and the name of the key, if it has one."""
    return address if caller is None else f"{caller.name} ({caller.client}) at {address}"


def audited_route(
    action: str, model: str, repository: Repository, request: Request
) -> AbstractContextManager[None]:
    """As `audited`, of a call over HTTP."""
    address = request.client.host if request.client is not None else "an unknown address"
    who = said_of(request.scope.get(CALLER), address)
    return audited(
        action, model, repository, who=who, over="HTTP", request_id=request.scope[REQUEST_ID]
    )
