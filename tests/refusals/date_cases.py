"""Dates, times and durations that do not exist, or that the contract does not take: case 82."""

from __future__ import annotations

from typing import Any

from refusals.case import CANARY, MOMENT, Case, v1, v2

VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("82 31 February", {"day": "2024-02-31"}, "E_DATE"),
    ("82 29 February of a common year", {"day": "2023-02-29"}, "E_DATE"),
    ("82 year 0", {"day": "0000-01-01"}, "E_DATE"),
    ("82 a date in another order", {"day": "31.12.2000"}, "E_DATE"),
    ("82 a date in other digits", {"day": "٢٠٠٠-01-01"}, "E_DATE"),
    ("82 a word for a date", {"day": CANARY}, "E_DATE"),
    ("82 days for a date, in JSON", {"day": 0}, "E_TYPE"),
    ("82 null for a date", {"day": None}, "E_MISSING"),
    ("82 before the first day", {"day": "1899-12-31"}, "E_RANGE"),
    ("82 a naive time", {"at": "2024-01-01T00:00:00"}, "E_DATE"),
    ("82 24:00", {"at": "2024-01-01T24:00:00Z"}, "E_DATE"),
    ("82 a leap second", {"at": "2016-12-31T23:59:60Z"}, "E_DATE"),
    ("82 an offset of a day", {"at": "2024-01-01T00:00:00+24:00"}, "E_DATE"),
    ("82 nanoseconds", {"at": "2024-01-01T00:00:00.000000001Z"}, "E_DATE"),
    ("82 before year 1 in UTC", {"at": "0001-01-01T00:00:00+14:00"}, "E_RANGE"),
    ("82 a fraction of a megabyte", {"at": f"2024-01-01T00:00:00.{'0' * 10**6}Z"}, "E_DATE"),
    ("82 a local time that no clock shows", {"local": "2024-03-31T02:30:00"}, "E_DATE"),
    ("82 a local time that stands twice", {"local": "2024-10-27T02:30:00"}, "E_DATE"),
    ("82 a duration of nothing", {"took": "P"}, "E_DATE"),
    ("82 a negative duration", {"took": "-PT1S"}, "E_RANGE"),
    ("82 seconds for a duration", {"took": 5}, "E_TYPE"),
    ("82 a duration beyond 64 bits", {"took": f"P{'9' * 50}D"}, "E_RANGE"),
]


def tensors(**changed: Any) -> bytes:
    """An infer request of whole numbers, one of them changed."""
    inputs = [
        {"name": name, "datatype": "INT64", "shape": [1], "data": [changed.get(name, 0)]}
        for name in MOMENT
    ]
    return v2({"inputs": inputs}, "calendar")


CASES = [
    Case("82 a row of dates", v1({"instances": [MOMENT]}, "calendar"), 200),
    Case("82 days and microseconds", tensors(), 200),
    Case("82 days before the first, V2", tensors(day=-25_568), 400, "E_RANGE"),
    Case("82 days of no year, V2", tensors(day=2**62), 400, "E_RANGE"),
    Case("82 text for INT64, V2", tensors(day="2000-01-01"), 400, "E_TYPE"),
    *(
        Case(name, v1({"instances": [MOMENT | change]}, "calendar"), 400, code)
        for name, change, code in VALUES
    ),
]
