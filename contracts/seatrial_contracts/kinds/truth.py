"""The truth of answers: what it looks like, and which things of an answer it holds."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)] | int
Place = Annotated[int, Field(ge=0, lt=2**31)]
MOST_THINGS = 2**16


class Hit(NamedTuple):
    """A thing that an answer holds, or its truth, or both."""

    label: str
    answered: bool
    true: bool

    @property
    def right(self) -> bool:
        """Do both hold it?"""
        return self.answered and self.true


class TrueSpan(TypedDict):
    """A part of a text, in code points; `end` is behind it."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    label: str
    start: Place
    end: Place


class TrueBox(TypedDict):
    """The sides of a box, in pixels of the client's picture."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    xmin: Number
    ymin: Number
    xmax: Number
    ymax: Number


class TrueThing(TypedDict):
    """A thing in a picture."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    label: str
    box: TrueBox


SPANS: TypeAdapter[list[TrueSpan]] = TypeAdapter(
    Annotated[list[TrueSpan], Field(max_length=MOST_THINGS)]
)
THINGS: TypeAdapter[list[TrueThing]] = TypeAdapter(
    Annotated[list[TrueThing], Field(max_length=MOST_THINGS)]
)


def fits(form: TypeAdapter[Any], value: Any) -> bool:
    """Is this a value of this form, to the type?"""
    try:
        form.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
