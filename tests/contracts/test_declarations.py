"""What a row class declares in Pydantic's words is kept in the contract, or refused by name.

The contract judges as Pydantic itself would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import annotated_types as at
import numpy as np
import pytest
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    SkipValidation,
    Strict,
    StrictFloat,
    TypeAdapter,
    ValidationError,
    computed_field,
    confloat,
    conint,
    field_validator,
    model_validator,
)

import seatrial as st
from seatrial_contracts.kinds.number import Number


class Value(st.Answer):
    value: float


def contract_of(annotation: Any, **attributes: Any) -> st.Contract:
    rows = type(
        "Rows",
        (st.Row,),
        {"__annotations__": {"x": annotation}, "__module__": __name__, **attributes},
    )
    return st.contract_from_rows(rows, Value)


def takes(judge: Callable[[Any], Any], value: Any) -> bool:
    try:
        judge(value)
    except (ValidationError, st.Refusal):
        return False
    return True


TRIED = [None, -3, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9.5, 2**53, -(2**53), "3", True]


@pytest.mark.parametrize(
    "annotation",
    [
        conint(ge=1, le=5),
        conint(ge=1, le=5) | None,
        conint(gt=1, lt=5),
        PositiveInt,
        PositiveInt | None,
        Annotated[int, at.Interval(ge=1, le=5)],
        Annotated[int, at.Interval(gt=1, lt=5)],
        Annotated[int | None, at.Ge(2)],
        Annotated[int, Field(ge=1), Field(le=5)],
        Annotated[int, Field(ge=1)] | None,
        Annotated[int, "a note", at.doc("d"), at.Gt(3)],
        Annotated[int, Strict(), at.Lt(4)],
        Annotated[int | None, Field(default=None, ge=1)],
        Annotated[int, at.Ge(np.int64(3).item())],
    ],
    ids=str,
)
def test_the_contract_takes_what_pydantic_itself_takes(annotation: Any) -> None:
    judge = TypeAdapter(annotation, config=ConfigDict(strict=True))
    contract = st.Contract.from_json(contract_of(annotation).to_json())
    for value in TRIED:
        if contract.inputs[0].kind.nullable and isinstance(value, int) and abs(value) > 2**24:
            continue  # an int that may be missing is a float32
        wanted = takes(judge.validate_python, value)
        assert takes(lambda given: contract.validate_row({"x": given}), value) == wanted, value


@pytest.mark.parametrize(
    "annotation",
    [
        confloat(ge=0.1, le=0.7),
        Annotated[float, at.Interval(gt=0.1, lt=0.7)],
        StrictFloat,
        FiniteFloat,
        Annotated[float, AllowInfNan(False), at.Ge(0.1)],
    ],
)
def test_bounds_of_a_float64_are_pydantics_to_the_last_bit(annotation: Any) -> None:
    judge = TypeAdapter(annotation, config=ConfigDict(strict=True))
    contract = contract_of(Annotated[annotation, st.Number(dtype="float64")])
    for bound in (0.1, 0.7):
        for value in (
            np.nextafter(bound, 0).item(),
            bound,
            np.nextafter(bound, 1).item(),
            float("nan"),
            float("inf"),
        ):
            wanted = takes(judge.validate_python, value) and np.isfinite(value)
            assert takes(lambda given: contract.validate_row({"x": given}), value) == wanted, value


def test_what_stands_beside_a_kind_is_kept_with_its_options() -> None:
    kind = contract_of(Annotated[float, at.Ge(1), st.Number(le=3, unit="mm")]).inputs[0].kind
    assert isinstance(kind, Number)
    assert (kind.ge, kind.le, kind.unit) == (1, 3, "mm")
    assert contract_of(Annotated[float, at.Unit("s")]).inputs[0].kind.want().endswith("(s)")
    assert contract_of(Literal["a", "b", None]).validate_row({"x": None}) == {"x": None}


def odd(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (conint(multiple_of=2), "MultipleOf(multiple_of=2)"),
        (Annotated[float, Field(multiple_of=0.5)], "multiple_of=0.5"),
        (Annotated[int, at.Predicate(odd)], "Predicate(func=odd)"),
        (Annotated[float, at.Not(odd)], "Not(func=odd)"),
        (Annotated[int, BeforeValidator(odd)], "BeforeValidator(func=odd)"),
        (Annotated[int, AfterValidator(odd)], "AfterValidator"),
        (Annotated[bool, BeforeValidator(odd)], "st.Flag does not keep"),
        (SkipValidation[int], "SkipValidation"),
        (Annotated[str, st.Category("a"), Field(pattern="a")], "pattern='a'"),
        (Annotated[str, st.Category("a"), Field(min_length=1)], "MinLen"),
        (Annotated[float, Strict(False)], "strict=False"),
        (Annotated[float, AllowInfNan(True)], "allow_inf_nan=True"),
        (Annotated[float, Field(alias="y")], "alias='y'"),
        (Annotated[float, Field(validation_alias="y")], "validation_alias='y'"),
        (Annotated[float, Field(default="3")], "default: got '3'"),
        (Annotated[float | None, Field(default="3")], "default: got '3'"),
        (Annotated[list[str] | None, Field(default_factory=list)], "default_factory"),
        (Annotated[float, Field(discriminator="z")], "discriminator"),
        (Annotated[st.Tensor[np.int64, 4], at.Ge(0)], "between the brackets"),
        (Annotated[float, st.Number(), st.Number()], "want one kind"),
        (Annotated[float, st.Number(ge=1), at.Ge(1)], "ge twice"),
        (Annotated[Literal["a"], st.Category("b")], "twice"),
        (Annotated[int, st.Category("b")], "str, or a Literal"),
        (Annotated[int, at.Ge(2**53 + 1)], "ge=9007199254740993"),
        (Annotated[int, at.Ge(1.5)], "whole bounds"),
        (Annotated[float, at.Ge("a")], "st.Number: got ge='a', want a valid number"),
        (np.ndarray, "a type or a kind"),
        (Annotated[int, Field(gt=1, lt=2)], "above 1 and below 2"),
    ],
)
def test_what_the_contract_cannot_keep_is_refused_by_name(annotation: Any, words: str) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        contract_of(annotation)
    assert str(refused.value).startswith("Rows.x: ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"check": field_validator("x")(odd)},
            "Rows.check: got one of the class's field_validators",
        ),
        (
            {"check": model_validator(mode="before")(odd)},
            "Rows.check: got one of the class's model_validators",
        ),
        (
            {"twice": computed_field(property(lambda self: 2 * self.x))},
            "Rows.twice: got one of the class's computed_fields",
        ),
        ({"model_config": ConfigDict(extra="ignore")}, "got extra='ignore', want extra='forbid'"),
        ({"model_config": ConfigDict(strict=False)}, "got strict=False"),
        ({"model_config": ConfigDict(str_strip_whitespace=True)}, "got str_strip_whitespace=True"),
        ({"model_config": ConfigDict(alias_generator=str.upper)}, "alias_generator"),
        ({"model_post_init": lambda self, context: None}, "Rows.model_post_init"),
        ({"x": "3"}, "default: got '3'"),
    ],
)
def test_a_class_that_takes_other_rows_than_its_fields_say_is_refused(
    attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        contract_of(float, **attributes)
    assert words in str(refused.value)


def test_a_name_that_nothing_defines_is_told() -> None:
    with pytest.raises(st.DeclarationError, match="Rows: got 'Nowhere' in an annotation"):
        contract_of("Nowhere")


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: contract_of(st.Tensor[np.float32, 0]), "sizes above 0"),
        (lambda: st.Tensor[np.float32, 1:50:2], "the step 2"),
        (lambda: st.Tensor[np.float32, "a"], "dims[0]='a'"),
        (lambda: st.Tensor[object, 3], "dtype='object'"),
        (lambda: st.Tensor[np.int64, 3, at.MultipleOf(2)], "Interval, Ge, Le, Gt or Lt"),
        (lambda: st.Tensor[np.int64, 3, at.Ge(1), at.Ge(2)], "each once"),
        (lambda: contract_of(st.Tensor[bool, 3, at.Ge(1)]), "booleans"),
        (lambda: contract_of(st.Tensor[np.uint8, 3, at.Ge(256)]), "bounds that leave"),
        (lambda: st.Number(minimum=1), "an option 'minimum', want one of description, dtype, ge"),
        (lambda: st.Number(ge="a"), "st.Number: got ge='a', want a valid number"),
        (lambda: st.Category("a", unknown="x"), "unknown='x'"),
        (lambda: st.Limits(max_rows=0), "st.Limits: got max_rows=0"),
        (lambda: st.Tolerance(relative=5), "st.Tolerance: got relative=5"),
        (lambda: st.Promise(cosine=3), "st.Promise: got cosine=3"),
        (lambda: st.Image(formats=("PSD",)), "formats[0]='PSD'"),
        (lambda: st.Int8(keep=3), "st.Int8: got keep=3"),
        (lambda: st.Label(1, 2), "classes[0]=1"),
    ],
)
def test_an_option_that_cannot_be_is_told_in_our_words(
    declare: Callable[[], Any], words: str
) -> None:
    with pytest.raises(st.DeclarationError) as refused:
        declare()
    assert words in str(refused.value)
