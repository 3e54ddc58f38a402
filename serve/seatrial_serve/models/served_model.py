"""A served model: validated rows or columns in, the model's numbers out.

They go through host stage, batcher and runtime.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal, TooLate, Unavailable
from seatrial_contracts.host_stage import ColumnBlock, EncodedRow, Part, group_places
from seatrial_contracts.kinds.kind import Column
from seatrial_contracts.predict_request import reader_of
from seatrial_serve.engines.front import SharedEngine
from seatrial_serve.engines.runner import BatchRunner
from seatrial_serve.engines.spread import SpreadQueue
from seatrial_serve.inference.engine import Answers, Engine
from seatrial_serve.inference.load_gate import Admitted
from seatrial_serve.metrics.drift_counts import DriftCounts
from seatrial_serve.metrics.model_metrics import ModelMetrics
from seatrial_serve.metrics.pressure import Pressure
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.request import Given, Terms, rows_of
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.json_pieces import LARGE_BYTES
from seatrial_serve.scheduling.admission import Backlog, Quarantine
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.batcher import Batcher
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.scheduling.ticket import Ticket
from seatrial_serve.v2.plain_row import PlainRow

Encoded = TypeVar("Encoded")


TOGETHER_ROWS = 32
"""Rows of a request that the host stage takes in one go; the deadline is checked between goes."""
FEW_ROWS, FEW_ROWS_OF_MANY = 8, 128
"""So many rows of a turn are tokenised on the event loop, in some 0.4 ms; more go to a thread.

If several processes share an engine, others accept meanwhile: 128 rows take some 6 ms, and threads
would take a tenth more processor time.
"""


async def in_time(jobs: Sequence[asyncio.Future[Encoded]], deadline_s: float) -> list[Encoded]:
    """Return what jobs in a pool make of rows.

    Jobs that wait in the pool are not run once one has failed, or the client has left.

    Raises `Unavailable` at the deadline, a time of `now_s`, whether the jobs' turn has come by then
    or not.
    """
    left_s = None if math.isinf(deadline_s) else max(deadline_s - now_s(), 0.0)
    try:
        async with asyncio.timeout(left_s):
            return await asyncio.gather(*jobs)
    except TimeoutError:
        raise TooLate from None
    finally:
        for job in jobs:
            job.cancel()


def note(phase: str, start_s: float, end_s: float, records: Sequence[RequestRecord | None]) -> None:
    """A phase of these requests, where somebody keeps a record of them."""
    span = phase, start_s, end_s
    for record in records:
        if record is not None:
            record.phases.append(span)


RowsAtOnce = tuple[Part, tuple[Hashable, int]]
"""Rows that are one ticket, and what they share with those that they can run with."""


class ServedModel:
    """One version of one model that passed its load gate.

    Use `async with`, or `start` and `close`.
    """

    def __init__(
        self,
        engine: Engine | SharedEngine,
        admitted: Admitted,
        rule: BatchRule,
        cores: FairPool,
        host_stages: FairPool,
        metrics: ModelMetrics,
        *,
        name: str,
        slots: int,
        max_waiting_rows: int,
        drift_counts: DriftCounts | None = None,
    ) -> None:
        """`name`: what clients call it; its bundle may have another one.

        `cores`: threads for batches, shared with other models by what their batches cost; `slots`:
        how many batches run at once.
        """
        self.engine = engine
        self.name = name
        self.contract = engine.contract
        self.admitted = admitted
        self.metrics = metrics
        self.version = engine.bundle.version
        self.reader, self.plain_row = reader_of(engine.contract), PlainRow(engine.contract)
        self._host_stages, self.drift_counts = host_stages, drift_counts
        self._unused: asyncio.Event | None = None
        self._holders = 0
        self.objective_s = engine.contract.objective.p99_s or math.inf
        """An answer later than this is slow."""
        self.backlog = Backlog(admitted.pace.predict_s(admitted.pace.length) / slots)
        self.quarantine = Quarantine()
        row_bytes = self.contract.answer_row_bytes
        self.few_rows = LARGE_BYTES // row_bytes if row_bytes else 0
        """The answers of so many rows are surely short; of more they may be long."""
        self._answers_slowly = any(each.kind.answers_slowly for each in self.contract.mapped)
        self._may_be_large = (
            row_bytes is None
            or row_bytes * self.contract.limits.max_rows > self.contract.limits.max_answer_bytes
        )
        self._runner: BatchRunner | None = None
        """Runs its batches; None where the engine process does."""
        self.batcher: Batcher[Part, Answers] | SpreadQueue
        if isinstance(engine, SharedEngine):
            self.batcher = SpreadQueue(engine, max_waiting_rows=max_waiting_rows, observe=metrics)
        else:
            runner = self._runner = BatchRunner(
                engine, admitted.pace, cores, (self.name, self.version)
            )
            batcher: Batcher[Part, Answers] = Batcher(
                rule, lambda parts: runner.run(parts, batcher.until_s),
                slots=slots, max_waiting_rows=max_waiting_rows, observe=metrics,
            )  # fmt: skip
            self.batcher = batcher
        self.rows_at_once_most = FEW_ROWS if self._runner is not None else FEW_ROWS_OF_MANY
        """More rows of a turn go through the host stage in threads."""
        self.runs_inline = self._runner is not None and self._runner.runs_inline
        """Does one row run on the event loop itself?"""

    @property
    def pressure(self) -> Pressure:
        """How much waits for it. Any thread may ask."""
        running = self.batcher.requests_running
        waiting = max(self.backlog.users - running, 0)
        return Pressure(self.backlog.expected_s, self.backlog.queue_s, waiting, running)

    @property
    def bundle(self) -> Bundle:
        """The bundle that is served."""
        return self.engine.bundle

    @property
    def variant(self) -> str:
        """Which of its graphs answers."""
        return self.engine.variant

    async def answer(self, given: Given, terms: Terms) -> Answer:
        """What the model answers for what a request asks. See `answer_rows`."""
        if isinstance(given, Mapping):
            return await self.answer_columns(given, terms)
        return await self.answer_rows(given, terms)

    async def answer_rows(self, rows: Sequence[Mapping[str, Any]], terms: Terms) -> Answer:
        """What the model answers for validated rows.

        Raises `Refusal` where the host stage refuses a row, `ModelError` where the model fails on
        one or answers it with NaN, `Unavailable` where the queue is full or the deadline passed
        before its turn.
        """
        start = self.begin(rows, terms)
        encoded = await (
            self._encode_together if self.engine.together and len(rows) > 1 else self._encode
        )(rows, terms)
        self.fronted(start, [terms.record])
        notes = self.notes_of(encoded)
        groups = group_places(map(self.engine.batch_key, encoded))
        if len(groups) == 1:
            parts = await self.submit(encoded, next(iter(groups)), terms)
            return self.checked(Answer(rows, parts, notes=notes))
        answers = await asyncio.gather(
            *(
                self.submit([encoded[place] for place in places], batch_key, terms)
                for batch_key, places in groups.items()
            )
        )
        came = [place for places in groups.values() for place in places]
        return self.checked(
            Answer(
                rows,
                [part for parts in answers for part in parts],
                np.argsort(came).tolist(),
                notes,
            )
        )

    def notes_of(self, rows: Part) -> Sequence[tuple[Any, ...]]:
        """The notes of encoded rows; empty where no answer is about an input."""
        if not self.contract.noted or isinstance(rows, ColumnBlock):
            return ()
        return [self.engine.front.notes_of(row) for row in rows]

    async def answer_columns(self, columns: Mapping[str, Column], terms: Terms) -> Answer:
        """The same for validated columns."""
        if not self.engine.columnar:
            return await self.answer_rows(rows_of(columns), terms)
        start = self.begin(columns, terms)
        block = self.engine.front.encode_columns(columns)
        self.fronted(start, [terms.record])
        return self.checked(
            Answer(columns, await self.submit(block, self.engine.batch_key_of_block(block), terms))
        )

    def begin(self, given: Given, terms: Terms) -> float:
        """Begin the host stage of a request whose rows are validated; return its beginning."""
        if terms.record is not None:
            terms.record.given = given
        return now_s()

    def fronted(self, start: float, records: Sequence[RequestRecord | None]) -> None:
        """The rows of these requests went through the host stage together, since then."""
        end = now_s()
        self.metrics.front(end - start, len(records))
        note("front", start, end, records)

    def encoded(self, start: float, records: Sequence[RequestRecord | None]) -> None:
        """The answers of these requests were written together, since then."""
        end = now_s()
        self.metrics.encode(end - start, len(records))
        note("encode", start, end, records)

    def checked(self, answer: Answer) -> Answer:
        """The answer, where every row has one and it is not too large to be written down."""
        fault = answer.fault
        if fault is not None:
            raise self.engine.fault(*fault)
        most = self.contract.limits.max_answer_bytes
        size_bytes = answer.size_bytes if self._may_be_large else 0
        if self._answers_slowly:
            size_bytes += self.contract.client_bytes(answer.notes)
        if size_bytes > most:
            raise Refusal(
                "E_ANSWER_BYTES",
                "the answer",
                f"{size_bytes} bytes",
                f"at most {most}",
                "ask for fewer or smaller rows at once",
            )
        return answer

    async def _encode(self, rows: Sequence[Mapping[str, Any]], terms: Terms) -> list[EncodedRow]:
        return await self.encode(rows, terms, self.engine.encode)

    async def _encode_together(
        self, rows: Sequence[Mapping[str, Any]], terms: Terms
    ) -> list[EncodedRow]:
        """As `encode`, some rows at a time."""

        def encode_some(first: int) -> list[EncodedRow]:
            if terms.deadline_s < now_s():
                raise TooLate
            some = range(len(rows))[first : first + TOGETHER_ROWS]
            found = self.engine.encode_together(rows[first : first + TOGETHER_ROWS], some)
            for each in found:
                if isinstance(each, Refusal):
                    raise each
            return found  # type: ignore[return-value]

        jobs = [
            self._host_stages.run(
                partial(encode_some, first),
                flow=terms.flow,
                priority=terms.priority,
                cost=TOGETHER_ROWS,
            )
            for first in range(0, len(rows), TOGETHER_ROWS)
        ]
        return [row for some in await in_time(jobs, terms.deadline_s) for row in some]

    def is_large(self, answer: Answer) -> bool:
        """Is it to be written by a thread?"""
        return self._answers_slowly or (
            answer.rows > self.few_rows and answer.size_bytes > LARGE_BYTES
        )

    async def encode(
        self,
        rows: Sequence[Mapping[str, Any]],
        terms: Terms,
        encode: Callable[[Mapping[str, Any], int], Encoded],
    ) -> list[Encoded]:
        """Put rows, each with its place among them, through `encode`.

        Raises what `encode` raises, and `Unavailable` after the deadline.
        """
        if self.engine.encodes_inline(rows):
            return [encode(row, place) for place, row in enumerate(rows)]
        run = partial(self._host_stages.run, flow=terms.flow, priority=terms.priority)
        if self.engine.columnar:
            return await run(
                lambda: [encode(row, place) for place, row in enumerate(rows)], cost=len(rows)
            )

        def encode_in_time(row: Mapping[str, Any], place: int) -> Encoded:
            if terms.deadline_s < now_s():
                raise TooLate
            return encode(row, place)

        jobs = [run(partial(encode_in_time, row, place)) for place, row in enumerate(rows)]
        return await in_time(jobs, terms.deadline_s)

    async def submit(
        self, rows: Part, batch_key: tuple[Hashable, int], terms: Terms
    ) -> list[Answers]:
        """Return the model's answers for rows of like shape.

        Raises `Refusal`, `ModelError` or `Unavailable`.
        """
        answers = self.batcher.submit(
            rows,
            shape=batch_key[0],
            length=batch_key[1],
            deadline_s=terms.deadline_s,
            flow=terms.flow,
            priority=terms.priority,
            listener=terms.record,
            alone=self.runs_inline and terms.alone and len(rows) == 1,
        )
        if not self.engine.remote or math.isinf(terms.deadline_s):
            return await answers
        try:
            return await asyncio.wait_for(answers, max(terms.deadline_s - now_s(), 0.0))
        except TimeoutError:
            raise Unavailable(
                "E_RUNTIME_SLOW", "the runtime behind this server did not answer in time"
            ) from None

    def rows_at_once(self, given: Given, record: RequestRecord) -> RowsAtOnce | None:
        """Take rows that are one ticket through the host stage on the event loop.

        None: the rows take a thread, or more tickets than one.

        Raises `Refusal` where the host stage refuses a row.
        """
        engine = self.engine
        if engine.remote:
            return None
        record.given = record.given or given
        if isinstance(given, dict):
            if not engine.columnar:
                return self.rows_at_once(rows_of(given), record)
            block = engine.front.encode_columns(given)
            rows: Part = block
            batch_key = engine.batch_key_of_block(block)
        else:
            if not engine.encodes_inline(given):  # type: ignore[arg-type]
                return None
            rows = [engine.encode(row, place) for place, row in enumerate(given)]  # type: ignore[arg-type]
            batch_key = engine.batch_key(rows[0])
            if len(rows) == 1:
                return rows, batch_key
            if any(engine.batch_key(row) != batch_key for row in rows[1:]):
                return None
        return (rows, batch_key) if len(rows) <= self.batcher.rule.rows_of(batch_key[1]) else None

    def row_of_turn(self, given: Given, record: RequestRecord) -> Mapping[str, Any] | None:
        """Return the one row of a request that goes through the host stage with those of others.

        None: the request asks for more, or for something dearer.
        """
        rows = rows_of(given)
        if self.engine.remote or len(rows) != 1 or not self.engine.encodes_inline(rows):
            return None
        record.given = given
        return rows[0]

    def encode_turn_aside(
        self, rows: Sequence[Mapping[str, Any]], terms: Sequence[Terms]
    ) -> list[tuple[Sequence[int], asyncio.Future[list[EncodedRow | Exception]]]]:
        """As `encode_turn`, in threads: some places of `rows`, with what comes of those.

        Clients take turns, each row by the terms of its own request.
        """
        return self._host_stages.run_rows(
            lambda places: self.encode_turn([rows[place] for place in places]),
            [(each.flow, each.priority) for each in terms],
            TOGETHER_ROWS,
        )

    def encode_turn(self, rows: Sequence[Mapping[str, Any]]) -> list[EncodedRow | Exception]:
        """Take rows of several requests, each its request's only one, through the host stage.

        Where they fail together, each goes alone: one that fails takes no other with it.
        """
        try:
            return [*self.engine.encode_together(rows, [0] * len(rows))]
        except Exception:  # whatever a tokenizer raises
            return [self._encoded_or_error(row) for row in rows]

    def _encoded_or_error(self, row: Mapping[str, Any]) -> EncodedRow | Exception:
        try:
            return self.engine.encode(row, 0)
        except Exception as error:  # its sender is told
            return error

    def run_now(self, at_once: RowsAtOnce, terms: Terms) -> Answers | None:
        """Return what the model answers to rows at once.

        None: somebody else is here, or the model does not run on the event loop in a moment. See
        `Batcher.run_now`.
        """
        rows, (shape, length) = at_once
        if not self.runs_inline or len(rows) != 1:
            return None
        return self.batcher.run_now(
            rows, shape=shape, length=length, deadline_s=terms.deadline_s, listener=terms.record
        )

    def post(
        self, at_once: RowsAtOnce, terms: Terms, reply: Callable[[Answers | Exception], None]
    ) -> Ticket[Part, Answers]:
        """Put rows in the queue; call `reply` with what the model answers. See `Batcher.post`."""
        rows, (shape, length) = at_once
        return self.batcher.post(
            rows,
            reply,
            shape=shape,
            length=length,
            deadline_s=terms.deadline_s,
            flow=terms.flow,
            priority=terms.priority,
            listener=terms.record,
        )

    def hold(self) -> None:
        """A request has this model from here on: it is not closed before `release`."""
        self._holders += 1

    def release(self, requests: int = 1) -> None:
        """So many requests that had it have ended."""
        self._holders -= requests
        if not self._holders and self._unused is not None:
            self._unused.set()

    @property
    def held(self) -> bool:
        """Does a request have this model?"""
        return self._holders > 0

    async def retire(self) -> None:
        """Close once every request that has this model has its answer."""
        try:
            if self._holders:
                self._unused = asyncio.Event()
                await self._unused.wait()
        finally:  # where the server ends, nobody waits for those requests
            await self.close()

    async def close(self) -> None:
        """Answer what waits, refuse what comes, and stop."""
        await self.batcher.close()
        if self._runner is not None:
            self._runner.close()
        else:
            self.engine.close()

    async def __aenter__(self) -> ServedModel:
        await self.batcher.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
