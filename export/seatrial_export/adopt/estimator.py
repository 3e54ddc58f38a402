"""A fitted scikit-learn estimator as a graph, made by skl2onnx, with the estimator itself as the reference."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from seatrial_contracts.declaration import contract_from_rows
from seatrial_contracts.errors import DeclarationError, GateError, MissingExtra
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.row import Answer, Row
from seatrial_export.adopt.names import match_names
from seatrial_export.graphs.exporter_messages import first_lines

OPSET, ML_OPSET = 18, 3
TOOLS = ("scikit-learn", "skl2onnx")
COLUMN_TYPES = {
    "string": "StringTensorType", "bool": "BooleanTensorType", "float32": "FloatTensorType", "float64": "DoubleTensorType",
    "int64": "Int64TensorType", "int32": "Int32TensorType",
}  # fmt: skip
"""Element type in the contract -> skl2onnx's type of a column; other whole numbers enter as int64."""


def is_estimator(value: object) -> bool:
    """Is it something of scikit-learn's making that answers?"""
    return hasattr(value, "fit") and any(hasattr(value, verb) for verb in ("predict", "transform"))


class Estimator:
    """An estimator and the contract that it is to answer for."""

    def __init__(self, estimator: Any, inputs: type[Row], outputs: type[Answer]) -> None:
        self._estimator, self._contract = estimator, contract_from_rows(inputs, outputs)
        self._columns = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        self._check_fitted()
        self._fields = self._match()
        self._check_answers()

    def graph(self) -> onnx.ModelProto:
        """The estimator as skl2onnx writes it. Raises `GateError` where it has no form for a part of it."""
        try:
            from skl2onnx import convert_sklearn
            from skl2onnx.common import data_types
        except ImportError:
            raise MissingExtra("adopting a scikit-learn estimator", "adopt") from None

        if self._columns:
            specs = {spec.name: spec for spec in self._contract.tensors}
            types = [
                (column, getattr(data_types, COLUMN_TYPES.get(specs[name].dtype, "Int64TensorType"))([None, 1]))
                for column, name in zip(self._columns, self._fields, strict=True)
            ]
        else:
            types = [("X", data_types.FloatTensorType([None, self._width()]))]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of deprecations inside the converter
                model = convert_sklearn(
                    self._estimator,
                    initial_types=types,
                    target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                )
        except Exception as error:  # skl2onnx and the estimators raise kinds of their own
            mend = "use estimators that skl2onnx converts, or train the part it names in PyTorch"
            raise GateError("skl2onnx", f"{type(error).__name__}: {first_lines(error)}", mend) from error
        assert isinstance(model, onnx.ModelProto)
        return model

    def renamed(self, graph: onnx.ModelProto) -> dict[str, str]:
        """Input of the graph -> the field of its column: skl2onnx spells columns anew and keeps their order."""
        names = [value.name for value in graph.graph.input]
        return dict(zip(names, self._fields, strict=True)) if len(names) == len(self._fields) else {}

    def answer(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """scikit-learn's own answers to validated rows, by output."""
        table = self._table(rows)
        return {field.name: self._verb(field.kind)(table) for field in self._contract.outputs}

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        """What the estimator was fitted on: a data frame with its columns, or a matrix."""
        if not self._columns:
            fields = [field.name for field in self._contract.inputs]
            return np.array(
                [np.ravel([row[name] for name in fields] if len(fields) > 1 else row[fields[0]]) for row in rows],
                np.float64,
            )
        import pandas

        pairs = zip(self._columns, self._fields, strict=True)
        return pandas.DataFrame(
            {column: [np.nan if row[name] is None else row[name] for row in rows] for column, name in pairs}
        )

    def _verb(self, kind: Any) -> Callable[[Any], Any]:
        """The method that makes an output of this kind."""
        scores = isinstance(kind, Label) or (hasattr(self._estimator, "classes_") and kind.datatype.startswith("FP"))
        verb = "predict_proba" if scores else "predict" if hasattr(self._estimator, "predict") else "transform"
        if not hasattr(self._estimator, verb):
            raise DeclarationError(
                "scikit-learn estimator", f"no {verb}", "an estimator that gives the scores of its classes"
            )
        method: Callable[[Any], Any] = getattr(self._estimator, verb)
        return method

    def _check_fitted(self) -> None:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        try:
            check_is_fitted(self._estimator)
        except NotFittedError:
            raise DeclarationError(
                "scikit-learn estimator", "one that is not fitted", "a fitted one: call fit in the file"
            ) from None

    def _match(self) -> list[str]:
        """The field of each column. Raises `DeclarationError` that lists both sides."""
        fields = [spec.name for spec in self._contract.tensors]
        names = match_names(self._columns, fields)
        unknown = [column for column in self._columns if column not in names]
        unused = set(fields) - set(names.values()) if self._columns else set()
        width = self._width() if not self._columns else None
        given = sum(_width_of(spec) for spec in self._contract.tensors)
        if unknown or unused or (width is not None and width != given):
            ours = ", ".join(fields)
            theirs = ", ".join(self._columns) or f"{width} columns without names"
            raise DeclarationError(
                "contract", f"the fields {ours}", f"the columns that the estimator was fitted on: {theirs}"
            )
        return [names[column] for column in self._columns]

    def _width(self) -> int:
        return int(self._estimator.n_features_in_)

    def _check_answers(self) -> None:
        """Raise `DeclarationError` where it cannot answer so, or the contract names the classes otherwise or in another order."""
        theirs = tuple(map(str, getattr(self._estimator, "classes_", ())))
        for field in self._contract.outputs:
            self._verb(field.kind)
            if isinstance(field.kind, Label) and theirs != field.kind.classes:
                want = f"the estimator's own, in its order: {', '.join(theirs) or 'none, since it is no classifier'}"
                raise DeclarationError(f"output '{field.name}'", f"the classes {', '.join(field.kind.classes)}", want)


def _width_of(spec: TensorSpec) -> int:
    return int(np.prod([size for size in spec.dims if isinstance(size, int)], dtype=int))
