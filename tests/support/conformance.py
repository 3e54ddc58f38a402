"""The model `conformance`, as a bundle.

It is ONNX Identity for each datatype, and a look-up for the word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.manifest import Manifest, Variant

DTYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
V2 = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float32": "FP32",
    "float64": "FP64",
}
WORDS = ("a", "b", "é")
MAX_SIDE = 64


class In(st.Row):
    in_word: Literal["a", "b", "é"]


class Out(st.Answer):
    out_word: int


for name in DTYPES:
    In.__annotations__[f"in_{name}"] = st.Tensor[np.dtype(name).type, 1:MAX_SIDE]
    Out.__annotations__[f"out_{name}"] = st.Tensor[np.dtype(name).type, None]
ROW = type("Row", (st.Row,), {"__annotations__": In.__annotations__, "__module__": __name__})
ANSWER = type(
    "Answer", (st.Answer,), {"__annotations__": Out.__annotations__, "__module__": __name__}
)


def graph() -> bytes:
    """Every input handed on; the word's place by LabelEncoder."""
    value, node = helper.make_tensor_value_info, helper.make_node
    inputs = [value("in_word", TensorProto.STRING, ["batch"])] + [
        value(f"in_{name}", kind, ["batch", f"_{name}"]) for name, kind in DTYPES.items()
    ]
    outputs = [value("out_word", TensorProto.INT64, ["batch"])] + [
        value(f"out_{name}", kind, ["batch", f"_{name}"]) for name, kind in DTYPES.items()
    ]
    nodes = [
        node(
            "LabelEncoder",
            ["in_word"],
            ["out_word"],
            domain="ai.onnx.ml",
            keys_strings=list(WORDS),
            values_int64s=list(range(len(WORDS))),
            default_int64=-1,
        )
    ]
    nodes += [node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in DTYPES]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    model: Any = helper.make_model(
        helper.make_graph(nodes, "conformance", inputs, outputs),
        opset_imports=opsets,
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def rows() -> list[dict[str, Any]]:
    """Golden rows: the ends of every datatype."""
    ends: dict[str, list[Any]] = {"bool": [False, True]}
    for name in DTYPES:
        kind = np.dtype(name)
        if kind.kind in "iu":
            ends[name] = [int(np.iinfo(kind).min), int(np.iinfo(kind).max)]
        elif kind.kind == "f":
            ends[name] = [float(np.finfo(kind).min), float(np.finfo(kind).tiny)]
    return [
        {"in_word": word} | {f"in_{name}": values for name, values in ends.items()}
        for word in WORDS
    ]


def seal(folder: Path, version: str = "1.0.0", *, wrong: bool = False) -> None:
    """Write the bundle into a folder of bundles; one that is `wrong` passes no load gate."""
    contract = st.contract_from_rows(ROW, ANSWER)
    golden = tuple(rows())
    answers = tuple(
        {"out_word": np.int64(WORDS.index(row["in_word"]) + wrong)}
        | {f"out_{name}": np.array(row[f"in_{name}"], name) for name in DTYPES}
        for row in golden
    )
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": graph(),
        **Golden(golden, answers, ()).to_files(),
    }
    variant = Variant(name="fp32", format="onnx", graph="graphs/model.onnx")
    write_bundle(
        folder,
        Manifest(
            schema=1,
            name="conformance",
            version=version,
            batchable=True,
            variants=(variant,),
            files={},
        ),
        files,
    )
