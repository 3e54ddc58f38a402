"""Read a contract off the classes that declare it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import (
    BaseModel,
)

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Contract, InputField, Limits, Objective, OutputField, is_field_name
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.kind import Kind, split_optional
from seatrial_contracts.row import Answer, Row


def contract_from_rows(
    inputs: type[Row], outputs: type[Answer], *,
    limits: Limits | None = None, tolerance: Tolerance | None = None, objective: Objective | None = None,
) -> Contract:  # fmt: skip
    """Read the contract off a row class and an answer class. Raises `DeclarationError` naming the field to mend."""
    rows, answers = _read(inputs, "input"), _read(outputs, "output")
    both = {name for name, _ in rows} & {name for name, _ in answers}
    if both:
        raise DeclarationError(f"{outputs.__name__}.{min(both)}", "the name of an input", "a name of its own")
    return Contract(
        inputs=tuple(InputField(name=name, kind=kind) for name, kind in rows),
        outputs=tuple(OutputField(name=name, kind=kind) for name, kind in answers),
        limits=limits or Limits(), tolerance=tolerance or Tolerance(), objective=objective or Objective(),
    )  # fmt: skip


def _read(rows: type[BaseModel], role: str) -> list[tuple[str, Kind]]:
    base = Row if role == "input" else Answer
    if not (isinstance(rows, type) and issubclass(rows, base)) or not rows.model_fields:
        raise DeclarationError(
            f"{role}s", repr(rows)[:80], f"a class derived from st.{base.__name__} with at least one field"
        )
    found = []
    for name, info in rows.model_fields.items():
        where = f"{rows.__name__}.{name}"
        if not is_field_name(name):
            raise DeclarationError(where, "this name", "letters, digits and _, and none of Pydantic's own names")
        annotation, nullable = split_optional(info.annotation)
        try:
            kind = _kind_of(annotation, nullable, info.metadata)
        except DeclarationError as error:
            raise DeclarationError(f"{where}: {error}") from None
        if kind is None or role not in kind.roles:
            what = f"st.{type(kind).__name__}" if kind else str(annotation)
            known = ", ".join(f"st.{cls.__name__}" for cls in kinds().values() if role in cls.roles)
            raise DeclarationError(where, what, f"a type or a kind that can be an {role}: {known}")
        if info.description and kind.description is None:
            kind = kind.model_copy(update={"description": info.description})
        found.append((name, kind))
    return found


def _kind_of(annotation: Any, nullable: bool, metadata: Sequence[Any]) -> Kind | None:
    named = next((item for item in metadata if isinstance(item, Kind)), None)
    if named is not None:
        return named.declared(annotation, nullable)
    for cls in kinds().values():
        kind = cls.from_type(annotation, metadata)
        if kind is not None:
            return kind.declared(annotation, nullable)
    return None
