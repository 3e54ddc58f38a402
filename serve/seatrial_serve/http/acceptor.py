"""Accepting connections: several in a turn of the event loop.

No client waits for turns, and no connection is accepted whose client has left already.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Callable

from seatrial_serve.http.sockets import BACKLOG
from seatrial_serve.process.clock import now_s

log = logging.getLogger("seatrial.server")

AT_ONCE = 4
"""Most connections accepted in a turn.

The event loop's own servers accept one, and a turn may answer hundreds of requests: clients that
connect anew for each would wait for one another.
"""
LONG_TURN_S = 0.005
"""After a turn of this length one connection is accepted.

The connected clients keep the processor busy, and each that joins makes all of them wait longer.
"""
LOOKS = 8
"""Most connections looked at in a turn.

To find that a client has left takes 18 us, to accept and answer it some 230.
"""
ESTABLISHED = 1
"""As Linux numbers TCP's states."""
BROKEN = (
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EPERM,
)
"""What came over a new connection, which is gone; Linux tells it to whoever accepts (accept(2))."""
PAUSE_S = 1.0
"""How long to accept none where the system has no room for another connection."""


class Acceptor:
    """Accepts the connections of a listening socket on the running event loop.

    It begins when `start` is called.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        clock: Callable[[], float] = now_s,
    ) -> None:
        self._listening, self._protocol, self._clock = listening, protocol, clock
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._last_turn_s = 0.0
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept from here on."""
        self._pause = None
        self._listening.listen(BACKLOG)
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._accept_some)

    async def close(self) -> None:
        """Accept the clients whom the system has connected already, and nobody after.

        Closing the socket alone would reset their connections, with the requests in them.
        """
        self._loop.remove_reader(self._listening)
        while (connection := self._next()) is not None:
            self._connect(connection)
        if self._pause is not None:
            self._pause.cancel()
        # Nothing was awaited since: the system refuses whoever connects from here on.
        self._listening.close()
        await asyncio.gather(*self._connecting)

    def _accept_some(self) -> None:
        last_turn_s, self._last_turn_s = self._last_turn_s, self._clock()
        room = AT_ONCE if self._last_turn_s - last_turn_s < LONG_TURN_S else 1
        for _ in range(LOOKS):
            connection = self._next()
            if connection is None:
                return
            if has_left(connection):
                connection.close()
                continue
            self._connect(connection)
            room -= 1
            if not room:
                return

    def _next(self) -> socket.socket | None:
        """One more; None where there is none, or no room for it."""
        while True:
            try:
                return self._listening.accept()[0]
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in BROKEN:
                    continue
                log.warning("no connection is accepted for %g s: %s", PAUSE_S, error.strerror)
                self._loop.remove_reader(self._listening)
                self._pause = self._loop.call_later(PAUSE_S, self.start)
                return None

    def _connect(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._hand_over(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _hand_over(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # its client left in this moment
            connection.close()


def has_left(connection: socket.socket) -> bool:
    """Return whether a connection's client closed while it waited to be accepted.

    If the system does not say, the client has not.
    """
    return (
        sys.platform == "linux"
        and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED
    )
