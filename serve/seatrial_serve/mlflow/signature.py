"""A contract as MLflow can say it: signature, example, metrics, and words for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array, Object, Property

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.contract import Contract
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_contracts.kinds.tensor import Tensor
from seatrial_contracts.receipt import Trial

PLAIN = {"string": DataType.string, "number": DataType.double, "boolean": DataType.boolean}
"""JSON's name of a type -> MLflow's. JSON's numbers are doubles, whatever the graph takes."""
MOST_EXAMPLE_ROWS, MOST_EXAMPLE_BYTES = 5, 2**18
MOST_WANT_CHARS = 400


def signature_of(contract: Contract) -> ModelSignature:
    """The signature of a contract.

    Fields that are all tensors are `TensorSpec`; MLflow allows no mixture, so that other contracts
    have columns, with tensors as arrays of arrays. A field that may be left out is not required.
    """
    outputs = columns_of(contract.answer_schema())
    if is_tensors(contract):
        specs = [
            TensorSpec(np.dtype(tensor_of(field).dtype), shape_of(tensor_of(field)), field.name)
            for field in contract.inputs
        ]
        return ModelSignature(inputs=Schema(specs), outputs=outputs)
    return ModelSignature(inputs=columns_of(contract.row_schema()), outputs=outputs)


def is_tensors(contract: Contract) -> bool:
    """Are all inputs tensors of the row itself, always there, of types that numpy has?"""
    return not contract.is_nested and all(
        isinstance(field.kind, Tensor) and not field.optional and field.kind.dtype != "bfloat16"
        for field in contract.inputs
    )


def tensor_of(field: InputField) -> Tensor:
    """The kind of a field that is a tensor."""
    assert isinstance(field.kind, Tensor)
    return field.kind


def shape_of(kind: Tensor) -> tuple[int, ...]:
    """The shape of a batch: -1 for the rows, and for a side that varies."""
    return (-1, *(-1 if side is None else side for side in kind.row_shape))


def columns_of(schema: JsonSchema) -> Schema:
    """The columns of objects of a JSON Schema."""
    required = schema["required"]
    return Schema([
        ColSpec(column_type(each), name=name, required=name in required)
        for name, each in schema["properties"].items()
    ])  # fmt: skip


def column_type(schema: JsonSchema) -> Any:
    """The type of a column. A whole number that may be missing is a double there, as pandas has it.

    MLflow refuses a column of whole numbers with a gap.
    """
    found = type_of(schema)
    return DataType.double if found is DataType.long and is_nullable(schema) else found


def is_nullable(schema: JsonSchema) -> bool:
    """Does the schema take null?"""
    return schema.get("type") == "null" or any(map(is_nullable, choices_of(schema)))


def choices_of(schema: JsonSchema) -> Sequence[JsonSchema]:
    """The schemas of which a value has to fit one; none where there is no choice."""
    found: Sequence[JsonSchema] = schema.get("anyOf") or schema.get("oneOf") or ()
    return found


def type_of(schema: JsonSchema) -> Any:
    """MLflow's type of the values of a JSON Schema; `AnyType` where it has no narrower one."""
    parts = [part for part in choices_of(schema) if not is_nullable(part)]
    if parts:
        found = {str(type_of(part)): type_of(part) for part in parts}
        return next(iter(found.values())) if len(found) == 1 else AnyType()
    entries = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
    if entries:
        sorts = set(map(type, entries))
        return {frozenset({str}): DataType.string, frozenset({int}): DataType.long}.get(
            frozenset(sorts), AnyType()
        )
    match schema.get("type"):
        case "integer":
            return DataType.long
        case "array" if isinstance(schema.get("items"), dict):
            inner = type_of(schema["items"])
            return AnyType() if isinstance(inner, AnyType) else Array(inner)
        case "object" if schema.get("properties"):
            required = schema.get("required", ())
            return Object([
                Property(name, type_of(each), required=name in required)
                for name, each in schema["properties"].items()
            ])  # fmt: skip
        case str(name) if name in PLAIN:
            return PLAIN[name]
    return AnyType()


def wanted(contract: Contract) -> dict[str, str]:
    """Name of each input -> what a right value is: bounds, units, words, missing values.

    A signature has no place for these; the model's metadata has.
    """
    return {
        field.name: field.kind.want()[:MOST_WANT_CHARS] + (", or null" * field.kind.nullable)
        for field in contract.inputs
    }


def example_of(bundle: Bundle) -> Any:
    """The first golden rows, a few of them, as MLflow takes them for this signature."""
    rows: list[Mapping[str, Any]] = []
    size = 0
    for row in bundle.golden.rows[:MOST_EXAMPLE_ROWS]:
        size += len(canonical_json(row))
        if rows and size > MOST_EXAMPLE_BYTES:
            break
        rows.append(row)
    if not is_tensors(bundle.contract):
        names = [*bundle.contract.row_schema()["properties"]]
        return pd.DataFrame(rows, columns=names, dtype=object)  # whose gaps stay None
    return {
        field.name: stacked([row[field.name] for row in rows], tensor_of(field).dtype)
        for field in bundle.contract.inputs
    }


def stacked(values: Sequence[Any], dtype: str) -> Any:
    """Rows of one shape as one array: as many of the first ones as have the shape of the first."""
    arrays = [np.asarray(value, dtype) for value in values]
    alike = next(
        (place for place, array in enumerate(arrays) if array.shape != arrays[0].shape), None
    )
    return np.stack(arrays[:alike])


def metrics_of(bundle: Bundle) -> dict[str, float]:
    """What the receipts beside a bundle measured: `VARIANT/RUNNER/ROWS/MEASURE`, the newest last.

    Without a receipt there are none.
    """
    return {
        name: value
        for receipt in bundle.receipts()
        for trial in receipt.trials
        for name, value in trial_metrics(trial)
    }


def trial_metrics(trial: Trial) -> Iterator[tuple[str, float]]:
    """What one trial measured."""
    place = f"{trial.variant}/{trial.runner}/{trial.row_set}"
    if not trial.rows:
        return
    yield f"{place}/rows", float(trial.rows)
    yield f"{place}/passed", float(trial.passed)
    numbers = {"worst_error": trial.worst_error, "allowed": trial.allowed}
    if trial.measures is not None:
        numbers |= trial.measures.model_dump(exclude={"rows", "by_label"})
    yield from (
        (f"{place}/{name}", float(value)) for name, value in numbers.items() if value is not None
    )
