"""What dates, times and durations share: a text in JSON, a whole number in the graph."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, Self

import annotated_types
import numpy as np
from pydantic import PlainValidator, field_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.kind import (
    SHORT_BYTES,
    Column,
    Edge,
    Features,
    JsonSchema,
    Kind,
    Stage,
    TensorSpec,
    refuse,
    text_of,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LONGEST_TEXT = SHORT_BYTES
EPOCH_DAY = date(1970, 1, 1).toordinal()
SHARES = (0.5, 0.95, 0.05, 0.25, 0.75)
"""Where between its bounds a value is drawn, beside the bounds themselves."""


class Temporal(Kind):
    """A date, a time or a duration: a text in JSON, int64 in the graph, shape `(batch,)`.

    A validated value is that whole number. A missing one enters the graph as 0, or as the bound
    nearest to 0, beside a mark that says so.
    """

    keeps: ClassVar[Mapping[type, str]] = {
        annotated_types.Ge: "ge",
        annotated_types.Le: "le",
        annotated_types.Gt: "gt",
        annotated_types.Lt: "lt",
    }
    python: ClassVar[type]
    """Python's own type of such a value."""
    noun: ClassVar[str]
    form: ClassVar[str]
    """How it is written, for messages."""
    limits: ClassVar[tuple[int, int]]
    """The least and the most of every value, both included."""
    telling: ClassVar[tuple[int, ...]] = ()
    """Numbers that are drawn beside the bounds: where calendars and clocks are odd."""

    ge: Any = None
    le: Any = None
    gt: Any = None
    lt: Any = None
    v2: Literal["INT64", "BYTES"] = "INT64"
    """What V2 carries: the whole number, or the text that JSON carries."""

    @field_validator("ge", "le", "gt", "lt", mode="before")
    @classmethod
    def _bound(cls, bound: Any) -> Any:
        """A bound as Python has it, or as JSON has it in `contract.json`."""
        if bound is None or cls.is_python(bound):
            return bound
        try:
            if isinstance(bound, str):
                return cls.python_of(bound)
        except OverflowError:
            pass  # said below
        raise ValueError(f"a {cls.python.__name__}")

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if annotation is cls.python else None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if self.from_type(annotation) is None:
            got = getattr(annotation, "__name__", str(annotation))
            raise DeclarationError(f"st.{type(self).__name__}", got, self.python.__name__)
        return self.completed(nullable=nullable)

    def check(self) -> None:
        try:
            low, high = self.range
        except PydanticCustomError as error:
            told = error.context or {}
            raise DeclarationError(
                f"st.{type(self).__name__}", f"a bound: {told['got']}", told["want"]
            ) from None
        if not low <= high:
            raise DeclarationError(
                f"st.{type(self).__name__}", self.want(), f"bounds that leave a {self.noun}"
            )

    @classmethod
    @abstractmethod
    def is_python(cls, value: Any) -> bool:
        """Is it a value of Python's own type?"""

    @classmethod
    @abstractmethod
    def python_of(cls, text: str) -> Any:
        """The Python value of a text in JSON. Refuses, by a `ValueError`, what there is not."""

    @abstractmethod
    def number_of_python(self, value: Any) -> int:
        """The whole number of a Python value. Refuses what is no one moment."""

    @abstractmethod
    def number_of_text(self, text: str) -> int:
        """The whole number of a text, within bounds or not. Refuses what does not exist."""

    @abstractmethod
    def text(self, number: int) -> str:
        """A number within `limits` as JSON carries it."""

    @cached_property
    def range(self) -> tuple[int, int]:
        """The least and the most by bounds and type, both included."""
        low, high = self.limits
        free = self.model_copy(update=dict.fromkeys(("ge", "le", "gt", "lt")))
        for bound, beside in ((self.ge, 0), (self.gt, 1)):
            if bound is not None:
                low = max(low, free.number_of_python(bound) + beside)
        for bound, beside in ((self.le, 0), (self.lt, 1)):
            if bound is not None:
                high = min(high, free.number_of_python(bound) - beside)
        return low, high

    def shown(self, number: int) -> str:
        """A number for messages: its text, where it has one."""
        low, high = self.limits
        return self.text(number) if low <= number <= high else f"the number {number}"

    def number_of(self, value: Any) -> int:
        """The whole number of a raw value, within the bounds. Refuses any other value."""
        if isinstance(value, str):
            number = self.number_of_text(value)
        elif self.is_python(value):
            number = self.number_of_python(value)
        else:
            raise PydanticKnownError("string_type")
        low, high = self.range
        if not low <= number <= high:
            refuse("E_RANGE", self.shown(number), self.want())
        return number

    def annotation(self) -> Any:
        return Annotated[Any, PlainValidator(self.number_of)]

    def given(self) -> Any:
        def validate(value: Any) -> Any:
            self.number_of(value)
            return value

        return Annotated[Any, PlainValidator(validate)]

    def json_value(self, value: Any) -> Any:
        return self.text(int(value))

    def breaks(self, option: str, old: Self) -> bool:
        if option in ("ge", "gt"):
            return self.range[0] > old.range[0]
        if option in ("le", "lt"):
            return self.range[1] < old.range[1]
        return super().breaks(option, old)

    def refuse(self, got: str) -> NoReturn:
        """Refuse a value that does not exist."""
        refuse("E_DATE", got, self.want())

    def day_number(self, text: str) -> int:
        """Days since 1970-01-01 of a date in RFC 3339's form. Refuses what does not exist."""
        try:
            return date.fromisoformat(text).toordinal() - EPOCH_DAY
        except ValueError:
            self.refuse("a day that the calendar does not have")

    def want(self) -> str:
        (least, most), (low, high) = self.limits, self.range
        if low > least and high < most:
            return f"{self.noun} from {self.text(low)} to {self.text(high)}"
        if low > least:
            return f"{self.noun} from {self.text(low)} on"
        return f"{self.noun} up to {self.text(high)}" if high < most else self.form

    @property
    def datatype(self) -> str:
        return self.v2

    def column(self, values: Column) -> Column:
        if self.v2 == "BYTES":
            return np.array([self._of_bytes(value, n) for n, value in enumerate(values)], np.int64)
        array = np.asarray(values, np.int64)
        low, high = self.range
        bad = (array < low) | (array > high)
        if bad.any():
            row = int(bad.argmax())
            raise Refusal("E_RANGE", f"row {row}", self.shown(int(array[row])), self.want())
        return array

    def _of_bytes(self, value: Any, place: int) -> int:
        try:
            return self.number_of(text_of(value, place, self.want()))
        except PydanticCustomError as error:
            told = error.context or {}
            raise Refusal(told["code"], f"row {place}", told["got"], told["want"]) from None

    def wire(self, value: Any) -> Any:
        return value if self.v2 == "BYTES" else self.number_of_text(value)

    def json_schema(self) -> JsonSchema:
        (least, most), (low, high) = self.limits, self.range
        return {
            "type": "string",
            "maxLength": LONGEST_TEXT,
            **({"x-minimum": self.text(low)} if low > least else {}),
            **({"x-maximum": self.text(high)} if high < most else {}),
        }

    def example(self) -> Any:
        low, high = self.range
        return self.text(min(max(self.telling[0], low), high))

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        return some.integers(*self.range).map(self.text)

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Both bounds and their neighbours, the epoch, and where calendars and clocks are odd.

        Where there is no bound, the ends of all that can be written stand in its place.
        """
        (least, most), (low, high) = self.limits, self.range
        named: list[int] = []
        if low > least:
            named += [low, low + 1, low + 2]
        if high < most:
            named += [high, high - 1, high - 2]
        if low > least and high < most:
            named += [low + int((high - low) * share) for share in SHARES]
        named += [0, *self.telling]
        ends = [least, least + 1, most - 1, most]
        for numbers, is_named in ((named, True), (ends, False)):
            yield from (
                Edge(self.text(number), is_named)
                for number in dict.fromkeys(numbers)
                if low <= number <= high and not (numbers is ends and number in named)
            )

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=name, dtype="int64"),)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        return lambda value: (value,)

    @property
    def padding_item(self) -> int | str:
        """The epoch, or the bound that is nearest to it."""
        low, high = self.range
        return min(max(0, low), high)

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        return (self.padding_item,)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        return lambda values: {"": self.trait(np.asarray(values, np.int64))}

    def trait(self, numbers: Any) -> Any:
        """What drift sees of the numbers."""
        return numbers.astype(np.float64)


def wire_text(value: date | timedelta) -> str:
    """A date, a datetime or a timedelta as JSON carries it."""
    from seatrial_contracts.kinds.duration import Duration, duration_text

    if isinstance(value, timedelta):
        return duration_text(Duration().number_of_python(value))
    offset = value.utcoffset() if isinstance(value, datetime) else None
    if isinstance(value, datetime) and offset and offset % timedelta(minutes=1):
        # RFC 3339 has no seconds in an offset; local mean times before standard time have some.
        value = value.astimezone(UTC)
    return value.isoformat()


def matched(texts: Iterable[str | None]) -> list[int]:
    """Groups of digits as numbers, those that are not there as 0."""
    return [int(text or 0) for text in texts]
