"""Bundles that somebody changed and hashed anew.

Every change either serves rightly, or is refused by an error of ours.

python tests/support/changed_bundles.py COUNT [SEED]      changes so many, and prints what came of
them
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from unittest.mock import Mock

import numpy as np

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, MANIFEST, PROFILE, write_bundle
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.golden import HELD_OUT, Golden, Refused
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.image import draw
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.sound import draw_sound
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.profile import DriftFeatures
from seatrial_serve.inference import engine, load_gate
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.loader import Loader
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.scan import found_entry
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.runtimes.fake import FakeRuntime
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings

TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {"[UNK]": 0, "a": 1, "ship": 2},
            "unk_token": "[UNK]",
        },
    }
).encode()
TEXT = st.Text(tokenizer=TOKENIZER, max_chars=100)
PAIR = st.TextPair("query", "passage", tokenizer=TOKENIZER, max_tokens=8, cut="second")
FOLDER = tempfile.TemporaryDirectory()
PRODUCTS = Path(FOLDER.name) / "products.txt"
PRODUCTS.write_text("anchor\nbüchse\nkeel\n", "utf-8")
PRODUCT = st.Category(file=str(PRODUCTS), unknown="hash", buckets=8)
SMALL = st.Image(formats=("PNG",), size_px=(4, 6), fit="letterbox", mode="L")


class Berth(st.Row):
    zip: Annotated[int, st.Number(ge=0, le=9999)]
    zone: Literal["north", "south"]


class Line(st.Row):
    product: Literal["tea", "coffee"]
    price: float


class Voyage(st.Row):
    x: Annotated[float | None, st.Number(ge=-100, le=100, unit="m")]
    count: Annotated[int, st.Number(ge=0)]
    word: Literal["a", "b"] | None
    other: Annotated[str, st.Category("p", "q", unknown="bucket")]
    ok: bool
    grid: st.Tensor[np.float32, 2, 1:4]
    text: Annotated[str, TEXT]
    photo: Annotated[bytes, st.Image(formats=("PNG",), shorter_side_px=8)]
    day: Annotated[date | None, st.Date(ge=date(2000, 1, 1))]
    at: Annotated[datetime, st.DateTime(zone="Europe/Berlin")]
    lag: Annotated[timedelta, st.Duration(gt=timedelta(0))]
    tier: Annotated[int, st.Category(17, 4711, unknown="bucket")] = 17
    product: Annotated[str | None, PRODUCT]
    goods: Annotated[list[Literal["tea", "milk"]] | None, st.Items(max_items=5)]
    prices: Annotated[list[float | None], st.Items(max_items=4, mark="length")]
    berth: Berth
    lines: Annotated[list[Line], st.Items(max_items=3)]
    load: Annotated[list[float], st.Series(length=(2, 8), missing=True, padding_side="left")]
    asked: Annotated[dict[str, str], PAIR]
    comment: Annotated[str, st.Text(max_chars=50)] = "calm"
    clip: Annotated[bytes, st.Audio(max_seconds=1, max_bytes=2**18)]
    frames: st.Tensor[np.float16, st.Size("t", 1, 4), 2]
    sizes: st.Tensor[np.int8, st.Size("t", 1, 4)]
    sight: Annotated[bytes, SMALL]


class Log(st.Answer):
    twice: float
    name: Annotated[str, st.Label("low", "high", top=2)]
    pair: st.Tensor[np.float32, 2]
    tags: Annotated[list[str], st.Labels("new", "old", threshold=0.5)]
    vector: Annotated[list[float], st.Embedding(4, dimensions=(2,), forms=("float32", "binary"))]
    band: Annotated[dict[str, float], st.Quantiles(0.1, 0.9)]
    ahead: Annotated[dict[str, list[float]], st.Forecast(horizon=2, quantiles=(0.1, 0.9))]
    found: Annotated[list[dict[str, Any]], st.Detections("a", "b", on="sight", candidates=2)]
    ground: Annotated[dict[str, Any], st.Mask("sky", "sea", on="sight", grid_px=(4, 6))]
    parts: Annotated[dict[str, Any], st.Segments("sky", "sea", on="sight", queries=2)]
    depth: Annotated[dict[str, Any], st.Picture(on="sight", grid_px=(4, 6))]


CONTRACT_OF_ALL = st.contract_from_rows(Voyage, Log)


def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Twice the count, two probabilities, and the count beside 1."""
    count = feeds["count"].astype(np.float32)
    high = np.where(count > 3, 0.75, 0.25).astype(np.float32)
    both, rows = np.stack([1 - high, high], 1), len(count)
    return {
        "twice": count * 2,
        "name": both,
        "pair": np.stack([count, count * 0 + 1], 1),
        "tags": both,
        "vector": np.stack([count, count + 1, count * 0 + 2, -count], 1),
        "band": np.stack([count, count + 1], 1),
        "ahead": np.repeat(np.stack([count, count + 1], 1)[:, None], 2, 1),
        "found_boxes": np.tile(np.array([[1, 1, 3, 3], [0, 0, 2, 2]], np.float32), (rows, 1, 1)),
        "found_scores": np.stack([both, both], 1),
        "ground": np.tile(np.arange(24).reshape(4, 6) % 2, (rows, 1, 1)),
        "parts_logits": np.tile(np.array([[4, 0, 0], [0, 4, 0]], np.float32), (rows, 1, 1)),
        "parts_masks": np.tile(
            np.stack([np.arange(24) - 9.5, 9.5 - np.arange(24)])
            .astype(np.float32)
            .reshape(2, 4, 6),
            (rows, 1, 1, 1),
        ),
        "depth": np.full((rows, 4, 6), 0.5, np.float32),
    }


def row(count: int) -> dict[str, Any]:
    return {
        "x": None if count == 2 else float(count),
        "count": count,
        "word": ("a", "b", None)[count % 3],
        "other": "pqz"[count % 3],
        "ok": count % 2 == 0,
        "grid": np.full((2, 1 + count % 4), count).tolist(),
        "text": "a ship",
        "photo": base64_text(draw(8 + count, 8, (count, 0, 0), "PNG")),
        "day": None if count == 1 else f"2024-02-{count + 20}",
        "at": f"2024-01-01T12:00:0{count}+01:00",
        "lag": f"PT{count + 1}S",
        "tier": (17, 4711, 5)[count % 3],
        "product": ("keel", None, "rope")[count % 3],
        "goods": None if count == 3 else ["tea"] * (count % 3),
        "prices": [1.5, None][: count % 3],
        "berth": {"zip": count, "zone": "north"},
        "lines": [{"product": "tea", "price": 2.0}] * (count % 3),
        "load": [0.5, None] * (1 + count % 3),
        "asked": {"query": "a", "passage": "a ship"},
        "comment": "rough",
        "clip": base64_text(draw_sound(160 + count, 16_000)),
        "frames": [[0.5, 1.0]] * (1 + count % 4),
        "sizes": [count] * (1 + count % 4),
        "sight": base64_text(draw(5, 7, (9, 9, 9), "PNG")),
    }


def golden_of(rows: list[dict[str, Any]], refusals: tuple[Refused, ...] = ()) -> Golden:
    answers = answer({"count": np.array([each["count"] for each in rows])})
    truth = tuple(
        {"name": "high" if each["count"] > 3 else "low", "twice": each["count"] * 2.0}
        for each in rows
    )
    by_row = tuple(
        {name: array[place] for name, array in answers.items()} for place in range(len(rows))
    )
    return Golden(
        tuple(rows),
        by_row,
        refusals,
        truth,
        tuple(("many",) if each["count"] > 3 else () for each in rows),
    )


def seal(folder: Path) -> st.Bundle:
    """One field of each kind, every file that a bundle may have, and a promise of each part."""
    golden = golden_of(
        [row(count) for count in range(7)], (Refused(row(1) | {"x": 101.0}, "E_RANGE"),)
    )
    fronts = {
        name: data
        for field in CONTRACT_OF_ALL.inputs
        for name, data in field.kind.front_files(field.name).items()
    }
    contract = CONTRACT_OF_ALL
    front = HostStage(contract, fronts)
    profile = DriftFeatures(front).profile(
        [contract.validate_row(each) for each in golden.rows], golden.answers
    )
    promise = st.Promise(
        cosine=0.9,
        agreement=0.9,
        accuracy=0.5,
        calibration_error=0.9,
        absolute_error=1.0,
        max_error=0.1,
    )
    variants = tuple(
        Variant(name=name, format="fake", graph="graphs/toy.fake", promise=bars)
        for name, bars in (("fp32", None), ("int8", promise))
    )
    manifest = Manifest(
        schema=1,
        name="toy",
        version="1.0.0",
        batchable=True,
        variants=variants,
        files={},
        made_with={"torch": "2.9"},
        waivers={"state": "known"},
    )
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: profile.to_json(),
        "graphs/toy.fake": b"twice",
        **fronts,
        **golden.to_files(),
        **replace(golden_of([row(5)]), refusals=()).to_files(HELD_OUT),
    }
    return write_bundle(folder, manifest, files)


def load_fake(_graph: bytes, _options: Any) -> FakeRuntime:
    contract = CONTRACT_OF_ALL
    inputs = {spec.name: spec.dtype for spec in contract.tensors}
    return FakeRuntime(
        answer, inputs=inputs, outputs=[tensor.name for tensor in contract.answer_tensors]
    )


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    7,
    2**31,
    2**53,
    2**62,
    2**64,
    10**400,
    -(10**400),
    0.5,
    1e-300,
    1e300,
    -1e300,
    1e39,
    "",
    "a",
    "x" * 5000,
    "\x00",
    "é\u2028",
    "..",
    "/x",
    "NaN",
    "1",
    "float32",
    "int8",
    "E_RANGE",
    [],
    {},
    [[]],
    [None],
    [1, 2],
    ["a"],
    [{}],
    {"a": 1},
    [0] * 300,
    "a" * 200,
    {str(n): n for n in range(300)},
]
RAW = [
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-1e999",
    b"[" * 150 + b"]" * 150,
    b"[" * 100_000,
    b"1" * 5000,
    b"0" * 5000,
    b'"\\ud800"',
    b"\xff",
    b"",
    b"{",
    b"nul",
    b'{"a":1,"a":2}',
]
MARK = "a place for bytes"


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every way down into a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [at, *(place for key, part in inner for place in places(part, (*at, key)))]


def changed_json(value: Any, chance: random.Random) -> bytes:
    """The value with one thing in it changed."""
    at = chance.choice(places(value)[1:] or [()])
    if not at:
        return canonical_json(chance.choice(ODD))
    holder = value
    for key in at[:-1]:
        holder = holder[key]
    key = at[-1]
    deed = chance.randrange(8)
    if deed == 0:
        del holder[key]
    elif deed == 1 and isinstance(holder, dict):
        holder[chance.choice(["", "a", "kind", "x", "schema", "1"])] = holder.pop(key)
    elif deed == 1 or (deed == 2 and isinstance(holder, list)):
        holder.insert(key, holder[key])
    elif deed == 2:
        holder[chance.choice(["", "extra", "nullable", "min_slice_rows"])] = chance.choice(ODD)
    elif deed == 3:
        for _ in range(chance.choice([3, 60, 150, 190, 250])):
            holder[key] = [holder[key]]
    elif deed == 4:
        holder[key] = MARK
        return canonical_json(value).replace(b'"' + MARK.encode() + b'"', chance.choice(RAW))
    elif deed == 5 and isinstance(holder[key], (int, float)):
        holder[key] = chance.choice(
            [
                -holder[key],
                holder[key] * 2,
                holder[key] + 1,
                str(holder[key]),
                float(holder[key]),
                10**30 * (int(holder[key]) or 1),
            ]
        )
    else:
        holder[key] = chance.choice(ODD)
    return canonical_json(value)


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Cut, lengthened, or with a byte of it changed."""
    place = chance.randrange(len(data) + 1)
    return chance.choice(
        [
            data[:place],
            data + b"\n{}\n",
            data[:place] + chance.choice(RAW) + data[place:],
            b"",
            data + data,
            data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :],
        ]
    )


def change_file(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    if path.suffix not in {".json", ".jsonl"} or chance.random() < 0.15:
        path.write_bytes(changed_bytes(data, chance))
    elif path.suffix == ".json":
        path.write_bytes(changed_json(json.loads(data), chance))
    else:
        lines = data.splitlines()
        place = chance.randrange(len(lines))
        changed = [changed_json(json.loads(lines[place]), chance).rstrip(b"\n")]
        lines[place : place + 1] = chance.choice(
            [changed, changed, changed, [], [lines[place]] * 2]
        )
        path.write_bytes(b"".join(line + b"\n" for line in lines))


def change(folder: Path, chance: random.Random) -> str:
    """Change one thing in a bundle, hash what is there anew, and say what was changed."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    name = chance.choice([*names, *[MANIFEST, CONTRACT] * 3])
    manifest = json.loads((folder / MANIFEST).read_bytes())
    deed = chance.random()
    if name == MANIFEST:
        manifest = change_manifest(folder, manifest, chance)
    elif deed < 0.08:
        (folder / name).unlink()
    elif deed < 0.12:
        (folder / name).write_bytes((folder / chance.choice(names)).read_bytes())
    else:
        change_file(folder / name, chance)
    if isinstance(manifest, dict):
        if name != MANIFEST:
            manifest["files"] = {
                path.relative_to(folder).as_posix(): {
                    "sha256": sha256(path.read_bytes()),
                    "size": path.stat().st_size,
                }
                for path in folder.rglob("*")
                if path.is_file() and path.name != MANIFEST
            }
        if chance.random() < 0.05:
            claimed = chance.choice(list(manifest.get("files") or {"a": {}}))
            manifest["files"][claimed] = {
                "sha256": "0" * 64,
                "size": chance.choice([2**62, 2**40, 0, 2**31 - 1]),
            }
        if chance.random() < 0.04:
            (folder / name).unlink(missing_ok=True)
            os.mkfifo(folder / name)
        if not (folder / MANIFEST).is_fifo():
            (folder / MANIFEST).write_bytes(canonical_json(manifest))
    return name


def change_manifest(folder: Path, manifest: Any, chance: random.Random) -> Any:
    """A changed manifest; None where its bytes are no canonical JSON any more."""
    data = changed_json(manifest, chance)
    (folder / MANIFEST).write_bytes(data)
    try:
        again = json.loads(data)
        return (
            again
            if isinstance(again, dict)
            and isinstance(again.get("files"), dict)
            and canonical_json(again) == data
            else None
        )
    except (ValueError, RecursionError):
        return None


def outcome(folder: Path, loader: Loader) -> str:
    """ "served", or the code of the error of ours that says why not."""
    try:
        model = loader(found_entry("toy", "toy", "1.0.0", folder, None, ""))
        contract = model.contract
        _ = (
            contract.row_schema(),
            contract.answer_schema(),
            contract.example_row(),
            model.bundle.held_out,
        )
    except st.SeatrialError as error:
        if not str(error).isprintable():
            raise AssertionError("a message with odd characters") from error
        return getattr(error, "code", type(error).__name__)
    got = model.engine.answer(model.bundle.golden.rows)
    assert st.compare_outputs(model.bundle.golden.answers, got, contract.tolerance).passed
    return "served"


def make_loader(pool: FairPool) -> Loader:
    settings = Settings(prove="always", allow_breaking=True)
    nothing = Mock(spec=Repository)
    return Loader(settings, ThreadPlan(runs=1), pool, pool, Metrics(on=True), nothing)


def try_one(sealed: Path, seed: int, loader: Loader) -> tuple[str, str]:
    """Which file was changed, and what came of it."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "toy", "1.0.0")
        shutil.copytree(sealed, copy)
        name = change(copy, chance)
        return name, outcome(copy, loader)


def main(count: int, first: int = 0) -> int:
    warnings.simplefilter("error")
    engine.runtimes = lambda: {"fake": load_fake}  # type: ignore[assignment]
    load_gate.MEASURE_BUDGET_S = 0.001
    came: Counter[str] = Counter()
    with FairPool(1) as pool, tempfile.TemporaryDirectory() as folder:
        sealed, loader = seal(Path(folder)).path, make_loader(pool)
        for seed in range(first, first + count):
            try:
                came[try_one(sealed, seed, loader)[1]] += 1
            except Exception:  # whatever it raises is an outcome to be counted
                came["TRACEBACK"] += 1
                print(f"--- seed {seed}")
                print("\n".join(traceback.format_exc().splitlines()[-9:])[-900:])
    print(count, dict(came.most_common()))
    return came["TRACEBACK"]


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
