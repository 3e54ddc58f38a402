"""A served model: raw rows in, predictions out, through host stage, batcher and runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.front import EncodedRow, places_by
from seatrial_serve.batch_rule import BatchRule
from seatrial_serve.batcher import Batcher
from seatrial_serve.clock import now_s
from seatrial_serve.engine import Engine, Outputs
from seatrial_serve.load_gate import Admitted
from seatrial_serve.metrics import ModelMetrics

Place = tuple[Outputs, int]
"""Where a row's answer stands: the outputs of its batch, and its index in them."""


class ServedModel:
    """One version of one model that passed its load gate. Use `async with`, or `start` and `close`."""

    def __init__(self, engine: Engine, admitted: Admitted, rule: BatchRule, pool: Executor, metrics: ModelMetrics, *,
                 slots: int, max_waiting_rows: int) -> None:  # fmt: skip
        self.engine, self.contract, self.admitted, self.metrics = engine, engine.contract, admitted, metrics
        self._pool = pool
        run = self._run_inline if admitted.pace.inline else self._run_in_pool
        self.batcher: Batcher[EncodedRow, Place] = Batcher(
            rule, run, slots=slots, max_waiting_rows=max_waiting_rows, observe=metrics
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle that is served."""
        return self.engine.bundle

    async def predict(self, rows: Sequence[Mapping[str, Any]], deadline_s: float | None = None) -> list[dict[str, Any]]:
        """Validated rows to predictions, in order. `deadline_s` is a time of `now_s`.

        Raises `Refusal` where the host stage refuses a row, `ModelError` where the model fails on one, `Unavailable` where the
        queue is full or the deadline passed before its turn.
        """
        start = now_s()
        encoded = await self._encode(rows)
        self.metrics.front.observe(now_s() - start)
        places = await self._submit(encoded, deadline_s)
        describe = self.contract.describe
        return [describe(outputs, index) for outputs, index in places]

    async def _encode(self, rows: Sequence[Mapping[str, Any]]) -> list[EncodedRow]:
        encode = self.engine.encode
        if self.engine.cheap(rows):
            return [encode(row, place) for place, row in enumerate(rows)]
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(self._pool, encode, row, place) for place, row in enumerate(rows)]
        try:
            return await asyncio.gather(*jobs)
        except BaseException:
            for job in jobs:
                job.cancel()
            raise

    async def _submit(self, rows: list[EncodedRow], deadline_s: float | None) -> list[Place]:
        if len(rows) == 1:
            shape, length = self.engine.kin(rows[0])
            return await self.batcher.submit(rows, shape=shape, length=length, deadline_s=deadline_s)
        groups = places_by(map(self.engine.kin, rows))
        answers = await asyncio.gather(*(
            self.batcher.submit([rows[place] for place in places], shape=shape, length=length, deadline_s=deadline_s)
            for (shape, length), places in groups.items()
        ))  # fmt: skip
        found: list[Any] = [None] * len(rows)
        for places, group in zip(groups.values(), answers, strict=True):
            for place, answer in zip(places, group, strict=True):
                found[place] = answer
        return found

    def _run_inline(self, rows: list[EncodedRow]) -> list[Place]:
        outputs = self.engine.run(rows)
        return [(outputs, index) for index in range(len(rows))]

    def _run_in_pool(self, rows: list[EncodedRow]) -> Awaitable[list[Place]]:
        return asyncio.get_running_loop().run_in_executor(self._pool, self._run_inline, rows)

    async def close(self) -> None:
        """Answer what waits, refuse what comes, and stop."""
        await self.batcher.close()

    async def __aenter__(self) -> ServedModel:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
