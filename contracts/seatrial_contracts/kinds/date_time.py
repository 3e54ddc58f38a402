"""A moment: a date and time with its zone, in the graph as microseconds since 1970-01-01 UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from seatrial_contracts.bins import Bins, split_dates
from seatrial_contracts.kinds.date import DATE, LEAP_DAYS, SECONDS_OF_DAY, days
from seatrial_contracts.kinds.kind import Column, Edge, JsonSchema, Stage
from seatrial_contracts.kinds.temporal import LONGEST_TEXT, Temporal, matched
from seatrial_contracts.kinds.time_zone import TimeZone, zone_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

DATE_TIME = re.compile(
    f"({DATE})" + r"[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)
"""RFC 3339, 5.6, where a space may stand for the T; and the same without an offset."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 10**6
DAY = SECONDS_OF_DAY * SECOND
MOST_HOUR, MOST_MINUTE, MOST_SECOND, DIGITS = 23, 59, 59, 6
OFFSETS = (0, 60, -300, 330, 345, 840, -720)
"""In minutes, of zones that there are."""
CHANGES = tuple(
    days(*day) * DAY + hour * 3600 * SECOND
    for day, hour in (((2024, 3, 31), 1), ((2024, 10, 27), 1), ((2024, 3, 10), 10))
)
"""Where clocks change in Europe, twice, and in California."""


class DateTime(Temporal):
    """`datetime`, or `Annotated[datetime, DateTime(zone="Europe/Berlin")]`: RFC 3339 in JSON.

    It enters the graph as microseconds since 1970-01-01T00:00:00Z, int64, shape `(batch,)`, without
    leap seconds, from year 1 to 9999. A value carries its offset, `2024-02-29T12:00:00+01:00` or
    `...Z`. With `zone`, one without an offset is a local time there: the zone's rules are sealed in
    the contract. A local time that stands twice, or that no clock shows, is refused either way.
    V2 takes the same microseconds as INT64, or the text as BYTES with `v2="BYTES"`.
    """

    python: ClassVar[type] = datetime
    noun: ClassVar[str] = "a date and time with its zone"
    form: ClassVar[str] = "a date and time with its zone, as 2024-02-29T12:00:00Z (RFC 3339)"
    limits: ClassVar[tuple[int, int]] = (days(1, 1, 1) * DAY, days(9999, 12, 31) * DAY + DAY - 1)
    telling: ClassVar[tuple[int, ...]] = (
        *(day * DAY for day in LEAP_DAYS),
        *(change + beside for change in CHANGES for beside in (0, -1, 1)),
        -1, 1, SECOND - 1, 999, DAY - 1,
    )  # fmt: skip

    kind: Literal["datetime"] = "datetime"
    zone: Annotated[TimeZone | None, BeforeValidator(zone_of)] = None

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        return cls() if annotation is datetime or annotation is AwareDatetime else None

    @classmethod
    def is_python(cls, value: Any) -> bool:
        return isinstance(value, datetime)

    @classmethod
    def python_of(cls, text: str) -> datetime:
        return datetime.fromisoformat(text)

    def breaks(self, option: str, old: Self) -> bool:
        if option == "zone":
            return old.zone is not None and (self.zone is None or self.zone.name != old.zone.name)
        return super().breaks(option, old)

    def number_of_python(self, value: datetime) -> int:
        if value != value:  # noqa: PLR0124  (pandas' NaT differs from itself)
            self.refuse("no time (NaT)")
        if getattr(value, "nanosecond", 0):
            self.refuse("parts of a microsecond")
        if value.utcoffset() is None:
            return self._local(value.replace(tzinfo=None))
        return microseconds(value - EPOCH)

    def number_of_text(self, text: str) -> int:
        found = DATE_TIME.fullmatch(text) if len(text) <= LONGEST_TEXT else None
        if found is None:
            self.refuse(f"a string of {len(text)} characters that is no date and time")
        day, hours, minutes, seconds, fraction, utc, sign, off_hours, off_minutes = found.groups()
        hour, minute, second, off_hour, off_minute = matched(
            (hours, minutes, seconds, off_hours, off_minutes)
        )
        if second == MOST_SECOND + 1:
            self.refuse("a leap second")
        if hour == MOST_HOUR + 1:
            self.refuse("the hour 24")
        if hour > MOST_HOUR or max(minute, off_minute) > MOST_MINUTE or second > MOST_SECOND:
            self.refuse("a time that no clock shows")
        if off_hour > MOST_HOUR:
            self.refuse("an offset of a day or more")
        fraction = (fraction or "").rstrip("0")
        if len(fraction) > DIGITS:
            self.refuse("parts of a microsecond")
        since_midnight = ((hour * 60 + minute) * 60 + second) * SECOND
        number = self.day_number(day) * DAY + since_midnight
        number += int(fraction.ljust(DIGITS, "0"))
        if sign is None and utc is None:
            return self._local(EPOCH.replace(tzinfo=None) + timedelta(microseconds=number))
        offset = (off_hour * 60 + off_minute) * 60 * SECOND
        return number + offset if sign == "-" else number - offset

    def _local(self, local: datetime) -> int:
        """The moment of a local time in the declared zone."""
        if self.zone is None:
            self.refuse("a time without a zone")
        before, after = self.zone.offsets(local)
        if before > after:
            self.refuse(f"a local time that stands twice in {self.zone.name}, without an offset")
        if before < after:
            self.refuse(f"a local time that no clock shows in {self.zone.name}")
        return microseconds(local - EPOCH.replace(tzinfo=None) - before)

    def want(self) -> str:
        return super().want() + (f", or a local time in {self.zone.name}" if self.zone else "")

    def text(self, number: int) -> str:
        return (EPOCH + timedelta(microseconds=number)).isoformat().removesuffix("+00:00") + "Z"

    def json_schema(self) -> JsonSchema:
        said = {"x-zone": self.zone.name} if self.zone else {"format": "date-time"}
        return {**super().json_schema(), **said}

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        here = some.just(self._here) if self.zone else some.nothing()
        written = some.sampled_from(OFFSETS).map(self._there) | here
        numbers = some.integers(*self.range)
        return some.builds(lambda write, number: write(number), written, numbers)

    def _there(self, minutes: int) -> Any:
        """What writes a number as the local time at an offset, which it carries."""

        def write(number: int) -> str:
            try:
                moment = EPOCH + timedelta(microseconds=number)
                return moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
            except OverflowError:  # beyond the years 1 and 9999 there
                return self.text(number)

        return write

    def _here(self, number: int) -> str:
        """A number as the local time in the declared zone, if that is one moment."""
        assert self.zone is not None
        try:
            moment = EPOCH + timedelta(microseconds=number)
            local = moment.astimezone(self.zone.info).replace(tzinfo=None)
            return local.isoformat() if self._local(local) == number else self.text(number)
        except (OverflowError, PydanticCustomError):
            return self.text(number)

    def edges(self, stage: Stage) -> Iterator[Edge]:
        yield from super().edges(stage)
        low, high = self.range
        for number in (
            0,
            *CHANGES,
            *(low, high) * (low > self.limits[0] and high < self.limits[1]),
        ):
            if low <= number <= high:
                texts = [self._there(OFFSETS[1])(number), self._there(OFFSETS[2])(number)]
                yield from map(Edge, texts + ([self._here(number)] if self.zone else []))

    def trait(self, numbers: Any) -> Any:
        return (numbers // SECOND).astype(np.float64)

    def split(self, feature: str, values: Column) -> Bins:
        return split_dates(values, 1, missing=self.nullable)


def microseconds(span: timedelta) -> int:
    """A timedelta as a whole number, exactly."""
    return (span.days * SECONDS_OF_DAY + span.seconds) * SECOND + span.microseconds
