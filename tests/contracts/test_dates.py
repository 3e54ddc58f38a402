"""Dates, times and durations: judged by pandas, numpy, zoneinfo, Pydantic and Python itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import AwareDatetime, Field, TypeAdapter
from support.properties import drawing

import seatrial as st
from seatrial_contracts.bins import Dates
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.drift import population_stability_index
from seatrial_contracts.golden import wire_row
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.time_zone import TimeZone
from seatrial_contracts.profile import DriftFeatures, count_by_bin

BERLIN = st.DateTime(zone="Europe/Berlin")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Score(st.Answer):
    score: float


class Row(st.Row):
    born: Annotated[date, Field(ge=date(1900, 1, 1), le=date(2030, 12, 31))]
    at: datetime
    local: Annotated[datetime | None, st.DateTime(zone="Europe/Berlin")]
    took: Annotated[timedelta, st.Duration(ge=timedelta(0), lt=timedelta(days=7))]


WHOLE = {
    "born": date(2000, 2, 29),
    "at": datetime(2024, 1, 1, 12, tzinfo=UTC),
    "local": datetime(2024, 7, 1, 12, 30),
    "took": timedelta(hours=1.5),
}
SENT = {
    "born": "2000-02-29",
    "at": "2024-01-01T12:00:00+00:00",
    "local": "2024-07-01T12:30:00",
    "took": "PT1H30M",
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return st.contract_from_rows(Row, Score)


def number(kind: Kind, value: Any) -> int:
    return int(TypeAdapter(kind.annotation()).validate_python(value))


def test_python_values_and_their_json_are_the_same_rows(contract: Contract) -> None:
    assert wire_row(WHOLE) == wire_row(Row(**WHOLE)) == SENT
    rebuilt = Contract.from_json(contract.to_json())
    assert rebuilt == contract
    for row in (WHOLE, SENT, Row(**WHOLE)):
        assert rebuilt.validate_row(row) == {
            "born": 11_016,
            "at": 1_704_110_400_000_000,
            "local": 1_719_829_800_000_000,
            "took": 5_400_000_000,
        }
    kinds = {field.name: field.kind for field in contract.inputs}
    read = contract.validate_row(SENT)
    kept = {name: kinds[name].json_value(value) for name, value in read.items()}
    assert contract.validate_row(kept) == read, "what a failure keeps is the same row"


@given(some.dates())
@drawing(50)
def test_a_date_is_the_days_that_numpy_counts(day: date) -> None:
    assert number(st.Date(), day.isoformat()) == np.datetime64(day, "D").astype(np.int64)
    assert number(st.Date(), day) == number(st.Date(), day.isoformat())


@given(some.datetimes(timezones=some.timezones()))
@drawing(80)
def test_a_moment_is_the_microseconds_that_python_counts(moment: datetime) -> None:
    low, high = st.DateTime().range
    counted = (moment - EPOCH) // MICROSECOND
    if low <= counted <= high:
        assert number(st.DateTime(), moment) == counted
        try:
            sent = wire_row({"at": moment})["at"]
        except OverflowError:
            return  # an offset of seconds in the years 1 or 9999
        assert number(st.DateTime(), sent) == counted
        assert number(st.DateTime(), sent.replace("T", " ").replace("+00:00", "z")) == counted


@given(some.timedeltas(timedelta(days=-(10**8)), timedelta(days=10**8)))
@drawing(50)
def test_a_duration_is_read_and_written_as_pydantic_does(span: timedelta) -> None:
    pydantic, counted = TypeAdapter(timedelta), span // MICROSECOND
    for sent in (pydantic.dump_python(span, mode="json"), wire_row({"took": span})["took"]):
        assert number(st.Duration(), sent) == counted
        assert pydantic.validate_python(sent) == span
    for sent in ("P1Y2M3W4DT5H6M7.5S", "-P1W", "+PT1H", "P1Y"):
        assert number(st.Duration(), sent) == pydantic.validate_python(sent) // MICROSECOND
    assert number(st.Duration(), span) == number(st.Duration(), pd.Timedelta(span)) == counted


@given(
    some.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1))
    | some.sampled_from([datetime(2024, 3, 31, 2), datetime(2024, 10, 27, 2)]).flatmap(
        lambda hour: some.timedeltas(timedelta(hours=-2), timedelta(hours=3)).map(hour.__add__)
    )
)
@drawing(100)
def test_a_local_time_is_what_pandas_makes_of_it_or_refused(local: datetime) -> None:
    try:
        judged = pd.Timestamp(local).tz_localize(
            "Europe/Berlin", ambiguous="raise", nonexistent="raise"
        )
    except ValueError:  # pandas' own are subclasses of it
        with pytest.raises(ValueError, match="refused"):
            number(BERLIN, local.isoformat())
        return
    assert number(BERLIN, local.isoformat()) == judged.value // 1000
    assert number(BERLIN, local) == number(BERLIN, judged) == judged.value // 1000


REFUSED: list[tuple[str, Any, str, str]] = [
    ("born", "2023-02-31", "E_DATE", "a day that the calendar does not have"),
    ("born", "1900-02-29", "E_DATE", "a day that the calendar does not have"),
    ("born", "0000-01-01", "E_DATE", "a day that the calendar does not have"),
    ("born", "2000-01-01T00:00:00", "E_DATE", "a string of 19 characters that is no date"),
    ("born", "20000101", "E_DATE", "a string of 8 characters that is no date"),
    ("born", "2000-W01-1", "E_DATE", "a string of 10 characters that is no date"),
    ("born", "٢٠٠٠-01-01", "E_DATE", "a string of 10 characters that is no date"),
    ("born", "1899-12-31", "E_RANGE", "1899-12-31, want a date from 1900-01-01 to 2030-12-31"),
    ("born", 11016, "E_TYPE", "11016, want a date from"),
    ("born", datetime(2000, 1, 1), "E_TYPE", "an object, want a date from"),
    ("born", None, "E_MISSING", "null, want a date from"),
    ("at", "2024-01-01T12:00:00", "E_DATE", "a time without a zone"),
    ("at", datetime(2024, 1, 1), "E_DATE", "a time without a zone"),
    ("at", "2024-01-01T24:00:00Z", "E_DATE", "the hour 24"),
    ("at", "2016-12-31T23:59:60Z", "E_DATE", "a leap second"),
    ("at", "2024-01-01T12:60:00Z", "E_DATE", "a time that no clock shows"),
    ("at", "2024-01-01T12:00Z", "E_DATE", "a string of 17 characters that is no date and time"),
    ("at", "2024-01-01T12:00:00+24:00", "E_DATE", "an offset of a day or more"),
    ("at", "2024-01-01T12:00:00.1234567Z", "E_DATE", "parts of a microsecond"),
    ("at", "2024-02-30T12:00:00Z", "E_DATE", "a day that the calendar does not have"),
    ("at", "0001-01-01T00:00:00+00:01", "E_RANGE", "the number -62135596860000000"),
    ("at", "2" * 10**6, "E_DATE", "a string of 1000000 characters"),
    ("at", pd.NaT, "E_DATE", "no time (NaT)"),
    ("at", pd.Timestamp(1, unit="ns", tz="UTC"), "E_DATE", "parts of a microsecond"),
    ("local", "2024-03-31T02:30:00", "E_DATE", "a local time that no clock shows in Europe/Berlin"),
    ("local", "2024-10-27T02:30:00", "E_DATE", "a local time that stands twice in Europe/Berlin"),
    ("took", "P", "E_DATE", "a string of 1 characters that is no duration"),
    ("took", "PT", "E_DATE", "a string of 2 characters that is no duration"),
    ("took", "1:30:00", "E_DATE", "a string of 7 characters that is no duration"),
    ("took", "PT0.0000001S", "E_DATE", "parts of a microsecond"),
    ("took", 5400, "E_TYPE", "5400, want a duration"),
    ("took", "-PT1S", "E_RANGE", "-PT1S, want a duration from PT0S to P6DT23H59M59.999999S"),
    ("took", "P" + "9" * 40 + "D", "E_RANGE", "the number 8639"),
]


@pytest.mark.parametrize(("field", "value", "code", "got"), REFUSED)
def test_what_does_not_exist_is_refused_and_says_why(
    contract: Contract, field: str, value: Any, code: str, got: str
) -> None:
    with pytest.raises(st.Refusal) as refused:
        contract.validate_row({**SENT, field: value}, 3)
    assert (refused.value.code, refused.value.where) == (code, f"input '{field}', row 3")
    assert f"got {got}" in str(refused.value)


def test_zeros_beyond_microseconds_and_offsets_without_a_zone_are_taken() -> None:
    for sent in ("1970-01-01T00:00:01.500000000Z", "1970-01-01t01:00:01.5+01:00"):
        assert number(st.DateTime(), sent) == 1_500_000
    assert number(st.DateTime(), "1970-01-01T00:00:01-00:00") == 1_000_000
    assert number(BERLIN, "1970-01-01T01:00:01") == number(BERLIN, "1970-01-01T00:00:01Z")


def test_over_v2_days_and_microseconds_come_as_whole_numbers_or_as_text(
    contract: Contract,
) -> None:
    read = contract.validate_columns(
        {
            "born": np.array([0, 11016]),
            "at": np.array([-1, 5]),
            "took": np.array([0, 1]),
            "local": np.array([7, 8]),
            "local_present": np.array([False, True]),
        },
        2,
    )
    assert list(read["local"]) == [None, 8]
    assert list(read["born"]) == [0, 11_016]
    with pytest.raises(st.Refusal, match=r"input 'born', row 1: got 2031-01-01, want a date from"):
        contract.validate_columns(
            {"born": np.array([0, 22_280]), "at": np.zeros(2), "took": np.zeros(2)}, 2
        )
    text = st.Date(v2="BYTES")
    assert text.column([b"1970-01-02", "2000-02-29"]).tolist() == [1, 11_016]  # type: ignore[union-attr]
    with pytest.raises(st.Refusal, match=r"row 1: got a day that the calendar does not have"):
        text.column([b"1970-01-02", b"1970-02-29"])
    with pytest.raises(st.Refusal, match=r"row 0: got bytes that are no UTF-8"):
        text.column([b"\xff"])


def test_a_missing_date_is_the_nearest_to_the_epoch_and_a_mark(contract: Contract) -> None:
    late = st.Date(ge=date(2000, 1, 1), nullable=True)
    assert late.filler(late.stage("late", {})) == (number(st.Date(), "2000-01-01"),)
    front = HostStage(contract, {})
    names = [spec.name for spec in front.specs]
    encoded = front.encode_row(contract.validate_row({**SENT, "local": None}))
    assert names == ["born", "at", "local", "local_present", "took"]
    assert encoded == (11_016, 1_704_110_400_000_000, 0, False, 5_400_000_000)


class Stay(st.Row):
    since: date
    nights: Annotated[timedelta, st.Duration(ge=timedelta(days=1))]


class Guest(st.Row):
    visits: Annotated[list[date], st.Items(max_items=5)]
    first: Stay
    stays: Annotated[list[Stay], st.Items(max_items=3)]


def test_dates_stand_in_lists_and_in_rows_within_rows() -> None:
    contract = st.contract_from_rows(Guest, Score)
    stay = Stay(since=date(2001, 1, 1), nights=timedelta(days=2))
    row = Guest(visits=[date(2000, 1, 1)], first=stay, stays=[stay, stay])
    sent = wire_row(row)
    assert sent["visits"] == ["2000-01-01"]
    assert sent["stays"][1] == {"since": "2001-01-01", "nights": "P2D"}
    read = contract.validate_row(row)
    assert read == contract.validate_row(sent)
    assert read["stays.since"] == [11_323, 11_323]
    kinds = {field.name: field.kind for field in contract.inputs}
    kept = kinds["stays.nights"].json_value(read["stays.nights"])
    assert kept == ["P2D", "P2D"]
    encoded = HostStage(contract, {}).encode_row(read)
    assert [each.dtype.name for each in encoded if isinstance(each, np.ndarray)][:2] == [
        "int64", "bool",
    ]  # fmt: skip


def test_rules_of_a_zone_are_sealed_in_the_contract(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = contract.to_json()

    def gone(*_: object) -> None:
        raise AssertionError("a server reads no time zone database")

    monkeypatch.setattr(TimeZone, "named", gone)
    assert Contract.from_json(sealed).validate_row(SENT)["local"] == 1_719_829_800_000_000


def test_declarations_that_cannot_hold_are_refused() -> None:
    for annotation, message in (
        (Annotated[datetime, st.DateTime(ge=datetime(2024, 1, 1))], "a time without a zone"),
        (Annotated[date, st.Date(ge=date(2024, 1, 2), le=date(2024, 1, 1))], "bounds that leave"),
        (Annotated[date, st.DateTime()], "got date, want datetime"),
    ):
        row = type("Odd", (st.Row,), {"__annotations__": {"at": annotation}})
        with pytest.raises(st.DeclarationError, match=message):
            st.contract_from_rows(row, Score)
    for options, message in (
        ({"zone": "Mars/Base"}, "a name of the IANA time zone database"),
        ({"zone": "../passwd"}, "a name of the IANA time zone database"),
        ({"zone": {"name": "Here", "rules": "AAAA"}}, "zone"),
    ):
        with pytest.raises(st.DeclarationError, match=message):
            st.DateTime(**options)  # type: ignore[arg-type]
    with pytest.raises(st.DeclarationError, match=r"st\.Date: got ge=5, want a date"):
        st.Date(ge=5)


def test_words_of_pydantic_are_kept() -> None:
    class Words(st.Row):
        at: Annotated[AwareDatetime, Field(ge=EPOCH)]
        day: Annotated[date | None, Field(gt=date(2000, 1, 1))] = None

    kinds = {f.name: f.kind for f in st.contract_from_rows(Words, Score).inputs}
    assert kinds["at"].want() == "a date and time with its zone from 1970-01-01T00:00:00Z on"
    assert kinds["day"].want() == "a date from 2000-01-02 on"


DIFFERENCES: list[tuple[Kind, Kind, bool]] = [
    (st.Date(ge=date(2000, 1, 1)), st.Date(gt=date(1999, 12, 31)), False),
    (st.Date(ge=date(2000, 1, 1)), st.Date(gt=date(2000, 1, 1)), True),
    (st.Date(le=date(2000, 1, 1)), st.Date(), False),
    (st.Date(), st.Date(v2="BYTES"), True),
    (st.DateTime(), BERLIN, False),
    (BERLIN, st.DateTime(), True),
    (BERLIN, st.DateTime(zone="Asia/Tokyo"), True),
    (st.Duration(lt=timedelta(2)), st.Duration(lt=timedelta(1)), True),
]


@pytest.mark.parametrize(("old", "new", "breaks"), DIFFERENCES)
def test_a_change_that_refuses_or_misreads_rows_breaks_clients(
    contract: Contract, old: Kind, new: Kind, breaks: bool
) -> None:
    before, after = (
        Contract(inputs=({"name": "x", "kind": kind},), outputs=contract.outputs)  # type: ignore[arg-type]
        for kind in (old, new)
    )
    found = compare_contracts(before, after)
    assert any(difference.breaking for difference in found) == breaks
    assert all(len(str(difference)) < 200 for difference in found)
    assert compare_contracts(after, after) == []


def test_drift_counts_days_in_ranges_that_are_dates_as_pandas_does(contract: Contract) -> None:
    days = pd.Series(pd.date_range("2020-01-01", "2020-12-31"))
    rows = [
        {**WHOLE, "born": day.date(), "local": None, "at": day.tz_localize("UTC")} for day in days
    ]
    read = [contract.validate_row(row) for row in rows]
    profile = DriftFeatures(HostStage(contract, {})).profile(read, [{"score": 0.0}] * len(read))
    bins = profile.inputs["born"].bins
    assert isinstance(bins, Dates)
    names = bins.names
    ends = [name.split(" to ")[0] for name in names[1:-1]]
    assert names[0] == f"below {ends[0]}"
    edges = [pd.Timestamp.min, *map(pd.Timestamp, ends), pd.Timestamp(names[-1][5:])]
    counted = pd.cut(days, [*edges, pd.Timestamp.max], right=False).value_counts(sort=False)
    assert counted.tolist() == list(profile.inputs["born"].counts)
    assert profile.inputs["at"].bins.names[-1].startswith("from 2020-")
    assert profile.inputs["local"].counts[-1] == len(rows), "the missing ones"
    later = count_by_bin(bins, [number(st.Date(), "2021-06-01")] * 50).tolist()
    assert population_stability_index(profile.inputs["born"].counts, later) > 1
