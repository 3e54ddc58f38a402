"""The loader that MLflow calls for a bundle: `mlflow.pyfunc.load_model`, `mlflow models serve`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.golden import wire_row
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.mlflow.signature import column_type, is_nullable, type_of
from seatrial_serve.runtimes.runtime import RuntimeOptions


def _load_pyfunc(data_path: str) -> SealedModel:
    """The verified bundle in a folder, as MLflow calls it. Raises `BundleError`."""
    return SealedModel(open_bundle(Path(data_path)))


class SealedModel:
    """Answers rows by the default variant of a bundle, as the server does."""

    def __init__(self, bundle: Bundle) -> None:
        self._engine = load_engine(bundle, RuntimeOptions())
        self._plain = PlainRows(bundle.contract)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[Any]:
        """One answer for each row, as `POST /v1/models/NAME:predict` gives it.

        `model_input` is a data frame, arrays by name, or rows. Raises `MlflowException` for rows
        that break the contract, and for `params`.
        """
        if params:
            raise invalid("params: got some, want none: seatrial's own server takes options")
        rows = self._plain.rows(model_input)
        try:
            described = list(map(self._engine.describe, rows, self._engine.answer(rows)))
        except Refusal as refusal:
            raise invalid(f"{refusal.code}: {refusal}") from refusal
        answers: list[Any] = orjson.loads(
            orjson.dumps(described, option=orjson.OPT_SERIALIZE_NUMPY)
        )
        return answers


class PlainRows:
    """Rows of a contract in their JSON form, out of what MLflow makes of them."""

    def __init__(self, contract: Contract) -> None:
        fields: Mapping[str, JsonSchema] = contract.row_schema()["properties"]
        self._nullable = frozenset(name for name, each in fields.items() if is_nullable(each))
        self._wholes = frozenset(
            name for name, each in fields.items() if column_type(each) is not type_of(each)
        )
        """Fields of whole numbers that may be missing: doubles in a data frame."""

    def rows(self, given: Any) -> list[dict[str, Any]]:
        """The rows of a data frame, of arrays by name, or of a list of rows."""
        if hasattr(given, "to_dict"):
            return [self._row(row) for row in given.to_dict("records")]
        if isinstance(given, Mapping):
            columns = zip(*given.values(), strict=True)
            return [self._row(dict(zip(given, values, strict=True))) for values in columns]
        return [self._row(row) for row in given]

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row, without what pandas has for missing values."""
        made = {
            name: None if is_gap(value) else value
            for name, value in row.items()
            if name in self._nullable or not is_gap(value)
        }
        for name in self._wholes & made.keys():
            value = made[name]
            if isinstance(value, float) and value.is_integer():
                made[name] = int(value)
        plain: dict[str, Any] = wire_row(made)
        return plain


def invalid(text: str) -> MlflowException:
    """What MLflow's scoring server answers with status 400."""
    return MlflowException(text, error_code=INVALID_PARAMETER_VALUE)


def is_gap(value: Any) -> bool:
    """Is it what pandas has for a missing value?"""
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")
