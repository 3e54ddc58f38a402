"""A mapped kind: its answer is in the client's own terms, not in the graph's.

Boxes come in pixels of the client's picture, spans in characters of the client's text.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from seatrial_contracts.compare import Comparison, Tolerance
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array, JsonSchema
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues, OutputKind

COUNT = "count"
"""What the tensor is called that says how many things a row's answer holds."""


class MappedKind(OutputKind):
    """A kind whose answer is made of the graph's tensors and the row's note.

    A client sees tensors (`client_tensors`) over V2 and gRPC, and JSON over V1. Where the number of
    things differs from row to row, the first side of each tensor is open: V2 fills shorter answers
    up with zeros or empty words, and `<name>_count` says how many of a row are answers.
    """

    @property
    def answers_slowly(self) -> bool:
        """Does `client` or `written` take longer than a hop to another thread (some 50 us)?"""
        return False

    def client_bytes(self, note: Any) -> int:
        """What one row takes as the client's tensors, where the graph's may be much smaller.

        Else 0.
        """
        return 0

    @abstractmethod
    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        """The tensors that a client sees of one row."""

    def counted_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        """The same, and behind them the number of a row's things, where that differs."""
        tensors = self.client_tensors(name)
        count = AnswerTensor(f"{name}_{COUNT}", "INT32")
        return (*tensors, count) if is_ragged(tensors) else tensors

    def tensors_for(self, name: str, options: OptionValues) -> tuple[AnswerTensor, ...]:
        """`counted_tensors` of a request with these options, which may change types and sizes."""
        return self.counted_tensors(name)

    @abstractmethod
    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        """One row's answer in the client's terms: an array for each of `client_tensors`."""

    @abstractmethod
    def written(self, values: Arrays) -> Any:
        """The same as JSON values, or numpy ones that orjson writes."""

    @abstractmethod
    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Compare two answers in the client's terms, each as `client` makes it.

        The comparison matches what belongs together: boxes by class and place, spans by place.
        """

    @abstractmethod
    def json_schema(self) -> JsonSchema:
        """JSON Schema (2020-12) of what `written` makes."""

    def describe(self, arrays: Arrays, note: Any, options: OptionValues) -> Any:
        return self.written(self.client(arrays, note, options))

    @abstractmethod
    def recover(self, value: Any) -> tuple[Array, ...]:
        """Read the client's tensors back from what `written` made."""


def is_list(tensor: AnswerTensor) -> bool:
    """Is it a list, of which each row has a number of its own? A picture is none."""
    return tensor.shape[:1] == (None,) and None not in tensor.shape[1:]


def is_ragged(tensors: Sequence[AnswerTensor]) -> bool:
    """Does the number of things differ from row to row?"""
    return any(map(is_list, tensors))


def stacked(tensors: Sequence[AnswerTensor], rows: Sequence[Arrays]) -> list[Array]:
    """One array for each tensor, rows first, from the client's tensors of each row.

    Shorter rows are filled up. Where the tensors are ragged, the counts come last, int32,
    `(rows,)`. Raises `Refusal` where pictures are of unlike size.
    """
    made = []
    for place, tensor in enumerate(tensors):
        column = [row[place] for row in rows]
        if not is_list(tensor):
            if len({values.shape for values in column}) > 1:
                raise Refusal(
                    "E_SHAPE",
                    f"output '{tensor.name}'",
                    "answers of unlike shape",
                    "rows of like shape in one request",
                )
            made.append(np.stack(column))
            continue
        longest = max(map(len, column))
        blank: Any = "" if tensor.datatype == "BYTES" else 0
        whole = np.full((len(column), longest, *column[0].shape[1:]), blank, column[0].dtype)
        for row, values in enumerate(column):
            whole[row, : len(values)] = values
        made.append(whole)
    if is_ragged(tensors):
        first = next(place for place, each in enumerate(tensors) if is_list(each))
        made.append(np.array([len(row[first]) for row in rows], np.int32))
    return made


def unstacked(tensors: Sequence[AnswerTensor], arrays: Arrays, row: int) -> tuple[Array, ...]:
    """The client's tensors of one row, from what `stacked` made."""
    count = int(arrays[-1][row]) if is_ragged(tensors) else None
    return tuple(
        array[row, :count] if is_list(tensor) else array[row]
        for tensor, array in zip(tensors, arrays, strict=False)
    )
