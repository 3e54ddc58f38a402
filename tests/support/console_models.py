"""Bundles that a page of the console has to cope with: wide rows, long labels, versions, many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import create_model

import seatrial as st
from seatrial_contracts.bundle import Bundle, write_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.golden import Golden
from seatrial_contracts.release_notes import NOTES
from support.made import bundle_of

WIDTH = 200
LONG = tuple(
    f"{word} {'and_so_on' * 30} for ever and ever" for word in ("first", "second", "third")
)
MANY = 26
"""Models beside the others: 13 that begin alike, and 13 that begin alike otherwise."""
Number = Annotated[float, st.Number(ge=-1000, le=1000, unit="m")]
RELEASE = "# moods 1.1.0\n\nCompared with 1.0.0.\n\n## Answers\n\n- Largest <b>move</b>: 2.\n"


class Total(st.Answer):
    total: float


class Mood(st.Answer):
    mood: Annotated[str, st.Label("calm", "cross")]


class Long(st.Answer):
    verdict: Annotated[str, st.Label(*LONG)]


Wide = create_model("Wide", __base__=st.Row, **{f"sensor_{n:03}": Number for n in range(WIDTH)})  # type: ignore[call-overload]


class Pair(st.Row):
    x: Annotated[float, st.Number(ge=-10, le=10)]
    y: Annotated[float, st.Number(ge=-10, le=10)]


def seal(folder: Path) -> None:
    """Write them all into a folder of bundles."""
    wide = st.contract_from_rows(Wide, Total)
    row = dict.fromkeys(Wide.model_fields, 1.0)
    golden = Golden((row,), ({"total": np.float32(WIDTH)},))
    bundle_of(folder, wide, golden, ("onnx", summed([*row], "total")), {}, "wide")
    long = st.contract_from_rows(Pair, Long)
    bundle_of(folder, long, *scored(np.eye(2, 3, dtype=np.float32), "verdict"), {}, "long")
    moods = st.contract_from_rows(Pair, Mood)
    first = np.array([[1, 0], [0, 1]], np.float32)
    next_version(bundle_of(folder, moods, *scored(first, "mood"), {}, "moods"), moods, first * 3)
    for n in range(MANY):
        name = f"{('eu', 'us')[n % 2]}.churn_{n:02}"
        bundle_of(folder, moods, *scored(first, "mood"), {}, name)
    (folder / "moods" / "labels.json").write_text('{"stable": "1.0.0", "canary": "1.1.0"}')


def next_version(bundle: Bundle, contract: Contract, weights: np.ndarray[Any, Any]) -> None:
    """Write version 1.1.0 beside it: another graph, with release notes."""
    golden, (form, graph) = scored(weights, "mood")
    assert form == "onnx"
    files = {**bundle.files, **golden.to_files(), NOTES: RELEASE.encode()}
    files[bundle.manifest.variants[0].graph] = graph
    manifest = bundle.manifest.model_copy(update={"version": "1.1.0", "files": {}})
    write_bundle(bundle.path.parent.parent, manifest, files)
    assert contract.outputs[0].name == "mood"


def scored(weights: np.ndarray[Any, Any], output: str) -> tuple[Golden, tuple[str, bytes]]:
    """Golden rows and graph of softmax((x, y) @ weights), shape `(batch, classes)`."""
    rows = tuple({"x": float(x), "y": float(y)} for x, y in ((1, 2), (3, -1), (0, 0)))
    logits = np.array([[row["x"], row["y"]] for row in rows], np.float32) @ weights
    raised = np.exp(logits)
    answers = tuple({output: row} for row in raised / raised.sum(1, keepdims=True))
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [
        node("Unsqueeze", ["x", "_last"], ["_x"]),
        node("Unsqueeze", ["y", "_last"], ["_y"]),
        node("Concat", ["_x", "_y"], ["_both"], axis=1),
        node("MatMul", ["_both", "_weights"], ["_logits"]),
        node("Softmax", ["_logits"], [output], axis=1),
    ]
    made = helper.make_graph(
        nodes, "scored",
        [value(name, TensorProto.FLOAT, ["batch"]) for name in ("x", "y")],
        [value(output, TensorProto.FLOAT, ["batch", weights.shape[1]])],
        initializer=[
            numpy_helper.from_array(np.array([1]), "_last"),
            numpy_helper.from_array(weights, "_weights"),
        ],
    )  # fmt: skip
    return Golden(rows, answers), ("onnx", model(made))


def summed(names: list[str], output: str) -> bytes:
    """The sum of all inputs."""
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("Sum", names, [output])], "summed",
        [value(name, TensorProto.FLOAT, ["batch"]) for name in names],
        [value(output, TensorProto.FLOAT, ["batch"])],
    )  # fmt: skip
    return model(made)


def model(graph: onnx.GraphProto) -> bytes:
    made: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(made.SerializeToString())
