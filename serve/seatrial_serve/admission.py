"""Admission: what is refused at once, so that what is accepted is answered in time and memory stays bounded."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b

from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_serve.clock import now_s

MEMORY_S = 5.0
"""Over how much busy time the rate of answers is averaged: longer than a crowd takes to be read and decoded before its first answer."""
NO_ROOM, REFUSAL_S = ("E_OVERLOADED", "E_MEMORY"), 0.005
"""A refusal for want of room is said so much later. Whoever asks again at once would else be refused thousands of times a second, which
took half of the processor from those who were let in, so that room stayed wanting after the crowd had gone."""
MARGIN = 0.8
"""The share of a request's time that its predicted wait may take: rows wait unequally for mates of like length."""
GROWTH = 16
"""Bytes in memory for each byte of a body while it is parsed and answered: measured 6 for rows of numbers, 12 for nested lists of short ones."""
ARRIVES_BYTES = 64 * 1024
"""A body that arrives is held in steps of so many bytes, about what a connection hands over at once."""


class Pressure:
    """How many requests are on their way through a model, and how fast they end: by Little's law, how long another would take."""

    def __init__(self, first_s: float, clock: Callable[[], float] = now_s) -> None:
        """`first_s`: what one request takes, as the load gate measured it.

        It counts as if answers had come at that pace for `MEMORY_S`: of a crowd that arrives at once, the first answer comes late,
        since the others are read and decoded before it.
        """
        self.users = 0
        self._clock = clock
        self._ended = max(1.0, MEMORY_S / first_s)
        self._busy_s, self._since = self._ended * first_s, 0.0

    def enter(self) -> None:
        """A request is here as a whole."""
        if not self.users:
            self._since = self._clock()
        self.users += 1

    def leave(self, error: type[BaseException] | None = None) -> None:
        """A request ends. Only answers tell how fast the model is: time that led to a failure counts as none, or an outage would look like slowness."""
        self.users -= 1
        now = self._clock()
        if error is None:
            spent = now - self._since
            fade = math.exp(-spent / MEMORY_S)
            self._busy_s = self._busy_s * fade + spent
            self._ended = self._ended * fade + 1
        if error is None or issubclass(error, (ModelError, Unavailable)):
            self._since = now

    @property
    def expected_s(self) -> float:
        """When another request that came now would be answered, in seconds from now."""
        return (self.users + 1) * self._busy_s / self._ended

    def admit(self, deadline_s: float) -> None:
        """Raise `Unavailable` where a request would come after its deadline (a time of the clock) anyway."""
        if not self.users:
            return
        expected_s, left_s = self.expected_s, deadline_s - self._clock()
        if left_s <= 0:
            raise Unavailable("E_DEADLINE", "the deadline passed before its turn came")
        if expected_s > MARGIN * left_s:
            raise Unavailable(
                "E_OVERLOADED",
                f"an answer would take about {expected_s:.2g} s, longer than the request may wait",
                retry_after_s=min(expected_s, 30.0),
            )


class Share:
    """What requests hold together of some bytes, and how many of them are parsed or answered."""

    __slots__ = ("at_work", "held_bytes", "limit_bytes", "requests")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.held_bytes, self.at_work, self.requests = limit_bytes, 0, 0, 0

    def fits(self, size_bytes: int, own_bytes: int, *, to_work: bool) -> bool:
        """May a request that holds `own_bytes` of it hold `size_bytes`?

        One whose body is whole may, if no other is at work: what others have sent so far of
        theirs keeps nobody out.
        """
        others = self.held_bytes - own_bytes
        return not (self.at_work if to_work else others) or others + size_bytes <= self.limit_bytes


class Budget:
    """Bytes that requests may hold together while they are read, parsed and answered.

    One client may hold a part of them.
    """

    def __init__(self, limit_bytes: int, client_share: float = 1.0) -> None:
        """`client_share`: which part of it one client may hold, above 0, at most 1."""
        self.all = Share(limit_bytes)
        self._client_bytes = max(1, int(limit_bytes * client_share))
        self._clients: dict[Hashable, Share] = {}

    @property
    def held_bytes(self) -> int:
        """What all requests hold now."""
        return self.all.held_bytes

    def begin(self, client: Hashable) -> Hold:
        """A client's request begins; it holds nothing yet, and is to `give_back` when it ends."""
        share = self._clients.get(client)
        if share is None:
            share = self._clients[client] = Share(self._client_bytes)
        share.requests += 1
        return Hold(self, client, share)

    def end(self, client: Hashable, share: Share) -> None:
        """A client's request has ended: nothing is known of a client that has none."""
        share.requests -= 1
        if not share.requests:
            del self._clients[client]


class Hold:
    """What one request holds of the budget: its body as it arrives, then what parsing and answering it takes."""

    __slots__ = ("_at_work", "_budget", "_client", "_share", "bytes")

    def __init__(self, budget: Budget, client: Hashable, share: Share) -> None:
        self._budget, self._client, self._share = budget, client, share
        self.bytes, self._at_work = 0, False

    def arrived(self, size_bytes: int) -> None:
        """So much of the body is here. Raises `Unavailable` where there is no room for it."""
        if size_bytes > self.bytes:
            self._set(-(-size_bytes // ARRIVES_BYTES) * ARRIVES_BYTES, to_work=False)

    def work(self, size_bytes: int) -> None:
        """The body is whole, and is parsed from here on: hold what a body of that size takes. Raises `Unavailable`."""
        self._set(size_bytes, to_work=True)
        if not self._at_work:
            self._at_work = True
            self._budget.all.at_work += 1
            self._share.at_work += 1

    def _set(self, size_bytes: int, *, to_work: bool) -> None:
        everybody, own, to_work = self._budget.all, self._share, to_work and not self._at_work
        if not everybody.fits(size_bytes, self.bytes, to_work=to_work):
            raise Unavailable("E_MEMORY", "the requests on their way hold all the memory that they may")
        if not own.fits(size_bytes, self.bytes, to_work=to_work):
            raise Unavailable("E_MEMORY", "this client's requests hold all the memory that one client may")
        everybody.held_bytes += size_bytes - self.bytes
        own.held_bytes += size_bytes - self.bytes
        self.bytes = size_bytes

    def give_back(self) -> None:
        """The request has ended."""
        everybody, own = self._budget.all, self._share
        everybody.held_bytes -= self.bytes
        own.held_bytes -= self.bytes
        everybody.at_work -= self._at_work
        own.at_work -= self._at_work
        self.bytes, self._at_work = 0, False
        self._budget.end(self._client, own)


class Places:
    """How many of a sort of thing there may be at once, and how many of them one client may have."""

    def __init__(self, most_of_client: int, most: int = sys.maxsize) -> None:
        self.most_of_client, self.most, self.taken = most_of_client, most, 0
        self._clients: dict[Hashable, int] = {}

    def take(self, client: Hashable) -> bool:
        """Is there one for this client? If so it is taken, and is to be given back."""
        of_client = self._clients.get(client, 0)
        if self.taken >= self.most or of_client >= self.most_of_client:
            return False
        self.taken += 1
        self._clients[client] = of_client + 1
        return True

    def give_back(self, client: Hashable) -> None:
        """It has ended."""
        self.taken -= 1
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]


class Quarantine:
    """Bodies that made the model fail again and again: known by their digest, refused for a while without running."""

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
                "E_QUARANTINED", "request body", f"one that made the model fail {blames} times", "another one"
            )

    def blame(self, body: bytes) -> None:
        """The model failed on this body."""
        digest, now = digest_of(body), self._clock()
        blames, last_s = self._blamed.pop(digest, (0, 0.0))
        self._blamed[digest] = (blames + 1 if now - last_s < self.FOR_S else 1), now
        if len(self._blamed) > self.KEPT:
            self._blamed.popitem(last=False)


def digest_of(body: bytes) -> bytes:
    """What a body is known by."""
    return blake2b(body, digest_size=16).digest()
