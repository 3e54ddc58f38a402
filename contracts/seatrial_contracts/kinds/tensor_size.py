"""The sides of a tensor: fixed, of any size, between two sizes, or named and shared."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field

from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import MAX_SIDE, Array


class Size(Declared):
    """`st.Tensor[np.float32, st.Size("t", 1, 512), 3]`: a size that has a name.

    Wherever the name stands in a row, in one tensor or in several, the size must be the same. A
    `most` of None is any size. In the graph the name is that of the dimension.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    least: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 1
    most: Annotated[int, Field(ge=0, le=MAX_SIDE)] | None = None

    def __init__(self, name: str, least: int = 1, most: int | None = None) -> None:
        super().__init__(name=name, least=least, most=most)

    # As in `Declared`: JSON is validated without a call of `__init__`.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.name}={describe_side((self.least, self.most))}"


Side = int | Annotated[tuple[int, int | None], Field(strict=False)] | Size | None
"""One side of a tensor: a number, (least, most) or a `Size` where the side varies.

None is any size above 0, and a `most` of None any size.
"""


def ends_of(side: Side) -> tuple[int, int | None]:
    """Least and most of a side, None where only the number of values ends it."""
    if isinstance(side, Size):
        return side.least, side.most
    return side if isinstance(side, tuple) else (side or 1, side)


def describe_side(side: Side) -> str:
    """`3`, `any`, `8 to 512`, `at least 8`, `t=8 to 512`."""
    if isinstance(side, tuple):
        return f"at least {side[0]}" if side[1] is None else f"{side[0]} to {side[1]}"
    return "any" if side is None else str(side)


def side_of(part: Any) -> Any:
    """A side as it stands between the brackets: `8:512` is (8, 512), `:512` is (1, 512)."""
    if not isinstance(part, slice):
        return part
    if part.step is not None:
        raise DeclarationError(
            "st.Tensor",
            f"a side with the step {part.step!r}"[:80],
            "least:most, every size between them",
        )
    return (1 if part.start is None else part.start, part.stop)


def completed(array: Array, sides: tuple[Side, ...]) -> Array:
    """An empty array of JSON with all of its sides: those within an empty list at their least."""
    if array.size or array.ndim >= len(sides):
        return array
    rest = [ends_of(side)[0] for side in sides[array.ndim :]]
    return array.reshape(*array.shape, *rest)


def with_null(array: Array) -> Array:
    """The same for JSON, which has no NaN: null is missing."""
    made = array.astype(object)
    made[np.isnan(array)] = None
    return made


def holding(values: list[Any], shape: tuple[int, ...], dtype: str) -> Array:
    """An array of that shape of these values, repeated where they do not suffice."""
    count = prod(shape)
    flat = [values[place % len(values)] for place in range(count)]
    return np.array(flat, dtype).reshape(shape)
