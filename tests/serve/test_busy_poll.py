"""Busy polling: only where requests follow each other closely, and never for longer than that."""

from __future__ import annotations

import asyncio

from seatrial_serve.http.busy_poll import IN_A_ROW, POLL_S, BusyPoll


class Client:
    """One that comes back so soon after each answer, on a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.poll = BusyPoll(clock=lambda: self.now_s)

    def ask(self, after_s: float) -> None:
        self.now_s += after_s
        self.poll.came()
        self.now_s += 0.001
        self.poll.left()

    @property
    def looking(self) -> bool:
        return self.poll._looking


async def test_it_looks_once_requests_have_followed_closely_and_stops_with_the_first_pause() -> (
    None
):
    client = Client()
    client.ask(after_s=1.0)
    for _ in range(IN_A_ROW - 1):
        client.ask(after_s=POLL_S / 2)
        assert not client.looking
    client.ask(after_s=POLL_S / 2)
    assert client.looking
    await asyncio.sleep(0)
    assert client.looking
    client.now_s += POLL_S * 2
    await asyncio.sleep(0)
    assert not client.looking
    client.ask(after_s=0.0)
    assert not client.looking


async def test_it_does_not_look_while_a_request_is_on_its_way() -> None:
    client = Client()
    client.ask(after_s=1.0)
    for _ in range(IN_A_ROW):
        client.ask(after_s=0.0)
    assert client.looking
    client.poll.came()
    await asyncio.sleep(0)
    assert not client.looking


async def test_a_client_that_thinks_in_between_costs_nothing() -> None:
    client = Client()
    for _ in range(5 * IN_A_ROW):
        client.ask(after_s=POLL_S * 2)
        assert not client.looking
