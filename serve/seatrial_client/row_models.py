"""Pydantic models of rows, from the JSON Schema of a contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model

JsonSchema = dict[str, Any]
PLAIN: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool}
BOUNDS = {
    "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt",
    "minLength": "min_length", "maxLength": "max_length",
}  # fmt: skip
ITEM_BOUNDS = {"minItems": "min_length", "maxItems": "max_length"}
"""JSON Schema's words -> Pydantic's: of single values, and of lists."""


class StrictRow(BaseModel):
    """The base of generated rows: no type is coerced, no other field is taken."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, frozen=True, protected_namespaces=()
    )


def row_model(name: str, schema: JsonSchema) -> type[BaseModel]:
    """A model of an object's schema, with its types, bounds, words and defaults."""
    required = set(schema.get("required", ()))
    fields: dict[str, Any] = {}
    for field, each in schema["properties"].items():
        told = {"description": each["description"]} if "description" in each else {}
        default = ... if field in required else each.get("default")
        annotation = annotation_of(f"{name}_{field}", each)
        fields[field] = (annotation, Field(default, **told))
    made: type[BaseModel] = create_model(name, __base__=StrictRow, **fields)
    return made


def annotation_of(name: str, schema: JsonSchema) -> Any:
    """The type of a value by its schema; `Any` where the schema does not say."""
    if "anyOf" in schema:
        parts = [each for each in schema["anyOf"] if each != {"type": "null"}]
        one = annotation_of(name, parts[0]) if len(parts) == 1 else Any
        return one | None if len(parts) < len(schema["anyOf"]) else one
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    kind = schema.get("type")
    if isinstance(kind, list):
        types = tuple(annotation_of(name, {**schema, "type": each}) for each in kind)
        return Union[types]  # noqa: UP007  (built at run time)
    if kind == "object" and "properties" in schema:
        return row_model(name, schema)
    words = ITEM_BOUNDS if kind == "array" else BOUNDS
    bounds = {ours: schema[word] for word, ours in words.items() if word in schema}
    if kind == "array":
        item = annotation_of(name, schema.get("items", {}))
        return Annotated[list[item], Field(**bounds)]  # type: ignore[valid-type]
    if schema.get("contentEncoding") == "base64":
        return bytes
    if kind not in PLAIN:
        return Any
    return Annotated[PLAIN[kind], Field(**bounds)] if bounds else PLAIN[kind]
