"""What a runner is: a context manager that answers raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from seatrial_contracts.kinds.kind import Array

Answers = list[dict[str, Array]]
RawRows = Sequence[Mapping[str, Any]]


class Runner(Protocol):
    """Answers raw rows as the model's numbers, one mapping for each row."""

    @property
    def name(self) -> str:
        """What answers: "pytorch", "onnxruntime", "http v1"."""
        ...

    @property
    def variant(self) -> str:
        """Which graph answers, where that is known."""
        ...

    @property
    def provider(self) -> str | None:
        """What runs it, where that is known."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        """The answers to raw rows, asked `batch_rows` at a time. Raises a `SeatrialError` where one is refused or fails."""
        ...

    def refusal_code(self, row: Any) -> str | None:
        """The code that this raw row is refused with; None where it is answered."""
        ...
