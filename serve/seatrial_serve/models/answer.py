"""What a model answered for a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from types import MappingProxyType
from typing import Any

import numpy as np

from seatrial_contracts.answer_faults import OutputFault
from seatrial_contracts.answer_forms import unprompted
from seatrial_contracts.errors import ModelError, Refusal, Unavailable
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.inference.engine import Answers
from seatrial_serve.models.request import Given

RowError = Refusal | ModelError | Unavailable


NO_ERRORS: Mapping[int, RowError] = MappingProxyType({})
NO_PROMPTS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Answer:
    """The model's answers for a request: parts of batches.

    If the rows came apart, it holds their own order too.
    """

    given: Given
    parts: Sequence[Answers]
    order: Sequence[int] | None = None
    notes: Sequence[tuple[Any, ...]] = ()
    """Of each row that has an answer, in the order of the request.

    Empty where no answer is about an input.
    """
    errors: Mapping[int, RowError] = field(default_factory=lambda: NO_ERRORS)
    """Of a partial answer: place in the request -> why that row has no answer.

    All else in here is of the other rows.
    """
    prompts: Mapping[str, str] = field(default_factory=lambda: NO_PROMPTS)
    """What stands before the client's own texts in `given`, by the name of their input."""

    @property
    def own(self) -> Given:
        """What the client sent, validated: `given` without prompts."""
        return unprompted(self.given, self.prompts) if self.prompts else self.given

    def __iter__(self) -> Iterator[tuple[dict[str, Array], int]]:
        """For each row: the outputs of its batch, and its place in them."""
        places = [(part.outputs, index) for part in self.parts for index in part.rows]
        return iter(places if self.order is None else [places[place] for place in self.order])

    @property
    def notes_by_row(self) -> Iterable[tuple[Any, ...]]:
        """The notes of each row that has an answer, without end where there are none."""
        return self.notes or repeat(())

    @property
    def rows(self) -> int:
        """How many rows were asked, those in `errors` among them."""
        return len(self.errors) + sum([part.stop - part.start for part in self.parts])

    @property
    def places(self) -> list[int]:
        """Where the rows that have answers stand in the request."""
        return [place for place in range(self.rows) if place not in self.errors]

    @property
    def fault(self) -> tuple[OutputFault, int] | None:
        """The first row whose answer nobody may be given: what is wrong with it, and its place."""
        for part in self.parts:
            if part.faults:
                break
        else:
            return None
        came = [part.faults.get(row) for part in self.parts for row in part.rows]
        found = came if self.order is None else [came[place] for place in self.order]
        return next((fault, place) for place, fault in enumerate(found) if fault is not None)

    @property
    def size_bytes(self) -> int:
        """What its tensors take."""
        return sum(
            array[part.start : part.stop].nbytes
            for part in self.parts
            for array in part.outputs.values()
        )

    @property
    def held_bytes(self) -> int:
        """What they keep in memory: the batches as a whole."""
        return sum(array.nbytes for part in self.parts for array in part.outputs.values())

    def array(self, name: str) -> Array:
        """Return one output of all rows, rows first.

        Raises `Refusal` if rows have answers of unlike shape.
        """
        if len(self.parts) == 1 and self.order is None:
            part = self.parts[0]
            return part.outputs[name][part.start : part.stop]
        arrays = [part.outputs[name][part.start : part.stop] for part in self.parts]
        if len({array.shape[1:] for array in arrays}) > 1:
            raise Refusal(
                "E_SHAPE",
                f"output '{name}'",
                "answers of unlike shape",
                "rows of like shape in one request",
            )
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return whole if self.order is None else whole[np.asarray(self.order)]
