"""A date: a day of the calendar, which enters the graph as days since 1970-01-01."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any, ClassVar, Final, Literal

from seatrial_contracts.bins import Bins, split_dates
from seatrial_contracts.kinds.kind import Column, JsonSchema
from seatrial_contracts.kinds.temporal import EPOCH_DAY, Temporal

DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
FULL_DATE = re.compile(DATE)
SECONDS_OF_DAY: Final = 86_400


def days(*day: int) -> int:
    """Days since 1970-01-01 of a year, month and day. Raises `ValueError` where there is none."""
    return date(*day).toordinal() - EPOCH_DAY


LEAP_DAYS = tuple(
    days(*day) for day in ((2024, 2, 29), (2000, 2, 29), (1900, 2, 28), (1900, 3, 1), (2023, 3, 1))
)


class Date(Temporal):
    """`date`, or `Annotated[date, Date(ge=date(1900, 1, 1))]`: RFC 3339 in JSON, `2024-02-29`.

    It enters the graph as days since 1970-01-01, int64, shape `(batch,)`, of the Gregorian calendar
    from year 1 to 9999. V2 takes the same days as INT64, or the text as BYTES with `v2="BYTES"`.
    """

    python: ClassVar[type] = date
    noun: ClassVar[str] = "a date"
    form: ClassVar[str] = "a date as 2024-02-29 (RFC 3339)"
    limits: ClassVar[tuple[int, int]] = (days(1, 1, 1), days(9999, 12, 31))
    telling: ClassVar[tuple[int, ...]] = LEAP_DAYS

    kind: Literal["date"] = "date"

    @classmethod
    def is_python(cls, value: Any) -> bool:
        return isinstance(value, date) and not isinstance(value, datetime)

    @classmethod
    def python_of(cls, text: str) -> date:
        return date.fromordinal(cls().number_of_text(text) + EPOCH_DAY)

    def number_of_python(self, value: date) -> int:
        return value.toordinal() - EPOCH_DAY

    def number_of_text(self, text: str) -> int:
        if FULL_DATE.fullmatch(text) is None:
            self.refuse(f"a string of {len(text)} characters that is no date")
        return self.day_number(text)

    def text(self, number: int) -> str:
        return date.fromordinal(number + EPOCH_DAY).isoformat()

    def json_schema(self) -> JsonSchema:
        return {**super().json_schema(), "format": "date"}

    def split(self, feature: str, values: Column) -> Bins:
        return split_dates(values, SECONDS_OF_DAY, missing=self.nullable)
