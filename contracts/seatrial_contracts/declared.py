"""A value that a user writes in a declaration; Pydantic's findings about it are reworded."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from operator import is_
from typing import Any, Self

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from seatrial_contracts.errors import DeclarationError

LONGEST_GOT = 60
OTHER_NAMES = {
    "min": "ge", "minimum": "ge", "min_value": "ge", "max": "le", "maximum": "le",
    "max_value": "le", "size": "size_px", "shape": "size_px", "sample_rate": "rate_hz",
    "dtypes": "dtype", "values": "words", "labels": "classes",
}  # fmt: skip
"""What other libraries call an option -> its name here."""
is_none = partial(is_, None)
"""Leaves an option out of JSON (`exclude_if`) where it is not chosen."""


class PlainValue(BaseModel):
    """A frozen value, of which a copy with other options works everything out anew."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other options, and without what this one worked out from its own."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Declared(PlainValue):
    """The base of field kinds, limits, tolerances and promises."""

    def __init__(self, /, **options: Any) -> None:
        """Raises `DeclarationError` that names the option, what it got and what it wants."""
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise self._refused(error.errors(include_url=False)[0]) from None

    # Pydantic reads this mark: JSON is validated without a call of `__init__` for each value.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def _mend_of_option(cls, name: str, value: Any) -> str:
        """How an option that has another name is written: with its value, where that fits."""
        try:
            cls(**{name: value})
        except DeclarationError:
            return f"it is called {name}"
        return f"write {name}={value!r}"[:LONGEST_GOT]

    @classmethod
    def _refused(cls, first: ErrorDetails) -> DeclarationError:
        where = f"st.{cls.__name__}"
        option = "".join(
            [
                *map(str, first["loc"][:1]),
                *(f"[{part}]" for part in first["loc"] if isinstance(part, int)),
            ]
        )
        if first["type"] == "extra_forbidden":
            names = [name for name in cls.model_fields if name not in ("kind", "nullable")]
            near = [OTHER_NAMES.get(option, option), *get_close_matches(option, names, n=1)]
            meant = next((name for name in near if name in names), None)
            mend = cls._mend_of_option(meant, first["input"]) if meant else None
            return DeclarationError(
                where, f"an option '{option}'", f"one of {', '.join(names)}", mend
            )
        want = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        got = (
            f"{option}={first['input']!r}"[:LONGEST_GOT]
            if first["loc"]
            else repr(first["input"])[:LONGEST_GOT]
        )
        return DeclarationError(where, got, want)
