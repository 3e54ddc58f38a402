"""Logits of foreign files become probabilities by an activation, or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from scipy.special import expit, softmax
from support.foreign import adopt, answers, findings, parsed, refused

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.kind import Array
from seatrial_export.adopt.activation import activated

NAMES = ("low", "mid", "high")
LOGITS = """g (float[n, 3] x) => (float[n, 3] logits)
  <float[1, 3] bias = {0.5, -1, 2}> { logits = Add (x, bias) }"""
ROWS: list[dict[str, Any]] = [{"x": [0.0, 1.0, 2.0]}, {"x": [4.0, -3.0, 0.0]}, {"x": [0.1] * 3}]
BIAS = np.array([0.5, -1, 2], np.float32)


class Row(st.Row):
    x: st.Tensor[np.float32, 3]


class One(st.Answer):
    level: Annotated[str, st.Label(*NAMES)]


class Several(st.Answer):
    level: Annotated[list[str], st.Labels(*NAMES)]


class Plain(st.Answer):
    level: st.Tensor[np.float32, 3]


def logits(row: dict[str, Any]) -> Array:
    return np.asarray(row["x"], np.float32) + BIAS


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize(
    ("outputs", "activation", "judge"),
    [(One, "softmax", softmax), (Several, "sigmoid", expit), (Plain, "sigmoid", expit)],
)
def test_an_activation_stands_in_the_graph_and_makes_what_scipy_makes(
    tmp_path: Path, outputs: type[st.Answer], activation: str, judge: Any, opset: int
) -> None:
    bundle = adopt(
        parsed(LOGITS, opset), tmp_path, Row, outputs, ROWS, activations={"level": activation}
    )
    for row, answer in zip(ROWS, answers(bundle, ROWS), strict=True):
        assert np.allclose(answer["level"], judge(logits(row)), atol=1e-6)
    assert f"output 'level': {activation} stands behind the graph's own answer" in findings(bundle)


def test_a_reference_answers_what_the_activation_makes(tmp_path: Path) -> None:
    options = {"activations": {"level": "softmax"}}

    def right(rows: list[dict[str, Any]]) -> Array:
        return np.stack([softmax(logits(row)) for row in rows])

    def wrong(rows: list[dict[str, Any]]) -> Array:
        return np.stack([logits(row) for row in rows])

    said = refused(LOGITS, tmp_path, Row, One, ROWS, training_side=wrong, **options)
    assert "let the reference answer what softmax makes of its scores" in said
    adopt(LOGITS, tmp_path, Row, One, ROWS, training_side=right, **options)


def test_scores_that_are_no_probabilities_are_refused_where_nothing_is_said(
    tmp_path: Path,
) -> None:
    said = refused(LOGITS, tmp_path, Row, One, ROWS)
    assert "output 'level': got the scores 0.5, 0, 4, want numbers from 0 to 1, together 1" in said
    assert "--activation level=softmax" in said
    assert "level=none" in said
    said = refused(LOGITS, tmp_path, Row, Several, ROWS)
    assert "want numbers from 0 to 1\n" in said
    assert "level=none" not in said
    bundle = adopt(LOGITS, tmp_path, Row, One, ROWS, activations={"level": "none"})
    assert np.allclose(answers(bundle, ROWS)[0]["level"], logits(ROWS[0]))


@pytest.mark.parametrize(
    ("activations", "want"),
    [
        ({"level": "tanh"}, "want softmax, sigmoid, none"),
        ({"height": "softmax"}, "want one of level"),
    ],
)
def test_an_activation_of_nothing_is_refused(
    tmp_path: Path, activations: dict[str, str], want: str
) -> None:
    assert want in refused(LOGITS, tmp_path, Row, One, ROWS, activations=activations)


def test_softmax_of_one_number_is_refused(tmp_path: Path) -> None:
    class Single(st.Answer):
        level: float

    graph = LOGITS.replace("logits = Add (x, bias)", "l = Add (x, bias)\n logits = ReduceMax (l)")
    said = refused(graph, tmp_path, Row, Single, ROWS, activations={"level": "softmax"})
    assert "several, or sigmoid" in said


def test_numbers_of_any_size_have_an_activation() -> None:
    wide = np.array([[-1e4, 0, 1e4], [88, 89, 90]], np.float32)
    assert np.allclose(activated(wide, "softmax"), softmax(wide, 1))
    assert np.allclose(activated(wide, "sigmoid"), expit(wide))
    assert activated(wide, "none") is wide


CONTRACT = """import numpy as np
from typing import Annotated
import seatrial as st

class Row(st.Row):
    x: st.Tensor[np.float32, 3]

class One(st.Answer):
    level: Annotated[str, st.Label("low", "mid", "high")]
"""


def test_the_command_line_puts_an_activation_into_the_graph(tmp_path: Path) -> None:
    model, contract, golden = (tmp_path / name for name in ("m.onnx", "rows.py", "rows.json"))
    onnx.save(parsed(LOGITS), model)
    contract.write_text(CONTRACT, "utf-8")
    golden.write_text(json.dumps(ROWS), "utf-8")
    asked = [
        "adopt", str(model), "--contract", f"{contract}:Row", "--golden", str(golden),
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    for wrong in ("level", "=softmax", "level="):
        said = CliRunner().invoke(cli, [*asked, "--activation", wrong])
        assert isinstance(said.exception, st.DeclarationError)
    assert isinstance(CliRunner().invoke(cli, asked).exception, GateError)
    done = CliRunner().invoke(cli, [*asked, "--activation", "level=softmax"])
    assert done.exit_code == 0, done.output
    bundle = st.open_bundle(tmp_path / "out" / "m" / "1.0.0")
    assert np.allclose(answers(bundle, ROWS)[1]["level"], softmax(logits(ROWS[1])), atol=1e-6)
