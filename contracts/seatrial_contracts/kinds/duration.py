"""A duration: ISO 8601 in JSON, which enters the graph as microseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar, Literal

from seatrial_contracts.kinds.date import SECONDS_OF_DAY
from seatrial_contracts.kinds.date_time import DAY, DIGITS, SECOND, microseconds
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_contracts.kinds.temporal import LONGEST_TEXT, Temporal, matched

DURATION = re.compile(
    r"([+-])?P(?=[0-9T])(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(?:T(?=[0-9])(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)(?:\.([0-9]+))?S)?)?"
)
"""ISO 8601-1, 5.5.2.2, with a sign before it, as Pydantic writes and reads it."""
SECONDS = (*(days * SECONDS_OF_DAY for days in (365, 30, 7, 1)), 3600, 60, 1)
"""Of a year, a month, a week, a day, an hour, a minute and a second, as Pydantic has them."""
MOST = 2**63 - 1
"""Microseconds that int64 holds, of either sign: some 292,271 years."""


class Duration(Temporal):
    """`timedelta`, or `Annotated[timedelta, Duration(ge=timedelta(0))]`: ISO 8601 in JSON.

    `P1DT2H30M`, `-PT0.5S`. A year is 365 days and a month 30, as in Pydantic, which writes 365 days
    as `P1Y`. It enters the graph as microseconds, int64, shape `(batch,)`, of
    either sign. V2 takes the same microseconds as INT64, or the text as BYTES with `v2="BYTES"`.
    """

    python: ClassVar[type] = timedelta
    noun: ClassVar[str] = "a duration"
    form: ClassVar[str] = "a duration as P1DT2H30M or PT0.5S (ISO 8601)"
    limits: ClassVar[tuple[int, int]] = (-MOST, MOST)
    telling: ClassVar[tuple[int, ...]] = (
        5400 * SECOND, 1, -1, SECOND - 1, SECOND, SECOND + 1, DAY - 1, DAY, -DAY, 365 * DAY,
    )  # fmt: skip

    kind: Literal["duration"] = "duration"

    @classmethod
    def is_python(cls, value: Any) -> bool:
        return isinstance(value, timedelta)

    @classmethod
    def python_of(cls, text: str) -> timedelta:
        return timedelta(microseconds=cls().number_of_text(text))

    def number_of_python(self, value: timedelta) -> int:
        if getattr(value, "nanoseconds", 0):
            self.refuse("parts of a microsecond")
        return microseconds(value)

    def number_of_text(self, text: str) -> int:
        found = DURATION.fullmatch(text) if len(text) <= LONGEST_TEXT else None
        if found is None:
            self.refuse(f"a string of {len(text)} characters that is no duration")
        sign, *parts, fraction = found.groups()
        fraction = (fraction or "").rstrip("0")
        if len(fraction) > DIGITS:
            self.refuse("parts of a microsecond")
        seconds = sum(count * each for count, each in zip(matched(parts), SECONDS, strict=True))
        number = seconds * SECOND + int(fraction.ljust(DIGITS, "0"))
        return -number if sign == "-" else number

    def text(self, number: int) -> str:
        return duration_text(number)

    def json_schema(self) -> JsonSchema:
        return {**super().json_schema(), "format": "duration"}

    def trait(self, numbers: Any) -> Any:
        return numbers / SECOND


def duration_text(number: int) -> str:
    """Microseconds as ISO 8601 in days, hours, minutes and seconds."""
    seconds, fraction = divmod(abs(number), SECOND)
    days, seconds = divmod(seconds, SECONDS_OF_DAY)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    shown = f"{seconds}.{fraction:06d}".rstrip("0") if fraction else str(seconds)
    clock = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes)
    clock += f"{shown}S" * bool(seconds or fraction)
    whole = f"{days}D" * bool(days) + f"T{clock}" * bool(clock)
    return "-" * (number < 0) + f"P{whole or 'T0S'}"
