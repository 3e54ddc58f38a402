"""Differences of contracts: which of them break a client, proven by rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts, may_replace
from seatrial_contracts.contract_fields import InputField, OutputField
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.options import OptionField

OUT = (OutputField(name="out", kind=st.Number().declared(float, nullable=False)),)


def contract(*fields: tuple[str, Any, Any], outputs: Any = OUT, **more: Any) -> Contract:
    """Inputs by name, annotation and kind."""
    inputs = tuple(
        InputField(name=name, kind=declared(annotation, kind)) for name, annotation, kind in fields
    )
    return Contract(inputs=inputs, outputs=outputs, **more)


def declared(annotation: Any, kind: Kind) -> Kind:
    nullable = annotation in (float | None, int | None, str | None)
    plain = {float | None: float, int | None: int, str | None: str}.get(annotation, annotation)
    return kind.declared(plain, nullable)


def text(**options: Any) -> st.Text:
    return st.Text(tokenizer=b"{}", **options)


CHANGES: list[tuple[Any, Any, Any, bool]] = [
    (float, st.Number(ge=0, le=10), st.Number(ge=1, le=10), True),
    (float, st.Number(ge=0, le=10), st.Number(ge=-1, le=11), False),
    (float, st.Number(ge=0), st.Number(gt=0), True),
    (float, st.Number(gt=0), st.Number(ge=0), False),
    (float, st.Number(le=5), st.Number(lt=5), True),
    (float, st.Number(), st.Number(le=5), True),
    (float, st.Number(le=5), st.Number(), False),
    (float, st.Number(unit="mm"), st.Number(unit="cm"), True),
    (float, st.Number(), st.Number(dtype="float64"), True),
    (float, st.Number(), st.Number(description="longer"), False),
    (str, st.Category("a", "b"), st.Category("a"), True),
    (str, st.Category("a"), st.Category("b", "a"), False),
    (str, st.Category("a"), st.Category("a", unknown="bucket"), False),
    (str, st.Category("a", unknown="bucket"), st.Category("a"), True),
    (str, text(max_chars=10), text(max_chars=9), True),
    (str, text(max_chars=9), text(max_chars=10), False),
    (str, text(), text(min_chars=1), True),
    (str, text(max_tokens=10), text(max_tokens=9), True),
    (str, text(), text(overflow="truncate"), False),
    (str, text(overflow="truncate"), text(), True),
    (str, text(), text(pad_id=1), False),
    (str, text(), text(padding_side="left"), False),
    (str, text(), text(truncation_side="left"), True),
    (str, text(), text(special="words"), False),
    (str, text(), text(special="take"), True),
    (str, text(special="take"), text(), True),
    (bytes, st.Image(), st.Image(formats=("PNG",)), True),
    (bytes, st.Image(formats=("PNG",)), st.Image(), False),
    (bytes, st.Image(), st.Image(max_pixels=100), True),
    (bytes, st.Image(), st.Image(max_bytes=100), True),
    (bytes, st.Image(), st.Image(min_side_px=2), True),
    (bytes, st.Image(shorter_side_px=100), st.Image(shorter_side_px=200), True),
    (bytes, st.Image(shorter_side_px=200), st.Image(shorter_side_px=100), False),
    (bytes, st.Image(), st.Image(exif="ignore"), True),
    (bytes, st.Image(), st.Image(size_px=(8, 8), fit="letterbox"), False),
    (bytes, st.Image(), st.Image(size_px=(8, 8), fit="crop"), True),
    (bytes, st.Image(size_px=(8, 8)), st.Image(size_px=(64, 9)), False),
    (bytes, st.Image(), st.Image(mode="L"), False),
    (bytes, st.Image(formats=("PNG",)), st.Image(formats=("PNG",), mode="I;16"), True),
    (bytes, st.Image(formats=("PNG",), mode="I;16"), st.Image(formats=("PNG",)), True),
    (bytes, st.Image(), st.Image(frames="first"), False),
    (bytes, st.Image(frames="first"), st.Image(), True),
    (bytes, st.Image(), st.Image(resample="lanczos", icc="srgb"), False),
    (np.ndarray, st.Tensor(dims=(3,)), st.Tensor(dims=(4,)), True),
    (np.ndarray, st.Tensor(dims=(3,)), st.Tensor(dims=(None,)), False),
    (np.ndarray, st.Tensor(dims=((2, 9),)), st.Tensor(dims=((2, 8),)), True),
    (np.ndarray, st.Tensor(dims=((2, 8),)), st.Tensor(dims=((1, 9),)), False),
    (np.ndarray, st.Tensor(dims=(3,)), st.Tensor(dims=(3, 1)), True),
    (np.ndarray, st.Tensor(dims=(3,)), st.Tensor(dims=(3,), dtype="int64"), True),
    (np.ndarray, st.Tensor(dims=(None,)), st.Tensor(dims=(None,), max_values=10), True),
    (np.ndarray, st.Tensor(dims=(3,)), st.Tensor(dims=(3,), ge=0), True),
    (np.ndarray, st.Tensor(dims=(3,), le=9), st.Tensor(dims=(3,), lt=9), True),
    (np.ndarray, st.Tensor(dims=(3,), gt=0, le=9), st.Tensor(dims=(3,), ge=0, le=10), False),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "old", "new", "breaking"), CHANGES, ids=str)
def test_a_change_of_an_option_is_safe_or_breaking(
    annotation: Any, old: Kind, new: Kind, breaking: bool
) -> None:
    found = compare_contracts(contract(("f", annotation, old)), contract(("f", annotation, new)))
    assert found
    assert any(difference.breaking for difference in found) == breaking
    assert {difference.place for difference in found} <= {"input 'f'", "limit max_body_bytes"}


X, Y = ("x", float, st.Number()), ("y", float, st.Number())


@pytest.mark.parametrize(
    ("old", "new", "words", "breaking"),
    [
        (contract(X, Y), contract(X), "input 'y': removed", True),
        (contract(X), contract(X, Y), "input 'y': new and required", True),
        (contract(X), contract(X, ("y", float | None, st.Number())),
         "input 'y': new, may be missing", False),
        (contract(("x", float | None, st.Number())), contract(X), "nullable True -> False", True),
        (contract(X), contract(("x", float | None, st.Number())), "nullable False -> True", False),
        (contract(X), contract(("x", bool, st.Flag())), "was a number, is a flag", True),
        (contract(X, limits=st.Limits(max_rows=9)), contract(X, limits=st.Limits(max_rows=8)),
         "limit max_rows: 9 -> 8", True),
        (contract(X, limits=st.Limits(max_rows=8)), contract(X, limits=st.Limits(max_rows=9)),
         "limit max_rows: 8 -> 9", False),
        (contract(X), contract(X, tolerance=st.Tolerance(relative=0.1)), "tolerance", False),
        (contract(X), contract(X, objective=st.Objective(p99_s=1.0)), "objective", False),
        (contract(("i", bytes, st.Image())),
         contract(("i", bytes, st.Image()), ("x", float | None, st.Number())),
         "raw file as the body: no longer taken", True),
        (contract(X), contract(X, outputs=(*OUT, OUT[0].model_copy(update={"name": "z"}))),
         "output 'z': new", False),
        (contract(X), contract(X, outputs=(OUT[0].model_copy(update={"name": "z"}),)),
         "output 'out': removed", True),
        (contract(X), contract(X, outputs=(OUT[0].model_copy(update={"name": "z"}), *OUT)),
         "outputs: in another order", True),
        (contract(X, Y), contract(Y, X), "inputs: in another order", False),
        (contract(X, limits=st.Limits(max_body_bytes=9)),
         contract(X, limits=st.Limits(max_body_bytes=8)), "limit max_body_bytes: 9 -> 8", True),
        (contract(X, limits=st.Limits(max_answer_bytes=9)),
         contract(X, limits=st.Limits(max_answer_bytes=8)), "limit max_answer_bytes: 9 -> 8",
         True),
        (
            contract(X, outputs=(OutputField(name="l", kind=st.Label("a", "b")),)),
            contract(X, outputs=(OutputField(name="l", kind=st.Label("b", "a")),)),
            "output 'l': classes in another order", True,
        ),
        (
            contract(X, outputs=(OutputField(name="l", kind=st.Label("a", "b")),)),
            contract(X, outputs=(OutputField(name="l", kind=st.Label("a", "b", "c")),)),
            "output 'l': classes with 'c'", True,
        ),
    ],
)  # fmt: skip
def test_a_change_of_a_contract_says_where_and_what(
    old: Contract, new: Contract, words: str, breaking: bool
) -> None:
    found = compare_contracts(old, new)
    difference = next(item for item in found if words in str(item))
    assert difference.breaking == breaking
    assert found[0].breaking == any(item.breaking for item in found)


def test_equal_contracts_do_not_differ() -> None:
    one = contract(X, ("c", str, st.Category("a")), ("i", bytes, st.Image()))
    assert compare_contracts(one, Contract.from_json(one.to_json())) == []


def test_breaking_changes_need_a_higher_major_version() -> None:
    broken = compare_contracts(contract(X), contract(Y))
    assert not may_replace("1.2.0", "1.9.0", broken)
    assert may_replace("1.2.0", "2.0.0", broken)
    assert may_replace(
        "1.2.0",
        "1.2.1",
        compare_contracts(contract(X), contract(X, limits=st.Limits(max_rows=2000))),
    )


def leaves_a_number(made: tuple[Any, st.Number]) -> bool:
    try:
        made[1].declared(float, False)
    except st.DeclarationError:
        return False
    return True


BOUND = some.sampled_from([None, -2.0, 0.0, 1.5, 3.0])
NUMBERS = some.builds(
    lambda nullable, **bounds: (float | None if nullable else float, st.Number(**bounds)),
    some.booleans(),
    ge=BOUND,
    gt=BOUND,
    le=BOUND,
    lt=BOUND,
).filter(leaves_a_number)
WORDS = some.lists(some.sampled_from("abcd"), min_size=1, unique=True)
CATEGORIES = some.builds(
    lambda nullable, words, unknown: (
        str | None if nullable else str,
        st.Category(*words, unknown=unknown),
    ),
    some.booleans(),
    WORDS,
    some.sampled_from(["reject", "bucket"]),
)
SIDE = some.sampled_from([1, 2, None, (1, 2), (2, 3), (2, None)])
TENSORS = some.builds(
    lambda dims, dtype: (np.ndarray, st.Tensor(dims=tuple(dims), dtype=dtype)),
    some.lists(SIDE, max_size=2),
    some.sampled_from(["float32", "int8"]),
)
FIELDS = some.one_of(NUMBERS, CATEGORIES, TENSORS, some.just((bool, st.Flag())))
CONTRACTS = some.dictionaries(some.sampled_from("pq"), FIELDS, min_size=1).map(
    lambda fields: contract(*((name, *field) for name, field in fields.items()))
)
CANDIDATES: list[Any] = [
    None,
    True,
    -2.0,
    -1.0,
    0.0,
    1.0,
    1.5,
    2.0,
    3.0,
    4.0,
    "a",
    "b",
    "d",
    "z",
    1.0,
    [1.0],
    [[1.0]],
    [1.0, 2.0],
    [1.0, 2.0, 3.0],
    [1],
    [1, 2],
    [[1, 2]],
    [[1], [2]],
    [[1.0, 2.0], [3.0, 4.0]],
    [300],
]


def takes(known: Contract, row: Any) -> bool:
    try:
        known.validate_row(row)
    except Refusal:
        return False
    return True


@drawing(300)
@given(
    CONTRACTS, CONTRACTS, some.dictionaries(some.sampled_from("pq"), some.sampled_from(CANDIDATES))
)
def test_where_nothing_breaks_every_row_that_was_taken_is_taken(
    old: Contract, new: Contract, row: Any
) -> None:
    broken = any(
        item.breaking for item in compare_contracts(old, new) if item.place.startswith("input")
    )
    assert broken or not takes(old, row) or takes(new, row)


@given(CONTRACTS, CONTRACTS)
def test_no_change_goes_unsaid_and_each_is_said_in_the_same_order_each_time(
    old: Contract, new: Contract
) -> None:
    found = compare_contracts(old, new)
    assert bool(found) == (old != new)
    names = [field.name for field in (*old.inputs, *new.inputs)]
    gone = [item.place for item in found if "removed" in item.text]
    assert gone == sorted(gone, key=lambda place: names.index(place.split("'")[1]))


def test_what_breaks_by_a_bound_refuses_a_row_that_was_taken() -> None:
    for annotation, old, new, breaking in CHANGES:
        if annotation is float and breaking and old.unit == new.unit and old.dtype == new.dtype:
            known = [contract(("f", annotation, kind)) for kind in (old, new)]
            assert any(
                takes(known[0], {"f": value}) and not takes(known[1], {"f": value})
                for value in (0.0, 5.0, 6.0)
            )


class Old(st.Row):
    plan: Literal["a", "b"]
    n: Annotated[float, st.Number(ge=0, le=9)]


def test_declared_rows_are_compared_alike() -> None:
    class New(st.Row):
        plan: Literal["a"]
        n: Annotated[float, st.Number(ge=0, le=9)]

    class Yes(st.Answer):
        y: float

    found = compare_contracts(st.contract_from_rows(Old, Yes), st.contract_from_rows(New, Yes))
    assert [str(item) for item in found] == ["input 'plan': categories without 'b'"]


TAGS = (
    OutputField(name="tags", kind=st.Labels("a", "b", "c").declared(list[str], nullable=False)),
)
X = ("x", float, st.Number())


def with_top(**parts: Any) -> Contract:
    option = st.Option(parts.pop("default", 2), **parts).declared(int)
    return contract(X, outputs=TAGS, options=(OptionField(name="top_k", option=option),))


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ({"ge": 1, "le": 3}, {"ge": 2, "le": 3}, True),
        ({"ge": 2, "le": 3}, {"ge": 1, "le": 3}, False),
        ({"ge": 1, "le": 3}, {"ge": 1, "le": 2}, True),
        ({"ge": 1}, {"ge": 1, "le": 3}, True),
        ({"ge": 1, "le": 3}, {"ge": 1}, False),
        ({"default": 1, "ge": 1}, {"default": 2, "ge": 1}, True),
        ({"choices": (1, 2)}, {"choices": (1, 2, 3)}, False),
        ({"choices": (1, 2, 3)}, {"choices": (1, 2)}, True),
        ({"ge": 1}, {"ge": 1, "description": "how many"}, False),
    ],
)
def test_an_option_that_takes_less_or_has_another_default_breaks_clients(
    old: dict[str, Any], new: dict[str, Any], breaks: bool
) -> None:
    found = compare_contracts(with_top(**old), with_top(**new))
    assert found
    assert all(each.place == "option 'top_k'" for each in found)
    assert any(each.breaking for each in found) == breaks, found


def test_a_new_option_is_safe_and_one_that_goes_breaks() -> None:
    without, with_one = contract(X, outputs=TAGS), with_top(ge=1)
    assert [each.breaking for each in compare_contracts(without, with_one)] == [False]
    assert [each.breaking for each in compare_contracts(with_one, without)] == [True]
