"""Accepting: how many in a turn, whom not, and what happens where there is no room."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from seatrial_serve.http import acceptor as module
from seatrial_serve.http.acceptor import AT_ONCE, LONG_TURN_S, LOOKS, Acceptor
from seatrial_serve.http.sockets import listen


class Greeter(asyncio.Protocol):
    """Says which of the accepted connections it is."""

    accepted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Greeter.accepted += 1
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"%d" % Greeter.accepted)
        transport.close()


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    Greeter.accepted = 0
    with ExitStack() as stack:
        yield stack


def connect(listening: socket.socket, clients: ExitStack, count: int = 1) -> list[socket.socket]:
    made = [socket.create_connection(listening.getsockname(), 10) for _ in range(count)]
    for each in made:
        clients.enter_context(each)
    return made


async def end(acceptor: Acceptor) -> None:
    await acceptor.close()
    for _ in range(3):
        await asyncio.sleep(0)  # what was said goes out, and its connections close


async def accepted_in_a_turn(acceptor: Acceptor) -> int:
    before = Greeter.accepted
    acceptor._accept_some()
    await asyncio.gather(*acceptor._connecting)
    return Greeter.accepted - before


async def test_several_are_accepted_in_a_turn_and_one_after_a_long_one(clients: ExitStack) -> None:
    now_s = 100.0
    listening = listen("127.0.0.1", 0)
    listening.setblocking(False)
    acceptor = Acceptor(listening, Greeter, clock=lambda: now_s)
    connect(listening, clients, AT_ONCE + 3)
    assert await accepted_in_a_turn(acceptor) == 1  # nothing is known of the turn before
    now_s += LONG_TURN_S / 2
    assert await accepted_in_a_turn(acceptor) == AT_ONCE
    now_s += LONG_TURN_S * 2
    assert await accepted_in_a_turn(acceptor) == 1
    now_s += LONG_TURN_S / 2
    assert await accepted_in_a_turn(acceptor) == 1
    assert await accepted_in_a_turn(acceptor) == 0
    await end(acceptor)


@pytest.mark.parametrize("reset", [True, False])
async def test_who_has_left_is_not_handed_over(clients: ExitStack, reset: bool) -> None:
    listening = listen("127.0.0.1", 0)
    listening.setblocking(False)
    acceptor = Acceptor(listening, Greeter, clock=lambda: 0.0)
    for sock in connect(listening, clients, LOOKS - 1):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    (stays,) = connect(listening, clients)
    assert await accepted_in_a_turn(acceptor) == 1
    assert stays.recv(10) == b"1"
    await end(acceptor)


async def test_in_a_turn_only_so_many_are_looked_at(clients: ExitStack) -> None:
    listening = listen("127.0.0.1", 0)
    listening.setblocking(False)
    acceptor = Acceptor(listening, Greeter, clock=lambda: 0.0)
    for sock in connect(listening, clients, LOOKS):
        sock.close()
    connect(listening, clients)
    assert [await accepted_in_a_turn(acceptor) for _ in range(2)] == [0, 1]
    await end(acceptor)


async def test_closing_accepts_whom_the_system_has_connected_and_nobody_after(
    clients: ExitStack,
) -> None:
    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()
    acceptor = Acceptor(listening, Greeter)
    acceptor.start()
    waiting = connect(listening, clients, 2 * AT_ONCE)
    await end(acceptor)
    assert sorted(int(sock.recv(10)) for sock in waiting) == list(range(1, 2 * AT_ONCE + 1))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, 1)


class Full:
    """A listening socket where the next two accepts fail.

    The first meets a connection that broke, the second has no more files.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening, self.failures = listening, [errno.ECONNABORTED, errno.EMFILE]

    def accept(self) -> Any:
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))
        return self._listening.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listening, name)


async def test_without_room_nobody_is_accepted_for_a_while_and_it_is_said(
    clients: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.2)
    full: Any = Full(listen("127.0.0.1", 0))
    acceptor = Acceptor(full, Greeter)
    acceptor.start()
    (client,) = connect(full, clients)
    while full.failures:
        await asyncio.sleep(0)
    assert Greeter.accepted == 0
    assert "no connection is accepted for 0.2 s: Too many open files" in caplog.text
    client.setblocking(False)
    assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 10), 10) == b"1"
    await end(acceptor)
