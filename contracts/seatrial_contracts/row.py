"""The classes that a user's rows and answers derive from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """One raw input, as a client sends it. Fields are declared with types and field kinds.

        class Penguin(Row):
            island: Literal["Biscoe", "Dream", "Torgersen"]
            bill_length_mm: Annotated[float | None, Number(ge=10, le=100, unit="mm")]

    Strict: no type is coerced, no extra field is taken, NaN and infinities are refused.

    With `packed`, numbers of the row enter the graph as one tensor: see `Columns`.
    """

    packed_columns: ClassVar[Mapping[str, Any]] = {}
    """Name of a tensor -> the kind that packs fields of this class into it."""

    def __init_subclass__(cls, packed: str | Mapping[str, Any] | None = None, **more: Any) -> None:
        """`packed` is the name of a float32 tensor, or the name and `Columns` of each tensor."""
        super().__init_subclass__(**more)
        if packed is not None:
            cls.packed_columns = {packed: None} if isinstance(packed, str) else dict(packed)

    @classmethod
    def from_frame(cls, frame: Any, name: str = "Rows") -> type[Row]:
        """A row class by the columns of a pandas data frame, as a start: see `row_of_frame`."""
        from seatrial_contracts.frames import row_of_frame

        return row_of_frame(frame, name)

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        frozen=True,
        protected_namespaces=(),
        arbitrary_types_allowed=True,
        defer_build=True,  # what no validator can be built for is named where the contract is read
    )


def plain_row(row: Row) -> dict[str, Any]:
    """A row's values by name, rows within it as well."""
    return {name: plain_value(value) for name, value in row.__dict__.items()}


def plain_value(value: Any) -> Any:
    """A value, in which rows are mappings, and members of an `Enum` their values."""
    if isinstance(value, Row):
        return plain_row(value)
    if isinstance(value, Enum):
        return value.value
    return [plain_value(each) for each in value] if isinstance(value, list) else value


class BuiltRow(Row):
    """The base of what a contract makes of its own fields.

    Its validators are there before the first request.
    """

    model_config = ConfigDict(defer_build=False)


class Answer(BaseModel):
    """A model's answer for one row.

    Fields are numbers, labels or tensors, in the order of the model's outputs.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        frozen=True,
        protected_namespaces=(),
        arbitrary_types_allowed=True,
        defer_build=True,
    )
