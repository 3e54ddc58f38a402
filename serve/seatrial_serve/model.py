"""A served model: validated rows or columns in, the model's numbers out, through host stage, batcher and runtime."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_contracts.front import Part, places_by
from seatrial_contracts.kinds.kind import Array, Column
from seatrial_contracts.predict_request import RequestReader
from seatrial_serve.inference.engine import Answers, Engine
from seatrial_serve.inference.load_gate import Admitted
from seatrial_serve.inference.pace import INLINE_S
from seatrial_serve.metrics.model_metrics import ModelMetrics
from seatrial_serve.process.clock import now_s
from seatrial_serve.scheduling.admission import Pressure, Quarantine
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.batcher import Batcher

if TYPE_CHECKING:
    from seatrial_serve.drift import Drift
    from seatrial_serve.journey import Journey


@dataclass(slots=True)
class Terms:
    """On which terms a request is answered: until when (a time of `now_s`), for whom, and how urgently (1 is the highest, 0 the usual)."""

    deadline_s: float = math.inf
    flow: Hashable = None
    priority: int = 0
    journey: Journey | None = None
    """What is told of its way, where somebody wants to know."""
    partial: bool = False
    """Are rows that cannot be answered errors of their own, beside the answers of the others?"""
    in_flight: Sized | None = None
    """It and all others that were begun and not answered; None where nobody knows."""

    @property
    def alone(self) -> bool:
        """Is there surely nobody to share a batch with?"""
        return self.in_flight is not None and len(self.in_flight) == 1


Encoded = TypeVar("Encoded")
RowError = Refusal | ModelError | Unavailable
NO_ERRORS: Mapping[int, RowError] = MappingProxyType({})
Given = Sequence[Mapping[str, Any]] | Mapping[str, Column]
"""What a request asks, validated: its rows, or its columns."""


def row_at(given: Given, place: int) -> Mapping[str, Any]:
    """One row of it."""
    if isinstance(given, Mapping):
        return {name: column[place] for name, column in given.items()}
    return given[place]


def rows_at(given: Given, places: Sequence[int]) -> Given:
    """Some of its rows, in the form it has."""
    if not isinstance(given, Mapping):
        return [given[place] for place in places]
    return {
        name: column[np.asarray(places, np.intp)]
        if isinstance(column, np.ndarray)
        else [column[place] for place in places]
        for name, column in given.items()
    }


def rows_of(given: Given) -> Sequence[Mapping[str, Any]]:
    """All of its rows."""
    if isinstance(given, Mapping):
        return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
    return given


@dataclass(slots=True)
class Answer:
    """What the model answered for a request: parts of batches, and the rows' own order where these came apart."""

    given: Given
    parts: Sequence[Answers]
    order: Sequence[int] | None = None
    errors: Mapping[int, RowError] = field(default_factory=lambda: NO_ERRORS)
    """Of a partial answer: place in the request -> why that row has no answer. All else in here is of the other rows."""

    def __iter__(self) -> Iterator[tuple[dict[str, Array], int]]:
        """For each row: the outputs of its batch, and its place in them."""
        places = [(part.outputs, index) for part in self.parts for index in part.rows]
        return iter(places if self.order is None else [places[place] for place in self.order])

    @property
    def rows(self) -> int:
        """How many rows were asked, those in `errors` among them."""
        return len(self.errors) + sum([part.stop - part.start for part in self.parts])

    @property
    def places(self) -> list[int]:
        """Where the rows that have answers stand in the request."""
        return [place for place in range(self.rows) if place not in self.errors]

    @property
    def nonfinite(self) -> tuple[str, int] | None:
        """The first row that was answered with NaN or an infinity: the output and the row's place."""
        if not any(part.nonfinite for part in self.parts):
            return None
        came = [part.nonfinite.get(row) for part in self.parts for row in part.rows]
        found = came if self.order is None else [came[place] for place in self.order]
        return next((output, place) for place, output in enumerate(found) if output is not None)

    @property
    def size_bytes(self) -> int:
        """What its tensors take."""
        return sum(array[part.start : part.stop].nbytes for part in self.parts for array in part.outputs.values())

    @property
    def held_bytes(self) -> int:
        """What they keep in memory: the batches as a whole."""
        return sum(array.nbytes for part in self.parts for array in part.outputs.values())

    def array(self, name: str) -> Array:
        """One output of all rows, rows first. Raises `Refusal` where rows have answers of unlike shape."""
        arrays = [part.outputs[name][part.start : part.stop] for part in self.parts]
        if len({array.shape[1:] for array in arrays}) > 1:
            raise Refusal("E_SHAPE", f"output '{name}'", "answers of unlike shape", "rows of like shape in one request")
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return whole if self.order is None else whole[np.asarray(self.order)]


class ServedModel:
    """One version of one model that passed its load gate. Use `async with`, or `start` and `close`."""

    def __init__(self, engine: Engine, admitted: Admitted, rule: BatchRule, pool: Executor, metrics: ModelMetrics, *,
                 slots: int, max_waiting_rows: int, drift: Drift | None = None) -> None:  # fmt: skip
        self.engine, self.contract, self.admitted, self.metrics = engine, engine.contract, admitted, metrics
        self.reader = RequestReader(engine.contract)
        self._pool, self.drift = pool, drift
        self._devices = ThreadPoolExecutor(engine.slots, "seatrial-device") if engine.slots else None
        """Threads of its own: CUDA sets itself up in every thread that comes, and a batch that takes another thread each time waits for a cold one."""
        self._unused: asyncio.Event | None = None
        self._holders = 0
        self.objective_s = engine.contract.objective.p99_s or math.inf
        """An answer later than this is slow."""
        self.pressure = Pressure(admitted.pace.predict_s(admitted.pace.length) / slots)
        self.quarantine = Quarantine()
        base_s, unit_s = admitted.pace.line
        self._row_s = unit_s * admitted.pace.length
        self._spare_s = -math.inf if engine.remote or engine.slots else INLINE_S - base_s
        self.instant = self._row_s <= self._spare_s
        """Does one row run on the event loop itself?"""
        row_bytes = self.contract.answer_row_bytes
        self._may_be_large = (
            row_bytes is None or row_bytes * self.contract.limits.max_rows > self.contract.limits.max_answer_bytes
        )
        self.batcher: Batcher[Part, Answers] = Batcher(
            rule, self._run, slots=slots, max_waiting_rows=max_waiting_rows, observe=metrics
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle that is served."""
        return self.engine.bundle

    async def answer_rows(self, rows: Sequence[Mapping[str, Any]], terms: Terms) -> Answer:
        """What the model answers for validated rows.

        Raises `Refusal` where the host stage refuses a row, `ModelError` where the model fails on one or answers it with NaN,
        `Unavailable` where the queue is full or the deadline passed before its turn.
        """
        start = self.begin(rows, terms)
        encoded = await self.encode(rows, terms.deadline_s, self.engine.encode)
        self.fronted(start, terms)
        if len(rows) == 1:
            return self.checked(Answer(rows, await self.submit(encoded, self.engine.kin(encoded[0]), terms)))
        groups = places_by(map(self.engine.kin, encoded))
        if len(groups) == 1:
            return self.checked(Answer(rows, await self.submit(encoded, next(iter(groups)), terms)))
        answers = await asyncio.gather(*(
            self.submit([encoded[place] for place in places], kin, terms) for kin, places in groups.items()
        ))  # fmt: skip
        came = [place for places in groups.values() for place in places]
        return self.checked(Answer(rows, [part for parts in answers for part in parts], np.argsort(came).tolist()))

    async def answer_columns(self, columns: Mapping[str, Column], terms: Terms) -> Answer:
        """The same for validated columns."""
        if not self.engine.plain:
            return await self.answer_rows(rows_of(columns), terms)
        start = self.begin(columns, terms)
        block = self.engine.front.encode_columns(columns)
        self.fronted(start, terms)
        return self.checked(Answer(columns, await self.submit(block, self.engine.kin_of_block(block), terms)))

    def begin(self, given: Given, terms: Terms) -> float:
        """A request's rows are validated: the host stage begins now, at the time that this gives."""
        if terms.journey is not None:
            terms.journey.given = given
        return now_s()

    def fronted(self, start: float, terms: Terms) -> None:
        """Its rows went through the host stage, since then."""
        end = now_s()
        self.metrics.front(end - start)
        if terms.journey is not None:
            terms.journey.phases.append(("front", start, end))

    def encoded(self, start: float, terms: Terms) -> None:
        """An answer was written, since then."""
        end = now_s()
        self.metrics.encode(end - start)
        if terms.journey is not None:
            terms.journey.phases.append(("encode", start, end))

    def checked(self, answer: Answer) -> Answer:
        """The answer, where every row has one and it is not too large to be written down."""
        nonfinite = answer.nonfinite
        if nonfinite is not None:
            raise self.engine.nonfinite_fault(*nonfinite)
        most = self.contract.limits.max_answer_bytes
        if self._may_be_large and answer.size_bytes > most:
            raise Refusal(
                "E_ANSWER_BYTES",
                "the answer",
                f"{answer.size_bytes} bytes",
                f"at most {most}",
                "ask for fewer or smaller rows at once",
            )
        return answer

    async def encode(
        self,
        rows: Sequence[Mapping[str, Any]],
        deadline_s: float,
        encode: Callable[[Mapping[str, Any], int], Encoded],
    ) -> list[Encoded]:
        """Rows, each with its place among them, through `encode`. Raises what that raises, and `Unavailable` after the deadline."""
        if self.engine.cheap(rows):
            return [encode(row, place) for place, row in enumerate(rows)]
        loop = asyncio.get_running_loop()
        if self.engine.plain:
            return await loop.run_in_executor(
                self._pool, lambda: [encode(row, place) for place, row in enumerate(rows)]
            )

        def encode_in_time(row: Mapping[str, Any], place: int) -> Encoded:
            if deadline_s < now_s():
                raise Unavailable("E_DEADLINE", "the deadline passed before its turn came")
            return encode(row, place)

        jobs = [loop.run_in_executor(self._pool, encode_in_time, row, place) for place, row in enumerate(rows)]
        try:
            return await asyncio.gather(*jobs)
        except BaseException:  # its client may have left too: what waits in the pool need not run
            for job in jobs:
                job.cancel()
            raise

    async def submit(self, rows: Part, kin: tuple[Hashable, int], terms: Terms) -> list[Answers]:
        """What the model answers for rows of like shape. Raises `Refusal`, `ModelError` or `Unavailable`."""
        answers = self.batcher.submit(
            rows, shape=kin[0], length=kin[1], deadline_s=terms.deadline_s, flow=terms.flow, priority=terms.priority, passenger=terms.journey,
            alone=self.instant and terms.alone and len(rows) == 1,
        )  # fmt: skip
        if not self.engine.remote or math.isinf(terms.deadline_s):
            return await answers
        try:
            return await asyncio.wait_for(answers, max(terms.deadline_s - now_s(), 0.0))
        except TimeoutError:
            raise Unavailable("E_RUNTIME_SLOW", "the runtime behind this server did not answer in time") from None

    def _run(self, parts: list[Part]) -> Answers | asyncio.Future[Answers]:
        """On the event loop where that is over in a moment, else in the pool."""
        if self._row_s * sum(map(len, parts)) <= self._spare_s:
            return self.engine.run_rows(parts)
        pool = self._devices or self._pool
        return asyncio.get_running_loop().run_in_executor(pool, self.engine.run_rows, parts, self.batcher.until_s)

    def hold(self) -> None:
        """A request has this model from here on: it is not closed before `release`."""
        self._holders += 1

    def release(self) -> None:
        """The request has ended."""
        self._holders -= 1
        if not self._holders and self._unused is not None:
            self._unused.set()

    async def retire(self) -> None:
        """Close once every request that has this model has its answer."""
        if self._holders:
            self._unused = asyncio.Event()
            await self._unused.wait()
        await self.close()

    async def close(self) -> None:
        """Answer what waits, refuse what comes, and stop."""
        await self.batcher.close()
        if self._devices is not None:
            self._devices.shutdown(wait=False)
        self.engine.close()

    async def __aenter__(self) -> ServedModel:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
