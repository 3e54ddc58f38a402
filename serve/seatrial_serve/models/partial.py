"""Partial answers: a row that cannot be answered takes none of the others with it.

Requests are answered so if the client chooses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.errors import ModelError, Refusal
from seatrial_contracts.host_stage import EncodedRow, Part, group_places
from seatrial_serve.inference.engine import Answers
from seatrial_serve.models.answer import Answer, RowError
from seatrial_serve.models.request import Given, Terms, rows_at, rows_of
from seatrial_serve.models.served_model import ServedModel

HEADER = b"x-partial"
"""`X-Partial: 1` over HTTP, `x-partial` in the metadata of gRPC."""
FAILED_RUN = frozenset({"E_MODEL", "E_MODEL_INPUT"})
"""The codes of rows that a batch failed for, so that it ran again for its other rows."""


def asks_for_parts(headers: Mapping[bytes, bytes]) -> bool:
    """Does a request want answers by row? Raises `Refusal`."""
    value = headers.get(HEADER)
    if value is None or value == b"0":
        return False
    if value != b"1":
        raise Refusal(
            "E_PARAMETER", "header X-Partial", "another value", "1, or 0 for all rows or none"
        )
    return True


async def answer_each(
    model: ServedModel, given: Given, refused: Mapping[int, Refusal], terms: Terms
) -> Answer:
    """Return the model's answers for the validated rows of a request.

    Those in `refused` (place -> why) are left out.

    A row that the host stage refuses, that the model fails on or answers with NaN joins `refused`
    in `Answer.errors`, with the error that it would have alone. Raises `Unavailable` as
    `ServedModel.answer_rows` does, since what is not there is there for no row, and `Refusal` if
    the answers are too large.
    """
    if isinstance(given, Mapping) and not model.engine.columnar:
        given = rows_of(given)
    rows = len(next(iter(given.values()), ())) if isinstance(given, Mapping) else len(given)
    places = [place for place in range(rows + len(refused)) if place not in refused]
    by_row = RowByRow(model, places, dict(refused), terms)
    if not rows:
        model.metrics.row_errors([error.code for error in refused.values()])
        return Answer(given, (), errors=by_row.errors)
    start = model.begin(given, terms)
    groups = await by_row.encode(given)
    model.fronted(start, [terms.record])
    found = [
        each
        for group in await asyncio.gather(
            *(by_row.run(part, batch_key, some) for part, batch_key, some in groups)
        )
        for each in group
    ]
    answered = [index for some, _ in found for index in some]
    order = np.argsort(answered)
    model.metrics.row_errors([error.code for error in by_row.errors.values()])
    return model.checked(
        Answer(
            given if len(answered) == rows else rows_at(given, sorted(answered)),
            [answers for _, answers in found],
            order.tolist(),
            [by_row.notes[index] for index in sorted(answered)] if by_row.notes else (),
            dict(sorted(by_row.errors.items())),
        )
    )


class RowByRow:
    """The rows of one request, each with two numbers.

    `index` is a row's place among those that the contract took, `places` its place in the request.
    """

    def __init__(
        self, model: ServedModel, places: Sequence[int], errors: dict[int, RowError], terms: Terms
    ) -> None:
        self._model, self._places, self._terms = model, places, terms
        self.errors = errors
        """Place in the request -> why that row has no answer."""
        self.notes: dict[int, tuple[Any, ...]] = {}
        """Index -> the notes of a row; empty where no answer is about an input."""

    async def encode(self, given: Given) -> list[tuple[Part, tuple[Hashable, int], Sequence[int]]]:
        """Return the rows that the host stage takes, those of like shape together.

        Each entry holds the part, what its rows share, and their indices.
        """
        engine = self._model.engine
        if isinstance(given, Mapping):
            block = engine.front.encode_columns(given)
            return [(block, engine.batch_key_of_block(block), range(len(block)))]
        encoded = await self._model.encode(given, self._terms, self._encoded)
        kept = [(index, row) for index, row in enumerate(encoded) if row is not None]
        if self._model.contract.noted:
            self.notes = {index: engine.front.notes_of(row) for index, row in kept}
        groups = group_places(engine.batch_key(row) for _, row in kept)
        return [
            ([kept[place][1] for place in some], batch_key, [kept[place][0] for place in some])
            for batch_key, some in groups.items()
        ]

    def _encoded(self, row: Mapping[str, Any], index: int) -> EncodedRow | None:
        place = self._places[index]
        try:
            return self._model.engine.encode(row, place)
        except (Refusal, ModelError) as error:
            self.errors[place] = error
            return None

    async def run(
        self, part: Part, batch_key: tuple[Hashable, int], indices: Sequence[int]
    ) -> list[tuple[Sequence[int], Answers]]:
        """Return the model's answers for rows of like shape, and the indices of their rows.

        A part that fails runs again in halves.
        """
        try:
            answers = await self._model.submit(part, batch_key, self._terms)
        except (Refusal, ModelError) as error:
            if len(part) == 1:
                self.errors[self._places[indices[0]]] = error
                return []
            middle = len(part) // 2
            first = await self.run(part[:middle], batch_key, indices[:middle])
            return first + await self.run(part[middle:], batch_key, indices[middle:])
        found: list[tuple[Sequence[int], Answers]] = []
        came = 0
        for each in answers:
            found += self._good(each, indices[came : came + len(each.rows)])
            came += len(each.rows)
        return found

    def _good(
        self, answers: Answers, indices: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], Answers]]:
        """Yield the stretches of a batch's answers between those that nobody may be given.

        Such answers are errors.
        """
        begun = 0
        for row, fault in answers.faults.items():
            bad = row - answers.start
            place = self._places[indices[bad]]
            self.errors[place] = self._model.engine.fault(fault, place)
            if bad > begun:
                yield indices[begun:bad], answers.part(begun, bad)
            begun = bad + 1
        if begun < len(answers.rows):
            yield indices[begun:], answers.part(begun, len(answers.rows))


def failed_runs(answer: Answer) -> bool:
    """Did a batch fail for one of its rows?"""
    return any(error.code in FAILED_RUN for error in answer.errors.values())


def described_errors(answer: Answer) -> list[dict[str, Any]]:
    """Return the rows without an answer, as clients see them.

    Each is `{"row": place, "code": ..., "error": ...}`, with `errors`, as `Refusal.described` has
    them, where the row itself was refused.
    """
    return [
        {"row": place, "code": error.code, "error": str(error)}
        | (error.described() if isinstance(error, Refusal) else {})
        for place, error in answer.errors.items()
    ]
