"""The bundles that the cases are sent to.

They take rows of numbers, words and flags; ids; an image; a text; two texts; a sound; entries of
vocabularies; dates and times; tensors.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image as Pillow
from refusals.case import FRAMES, MOMENT, ROW
from support.conformance import seal as seal_conformance
from support.embedded import seal_embedding
from support.sounds import seal as seal_sound
from tokenizers import Tokenizer, models, pre_tokenizers

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.golden import Golden, wire_row
from seatrial_contracts.manifest import Manifest, Variant

TOKENIZER = Tokenizer(models.WordLevel({"[UNK]": 0, "sea": 1, "trial": 2}, unk_token="[UNK]"))
TOKENIZER.pre_tokenizer = pre_tokenizers.Whitespace()
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF")
TEXT = st.Text(tokenizer=TOKENIZER.to_str().encode(), max_chars=2000, max_tokens=256)

PAIR = st.TextPair(
    "premise", "hypothesis", tokenizer=TOKENIZER.to_str().encode(), max_chars=200, max_tokens=256,
    model_inputs=("ids", "mask"),
)  # fmt: skip


class Tabular(st.Row):
    x: Annotated[float | None, st.Number(ge=0, le=100)]
    n: Annotated[int, st.Number(dtype="int8")]
    c: Literal["a", "b"]
    f: bool


class Ids(st.Row):
    ids: st.Tensor[np.int64, 2]


class Photo(st.Row):
    image: Annotated[bytes, st.Image(formats=FORMATS, max_bytes=2**20, max_pixels=1_000_000)]


class Frames(st.Row):
    frames: Annotated[np.ndarray, st.Tensor(dims=(st.Size("t", 0, 8), 2), missing="nan")]
    labels: Annotated[np.ndarray, st.Tensor(dtype="int4", dims=(st.Size("t", 0, 8),), pad=0)]


class Scan(st.Row):
    scan: Annotated[
        bytes, st.Image(mode="I;16", formats=("PNG", "TIFF"), max_bytes=2**20, max_pixels=10_000)
    ]


class Note(st.Row):
    text: Annotated[str, TEXT]


class Pair(st.Row):
    pair: Annotated[dict[str, str], PAIR]


class Calendar(st.Row):
    day: Annotated[date, st.Date(ge=date(1900, 1, 1))]
    at: datetime
    local: Annotated[datetime, st.DateTime(zone="Europe/Berlin")]
    took: Annotated[timedelta, st.Duration(ge=timedelta(0))]


def many_words(folder: Path) -> str:
    """A file of more words than a graph looks up."""
    path = folder / "words.txt"
    path.write_text("".join(f"word {place}\n" for place in range(20_000)))
    return str(path)


class Score(st.Answer):
    score: float


class Shade(st.Answer):
    shade: Annotated[str, st.Label("dark", "bright")]


class Says(st.Answer):
    says: Annotated[str, st.Label("contradiction", "entailment")]


def picture(
    fmt: str = "PNG", size: tuple[int, int] = (8, 6), mode: str = "RGB", **options: Any
) -> bytes:
    sink = io.BytesIO()
    Pillow.new(mode, size, 120).save(sink, fmt, **options)
    return sink.getvalue()


def graph(
    inputs: list[tuple[str, int, list[str | int]]],
    *nodes: onnx.NodeProto,
    output: tuple[str, Sequence[str | int]] = ("score", []),
    **weights: Any,
) -> bytes:
    """A graph that answers `output`, of the sizes given for each row."""
    values = [
        helper.make_tensor_value_info(name, kind, ["batch", *dims]) for name, kind, dims in inputs
    ]
    score = helper.make_tensor_value_info(output[0], TensorProto.FLOAT, ["batch", *output[1]])
    kept = [
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()
    ]
    model = helper.make_model(
        helper.make_graph(list(nodes), "g", values, [score], kept),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def seal(folder: Path) -> None:
    """Write them all, the conformance suite's, and one that embeds texts: `sentences`."""
    seal_conformance(folder)
    seal_embedding(folder)
    seal_sound(folder)
    node = helper.make_node
    mean = [node("ReduceMean", ["v", "axes"], ["score"], keepdims=0)]
    write(
        folder,
        "tabular",
        st.contract_from_rows(Tabular, Score, limits=st.Limits(max_rows=64)),
        ROW,
        3.0,
        graph(
            [
                ("x", TensorProto.FLOAT, []),
                ("n", TensorProto.INT8, []),
                ("c", TensorProto.STRING, []),
                ("f", TensorProto.BOOL, []),
            ],
            node("Cast", ["n"], ["score"], to=TensorProto.FLOAT),
        ),
    )
    write(
        folder, "embedding", st.contract_from_rows(Ids, Score), {"ids": [1, 2]}, 1.5,
        graph([("ids", TensorProto.INT64, [2])], node("Gather", ["table", "ids"], ["v"]), *mean,
              table=np.arange(4, dtype=np.float32), axes=np.array([1])),
    )  # fmt: skip
    write(
        folder,
        "photo",
        st.contract_from_rows(Photo, Score),
        {"image": picture()},
        120 / 3,
        graph(
            [("image", TensorProto.UINT8, ["h", "w", 3])],
            node("Cast", ["image"], ["v"], to=TensorProto.FLOAT),
            *mean,
            axes=np.array([1, 2, 3]),
        ),
    )
    write(
        folder, "note", st.contract_from_rows(Note, Score), {"text": "sea trial"}, 1.5,
        graph([("text_ids", TensorProto.INT64, ["t"]), ("text_mask", TensorProto.INT64, ["t"])],
              node("Cast", ["text_ids"], ["v"], to=TensorProto.FLOAT), *mean, axes=np.array([1])),
        TEXT.front_files("text"),
    )  # fmt: skip
    write(
        folder, "colours", st.contract_from_rows(Photo, Shade), {"image": picture()},
        [1 - 40 / 255, 40 / 255],
        graph([("image", TensorProto.UINT8, ["h", "w", 3])],
              node("Cast", ["image"], ["v"], to=TensorProto.FLOAT),
              node("ReduceMean", ["v", "axes"], ["mean"], keepdims=0),
              node("Div", ["mean", "white"], ["share"]),
              node("Unsqueeze", ["share", "last"], ["light"]),
              node("Sub", ["one", "light"], ["dark"]),
              node("Concat", ["dark", "light"], ["shade"], axis=1),
              output=("shade", [2]), axes=np.array([1, 2, 3]), last=np.array([1]),
              white=np.array(255, np.float32), one=np.array([1], np.float32)),
    )  # fmt: skip
    ids = [(f"pair_{each}", TensorProto.INT64, ["t"]) for each in ("ids", "mask")]
    yes = 1 / (1 + np.exp(-1.5))
    write(
        folder, "pairs", st.contract_from_rows(Pair, Says),
        {"pair": {"premise": "sea", "hypothesis": "trial"}}, [1 - yes, yes],
        graph(ids, node("Cast", ["pair_ids"], ["v"], to=TensorProto.FLOAT),
              node("ReduceMean", ["v", "axes"], ["mean"], keepdims=1),
              node("Sigmoid", ["mean"], ["yes"]),
              node("Sub", ["one", "yes"], ["no"]), node("Concat", ["no", "yes"], ["says"], axis=1),
              output=("says", [2]), axes=np.array([1]), one=np.array([1], np.float32)),
        PAIR.front_files("pair"),
    )  # fmt: skip
    write(
        folder, "scan", st.contract_from_rows(Scan, Score), {"scan": picture(mode="I;16")}, 120.0,
        graph([("scan", TensorProto.UINT16, ["h", "w", 1])],
              node("Cast", ["scan"], ["v"], to=TensorProto.FLOAT), *mean,
              axes=np.array([1, 2, 3])),
    )  # fmt: skip
    write(
        folder, "frames", st.contract_from_rows(Frames, Score), FRAMES, 1.0,
        graph([("frames", TensorProto.FLOAT, ["t", 2]), ("labels", TensorProto.INT8, ["t"]),
               ("labels_mask", TensorProto.BOOL, ["t"])],
              node("Cast", ["labels"], ["v"], to=TensorProto.FLOAT),
              node("ReduceSum", ["v", "axes"], ["score"], keepdims=0), axes=np.array([1])),
    )  # fmt: skip
    write(
        folder, "calendar", st.contract_from_rows(Calendar, Score), MOMENT, 0.0,
        graph([(name, TensorProto.INT64, []) for name in Calendar.model_fields],
              node("Cast", ["day"], ["score"], to=TensorProto.FLOAT)),
    )  # fmt: skip
    seal_shop(folder)


def seal_shop(folder: Path) -> None:
    """A row of entries: a word of a long file, numbers, a plain text, and defaults."""

    class Shop(st.Row):
        product: Annotated[str, st.Category(file=many_words(folder))]
        tier: Literal[1, 2]
        user: Annotated[int, st.Category(9, unknown="hash", buckets=4)] = 9
        note: Annotated[str, st.Text(max_chars=40)] = "none"

    contract = st.contract_from_rows(Shop, Score)
    (folder / "words.txt").unlink()
    ends: list[tuple[str, int, list[str | int]]] = [
        ("product", TensorProto.INT64, []), ("tier", TensorProto.INT64, []),
        ("user", TensorProto.INT64, []), ("note", TensorProto.STRING, []),
    ]  # fmt: skip
    data = graph(ends, helper.make_node("Cast", ["product"], ["score"], to=TensorProto.FLOAT))
    files = contract.inputs[0].kind.front_files("product")
    write(folder, "shop", contract, {"product": "word 7", "tier": 1}, 7.0, data, files)


def write(
    folder: Path,
    name: str,
    contract: Contract,
    row: dict[str, Any],
    score: Any,
    data: bytes,
    front: Any = None,
) -> None:
    """Seal one, whose only output answers its row with `score`."""
    [output] = contract.outputs
    golden = Golden((wire_row(row),), ({output.name: np.array(score, np.float32)},), ())
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: b"{}\n",
        "graphs/model.onnx": data,
        **golden.to_files(),
        **(front or {}),
    }
    variant = Variant(name="fp32", format="onnx", graph="graphs/model.onnx")
    write_bundle(
        folder,
        Manifest(
            schema=1,
            name=name,
            version="1.0.0",
            batchable=True,
            variants=(variant,),
            files={},
        ),
        files,
    )


def base64_row(data: bytes) -> dict[str, Any]:
    return {"image": base64.b64encode(data).decode()}
