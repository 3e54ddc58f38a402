"""Read a contract off the classes that declare it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from seatrial_contracts.annotations import (
    FieldAnnotation,
    check_class,
    complete,
    read_field,
    stated_kind,
)
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Contract, Limits, Objective
from seatrial_contracts.contract_fields import NAME_WANT, OutputField, is_field_name
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.columns import Columns, PackedColumn
from seatrial_contracts.kinds.items import Items
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.options import Options, options_of
from seatrial_contracts.records import SEPARATOR
from seatrial_contracts.row import Answer, Row, plain_value

PLAIN = (str, int, float, bool, list, dict)
"""Types of a default."""
KIND_MENDS: Mapping[tuple[str, Any], str] = {
    ("input", str): 'Literal["a", "b"] for words of a list, Annotated[str, st.Text(tokenizer='
    '"tokenizer.json")] for any text that a PyTorch model reads',
    ("input", bytes): "Annotated[bytes, st.Image(size_px=(224, 224))] for a picture",
    ("input", list[float]): "st.Tensor[np.float32, 4] for 4 numbers",
    ("input", np.ndarray): "st.Tensor[np.float32, 4] for 4 numbers",
    ("output", str): 'Annotated[str, st.Label("a", "b")] for one of several classes',
    ("output", bool): 'Annotated[str, st.Label("no", "yes")] for one of two classes',
    ("output", list[str]): 'Annotated[list[str], st.Labels("a", "b")] for several classes at once',
    ("output", list[float]): "st.Tensor[np.float32, 4] for 4 numbers",
    ("output", np.ndarray): "st.Tensor[np.float32, 4] for 4 numbers",
}
"""Role and type of a field without a kind -> how it is declared."""
LARGEST = 1e15
"""Larger numbers are quantities, not counts: float64 skips whole numbers from 2**53 on."""


def contract_from_rows(
    inputs: type[Row],
    outputs: type[Answer],
    *,
    options: type[Options] | None = None,
    limits: Limits | None = None,
    tolerance: Tolerance | None = None,
    objective: Objective | None = None,
) -> Contract:
    """Read the contract off a row class, an answer class, and a class of options if there is one.

    Raises `DeclarationError` naming the field to mend.
    """
    rows, answers = _read(inputs, "input"), _read(outputs, "output")
    return Contract(
        inputs=tuple(rows),
        outputs=tuple(OutputField(name=field.name, kind=field.kind) for field in answers),
        options=options_of(options),
        limits=limits or Limits(),
        tolerance=tolerance or Tolerance(),
        objective=objective or Objective(),
    )


def float32_by_default(rows: type[Row]) -> frozenset[str]:
    """The number fields of a row class that are float32 because nothing else is said."""
    return frozenset(
        name
        for name, (field, kind) in _stated(rows, "").items()
        if isinstance(kind, Number) and kind.dtype is None and field.annotation is float
    )


def _stated(rows: type[BaseModel], around: str) -> dict[str, tuple[FieldAnnotation, Kind | None]]:
    """Each field as its author wrote it, those of objects within by their dotted names."""
    found: dict[str, tuple[FieldAnnotation, Kind | None]] = {}
    for name, info in rows.model_fields.items():
        field = read_field(info)
        if is_row(field.annotation):
            found |= _stated(field.annotation, f"{around}{name}{SEPARATOR}")
        else:
            found[f"{around}{name}"] = field, stated_kind(field)
    return found


def check_rounding(name: str, values: Sequence[float | None]) -> None:
    """Raise `DeclarationError` for a whole number that float32 does not hold.

    Epoch seconds are such a number.
    """
    for place, value in enumerate(values):
        if (
            value is not None
            and value == int(value)
            and abs(value) < LARGEST
            and int(np.float32(value)) != int(value)
        ):
            raise DeclarationError(
                f"input '{name}', row {place}",
                f"{int(value)}, which float32 keeps as {int(np.float32(value))}",
                "an element type",
                'st.Number(dtype="float64") keeps it, dtype="float32" says that it may be rounded '
                "so",
            )


def _read(rows: type[BaseModel], role: str) -> list[InputField]:
    base = Row if role == "input" else Answer
    if not (isinstance(rows, type) and issubclass(rows, base)) or not rows.model_fields:
        cls = rows if isinstance(rows, type) else type(rows)
        name = cls.__name__
        raise DeclarationError(
            f"{role}s",
            repr(rows)[:80],
            f"a class derived from st.{base.__name__} with at least one field",
            f"give the class itself: {role}s={name}"
            if issubclass(cls, base) and not isinstance(rows, type)
            else f"class {name}(st.{base.__name__}): ..."
            if issubclass(cls, BaseModel)
            else None,
        )
    fields = list(_fields(rows, base, role, rows.__name__, ""))
    for name, kind in getattr(rows, "packed_columns", {}).items():
        fields = packed_fields(fields, name, kind or Columns(), rows.__name__)
    return fields


def packed_fields(fields: list[InputField], name: str, kind: Any, where: str) -> list[InputField]:
    """The fields with those that `kind` can hold packed into one, where the first of them stood.

    Raises `DeclarationError`.
    """
    if not isinstance(kind, Columns):
        got = f"packed={{{name!r}: {kind!r}}}"[:80]
        raise DeclarationError(where, got, "st.Columns() for each name")
    if not is_field_name(name):
        raise DeclarationError(where, f"packed={name!r}"[:80], NAME_WANT)
    columns = {
        field.name: column
        for field in fields
        if SEPARATOR not in field.name
        and (column := PackedColumn.of(field.name, field.kind, kind.dtype)) is not None
    }
    for field in fields:
        if field.name in columns and field.default is not None:
            raise DeclarationError(
                f"{where}.{field.name}", "a default of a packed column", "`| None`, or no default"
            )
    try:
        whole = kind.completed(columns=tuple(columns.values()))
    except DeclarationError as error:
        raise DeclarationError(f"{where}, packed '{name}': {error}") from None
    made = InputField(name=name, kind=whole)
    first = next(iter(columns))
    return [
        made if field.name == first else field
        for field in fields
        if field.name == first or field.name not in columns
    ]


def _fields(
    rows: type[BaseModel], base: type[BaseModel], role: str, where: str, around: str
) -> Iterator[InputField]:
    """The fields of a class by their names, those of objects within by dotted ones."""
    check_class(rows, base)
    complete(rows)
    for name, info in rows.model_fields.items():
        place, full = f"{where}.{name}", f"{around}{name}"
        if not is_field_name(name):
            raise DeclarationError(place, "this name", NAME_WANT)
        try:
            inner = row_within(info) if role == "input" else None
        except DeclarationError as error:
            raise DeclarationError(f"{place}: {error}") from None
        if inner is None:
            yield _field(place, full, info, role)
            continue
        if inner.rows.packed_columns:
            raise DeclarationError(place, "an object with packed columns", "a row with them")
        leaves = _fields(inner.rows, base, role, place, f"{full}{SEPARATOR}")
        for number, leaf in enumerate(leaves):
            try:
                yield inner.within(full, leaf, first=number == 0)
            except DeclarationError as error:
                raise DeclarationError(f"{place}{leaf.name[len(full) :]}: {error}") from None


class RowWithin(NamedTuple):
    """An object within a row, or a list of them."""

    rows: type[Row]
    nullable: bool
    listed: Items | None

    def within(self, name: str, field: InputField, *, first: bool) -> InputField:
        """A field of it, as the whole row has it.

        The first field of listed objects says which of the others' items count, too. Raises
        `DeclarationError`.
        """
        kind = field.kind
        if self.listed is not None:
            if isinstance(kind, Items):
                raise DeclarationError("st.Items", "a list within a list", "values alone")
            if field.default is not None:
                got = f"default {field.default!r}, within a list"[:80]
                raise DeclarationError("a field of listed objects", got, "no default")
            mark = self.listed.mark if first else "none"
            whole = self.listed.completed(
                nullable=self.nullable, item=kind, of_rows=name, mark=mark
            )
            return InputField(name=field.name, kind=whole)
        if self.nullable and not kind.nullable:
            raise DeclarationError(
                "a field of an object that may be missing",
                "a value that is always there",
                "`| None` for each field of it, which says what the graph sees without it",
            )
        return field


def row_within(info: FieldInfo) -> RowWithin | None:
    """The object, or the list of objects, that a field holds; None where it holds a value.

    Raises `DeclarationError` where its words cannot be kept.
    """
    field = read_field(info)
    if isinstance(field.default, Row):
        raise DeclarationError("default", "an object", "defaults of the fields of its class")
    if is_row(field.annotation):
        if field.words:
            got = ", ".join(map(str, field.words))[:80]
            raise DeclarationError("an object within a row", got, "no words beside its class")
        return RowWithin(field.annotation, field.nullable, None)
    if get_origin(field.annotation) is list and is_row(get_args(field.annotation)[0]):
        listed = stated_kind(field)
        if not isinstance(listed, Items):
            raise DeclarationError("a list of objects", str(listed), "st.Items(max_items=50)")
        return RowWithin(get_args(field.annotation)[0], field.nullable, listed)
    return None


def is_row(annotation: Any) -> bool:
    """Is it a class of rows?"""
    return isinstance(annotation, type) and issubclass(annotation, Row)


def _field(where: str, name: str, info: FieldInfo, role: str) -> InputField:
    """The field `name`, as the row has it."""
    try:
        field = read_field(info)
        stated = stated_kind(field)
        kind = stated and stated.declared(field.annotation, field.nullable)
    except DeclarationError as error:
        raise DeclarationError(f"{where}: {error}") from None
    if kind is None or role not in kind.roles:
        what = f"st.{type(kind).__name__}" if kind else str(info.annotation)[:80]
        known = ", ".join(f"st.{cls.__name__}" for cls in kinds().values() if role in cls.roles)
        want = f"a type or a kind that can be an {role}: {known}"
        raise DeclarationError(where, what, want, KIND_MENDS.get((role, field.annotation)))
    if info.description and kind.description is None:
        kind = kind.model_copy(update={"description": info.description})
    made = InputField(name=name, kind=kind)
    return made if field.default is None else with_default(made, field.default, where, role)


def with_default(field: InputField, default: Any, where: str, role: str) -> InputField:
    """The field with a default, in its JSON form. Raises `DeclarationError` for one it refuses."""
    given = plain_value(default)
    if role == "output":
        raise DeclarationError(f"{where}: default", f"{given!r}"[:60], "no default: models answer")
    if not isinstance(given, PLAIN):
        got = f"a {type(given).__name__}"
        raise DeclarationError(f"{where}: default", got, "a value that JSON can carry")
    found = InputField(name=field.name, kind=field.kind, default=given)
    try:
        _ = found.default_value
    except ValidationError:
        raise DeclarationError(f"{where}: default", f"{given!r}"[:60], field.kind.want()) from None
    return found
