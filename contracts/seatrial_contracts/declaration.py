"""Read a contract off the classes that declare it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seatrial_contracts.annotations import check_class, complete, read_field, stated_kind
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Contract, Limits, Objective
from seatrial_contracts.contract_fields import NAME_WANT, OutputField, is_field_name
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.kind import Kind
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.options import Options, options_of
from seatrial_contracts.row import Answer, Row

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
    both = {name for name, _ in rows} & {name for name, _ in answers}
    if both:
        raise DeclarationError(
            f"{outputs.__name__}.{min(both)}", "the name of an input", "a name of its own"
        )
    return Contract(
        inputs=tuple(InputField(name=name, kind=kind) for name, kind in rows),
        outputs=tuple(OutputField(name=name, kind=kind) for name, kind in answers),
        options=options_of(options),
        limits=limits or Limits(),
        tolerance=tolerance or Tolerance(),
        objective=objective or Objective(),
    )


def float32_by_default(rows: type[Row]) -> frozenset[str]:
    """The number fields of a row class that are float32 because nothing else is said."""
    stated = {name: stated_kind(read_field(info)) for name, info in rows.model_fields.items()}
    return frozenset(
        name
        for name, kind in stated.items()
        if isinstance(kind, Number)
        and kind.dtype is None
        and read_field(rows.model_fields[name]).annotation is float
    )


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


def _read(rows: type[BaseModel], role: str) -> list[tuple[str, Kind]]:
    base = Row if role == "input" else Answer
    if not (isinstance(rows, type) and issubclass(rows, base)) or not rows.model_fields:
        raise DeclarationError(
            f"{role}s",
            repr(rows)[:80],
            f"a class derived from st.{base.__name__} with at least one field",
        )
    check_class(rows, base)
    complete(rows)
    return [
        (name, _field(f"{rows.__name__}.{name}", name, info, role))
        for name, info in rows.model_fields.items()
    ]


def _field(where: str, name: str, info: FieldInfo, role: str) -> Kind:
    if not is_field_name(name):
        raise DeclarationError(where, "this name", NAME_WANT)
    try:
        field = read_field(info)
        stated = stated_kind(field)
        kind = stated and stated.declared(field.annotation, field.nullable)
    except DeclarationError as error:
        raise DeclarationError(f"{where}: {error}") from None
    if kind is None or role not in kind.roles:
        what = f"st.{type(kind).__name__}" if kind else str(info.annotation)[:80]
        known = ", ".join(f"st.{cls.__name__}" for cls in kinds().values() if role in cls.roles)
        raise DeclarationError(where, what, f"a type or a kind that can be an {role}: {known}")
    if info.description and kind.description is None:
        return kind.model_copy(update={"description": info.description})
    return kind
