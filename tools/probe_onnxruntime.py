"""What releases of onnxruntime read: the newest opset and IR version, and narrow element types.

    python tools/probe_onnxruntime.py 1.23.2 1.24.4

Each release is installed from the package index into a temporary folder, and opens graphs on the
processor: one of each version of the standard operators, of ai.onnx.ml and of the file format, and
one that multiplies matrices in each narrow element type. The tables of
`contracts/seatrial_contracts/needs.py` hold what this prints.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

NEWEST = 40
"""Versions are tried up to here."""
OPEN = """
import sys
from pathlib import Path
import onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    try:
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # whatever it raises, the release does not read it
        continue
    print(path.stem)
"""
FLOAT8 = ("FLOAT8E4M3FN", "FLOAT8E5M2")
WIDTHS = {"INT4": 21, "UINT4": 21, "INT2": 25, "UINT2": 25, "FLOAT4E2M1": 23} | dict.fromkeys(
    FLOAT8, 19
)
"""Element type of weights -> the opset whose DequantizeLinear takes it."""


def model(nodes: list[onnx.NodeProto], opset: int, ir: int, ml: int = 0) -> onnx.ModelProto:
    """A graph from x to y, both (n, 2) of float32."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    sets = [helper.make_opsetid("", opset)]
    sets += [helper.make_opsetid("ai.onnx.ml", ml)] if ml else []
    return helper.make_model(graph, opset_imports=sets, ir_version=ir)


def relu() -> list[onnx.NodeProto]:
    """The least that a graph can do."""
    return [helper.make_node("Relu", ["x"], ["y"])]


def scaled() -> list[onnx.NodeProto]:
    """One operator of ai.onnx.ml."""
    return [
        helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0])
    ]


def in_type(name: str) -> list[onnx.NodeProto]:
    """A product, a sum, a softmax and a normalisation in a narrow type of numbers."""
    narrow, square = getattr(TensorProto, name), [1.0, 0.0, 0.0, 1.0]
    return [
        helper.make_node("Cast", ["x"], ["a"], to=narrow),
        helper.make_node(
            "Constant", [], ["w"], value=helper.make_tensor("w", narrow, [2, 2], square)
        ),
        helper.make_node(
            "Constant", [], ["s"], value=helper.make_tensor("s", narrow, [2], [1.0, 1.0])
        ),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Add", ["b", "s"], ["c"]),
        helper.make_node("Softmax", ["c"], ["d"], axis=-1),
        helper.make_node("LayerNormalization", ["d", "s"], ["e"]),
        helper.make_node("Cast", ["e"], ["y"], to=TensorProto.FLOAT),
    ]


def weights_in_type(name: str) -> list[onnx.NodeProto]:
    """Weights of a narrow type, and DequantizeLinear behind them."""
    narrow = getattr(TensorProto, name)
    weight = helper.make_tensor("w", narrow, [2, 2], [1, 0, 0, 1])
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [1.0])
    return [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Constant", [], ["s"], value=scale),
        helper.make_node("DequantizeLinear", ["w", "s"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"]),
    ]


def graphs() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Every graph that is tried, and its name."""
    for version in range(15, NEWEST):
        yield f"opset {version}", model(relu(), version, 8)
    for version in range(3, 9):
        yield f"ai.onnx.ml {version}", model(scaled(), 17, 8, version)
    for version in range(8, 20):
        yield f"ir {version}", model(relu(), 17, version)
    for name in ("FLOAT16", "BFLOAT16"):
        yield f"type {name}", model(in_type(name), 18, 8)
    for name, opset in WIDTHS.items():
        if hasattr(TensorProto, name):
            yield f"type {name}", model(weights_in_type(name), opset, 9)


def main() -> None:
    """Print a line for each release."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "graphs").mkdir()
        for title, graph in graphs():
            (folder / "graphs" / f"{title}.onnx").write_bytes(graph.SerializeToString())
        for release in sys.argv[1:]:
            home = folder / release
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(home)]
            subprocess.run([*pip, f"onnxruntime=={release}"], check=True)
            done = subprocess.run(
                [sys.executable, "-c", OPEN, str(folder / "graphs")],
                env={"PYTHONPATH": str(home)}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            print(release, told(done.stdout.splitlines()), flush=True)


def told(opened: list[str]) -> str:
    """The newest of each sort, and all the types."""
    newest: dict[str, int] = {}
    types = []
    for title in opened:
        sort, _, what = title.rpartition(" ")
        if sort == "type":
            types.append(what)
        else:
            newest[sort] = max(newest.get(sort, 0), int(what))
    return ", ".join([*(f"{sort} {number}" for sort, number in newest.items()), *types])


if __name__ == "__main__":
    main()
