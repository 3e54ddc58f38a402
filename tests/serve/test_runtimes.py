"""The onnxruntime runtime: the provider that was asked for really runs, or the model is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from seatrial_contracts.errors import ModelError, Refusal
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.onnx import OnnxRuntime
from seatrial_serve.runtimes.onnx.session import opens_files_in_memory
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


@pytest.mark.parametrize("kernel", ["as it is", "without files in memory"])
def test_a_session_holds_no_second_copy_of_its_graph(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> int:
        raise PermissionError

    if kernel != "as it is":
        monkeypatch.setattr(os, "memfd_create", refused)
    opens_files_in_memory.cache_clear()
    weight = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 512])
        for name in "xy"
    ]
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    made = onnx.helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weight, "w")]
    )
    graph = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    files = len([*Path("/proc/self/fd").iterdir()])
    runtime = runtimes()["onnx"](graph, RuntimeOptions())
    assert len([*Path("/proc/self/fd").iterdir()]) == files
    assert isinstance(runtime, OnnxRuntime)
    assert (runtime._session._model_bytes is graph) == (kernel != "as it is")
    x = np.ones((1, 512), np.float32)
    assert np.allclose(runtime.run({"x": x})["y"], x @ weight, atol=1e-3)
    opens_files_in_memory.cache_clear()


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
