"""Many raw rows, or columns of them, through an engine in batches: for Python's users, no server.

Rows are shown in messages, since they are the caller's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from math import prod
from typing import Any

from seatrial_contracts.answer_blocks import Block, blocks_of
from seatrial_contracts.answer_forms import prompted
from seatrial_contracts.errors import Refusal
from seatrial_contracts.host_stage import EncodedRow, Part, in_batches
from seatrial_contracts.kinds.kind import Array, Column, TensorSpec
from seatrial_contracts.kinds.output_kind import OptionValues
from seatrial_contracts.own_rows import showing, validate_own
from seatrial_serve.inference.engine import Engine
from seatrial_serve.process.resources import usable_cores

MOST_ROWS, FEW_ROWS, ELEMENTS = 4096, 32, 2**16
"""Rows of a batch: the most, the fewest, and between them as many as have so many elements.

Rows whose sizes differ run in batches of the fewest: shorter ones are filled up.
"""
Run = Callable[[], Iterable[Block]]


class Predictor:
    """Runs rows of any number through one engine, a batch on each core that there is."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._contract = engine, engine.contract
        most = rows_of_a_batch(engine.specs) if engine.bundle.manifest.batchable else 1
        self.batch_rows = int(min(most, engine.most_rows))
        """Rows that run together at most."""

    @property
    def columnar(self) -> bool:
        """Do columns enter the graph as they come?"""
        return self._engine.columnar and not self._contract.noted

    def rows(self, rows: Sequence[Any], options: OptionValues) -> Iterator[Block]:
        """The answers for raw rows, in their order.

        Raises `Refusal` that shows what is wrong with a row, and `ModelError`.
        """
        return _in_order(self._runs_of_rows(rows, options), len(rows) <= self.batch_rows)

    def columns(self, columns: Mapping[str, Column], rows: int) -> Iterator[Block]:
        """The answers for validated columns of a `columnar` engine, in their order.

        Raises `Refusal` where the host stage refuses them, and `ModelError`.
        """
        block = self._engine.front.encode_columns(columns)
        runs = (
            partial(self._run_part, block[start : start + self.batch_rows], start)
            for start in range(0, rows, self.batch_rows)
        )
        return _in_order(runs, rows <= self.batch_rows)

    def _runs_of_rows(self, rows: Sequence[Any], options: OptionValues) -> Iterator[Run]:
        waiting, start = iter(rows), 0
        prompts = self._contract.prompts(options)
        while some := list(islice(waiting, self.batch_rows)):
            valid = [
                validate_own(self._contract, row, place) for place, row in enumerate(some, start)
            ]
            given = prompted(valid, prompts)
            assert not isinstance(given, Mapping)
            yield partial(self._run_rows, self._encoded(given, some, start), start)
            start += len(some)

    def _encoded(
        self, valid: Sequence[Mapping[str, Any]], raw: Sequence[Any], start: int
    ) -> list[EncodedRow]:
        encoded: list[EncodedRow] = []
        if self._engine.together:
            found = self._engine.encode_together(valid, range(start, start + len(valid)))
            for each, row in zip(found, raw, strict=True):
                if isinstance(each, Refusal):
                    raise showing(each, row, self._contract)
                encoded.append(each)
            return encoded
        for place, row in enumerate(valid):
            try:
                encoded.append(self._engine.encode(row, start + place))
            except Refusal as refusal:
                raise showing(refusal, raw[place], self._contract) from None
        return encoded

    def _run_rows(self, encoded: Sequence[EncodedRow], start: int) -> Iterable[Block]:
        front, noted = self._engine.front, self._contract.noted
        notes = [front.notes_of(row) for row in encoded] if noted else ()
        answers: list[Mapping[str, Any]] = [{}] * len(encoded)
        keys = (self._engine.batch_key(row)[0] for row in encoded)
        for places in in_batches(keys, self.batch_rows):
            part = [encoded[place] for place in places]
            outputs = self._run(part, [start + place for place in places])
            if len(places) == len(encoded):
                return [Block(outputs, len(encoded), notes)]
            for index, place in enumerate(places):
                answers[place] = {name: array[index] for name, array in outputs.items()}
        return list(blocks_of(answers, notes))

    def _run_part(self, part: Part, start: int) -> Iterable[Block]:
        return [Block(self._run(part, range(start, start + len(part))), len(part))]

    def _run(self, part: Part, places: Sequence[int]) -> dict[str, Array]:
        answers = self._engine.run_rows([part])
        for row, fault in answers.faults.items():
            raise self._engine.fault(fault, places[row])
        return answers.outputs


def rows_of_a_batch(specs: Sequence[TensorSpec]) -> int:
    """How many rows with these tensors run together."""
    sizes = [side for spec in specs for side in spec.dims]
    if any(isinstance(side, str) for side in sizes):
        return FEW_ROWS
    elements = sum(prod(map(int, spec.dims)) for spec in specs)
    return max(FEW_ROWS, min(MOST_ROWS, ELEMENTS // max(elements, 1)))


def _in_order(runs: Iterator[Run], single: bool) -> Iterator[Block]:
    """What the runs give, in their order, one on each core at once.

    Where a run fails, those behind it are not waited for.
    """
    cores = usable_cores()
    if single or cores == 1:
        for run in runs:
            yield from run()
        return
    with ThreadPoolExecutor(cores, "seatrial-predict") as pool:
        running: deque[Future[Iterable[Block]]] = deque()
        try:
            for run in runs:
                running.append(pool.submit(run))
                if len(running) > cores:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            for each in running:
                each.cancel()
