"""A foreign file without another reference is held against itself, as it was before it was fitted.

Faults are planted in the fitting, where no golden row looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pytest
from annotated_types import Interval
from support.foreign import adopt, answers, findings, parsed, refused

import seatrial as st
from seatrial_export.adopt import fit
from seatrial_export.adopt.editor import Editor


class Home(st.Row):
    town: Literal["Graz", "Linz", "Wien"]
    rooms: Annotated[int, st.Number(ge=0, le=100)]
    size: Annotated[float | None, st.Number(ge=0, le=500)]


class Price(st.Answer):
    price: float


class Flag(st.Answer):
    large: bool


GOLDEN: list[dict[str, Any]] = [
    {"town": "Graz", "rooms": 2, "size": 50.0},
    {"town": "Linz", "rooms": 4, "size": 80.0},
    {"town": "Linz", "rooms": 1, "size": 20.5},
]
CODES = """g (float[n, 3] X) => (float[n, 1] price) <float[3, 1] w = {1000.0, 10.0, 2.0}> {
  known = IsNaN(X) zero = Sub(w, w) flat = Transpose(zero) filled = Where(known, flat, X)
  price = MatMul(filled, w) }"""


def changed_attribute(name: str, change: Callable[[Any], Any]) -> Callable[..., str]:
    """An `Editor.before` that writes one attribute otherwise."""
    right = Editor.before

    def wrong(self: Editor, operator: str, values: Sequence[str], *rest: Any, **more: Any) -> str:
        if name in more:
            more[name] = change(more[name])
        return right(self, operator, values, *rest, **more)

    return wrong


def clipped(self: Editor, port: str, value: str) -> None:
    """A feed that clamps what enters at 90."""
    most = self._constant(np.float32(90))
    RIGHT_FEED(self, port, self.before("Min", [value, most]))


def without_gaps(self: Editor, port: str, value: str) -> None:
    """A feed that takes a missing number for 1."""
    one = self._constant(np.float32(1))
    missing = self.before("IsNaN", [value])
    RIGHT_FEED(self, port, self.before("Where", [missing, one, value]))


RIGHT_FEED = Editor.feed


@pytest.mark.parametrize(
    ("place", "step", "where"),
    [
        (
            "before",
            changed_attribute("values_int64s", lambda codes: [0, 1, 1]),
            "input 'town' at 'Wien'",
        ),
        ("feed", clipped, "input 'rooms' at 100"),
        ("feed", without_gaps, "input 'size' missing"),
    ],
    ids=["word", "clamp", "gap"],
)
def test_a_fault_in_the_fitting_is_found_though_no_golden_row_shows_it(
    place: str, step: Callable[..., Any], where: str, tmp_path: Path, monkeypatch: Any
) -> None:
    adopt(CODES, tmp_path / "right", Home, Price, GOLDEN)
    monkeypatch.setattr(Editor, place, step)
    said = refused(CODES, tmp_path / "wrong", Home, Price, GOLDEN)
    assert "onnxruntime departs from the file as it was made where no golden row looks" in said
    assert where in said


def test_columns_that_the_fitting_turns_round_are_found(tmp_path: Path, monkeypatch: Any) -> None:
    right = fit.Fitting._columns
    monkeypatch.setattr(
        fit.Fitting, "_columns", lambda self, port, specs: right(self, port, specs[::-1])
    )
    said = refused(CODES, tmp_path, Home, Price, GOLDEN)
    assert "departs from the file as it was made" in said


def test_a_map_of_scores_is_read_by_its_classes_names(tmp_path: Path) -> None:
    model = parsed("""g (float[n, 2] x) => (string[n] label, float[n, 2] scores) {
      label, raw = ai.onnx.ml.LinearClassifier<classlabels_strings=["cat", "dog"],
        coefficients=[1.0, 0.0, 0.0, 1.0], intercepts=[0.0, 0.5], post_transform="SOFTMAX">(x)
      scores = Identity(raw) }""")
    model.graph.node[1].CopyFrom(
        onnx.helper.make_node(
            "ZipMap", ["raw"], ["scores"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog"]
        )
    )
    words = onnx.helper.make_map_type_proto(8, onnx.helper.make_tensor_type_proto(1, []))
    model.graph.output[1].type.CopyFrom(onnx.helper.make_sequence_type_proto(words))

    class Pair(st.Row):
        x: st.Tensor[np.float32, 2]

    class Kind(st.Answer):
        kind: Annotated[str, st.Label("cat", "dog")]

    rows = [{"x": [float(i), 1.0]} for i in range(4)]
    got = answers(adopt(model, tmp_path, Pair, Kind, rows), rows)
    assert [int(row["kind"].argmax()) for row in got] == [1, 1, 0, 0]


def test_the_receipt_counts_the_drawn_rows_of_a_file_without_a_reference(tmp_path: Path) -> None:
    bundle = adopt(CODES, tmp_path, Home, Price, GOLDEN)
    drawn = [trial for receipt in bundle.receipts() for trial in receipt.trials if trial.drawn]
    assert drawn[0].rows > 20
    assert "no independent reference" in findings(bundle)


class Pair(st.Row):
    x: st.Tensor[np.float32, 2, Interval(ge=0, le=100)]


class Sum(st.Answer):
    sum: float


def test_a_step_of_its_own_is_run_from_its_file_too(tmp_path: Path, monkeypatch: Any) -> None:
    step = parsed("p (float[2] x) => (float[2] twice) { twice = Add(x, x) }")
    model = """g (float[n, 2] twice) => (float[n] sum) <int64[1] axis = {1}>
    { sum = ReduceSum<keepdims=0>(twice, axis) }"""
    rows = [{"x": [1.0, float(place)]} for place in range(4)]
    bundle = adopt(model, tmp_path / "right", Pair, Sum, rows, prepare=step)
    assert [float(row["sum"]) for row in answers(bundle, rows)] == [2.0, 4.0, 6.0, 8.0]
    right = Editor.before

    def clamped(self: Editor, operator: str, values: Sequence[str], output: str = "") -> str:
        return right(self, "Min", [*values, self._constant(np.float32(50))], output)

    monkeypatch.setattr(Editor, "before", clamped)
    said = refused(model, tmp_path / "wrong", Pair, Sum, rows, prepare=step)
    assert "onnxruntime departs from the file as it was made where no golden row looks" in said
