"""The batcher keeps order and count, and fails only the bad request."""

from __future__ import annotations

import asyncio

import pytest

from seatrial_contracts.errors import Unavailable
from seatrial_serve.batch_rule import BatchRule
from seatrial_serve.batcher import Batcher


async def test_every_request_gets_its_own_rows_back_in_order() -> None:
    async with Batcher(BatchRule(max_rows=8), lambda rows: [row * 10 for row in rows]) as batcher:
        answers = await asyncio.gather(*(batcher.submit(list(range(i, i + 1 + i % 20))) for i in range(50)))
    assert answers == [[row * 10 for row in range(i, i + 1 + i % 20)] for i in range(50)]


async def test_a_bad_row_fails_only_its_own_request() -> None:
    def run(rows: list[int]) -> list[int]:
        if 7 in rows:
            raise ValueError("seven")
        return rows

    async with Batcher(BatchRule(max_rows=32), run) as batcher:
        answers = await asyncio.gather(*(batcher.submit([i]) for i in range(16)), return_exceptions=True)
    assert [i for i, answer in enumerate(answers) if isinstance(answer, ValueError)] == [7]
    assert [answer for i, answer in enumerate(answers) if i != 7] == [[i] for i in range(16) if i != 7]


async def test_a_passed_deadline_never_runs() -> None:
    ran: list[int] = []
    async with Batcher(BatchRule(), lambda rows: ran.extend(rows) or rows, clock=lambda: 10.0) as batcher:
        with pytest.raises(Unavailable, match="deadline"):
            await batcher.submit([1], deadline_s=9.0)
    assert ran == []
