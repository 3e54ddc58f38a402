"""The onnxruntime runtime: the provider that was asked for really runs, or the model is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from seatrial_contracts.errors import ModelError, Refusal
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.runtime import RuntimeOptions

GRAPH = onnx.parser.parse_model(
    '<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[n] y) { y = Relu(x) }'
).SerializeToString()
SEVEN = onnx.parser.parse_model(
    '<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[m] y) '
    "<int64[1] s = {7}> { y = Reshape(x, s) }"
).SerializeToString()
TABLE = onnx.parser.parse_model(
    '<ir_version: 10, opset_import: ["": 20]> g (int64[n] x) => (float[n] y) '
    "<float[3] t = {1, 2, 3}> { y = Gather(t, x) }"
).SerializeToString()


def test_the_receipt_names_the_provider_that_runs() -> None:
    runtime = runtimes()["onnx"](GRAPH, RuntimeOptions())
    assert runtime.provider == "CPUExecutionProvider"
    assert (dict(runtime.inputs), list(runtime.outputs)) == ({"x": "float32"}, ["y"])
    assert runtime.run({"x": np.array([-1.0, 2.0], np.float32)})["y"].tolist() == [0.0, 2.0]


def test_a_graph_that_does_not_load_and_one_that_fails_are_model_errors() -> None:
    with pytest.raises(ModelError) as refused:
        runtimes()["onnx"](b"not a graph", RuntimeOptions())
    assert refused.value.code == "E_LOAD"
    with pytest.raises(ModelError) as refused:
        runtimes()["onnx"](SEVEN, RuntimeOptions()).run({"x": np.zeros(2, np.float32)})
    assert refused.value.code == "E_MODEL"


def test_a_value_that_a_model_cannot_take_is_its_senders_fault() -> None:
    with pytest.raises(Refusal) as refused:
        runtimes()["onnx"](TABLE, RuntimeOptions()).run({"x": np.array([0, 3])})
    assert refused.value.code == "E_MODEL_INPUT"
