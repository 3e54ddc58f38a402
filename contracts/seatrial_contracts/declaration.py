"""Read a contract off the classes that declare it."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seatrial_contracts.annotations import check_class, complete, kind_of, read_field
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import NAME_WANT, Contract, InputField, Limits, Objective, OutputField, is_field_name
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.kind import Kind
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
    check_class(rows, base)
    complete(rows)
    return [(name, _field(f"{rows.__name__}.{name}", name, info, role)) for name, info in rows.model_fields.items()]


def _field(where: str, name: str, info: FieldInfo, role: str) -> Kind:
    if not is_field_name(name):
        raise DeclarationError(where, "this name", NAME_WANT)
    try:
        kind = kind_of(read_field(info))
    except DeclarationError as error:
        raise DeclarationError(f"{where}: {error}") from None
    if kind is None or role not in kind.roles:
        what = f"st.{type(kind).__name__}" if kind else str(info.annotation)[:80]
        known = ", ".join(f"st.{cls.__name__}" for cls in kinds().values() if role in cls.roles)
        raise DeclarationError(where, what, f"a type or a kind that can be an {role}: {known}")
    if info.description and kind.description is None:
        return kind.model_copy(update={"description": info.description})
    return kind
