"""What a client does, free of how it waits: plans yield requests and pauses, and get replies.

`Client` runs a plan with threads' own waiting, `AsyncClient` the same plan on an event loop.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from seatrial_contracts.errors import Unavailable


class Send(NamedTuple):
    """A request."""

    method: str
    path: str
    content: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 60.0


class Wait(NamedTuple):
    """A pause."""

    seconds: float


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Lost(Exception):
    """No whole reply came. `begun`: the server may have seen the request."""

    def __init__(self, told: str, *, begun: bool) -> None:
        super().__init__(told)
        self.begun = begun


Result = TypeVar("Result")
Plan = Generator[Any, Any, Result]
"""Yields `Send`, which gives a `Reply` or raises `Lost`; `Wait`; or a list of plans, whose results
it gives, each run at its own pace."""
OVERLOADED = frozenset({429, 503})


@dataclass(frozen=True)
class Retries:
    """When a request is sent again.

    A prediction changes nothing, so that it may be asked twice. Sent again is what the server says
    to try later (429 and 503, after its `Retry-After`), what did not reach it, and, once, what it
    hung up on. What timed out is not: the server is busy with it.
    """

    most: int = 3
    """How often a request is sent again at most."""
    most_wait_s: float = 10.0
    """If the server asks for a longer pause, its refusal is raised."""
    first_wait_s: float = 0.1
    """The pause after a lost connection; each further one is twice as long, give or take half."""

    def lost_wait_s(self, tried: int) -> float:
        """The pause after `tried` lost connections."""
        return float(self.first_wait_s * 2 ** (tried - 1) * random.uniform(0.5, 1.5))  # noqa: S311  (spreads clients out)


def sent(
    request: Send, retries: Retries, where: str, clock: Callable[[], float] = time.monotonic
) -> Plan[Reply]:
    """The reply to a request, which is sent again where `retries` says so.

    `request.timeout_s` bounds all tries and pauses together. Raises `Unavailable` where no whole
    reply comes.
    """
    until_s, tried, hung_up = clock() + request.timeout_s, 0, 0
    while True:
        left_s = until_s - clock()
        try:
            reply: Reply = yield request._replace(timeout_s=max(left_s, 0.001))
        except Lost as lost:
            tried += 1
            hung_up += lost.begun
            wait_s = retries.lost_wait_s(tried)
            if tried > retries.most or hung_up > 1 or clock() + wait_s >= until_s:
                raise unreachable(where, str(lost)) from None
            yield Wait(wait_s)
            continue
        wait = retry_after_s(reply)
        tried += 1
        if wait is None or tried > retries.most or wait > retries.most_wait_s:
            return reply
        if clock() + wait >= until_s:
            return reply
        yield Wait(wait)


def retry_after_s(reply: Reply) -> float | None:
    """The pause that a reply asks for (RFC 9110, delay in seconds); None where it asks for none."""
    if reply.status not in OVERLOADED:
        return None
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) < 10 else None


def unreachable(where: str, got: str) -> Unavailable:
    """The error where no server answers."""
    return Unavailable("E_UNREACHABLE", f"{where}: no server answers there ({got}); is it running?")


def together(plans: Sequence[Plan[Result]]) -> Plan[list[Result]]:
    """The results of several plans, in their order."""
    if len(plans) == 1:
        return [(yield from plans[0])]
    found: list[Result] = yield list(plans)
    return found
