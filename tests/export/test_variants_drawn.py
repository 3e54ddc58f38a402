"""Variants at drawn rows: none without an answer, none wild, and what differs is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import onnx
import pytest
from support.foreign import adopt, parsed

import seatrial as st
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.promise import Promise
from seatrial_export.quantize.make_variants import MadeVariant, make_variants
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants.original import Original
from seatrial_export.variants.recipe import Recipe


class Spent(st.Row):
    spent: Annotated[float, st.Number(ge=0, le=100)]


class Cost(st.Answer):
    cost: Annotated[float, st.Number(ge=0, le=1000)]


class Size(st.Answer):
    size: Annotated[str, st.Label("small", "large")]


LINE = """g (float[n, 1] spent) => (float[n, 1] cost) <float[1, 1] w = {2.0}>
{ cost = MatMul(spent, w) }"""
SIDES = """g (float[n, 1] spent) => (float[n, 2] size)
<float[1, 2] w = {-1.0, 1.0}, float[2] b = {50.0, -50.0}>
{ far = MatMul(spent, w) raw = Add(far, b) size = Softmax<axis=1>(raw) }"""
FAULT = """f (float[n] spent, float right) => (float made)
<float limit = {50.0}, float by = {BY}, int64[RANK] shape = {SHAPE}>
{ beside = Reshape(spent, shape) over = Greater(beside, limit) wrong = Mul(right, by)
  made = Where(over, wrong, right) }"""


class Planted(Recipe):
    """Right up to 50, where the golden rows end; from there on the answer times `by`."""

    KIND: ClassVar[str] = "planted"
    COSINE: ClassVar[float] = 0.99
    AGREEMENT: ClassVar[float] = 0.99
    RELATIVE: ClassVar[float] = 0.02
    LEAVES: ClassVar[str] = "weights"

    by: str

    def nodes(self, original: Original) -> list[str]:
        return [node.name for node in original.model.graph.node]

    def transform(self, original: Original) -> onnx.ModelProto:
        output = original.model.graph.output[0]
        rank = len(output.type.tensor_type.shape.dim)
        shape = {"RANK": str(rank), "SHAPE": "-1, 1" if rank == 2 else "-1", "BY": self.by}
        text = FAULT
        for name, value in shape.items():
            text = text.replace(name, value)
        model = onnx.compose.add_prefix(original.model, "own.")
        merged = onnx.compose.merge_models(
            model, parsed(text), io_map=[(model.graph.output[0].name, "right")], outputs=["made"]
        )
        graph = merged.graph
        names = {"own.spent": "spent", "made": output.name}
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        del graph.input[:], graph.output[:]
        graph.input.extend(original.model.graph.input)
        graph.output.extend(original.model.graph.output)
        return merged


def made(
    model: str, outputs: type[st.Answer], by: str, folder: Path, promise: Promise | None = None
) -> MadeVariant:
    rows = [{"spent": 5.0 * place} for place in range(10)]
    bundle = adopt(model, folder, Spent, outputs, rows)
    return make_variants(Subject(bundle), [Planted(by=by, promise=promise)])[0]


def at_drawn(variant: MadeVariant) -> tuple[int, str]:
    trial = next(trial for trial in variant.trials if trial.drawn)
    return trial.rows, trial.finding


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("nan", "no answer, output 'cost': "),
        ("6.0", "no answer, output 'cost': "),
        ("-3.0", "no answer, output 'cost': "),
        ("3.5", "got "),
    ],
    ids=["NaN", "above its bound", "below its bound", "wild"],
)
def test_a_variant_that_fails_at_a_drawn_row_is_refused_whatever_its_golden_rows_say(
    by: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(st.GateError) as said:
        made(LINE, Cost, by, tmp_path)
    assert "variant 'planted', drawn rows: input 'spent' at 100.0: " in str(said.value)
    assert words in str(said.value)
    assert "calibrate on rows that reach the bounds" in str(said.value)


def test_an_answer_that_is_off_at_a_drawn_row_is_told_in_the_receipt(tmp_path: Path) -> None:
    rows, told = at_drawn(made(LINE, Cost, "0.9", tmp_path / "off"))
    assert rows > 8
    assert "drawn rows, of which nothing is promised: furthest from fp32 at input 'spent'" in told
    assert at_drawn(made(LINE, Cost, "1.0", tmp_path / "right")) == (rows, "")
    wide = Promise(tolerance=Tolerance(relative_to_max=0.2))
    assert at_drawn(made(LINE, Cost, "0.9", tmp_path / "promised", wide)) == (rows, "")


def test_labels_that_differ_at_drawn_rows_are_counted_in_the_receipt(tmp_path: Path) -> None:
    rows, told = at_drawn(made(SIDES, Size, "0.0", tmp_path))
    assert "output 'size' is decided otherwise at " in told
    assert f" of {rows}" in told


@pytest.mark.slow
def test_int8_that_was_calibrated_on_small_numbers_is_told_to_cut_large_ones(
    tmp_path: Path,
) -> None:
    rows = [{"spent": 0.5 * place} for place in range(20)]
    bundle = adopt(LINE, tmp_path, Spent, Cost, rows)
    (variant,) = make_variants(Subject(bundle), [st.Int8()])
    assert "furthest from fp32 at input 'spent' at 100.0" in at_drawn(variant)[1]
    assert np.isfinite(next(trial for trial in variant.trials if trial.drawn).worst_error or 0)
