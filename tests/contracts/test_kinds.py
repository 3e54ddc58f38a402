"""Field kinds: contracts of any fields survive their JSON.

What a kind draws, it accepts; what it must not take, it refuses.
"""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import Annotated, Any, Literal

import jsonschema
import numpy as np
import pytest
from annotated_types import Gt, Interval
from hypothesis import HealthCheck, given
from hypothesis import strategies as some
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_fields import InputField, OutputField
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.predict_request import RequestReader

names = some.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True).filter(
    lambda name: not hasattr(st.Row, name)
)
words = some.lists(
    some.text(some.characters(codec="utf-8"), min_size=1, max_size=8),
    min_size=2,
    max_size=5,
    unique=True,
)
bounds = some.tuples(some.integers(-1000, 1000), some.integers(1, 1000)).map(
    lambda pair: {"ge": float(pair[0]), "le": float(sum(pair))}
)
numbers = some.builds(
    lambda dtype, limits, nullable, unit: st.Number(
        dtype=dtype, nullable=nullable, unit=unit, **limits
    ),
    some.sampled_from(["float32", "float64", "int16", "int32", "int64"]),
    bounds | some.just({}),
    some.booleans(),
    some.none() | some.just("mm"),
)
categories = some.builds(
    lambda listed, unknown, nullable: st.Category(*listed, unknown=unknown, nullable=nullable),
    words,
    some.sampled_from(["reject", "bucket"]),
    some.booleans(),
)
sizes = (
    some.integers(1, 3)
    | some.none()
    | some.integers(0, 3).flatmap(
        lambda least: some.tuples(some.just(least), some.integers(max(1, least), 5))
    )
)
dtypes = some.sampled_from(["float32", "float64", "int8", "uint8", "int64", "bool"])
tensors = some.builds(
    lambda dtype, dims: st.Tensor(dtype=dtype, dims=tuple(dims)),
    dtypes,
    some.lists(sizes, max_size=3),
)
images = some.builds(
    lambda formats, side: st.Image(formats=tuple(formats), min_side_px=side),
    some.lists(some.sampled_from(["PNG", "JPEG", "BMP"]), min_size=1, max_size=3, unique=True),
    some.integers(1, 20),
)
KALDI = st.LogMel(
    n_fft=256, win_length=200, n_mels=8, center=False, htk=True, norm=None, log="kaldi",
    window="povey",
)  # fmt: skip
sounds = some.builds(
    lambda formats, rate_hz, mark, mel: st.Audio(
        formats=tuple(formats), rate_hz=rate_hz, max_seconds=0.5, mark=mark, log_mel=mel
    ),
    some.lists(some.sampled_from(["WAV", "FLAC", "OGG"]), min_size=1, max_size=3, unique=True),
    some.sampled_from([8_000, 16_000, 44_100]),
    some.sampled_from(["length", "mask"]),
    some.none() | some.sampled_from([st.LogMel(n_fft=256, n_mels=8), KALDI]),
)
flags = some.builds(lambda nullable: st.Flag(nullable=nullable), some.just(False))
ranges = some.none() | some.tuples(some.dates(), some.dates()).map(sorted)
nullables, carried = some.booleans(), some.sampled_from(["INT64", "BYTES"])
dates = some.builds(
    lambda ends, nullable, v2: st.Date(
        **(dict(zip(("ge", "le"), ends, strict=True)) if ends else {}), nullable=nullable, v2=v2
    ),
    ranges,
    nullables,
    carried,
)
moments = some.builds(
    lambda least, zone, nullable, v2: st.DateTime(ge=least, zone=zone, nullable=nullable, v2=v2),
    some.none() | some.datetimes(timezones=some.just(UTC)),
    some.none() | some.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Tokyo"]),
    nullables,
    carried,
)
durations = some.builds(
    lambda most, nullable, v2: st.Duration(lt=most, nullable=nullable, v2=v2),
    some.none() | some.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)),
    nullables,
    carried,
)
temporals: some.SearchStrategy[Kind] = dates | moments | durations
input_kinds: some.SearchStrategy[Kind] = (
    numbers | categories | tensors | images | sounds | flags | temporals
)
output_kinds = (
    some.builds(lambda listed: st.Label(*listed), words)
    | tensors
    | numbers.map(lambda kind: kind.model_copy(update={"nullable": False}))
)


@some.composite
def contracts(draw: some.DrawFn) -> Contract:
    """Any contract but for texts, whose tokenizer lies outside of it."""
    listed = draw(some.lists(names, min_size=2, max_size=6, unique=True))
    middle = draw(some.integers(1, len(listed) - 1))
    return Contract(
        schema=1,
        inputs=tuple(InputField(name=name, kind=draw(input_kinds)) for name in listed[:middle]),
        outputs=tuple(OutputField(name=name, kind=draw(output_kinds)) for name in listed[middle:]),
        limits=st.Limits(max_rows=draw(some.integers(1, 5000))),
        tolerance=st.Tolerance(relative=draw(some.floats(0, 1))),
        objective=st.Objective(p99_s=draw(some.none() | some.floats(0.001, 10))),
    )


def test_bounds_beyond_the_element_type_are_told_as_they_were_declared() -> None:
    """A bundle's contract may say so: no float32 is below it, and the refusal names it."""
    with pytest.raises(st.DeclarationError, match=r"at most -1e\+300, want bounds that leave"):
        st.Number(dtype="float32", le=-1e300).check()
    with pytest.raises(st.DeclarationError, match=r"above 100000, want bounds that leave"):
        st.Number(dtype="float16", gt=1e5).check()


@given(contracts())
@drawing(150)
def test_every_contract_survives_its_json(contract: Contract) -> None:
    data = contract.to_json()
    assert Contract.from_json(data) == contract
    assert Contract.from_json(data).to_json() == data


@given(contracts(), some.data())
@drawing(100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_rebuilt_contract_takes_encodes_and_describes_as_json_schema_whatever_its_kinds_draw(
    contract: Contract, data: some.DataObject
) -> None:
    rebuilt = Contract.from_json(contract.to_json())
    row = {
        f.name: data.draw(some.none() | f.kind.strategy() if f.kind.nullable else f.kind.strategy())
        for f in rebuilt.inputs
    }
    body = json.dumps({"instances": [row]}).encode()
    jsonschema.validate(
        json.loads(body)["instances"][0], rebuilt.row_schema(), jsonschema.Draft202012Validator
    )
    (parsed,) = RequestReader(rebuilt).read(body).rows
    front = HostStage(rebuilt, {})
    encoded = front.encode_row(parsed)
    feeds = collate(front.specs, [encoded, encoded])
    for spec in front.specs:
        assert feeds[spec.name].shape[0] == 2
        assert spec.dtype == "string" or feeds[spec.name].dtype == np.dtype(spec.dtype)


@given(contracts())
@drawing(60)
def test_every_contract_accepts_its_own_example(contract: Contract) -> None:
    example = json.loads(json.dumps(contract.example_row()))
    RequestReader(contract).read(json.dumps({"instances": [example]}).encode())
    jsonschema.validate(example, contract.row_schema(), jsonschema.Draft202012Validator)


ends = some.none() | some.floats(-1e9, 1e9) | some.integers(-5, 5).map(float)
tight: some.SearchStrategy[Kind] = (
    some.builds(
        lambda ge, le, gt, lt, nullable, dtype: st.Number(ge=ge, le=le, gt=gt, lt=lt).declared(
            int if "int" in dtype else float, nullable
        ),
        ends,
        ends,
        ends,
        ends,
        some.booleans(),
        some.sampled_from(["float32", "int64"]),
    )
    | some.builds(
        lambda sides, most: st.Tensor(dims=tuple(sides), max_values=most).declared(
            np.ndarray, nullable=False
        ),
        some.lists(some.tuples(some.integers(1, 3), some.integers(3, 9)), max_size=6),
        some.integers(1, 800),
    )
    | some.builds(
        lambda side, pixels, shorter, sides, fit, formats: st.Image(
            min_side_px=side,
            max_pixels=pixels,
            shorter_side_px=shorter,
            formats=tuple(formats),
            size_px=sides,
            fit=fit if sides else "stretch",
        ).declared(bytes, nullable=False),
        some.integers(1, 90),
        some.integers(1, 9000),
        some.none() | some.integers(1, 60),
        some.none() | some.tuples(some.integers(1, 60), some.integers(1, 60)),
        some.sampled_from(["stretch", "letterbox", "crop"]),
        some.lists(some.sampled_from(["PNG", "JPEG", "WEBP"]), min_size=1, unique=True),
    )
    | some.builds(
        lambda listed, most: st.Category(*listed, unknown="bucket", max_chars=most).declared(
            str, nullable=False
        ),
        words,
        some.integers(1, 8),
    )
)
"""Kinds with bounds that leave little room."""


@given(some.data())
@drawing(300)
def test_a_kind_with_tight_bounds_accepts_its_own_example_or_is_refused_where_it_is_declared(
    data: some.DataObject,
) -> None:
    try:
        kind = data.draw(tight)
    except st.DeclarationError:
        return
    contract = Contract(
        schema=1,
        inputs=(InputField(name="x", kind=kind),),
        outputs=(OutputField(name="y", kind=st.Number(dtype="float32")),),
        limits=st.Limits(),
        tolerance=st.Tolerance(),
        objective=st.Objective(),
    )
    (row,) = (
        RequestReader(contract)
        .read(json.dumps({"instances": [contract.example_row()]}).encode())
        .rows
    )
    HostStage(contract, {}).encode_row(row)


def test_every_kind_is_found_by_its_file_and_has_a_protocol_datatype() -> None:
    assert {"number", "flag", "category", "text", "image", "tensor", "label"} <= set(kinds())
    for kind in (
        st.Number(dtype="float32"),
        st.Category("a", "b"),
        st.Image(),
        st.Tensor(dtype="int8", dims=(2,)),
        st.Label("a", "b"),
    ):
        assert kind.datatype in V2_DATATYPES.values()


class Every(st.Row):
    ratio: Annotated[float, st.Number(gt=0, lt=1)]
    count: Annotated[int | None, st.Number(ge=0)]
    small: Annotated[int, st.Number(dtype="uint8")]
    flag: bool
    word: Literal["yes", "no"] | None
    town: Annotated[str, st.Category("Oslo", "Bergen", unknown="bucket")]
    grid: st.Tensor[np.float32, 2, 3]
    series: st.Tensor[np.int64, 2:4]


class Value(st.Answer):
    value: float


GOOD: dict[str, Any] = {
    "ratio": 0.5,
    "count": 3,
    "small": 255,
    "flag": True,
    "word": "yes",
    "town": "Oslo",
    "grid": [[1, 2, 3], [4, 5, 6]],
    "series": [1, 2],
}


@pytest.mark.parametrize(
    ("change", "code", "words_"),
    [
        ({"ratio": 0.0}, "E_RANGE", "got 0.0, want a number above 0 and below 1"),
        ({"ratio": 1}, "E_RANGE", "got 1, want a number above 0 and below 1"),
        ({"ratio": True}, "E_TYPE", "got true"),
        ({"ratio": "0.5"}, "E_TYPE", "got a string of 3 characters"),
        ({"ratio": None}, "E_MISSING", "got null"),
        ({"ratio": [0.5]}, "E_TYPE", "got a list of 1"),
        ({"count": -1}, "E_RANGE", "a whole number from 0 to 16777216"),
        ({"count": 2**24 + 1}, "E_RANGE", "16777217"),
        ({"count": 1.5}, "E_TYPE", "got 1.5"),
        ({"small": 256}, "E_RANGE", "fits uint8"),
        ({"small": -1}, "E_RANGE", "got -1"),
        ({"flag": 1}, "E_TYPE", "input 'flag'"),
        ({"flag": "true"}, "E_TYPE", "input 'flag'"),
        ({"word": "maybe"}, "E_CATEGORY", "one of 'yes', 'no'"),
        ({"word": ""}, "E_CATEGORY", "a string of 0 characters"),
        ({"word": 1}, "E_TYPE", "input 'word'"),
        ({"town": ""}, "E_TEXT_LIMIT", "a word of 1 to 256 characters"),
        ({"grid": [[1, 2, 3]]}, "E_SHAPE", "shape [1, 3], want float32 numbers of shape [2, 3]"),
        ({"grid": [[1, 2, 3], [4, 5]]}, "E_SHAPE", "lists of unlike length"),
        ({"grid": [1, 2, 3, 4, 5]}, "E_SHAPE", "shape [5]"),
        ({"grid": [[1, 2, 3], [4, 5, None]]}, "E_TYPE", "null at [1][2]"),
        ({"grid": [[1, 2, 3], [4, 5, "6"]]}, "E_TYPE", "a string at [1][2]"),
        ({"grid": [[1, 2, 3], [4, 5, True]]}, "E_TYPE", "a boolean at [1][2]"),
        ({"grid": [[1, 2, 3], [4, 5, 1e39]]}, "E_RANGE", "at [1][2]"),
        ({"series": [1]}, "E_SHAPE", "want int64 numbers of shape [2 to 4]"),
        ({"series": [1, 2, 3, 4, 5]}, "E_SHAPE", "shape [5]"),
        ({"series": [1.5, 2]}, "E_TYPE", "at [0]"),
        ({"other": 1}, "E_UNKNOWN_FIELD", "a field that the contract does not have"),
    ],
)  # fmt: skip
def test_what_breaks_a_field_is_refused_with_where_got_and_want(
    change: dict[str, Any], code: str, words_: str
) -> None:
    contract = Contract.from_json(st.contract_from_rows(Every, Value).to_json())
    with pytest.raises(st.Refusal) as refused:
        RequestReader(contract).read(json.dumps({"instances": [GOOD, {**GOOD, **change}]}).encode())
    assert refused.value.code == code
    assert words_ in str(refused.value)
    assert "row 1" in str(refused.value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_json_extensions_for_odd_numbers_are_refused(text: str) -> None:
    body = json.dumps({"instances": [GOOD]}).replace("0.5", text).encode()
    with pytest.raises(st.Refusal) as refused:
        RequestReader(st.contract_from_rows(Every, Value)).read(body)
    assert refused.value.code in ("E_NONFINITE", "E_JSON")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "E_EMPTY"), (b"{", "E_JSON"), (b"\xff\xfe", "E_JSON"),
        (b'{"instances": []}', "E_EMPTY_BATCH"), (b'{"instances": 7}', "E_SCHEMA"),
        (b"[]", "E_SCHEMA"), (b"null", "E_SCHEMA"), (b"{}", "E_MISSING"),
        (b'{"instances": [7]}', "E_SCHEMA"), (b"[" * 100_000, "E_JSON"),
        (json.dumps({"instances": [GOOD], "other": 1}).encode(), "E_UNKNOWN_FIELD"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(st.Refusal) as refused:
        RequestReader(st.contract_from_rows(Every, Value)).read(body)
    assert refused.value.code == code


def test_more_rows_than_the_limit_are_refused() -> None:
    contract = st.contract_from_rows(Every, Value, limits=st.Limits(max_rows=2))
    with pytest.raises(st.Refusal, match="1 to 2 rows") as refused:
        RequestReader(contract).read(json.dumps({"instances": [GOOD] * 3}).encode())
    assert refused.value.code == "E_BATCH"


def test_nested_and_flat_tensors_are_the_same_row() -> None:
    contract = st.contract_from_rows(Every, Value)
    nested, flat = (
        contract.validate_row({**GOOD, "grid": grid})["grid"]
        for grid in (GOOD["grid"], [1, 2, 3, 4, 5, 6])
    )
    assert nested.tolist() == flat.tolist()
    assert nested.dtype == np.float32


def test_missing_values_and_unknown_words_have_codes_of_their_own() -> None:
    kind = st.Category("Oslo", "Bergen", unknown="bucket", nullable=True)
    assert kind.codes(np.array(["Oslo", "Bergen", "", "Rome"], object)).tolist() == [0, 1, 2, 3]
    assert kind.codes_count == 4
    front = HostStage(st.contract_from_rows(Every, Value), {})
    encoded = front.encode_row(
        front.contract.validate_row({**GOOD, "count": None, "word": None, "town": "Rome"})
    )
    feeds = collate(front.specs, [encoded])
    assert np.isnan(feeds["count"][0])
    assert (feeds["word"][0], feeds["town"][0]) == ("", "Rome")


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize(
    ("declare", "words_"),
    [
        (lambda: {"x": list[int]}, "no max_items"),
        (lambda: {"x": dict[str, int]}, "a type or a kind that can be an input"),
        (lambda: {"x": Annotated[str, st.Number()]}, "float or int"),
        (lambda: {"x": Annotated[float, st.Number(dtype="int8")]}, "a float dtype for float"),
        (lambda: {"x": Literal[1, "b"]}, "non-empty words"),
        (lambda: {"x": Annotated[str, st.Category("a", "a")]}, "different, non-empty words"),
        (lambda: {"x": Annotated[str, st.Text(max_tokens=9)]}, "no tokenizer"),
        (
            lambda: {"x": Annotated[str, st.Text(tokenizer="/no/such/file.json")]},
            "readable tokenizer.json",
        ),
        (lambda: {"x": st.Tensor[np.float32, 0]}, "sizes above 0"),
        (lambda: {"x": st.Tensor[np.float32, 5:3]}, "sizes above 0"),
        (lambda: {"x": Annotated[str, st.Label("a", "b")]}, "can be an input"),
        (lambda: {"model_dump": float}, "Pydantic's own names"),
        (lambda: {"value": int}, "the name of an input"),
    ],
)
def test_a_row_class_that_cannot_be_used_is_refused_by_field(declare: Any, words_: str) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        rows = type("Rows", (st.Row,), {"__annotations__": declare(), "__module__": __name__})
        st.contract_from_rows(rows, Value)
    assert words_ in str(refused.value)


float32s = some.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    some.lists(float32s, min_size=2, max_size=2, unique=True).map(sorted),
    some.booleans(),
    some.data(),
)
@drawing(200)
def test_a_float32_field_takes_by_json_what_it_takes_as_a_tensor(
    ends: list[float], is_open: bool, data: some.DataObject
) -> None:
    low, high = ends
    limits = {"gt": low, "lt": high} if is_open else {"ge": low, "le": high}
    kind = st.Number(dtype="float32", **limits)
    if np.nextafter(np.float32(low), np.float32(high)) == high and is_open:
        return
    contract = Contract(
        schema=1,
        inputs=(InputField(name="x", kind=kind),),
        outputs=(OutputField(name="y", kind=st.Number(dtype="float32")),),
    )
    near = some.sampled_from([low, high]).flatmap(
        lambda end: some.integers(-(2**31), 2**31).map(lambda n: end + n * abs(end) * 2.0**-55)
    )
    value = data.draw(near | some.floats(allow_nan=False, allow_infinity=False))
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    inside = low < rounded < high if is_open else low <= rounded <= high
    for text in {repr(value), str(rounded)} if np.isfinite(rounded) else {repr(value)}:
        try:
            RequestReader(contract).read(f'{{"instances": [{{"x": {text}}}]}}'.encode())
            taken = True
        except st.Refusal as refusal:
            assert refusal.code == "E_RANGE"  # noqa: PT017  (whichever way it goes is right by `inside`)
            taken = False
        assert taken == bool(inside), text
        if jsonschema.Draft202012Validator(contract.row_schema()).is_valid({"x": float(text)}):
            assert taken, "what its JSON Schema takes, a contract takes"


def test_the_bounds_that_a_refusal_writes_are_bounds_that_are_taken() -> None:
    largest = np.finfo(np.float32).max
    for bound in (1234567.5, 0.1, float(np.float32(0.1)), 1e-7, float(largest)):
        contract = Contract(
            schema=1,
            inputs=(InputField(name="x", kind=st.Number(dtype="float32", ge=-bound, le=bound)),),
            outputs=(OutputField(name="y", kind=st.Number(dtype="float32")),),
        )
        with pytest.raises(st.Refusal) as refused:
            RequestReader(contract).read(b'{"instances": [{"x": 1e300}]}')
        for end in str(refused.value).split("from ")[1].split(" to "):
            RequestReader(contract).read(f'{{"instances": [{{"x": {end}}}]}}'.encode())
    # 3.4028235e+38, as JSON holds it.
    RequestReader(contract).read(f'{{"instances": [{{"x": {largest}}}]}}'.encode())


class Ids(st.Row):
    ids: st.Tensor[np.int64, 4, Interval(ge=0, le=99)]
    weights: st.Tensor[np.float32, 1:3, Gt(0)]


class Codes(st.Row):
    codes: Annotated[np.ndarray, st.Tensor(dtype="uint8", dims=(2, 2), le=9)]


@pytest.mark.parametrize(
    ("row", "words_"),
    [
        (
            {"ids": [0, -1, 5, 99]},
            "input 'ids', row 0: got -1 at [1], want int64 numbers from 0 to 99 of shape [4]",
        ),
        ({"ids": [0, 1, 5, 100]}, "got 100 at [3]"),
        ({"weights": [0.5, 0.0]}, "got 0.0 at [1], want float32 numbers above 0"),
        ({"ids": np.array([0, 1, -7, 3])}, "got -7 at [2]"),
    ],
)
def test_every_element_of_a_tensor_is_held_to_its_bounds(row: dict[str, Any], words_: str) -> None:
    contract = Contract.from_json(st.contract_from_rows(Ids, Value).to_json())
    with pytest.raises(st.Refusal) as refused:
        contract.validate_row({"ids": [0, 1, 2, 99], "weights": [0.5], **row}, 0)
    assert refused.value.code == "E_RANGE"
    assert words_ in str(refused.value)


def test_a_column_of_tensors_is_held_to_the_bounds_and_its_row_is_named() -> None:
    contract = Contract.from_json(st.contract_from_rows(Codes, Value).to_json())
    good = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert contract.validate_columns({"codes": good}, 2)["codes"] is good
    with pytest.raises(
        st.Refusal,
        match=r"input 'codes', row 1: got 10 at \[0\]\[1\], want uint8 numbers at most 9 of",
    ):
        contract.validate_columns(
            {"codes": np.array([[[1, 2], [3, 4]], [[9, 10], [11, 0]]], np.uint8)}, 2
        )


@given(some.data())
@drawing(40)
def test_json_schema_knows_the_bounds_of_elements_and_what_is_drawn_keeps_them(
    data: some.DataObject,
) -> None:
    contract = st.contract_from_rows(Ids, Value)
    schema = contract.row_schema()
    assert schema["properties"]["ids"]["items"] == {"type": "integer", "minimum": 0, "maximum": 99}
    row = {field.name: data.draw(field.kind.strategy()) for field in contract.inputs}
    for drawn in (row, contract.example_row()):
        jsonschema.validate(drawn, schema, jsonschema.Draft202012Validator)
        contract.validate_row(drawn)


def test_a_tensor_of_fixed_shape_may_hold_more_than_a_million_values() -> None:
    contract = st.contract_from_rows(
        type("Big", (st.Row,), {"__annotations__": {"x": st.Tensor[np.float32, 3, 1024, 1024]}}),
        Value,
    )
    assert contract.inputs[0].kind.most_values == 3 * 2**20
    contract.validate_columns({"x": np.zeros((1, 3, 1024, 1024), np.float32)}, 1)
