"""Request options: what a client may choose of how it is answered, declared like fields."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import DeclarationError, Refusal

Value = bool | int | float | str
MAX_OPTIONS, MAX_CHOICES = 64, 1024
Word = Annotated[str, Field(max_length=256)]
TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
"""Python's type of an option -> JSON Schema's name of it."""


class Option(Declared):
    """`top_k: Annotated[int, Option(5, ge=1, le=100)]`.

    `default` is what a request without the option is answered by. `ge` and `le` bound a number,
    `choices` are all that an option can be: an option of words has them always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    default: bool | int | float | Word
    type: Literal["boolean", "integer", "number", "string"] = "integer"
    ge: float | None = None
    le: float | None = None
    choices: Annotated[
        tuple[int | float | Word, ...], Field(strict=False, max_length=MAX_CHOICES)
    ] = ()
    description: Annotated[str, Field(max_length=4096)] | None = None

    def __init__(self, default: Any, **options: Any) -> None:
        super().__init__(default=default, **options)

    def declared(self, annotation: Any) -> Self:
        """Complete this option by the type that it annotates. Raises `DeclarationError`."""
        words = get_args(annotation) if get_origin(annotation) is Literal else ()
        base = type(words[0]) if words else annotation
        if base not in TYPES:
            raise DeclarationError(
                "st.Option", str(annotation)[:80], "bool, int, float, str or Literal[...]"
            )
        option = self.model_copy(
            update={"type": TYPES[base], "choices": tuple(words) or self.choices}
        )
        option.check()
        return option

    def check(self) -> None:
        """Raise `DeclarationError` where the option has no possible value, or a wrong default."""
        if self.type == "string" and not self.choices:
            raise DeclarationError("st.Option", "a string of any text", "choices: Literal[...]")
        if not self.takes(self.default):
            raise DeclarationError("st.Option", f"default {self.default!r}"[:80], self.want())

    def takes(self, value: Any) -> bool:
        """Can the option be this?"""
        if type(value) not in (self._types if self.type != "number" else (int, float)):
            return False
        if self.choices:
            return value in self.choices
        return self.type == "boolean" or (
            isfinite(value)
            and (self.ge is None or value >= self.ge)
            and (self.le is None or value <= self.le)
        )

    def nearest(self, value: Any) -> Any:
        """The value that the option can have next to this one; of closed choices, itself."""
        if self.choices or isinstance(value, (bool, str)):
            return value
        low = value if self.ge is None else max(value, self.ge)
        return type(value)(low if self.le is None else min(low, self.le))

    @property
    def _types(self) -> list[Any]:
        return [base for base, name in TYPES.items() if name == self.type]

    def breaks(self, part: str, old: Option) -> bool:
        """Whether the change of this part from its value in `old` breaks clients.

        It breaks if a value that they choose today is refused, or a request that chooses none is
        answered otherwise.
        """
        if part == "ge":
            return self.ge is not None and (old.ge is None or self.ge > old.ge)
        if part == "le":
            return self.le is not None and (old.le is None or self.le < old.le)
        if part == "choices":
            return bool(self.choices) and not (
                old.choices and set(old.choices) <= set(self.choices)
            )
        return part != "description"

    def want(self) -> str:
        """What a right value is, for messages."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"[:300]
        noun = {"boolean": "true or false", "integer": "a whole number"}.get(self.type, "a number")
        if self.ge is not None and self.le is not None:
            return f"{noun} from {self.ge:g} to {self.le:g}"
        low = "" if self.ge is None else f", at least {self.ge:g}"
        return noun + low + ("" if self.le is None else f", at most {self.le:g}")

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of its value."""
        schema: dict[str, Any] = {"type": self.type, "default": self.default}
        if self.choices:
            schema["enum"] = list(self.choices)
        bounds = {"minimum": self.ge, "maximum": self.le, "description": self.description}
        return schema | {name: value for name, value in bounds.items() if value is not None}


def widest(options: Sequence[Option]) -> Option:
    """One option that takes what any of these takes, of one name and type."""
    first = options[0]
    if all(option == first for option in options):
        return first
    bounds = {
        name: None if None in (each := [getattr(option, name) for option in options]) else of(each)
        for name, of in (("ge", min), ("le", max))
    }
    return first.model_copy(update=bounds)


class OptionField(BaseModel):
    """A named option."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    option: Option


class Options(BaseModel):
    """The options of a model's requests.

        class Options(Options):
            top_k: Annotated[int, Option(5, ge=1, le=100)]

    Fields are declared with types and `st.Option`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def options_of(declared: type[Options] | None) -> tuple[OptionField, ...]:
    """Read options off the class that declares them. Raises `DeclarationError`."""
    if declared is None:
        return ()
    if not (isinstance(declared, type) and issubclass(declared, Options)):
        raise DeclarationError("options", repr(declared)[:80], "a class derived from st.Options")
    found = []
    for name, info in declared.model_fields.items():
        stated = [each for each in info.metadata if isinstance(each, Option)]
        where = f"{declared.__name__}.{name}"
        if len(stated) != 1 or len(info.metadata) != 1 or not info.is_required():
            raise DeclarationError(
                where, "no single st.Option beside its type", "Annotated[int, st.Option(5, ge=1)]"
            )
        if get_origin(info.annotation) in (Union, types.UnionType):
            raise DeclarationError(where, "an option that may be missing", "one with a default")
        try:
            found.append(OptionField(name=name, option=stated[0].declared(info.annotation)))
        except DeclarationError as error:
            raise DeclarationError(f"{where}: {error}") from None
    return tuple(found)


def read_options(
    known: Mapping[str, Option], defaults: Mapping[str, Value], given: Mapping[str, Any]
) -> Mapping[str, Value]:
    """The options of a request: its own values, checked, and the defaults of all others.

    Raises `Refusal` where a name is unknown, or a value is none that the option can have.
    """
    if not given:
        return defaults
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            raise Refusal(
                "E_OPTION",
                "parameters",
                "an option that the contract does not have",
                ", ".join(sorted(known)) or "none",
            )
        if not option.takes(value):
            raise Refusal("E_OPTION", f"option '{name}'", got(value), option.want())
    return {**defaults, **given}


def got(value: Any) -> str:
    """A value for a message: numbers and flags as they are, the rest by its type."""
    if isinstance(value, (bool, int, float)):
        return str(value)[:24]
    names: Sequence[tuple[type, str]] = (
        (str, "another word"),
        (type(None), "null"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((name for base, name in names if isinstance(value, base)), "another value")
