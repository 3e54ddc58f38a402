"""Memory and places that requests share.

Limits hold for all requests together, and for one client.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

from seatrial_contracts.errors import Unavailable

GROWTH = 16
"""Bytes in memory for each byte of a body while it is parsed and answered.

Measured are 6 for rows of numbers, and 12 for nested lists of short ones.
"""


ARRIVES_BYTES = 64 * 1024
"""A body that arrives is held in steps of so many bytes.

It is about what a connection hands over at once.
"""


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

    def forget(self, client: Hashable) -> None:
        """A client has no request any more."""
        del self._clients[client]


class Hold:
    """The budget that one request holds.

    It is that of its body as it arrives, then that of parsing and answering it.
    """

    __slots__ = ("_at_work", "_budget", "_client", "_share", "bytes")

    def __init__(self, budget: Budget, client: Hashable, share: Share) -> None:
        self._budget, self._client, self._share = budget, client, share
        self.bytes, self._at_work = 0, False

    def arrived(self, size_bytes: int) -> None:
        """So much of the body is here. Raises `Unavailable` where there is no room for it."""
        if size_bytes > self.bytes:
            self._set(-(-size_bytes // ARRIVES_BYTES) * ARRIVES_BYTES, to_work=False)

    def work(self, size_bytes: int) -> None:
        """Hold what a body of this size takes, which is whole and is parsed from here on.

        Raises `Unavailable`.
        """
        everybody, own, more = self._budget.all, self._share, size_bytes - self.bytes
        if (
            everybody.held_bytes + more <= everybody.limit_bytes
            and own.held_bytes + more <= own.limit_bytes
        ):
            everybody.held_bytes += more
            own.held_bytes += more
            self.bytes = size_bytes
        else:
            self._set(size_bytes, to_work=True)
        if not self._at_work:
            self._at_work = True
            everybody.at_work += 1
            own.at_work += 1

    def _set(self, size_bytes: int, *, to_work: bool) -> None:
        everybody, own, to_work = self._budget.all, self._share, to_work and not self._at_work
        if not everybody.fits(size_bytes, self.bytes, to_work=to_work):
            raise Unavailable(
                "E_MEMORY", "the requests on their way hold all the memory that they may"
            )
        if not own.fits(size_bytes, self.bytes, to_work=to_work):
            raise Unavailable(
                "E_MEMORY", "this client's requests hold all the memory that one client may"
            )
        everybody.held_bytes += size_bytes - self.bytes
        own.held_bytes += size_bytes - self.bytes
        self.bytes = size_bytes

    def give_back(self) -> None:
        """The request has ended."""
        budget, own = self._budget, self._share
        everybody = budget.all
        everybody.held_bytes -= self.bytes
        own.held_bytes -= self.bytes
        everybody.at_work -= self._at_work
        own.at_work -= self._at_work
        self.bytes, self._at_work = 0, False
        own.requests -= 1
        if not own.requests:  # nothing is known of a client that has none
            budget.forget(self._client)


class Places:
    """How many of a sort of thing there may be at once, and how many one client may have."""

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
