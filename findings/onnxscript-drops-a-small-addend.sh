#!/usr/bin/env bash
# onnxscript 0.7.2, its optimizer, which torch.onnx.export(dynamo=True) runs by default: a graph computes log(x + 1e-10), as
# code for spectrograms and losses does, so that silence is no infinity.
#
# Seen: the optimizer takes the Add out, and the graph answers -inf where x is 0. With 1e-7 the Add stays. The rule is that an
# addend of 0 may go; its pattern matches a constant that is 0 to within 1e-8, without a warning.
#
# Exits with 0 if this is still so, and with another status if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxscript import optimizer


def graph(addend: float) -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "addend"], ["more"]), helper.make_node("Log", ["more"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])] for name in "xy"]
    kept = [onnx.numpy_helper.from_array(np.float32(addend), "addend")]
    return helper.make_model(
        helper.make_graph(nodes, "g", *ends, kept), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )


def answer(model: onnx.ModelProto) -> float:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(session.run(None, {"x": np.zeros(1, np.float32)})[0][0])


seen = {}
for addend in (1e-7, 1e-10):
    before, after = answer(graph(addend)), answer(optimizer.optimize(graph(addend)))
    print(f"log(0 + {addend:g}): {before:.3f}, optimized {after:.3f}")
    seen[addend] = before == after
sys.exit(0 if seen == {1e-7: True, 1e-10: False} else 1)
PYTHON
