"""A booster as a step of a graph: its trees, and the link behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import numpy_helper

from seatrial_export.adopt.boosters import (
    EXPONENTIAL,
    IDENTITY,
    LOG1P_EXP,
    SIGMOID,
    SIGNED_SQUARE,
    SOFTMAX,
    float32_threshold,
    read_ensemble,
    tree_attributes,
)
from seatrial_export.adopt.casts import element_type
from seatrial_export.adopt.written_steps import Writer, WrittenStep
from seatrial_export.gate.lookup import ML_DOMAIN


class BoostedTrees(WrittenStep):
    """A booster of LightGBM's, XGBoost's or CatBoost's: its trees, and the link behind them."""

    def __init__(self, booster: Any, dtype: str) -> None:
        self.ensemble, self.dtype = read_ensemble(booster), dtype
        self.both = len(getattr(booster, "classes_", ())) == 2 and self.ensemble.targets == 1
        """Has it two classes, and a score for the second?"""
        self.width = self.ensemble.targets + self.both
        self.raw = False
        """Does it answer its sums, without the link?"""
        self.has_raw = hasattr(booster, "decision_function")

    def decide(self) -> None:
        """Answer what `decision_function` does."""
        self.raw, self.width = True, self.ensemble.targets

    def write(self, writer: Writer) -> str:
        """See `WrittenStep.write`."""
        ensemble = self.ensemble
        values = writer.whole()
        if ensemble.single and self.dtype == "float64":
            values = writer.floats(writer.add("Cast", values, to=element_type("float32")))
        raw = self._trees(writer, self._gaps(writer, values))
        raw = writer.add("Add", writer.floats(raw), writer.constant(ensemble.bias[None]))
        if self.raw:
            return raw
        made = LINKS[ensemble.link](writer, raw, ensemble.steepness)
        if not self.both:
            return made
        if ensemble.link == SIGMOID:  # 1 - p loses the last digits where p is near 1
            first = LINKS[SIGMOID](writer, raw, -ensemble.steepness)
        else:
            first = writer.add("Sub", writer.constant(np.array(1.0)), made)
        return writer.beside([first, made])

    def _gaps(self, writer: Writer, values: str) -> str:
        """NaN in the place of other numbers that count as missing."""
        none, ensemble = writer.constant(np.array(np.nan)), self.ensemble
        if not np.isnan(ensemble.missing):
            same = writer.add("Equal", values, writer.constant(np.array(ensemble.missing)))
            values = writer.add("Where", same, none, values)
        if ensemble.zero_is_missing:
            count = max(ensemble.zero_is_missing) + 1
            width = max(
                count, sum(int(variable.get_second_dimension()) for variable in writer.inputs)
            )
            counts = np.isin(np.arange(width), list(ensemble.zero_is_missing))[None]
            near = writer.add(
                "LessOrEqual", writer.add("Abs", values), writer.constant(np.array(ZERO))
            )
            values = writer.add(
                "Where", writer.add("And", near, writer.constant(counts)), none, values
            )
        return values

    def _trees(self, writer: Writer, values: str) -> str:
        """The sums of the trees, by target."""
        held = tree_attributes(self.ensemble)
        thresholds, weights = np.array(held.pop("thresholds")), np.array(held.pop("weights"))
        if self.dtype == "float64":
            tensors = {"nodes_values_as_tensor": thresholds, "target_weights_as_tensor": weights}
            numbers: dict[str, Any] = {
                name: numpy_helper.from_array(array.astype(np.float64), name)
                for name, array in tensors.items()
            }
        else:
            rounded = [
                float32_threshold(mode, value)
                for mode, value in zip(held["nodes_modes"], thresholds, strict=True)
            ]
            numbers = {"nodes_values": rounded, "target_weights": weights.tolist()}
        return writer.add(
            "TreeEnsembleRegressor",
            values,
            domain=ML_DOMAIN,
            n_targets=self.ensemble.targets,
            **held,
            **numbers,
        )


ZERO = 1e-35
"""What LightGBM takes for zero (kZeroThreshold in its meta.h)."""


def _sigmoid(writer: Writer, raw: str, steepness: float) -> str:
    return writer.add("Sigmoid", writer.add("Mul", raw, writer.constant(np.array(steepness))))


def _softplus(writer: Writer, raw: str, _: float) -> str:
    return writer.add("Softplus", raw)


LINKS: dict[str, Callable[[Writer, str, float], str]] = {
    IDENTITY: lambda _, raw, __: raw,
    SIGMOID: _sigmoid,
    SOFTMAX: lambda writer, raw, _: writer.add("Softmax", raw, axis=1),
    EXPONENTIAL: lambda writer, raw, _: writer.add("Exp", raw),
    LOG1P_EXP: _softplus,
    SIGNED_SQUARE: lambda writer, raw, _: writer.add("Mul", raw, writer.add("Abs", raw)),
}
