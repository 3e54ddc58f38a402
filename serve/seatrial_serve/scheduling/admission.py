"""Admission: what is refused at once.

What is accepted is thereby answered in time, and memory stays bounded.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from seatrial_contracts.errors import ModelError, Refusal, TooLate, Unavailable
from seatrial_serve.process.clock import now_s

MEMORY_S = 5.0
"""Over how much busy time the rate of answers is averaged.

It is longer than a crowd takes to be read and decoded before its first answer.
"""
NO_ROOM, REFUSAL_S = ("E_OVERLOADED", "E_MEMORY"), 0.005
"""A refusal for want of room is sent so much later.

A client that tries again at once would else be refused thousands of times a second, which took half
of the processor from those who were let in, so that room stayed wanting after the crowd had gone.
"""
MARGIN = 0.8
"""The share of a request's time that its predicted wait may take.

Rows wait unequally for mates of like length.
"""


class Backlog:
    """How many requests are on their way through a model, and how fast they end.

    By Little's law both give how long another would take.
    """

    def __init__(self, first_s: float, clock: Callable[[], float] = now_s) -> None:
        """`first_s`: what one request takes, as the load gate measured it.

        It counts as if answers had come at that pace for `MEMORY_S`: of a crowd that arrives at
        once, the first answer comes late, since the others are read and decoded before it.
        """
        self.users = 0
        self._clock = clock
        self._ended = max(1.0, MEMORY_S / first_s)
        self._busy_s = self._ended * first_s
        self.since_s = 0.0
        """When the last one ended, or the first of those that are here came."""

    def enter(self) -> None:
        """A request is here as a whole."""
        if not self.users:
            self.since_s = self._clock()
        self.users += 1

    def leave(self, error: type[BaseException] | None = None, requests: int = 1) -> None:
        """Account for so many requests that end.

        Only answers show how fast the model is: time that led to a failure counts as none, or an
        outage would look like slowness.
        """
        self.users -= requests
        now = self._clock()
        if error is None:
            spent = now - self.since_s
            fade = math.exp(-spent / MEMORY_S)
            self._busy_s = self._busy_s * fade + spent
            self._ended = self._ended * fade + requests
        if error is None or issubclass(error, (ModelError, Unavailable)):
            self.since_s = now

    @property
    def expected_s(self) -> float:
        """When another request that came now would be answered, in seconds from now."""
        return (self.users + 1) * self._busy_s / self._ended

    @property
    def queue_s(self) -> float:
        """The part of `expected_s` that the requests already here make, in seconds.

        The rest is the new request's own time, which no further replica shortens.
        """
        return self.users * self._busy_s / self._ended

    def admit(self, deadline_s: float) -> None:
        """Raise `Unavailable` if a request would come after its deadline anyway.

        The deadline is a time of the clock.
        """
        if not self.users:
            return
        expected_s, left_s = self.expected_s, deadline_s - self._clock()
        if left_s <= 0:
            raise TooLate
        if expected_s > MARGIN * left_s:
            raise Unavailable(
                "E_OVERLOADED",
                f"an answer would take about {expected_s:.2g} s, longer than the request may wait",
                retry_after_s=min(expected_s, 30.0),
            )


class Quarantine:
    """Bodies that made the model fail again and again.

    They are known by their digest, and refused for a while without running.
    """

    BLAMES, FOR_S, KEPT = 3, 60.0, 1024

    def __init__(self, clock: Callable[[], float] = now_s) -> None:
        self._clock = clock
        self._blamed: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def check(self, body: bytes) -> None:
        """Raise `Refusal` for a body that was blamed too often of late."""
        if not self._blamed:
            return
        blames, last_s = self._blamed.get(digest_of(body), (0, 0.0))
        if blames >= self.BLAMES and self._clock() - last_s < self.FOR_S:
            raise Refusal(
                "E_QUARANTINED",
                "request body",
                f"one that made the model fail {blames} times",
                "another one",
            )

    def record_failure(self, body: bytes) -> None:
        """The model failed on this body."""
        digest, now = digest_of(body), self._clock()
        blames, last_s = self._blamed.pop(digest, (0, 0.0))
        self._blamed[digest] = (blames + 1 if now - last_s < self.FOR_S else 1), now
        if len(self._blamed) > self.KEPT:
            self._blamed.popitem(last=False)


def digest_of(body: bytes) -> bytes:
    """What a body is known by."""
    return blake2b(body, digest_size=16).digest()
