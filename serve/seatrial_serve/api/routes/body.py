"""A request's body as another project's clients send it: read, and refused field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from seatrial_contracts.errors import Refusal
from seatrial_contracts.json_values import check_values
from seatrial_contracts.kinds.kind import JsonSchema

MOST_VALUES = 2**18
"""JSON values of a body, before its model is known."""
TEXT: JsonSchema = {"type": "string"}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
NUMBER: JsonSchema = {"type": "number"}
VECTOR: JsonSchema = {"type": "array", "items": NUMBER}


def listed(items: JsonSchema) -> JsonSchema:
    """JSON Schema of a list of these."""
    return {"type": "array", "items": items}


class Body(BaseModel):
    """An object of a request. A field's description says what is wanted there, for messages."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @property
    def model_name(self) -> str | None:
        """The model that the body names; None where its protocol names none."""
        return getattr(self, "model", None)


B = TypeVar("B", bound=Body)


def json_of(raw: bytes) -> Any:
    """The values of a body. Raises `Refusal`."""
    check_values(raw, MOST_VALUES)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal("E_JSON", "request body", "no JSON", "a JSON object") from None


def validated(body: type[B], value: Any) -> B:
    """The values as a body. Raises `Refusal`."""
    try:
        return body.model_validate(value)
    except ValidationError as error:
        raise refusal_of(body, error) from None


def refusal_of(body: type[Body], error: ValidationError) -> Refusal:
    """The first finding by the field it is in, without the client's text."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path: list[str] = []
    fields: Mapping[str, FieldInfo] = body.model_fields
    want = known = f"an object of: {', '.join(fields)}"
    for part in first["loc"]:
        if not isinstance(part, str) or part not in fields:
            break
        path.append(part)
        want = fields[part].description or "what the protocol has there"
        fields = fields_within(fields[part])
        known = f"an object of: {', '.join(fields)}"
    got = "nothing" if first["type"] == "missing" else "something else"
    where = f"field '{'.'.join(path)}'" if path else "request body"
    is_unknown = first["type"] == "extra_forbidden" and bool(fields)
    return Refusal("E_SCHEMA", where, got, known if is_unknown else want)


def fields_within(field: FieldInfo) -> Mapping[str, FieldInfo]:
    """The fields of the object that a field holds; none where it holds another value."""
    for each in (field.annotation, *get_args(field.annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each.model_fields
    return {}
