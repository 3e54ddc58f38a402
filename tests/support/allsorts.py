"""The model `allsorts`, as a bundle: a field of nearly every kind, answers of every kind.

Its names are written to be misread as HTML.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.calibration import Calibration
from seatrial_contracts.cost import Cost, Point, Search
from seatrial_contracts.golden import Golden, wire_row
from seatrial_contracts.kinds.image import draw
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.measures import Measures
from seatrial_contracts.receipt import Receipt, Trial, now, this_machine

BOLD = "<b>bold</b>"
WORDS = ("it's", "<i>so</i>")


class Row(st.Row):
    age: Annotated[
        float | None,
        st.Number(ge=0, le=120, unit="years", description="<img src=x onerror=alert(1)>"),
    ]
    stamp: int
    flag: bool
    side: Literal["left", "right"] | None
    word: Annotated[str, st.Category(*WORDS, unknown="bucket")]
    matrix: st.Tensor[np.float32, 2, 3]
    born: Annotated[date, st.Date(ge=date(1900, 1, 1))]
    at: datetime
    local: Annotated[datetime | None, st.DateTime(zone="Europe/Berlin")]
    photo: Annotated[bytes, st.Image(formats=("PNG",))]


class Answer(st.Answer):
    age_or_0: Annotated[float, st.Number(unit="years")]
    same: int
    sort: Annotated[str, st.Label(BOLD, "plain")]
    place: int
    turned: st.Tensor[np.float32, 3, 2]
    brightness: float
    tags: Annotated[list[str], st.Labels(BOLD, "plain", threshold=0.5)]


class Options(st.Options):
    threshold: Annotated[float, st.Option(0.5, ge=0, le=1, description=BOLD)]
    top_k: Annotated[int, st.Option(2, ge=1, le=2)]


def graph() -> bytes:
    """Little sums over each field."""
    value, node = helper.make_tensor_value_info, helper.make_node
    kinds = {
        "age": (TensorProto.FLOAT, []),
        "stamp": (TensorProto.INT64, []),
        "flag": (TensorProto.BOOL, []),
        "side": (TensorProto.STRING, []),
        "word": (TensorProto.STRING, []),
        "matrix": (TensorProto.FLOAT, [2, 3]),
        "born": (TensorProto.INT64, []),
        "at": (TensorProto.INT64, []),
        "local": (TensorProto.INT64, []),
        "local_present": (TensorProto.BOOL, []),
        "photo": (TensorProto.UINT8, ["h", "w", 3]),
    }
    answers = {
        "age_or_0": (TensorProto.FLOAT, []),
        "same": (TensorProto.INT64, []),
        "sort": (TensorProto.FLOAT, [2]),
        "place": (TensorProto.INT64, []),
        "turned": (TensorProto.FLOAT, [3, 2]),
        "brightness": (TensorProto.FLOAT, []),
        "tags": (TensorProto.FLOAT, [2]),
    }
    constants = {
        "_zero": np.float32(0),
        "_one": np.float32(1),
        "_last": np.array([1]),
        "_pixels": np.array([1, 2, 3]),
    }
    nodes = [
        node("IsNaN", ["age"], ["_missing"]),
        node("Where", ["_missing", "_zero", "age"], ["age_or_0"]),
        node("Identity", ["stamp"], ["same"]),
        node("Cast", ["flag"], ["_yes"], to=TensorProto.FLOAT),
        node("Sub", ["_one", "_yes"], ["_no"]),
        node("Unsqueeze", ["_yes", "_last"], ["_yes_"]),
        node("Unsqueeze", ["_no", "_last"], ["_no_"]),
        node("Concat", ["_yes_", "_no_"], ["sort"], axis=1),
        node("Identity", ["sort"], ["tags"]),
        node(
            "LabelEncoder",
            ["word"],
            ["place"],
            domain="ai.onnx.ml",
            keys_strings=list(WORDS),
            values_int64s=[0, 1],
            default_int64=2,
        ),
        node("Transpose", ["matrix"], ["turned"], perm=[0, 2, 1]),
        node("Cast", ["photo"], ["_light"], to=TensorProto.FLOAT),
        node("ReduceMean", ["_light", "_pixels"], ["brightness"], keepdims=0),
    ]
    tensors = [
        onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()
    ]
    ends = [
        [value(name, kind, ["batch", *dims]) for name, (kind, dims) in side.items()]
        for side in (kinds, answers)
    ]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    model: Any = helper.make_model(
        helper.make_graph(nodes, "allsorts", *ends, initializer=tensors),
        opset_imports=opsets,
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def seal(folder: Path) -> None:
    """Write the bundle into a folder of bundles."""
    contract = st.contract_from_rows(Row, Answer, options=Options)
    photo = draw(8, 8, (255, 255, 255), "PNG")
    row = {
        "age": 4.0,
        "stamp": 7,
        "flag": True,
        "side": None,
        "word": WORDS[0],
        "matrix": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "born": "2000-02-29",
        "at": "2024-01-01T12:00:00.000001+01:00",
        "local": None,
        "photo": photo,
    }
    pixels = contract.inputs[-1].kind.decode(photo)  # type: ignore[attr-defined]
    answer = {
        "age_or_0": np.float32(4),
        "same": np.int64(7),
        "sort": np.array([1, 0], np.float32),
        "place": np.int64(0),
        "turned": np.array(row["matrix"], np.float32).T,
        "brightness": np.float32(pixels.mean()),
        "tags": np.array([1, 0], np.float32),
    }
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": graph(),
        **Golden((wire_row(row),), (answer,), ()).to_files(),
    }
    variant = Variant(name="fp32", format="onnx", graph="graphs/model.onnx")
    manifest = Manifest(
        schema=1,
        name="allsorts",
        version="1.0.0",
        batchable=True,
        variants=(variant,),
        files={},
    )
    receipt_of(write_bundle(folder, manifest, files)).write(folder / "allsorts" / "1.0.0")


def receipt_of(bundle: Bundle) -> Receipt:
    """One with everything that a receipt can say."""
    cost = Cost(
        size_bytes=1_234_000,
        seconds={1: 0.001, 8: 0.004},
        speed={1: 1.5, 8: 2.25},
        peak_memory_bytes=64_000_000,
        batch_error=4e-8,
    )
    trial = Trial(
        runner="onnxruntime",
        variant="int8",
        rows=3,
        batch_sizes=(1,),
        worst_error=2e-4,
        allowed=1e-3,
        passed=True,
        measures=Measures(rows=3, max_error=2e-4, cosine=0.999),
        errors=(1, 0, 0, 0, 0, 0, 2, *[0] * 7),
        cost=cost,
    )
    near = Point(keep=(), measures=Measures(rows=3, cosine=0.98), speed=2.5, met=False)
    kept = Point(keep=("node",), measures=Measures(rows=3, cosine=0.999), speed=2.25, met=True)
    search = Search(
        variant="int8",
        recipe="int8",
        budget="cosine>=0.99",
        nodes=4,
        sensitivity={"node": 0.02},
        points=(near, kept),
        chosen=1,
        nearest=1,
    )
    calibration = Calibration(
        output="sort",
        temperature=1.4,
        from_probabilities=False,
        rows=9,
        error_before=0.1,
        error_after=0.02,
        loss_before=0.5,
        loss_after=0.4,
    )
    return Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=now(),
        machine=this_machine({}),
        trials=(trial,),
        searches=(search,),
        calibrations=(calibration,),
    )
