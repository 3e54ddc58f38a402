"""The model `sound`, as a bundle of one sound in and its mean level out; a real ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.golden import Golden, wire_row
from seatrial_contracts.kinds.sound import draw_sound
from seatrial_contracts.manifest import Manifest, Variant


class Recording(st.Row):
    clip: Annotated[bytes, st.Audio(max_seconds=2, max_bytes=2**20)]


class Level(st.Answer):
    level: float


def graph() -> bytes:
    """The sum of the absolute values of all samples, by the row's own length."""
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [
        node("Abs", ["clip"], ["_size"]),
        node("ReduceSum", ["_size", "_samples"], ["_sum"], keepdims=0),
        node("Cast", ["clip_length"], ["_count"], to=TensorProto.FLOAT),
        node("Div", ["_sum", "_count"], ["level"]),
    ]
    inputs = [
        value("clip", TensorProto.FLOAT, ["batch", "samples"]),
        value("clip_length", TensorProto.INT64, ["batch"]),
    ]
    outputs = [value("level", TensorProto.FLOAT, ["batch"])]
    kept = [onnx.numpy_helper.from_array(np.array([1]), "_samples")]
    model = helper.make_model(
        helper.make_graph(nodes, "sound", inputs, outputs, kept),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def seal(folder: Path) -> Bundle:
    """Write the bundle into a folder of bundles."""
    contract = st.contract_from_rows(Recording, Level)
    data = draw_sound(1_600, 16_000)
    samples = contract.inputs[0].kind.decode(data)  # type: ignore[attr-defined]
    answer = {"level": np.float32(np.abs(samples).mean())}
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": graph(),
        **Golden((wire_row({"clip": data}),), (answer,), ()).to_files(),
    }
    variant = Variant(name="fp32", format="onnx", graph="graphs/model.onnx")
    manifest = Manifest(
        schema=1, name="sound", version="1.0.0", batchable=True, variants=(variant,),
        files={},
    )  # fmt: skip
    return write_bundle(folder, manifest, files)
