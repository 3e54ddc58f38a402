"""What a vocabulary of a million entries costs a server: time to load, memory, time of a request.

Run:  python benchmarks/models/vocabulary.py [OUT.json]

The same model is sealed with 10 and with 1,000,000 entries, words and whole numbers, for each way
of taking unknown ones. Each bundle is opened, gated and asked in a process of its own, several
times in turns; the figures are medians, those of memory at the end and at its peak (VmRSS, VmHWM).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.profile import Profile
from seatrial_export.gate.lookup import lookup_attributes

SIZES, TURNS = (10, 1_000_000), 3
SORTS: dict[str, dict[str, Any]] = {
    "words, reject": {"type": str},
    "words, bucket": {"type": str, "unknown": "bucket"},
    "words, hash": {"type": str, "unknown": "hash", "buckets": 100},
    "numbers, reject": {"type": int},
}
CHILD = """
import json, re, sys, time
from pathlib import Path
from seatrial_contracts.bundle import open_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions
import onnxruntime, pydantic, numpy
start, cpu = time.perf_counter(), time.process_time()
bundle = open_bundle(Path(sys.argv[1]))
opened = time.perf_counter()
engine = load_engine(bundle, RuntimeOptions(intra_op_threads=1))
loaded = time.perf_counter()
engine.answer(list(bundle.golden.rows))
first, spent = time.perf_counter(), time.process_time()
row = bundle.golden.rows[0]
for _ in range(300):
    engine.answer([row])
asked = time.perf_counter()
status = Path("/proc/self/status").read_text()
mb = {name: int(re.search(name + r":\\s+(\\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM")}
print(json.dumps({"open_s": opened - start, "load_s": loaded - opened, "first_s": first - loaded,
    "whole_s": first - start, "cpu_s": spent - cpu, "row_us": (asked - first) / 300 * 1e6, **mb}))
"""


class Value(st.Answer):
    value: float


def entries_of(sort: str, size: int) -> Sequence[Any]:
    """Product names of some 14 characters, or numbers of 10 digits, in no order."""
    places = np.random.default_rng(0).permutation(size)
    if SORTS[sort]["type"] is int:
        return (places * 4093 + 10**9).tolist()
    return [f"product {place * 7919:07d}" for place in places.tolist()]


def graph_of(kind: st.Category) -> bytes:
    """The code as a float."""
    node, value = helper.make_node, helper.make_tensor_value_info
    (spec,) = kind.tensors("x")
    element = TensorProto.STRING if spec.dtype == "string" else TensorProto.INT64
    look_up = (
        node("LabelEncoder", ["x"], ["_code"], domain="ai.onnx.ml", **lookup_attributes(kind))
        if kind.looked_up
        else node("Identity", ["x"], ["_code"])
    )
    nodes = [look_up, node("Cast", ["_code"], ["value"], to=TensorProto.FLOAT)]
    ends = [[value("x", element, ["batch"])], [value("value", TensorProto.FLOAT, ["batch"])]]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    graph = helper.make_graph(nodes, "vocabulary", *ends)
    made: Any = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(made.SerializeToString())


def seal(folder: Path, sort: str, size: int) -> Path:
    """Write the bundle; returns its path."""
    entries = entries_of(sort, size)
    file = folder / "entries.txt"
    file.write_text("".join(f"{entry}\n" for entry in entries), "utf-8")
    options = dict(SORTS[sort])
    type_ = options.pop("type")
    kind = st.Category(file=str(file), **options)
    rows = type("Rows", (st.Row,), {
        "__annotations__": {"x": Annotated[type_, kind]}, "__module__": __name__,
    })  # fmt: skip
    contract = st.contract_from_rows(rows, Value)
    kind = contract.inputs[0].kind  # type: ignore[assignment]
    places = [0, size // 2, size - 1]
    golden = Golden(
        tuple({"x": entries[place]} for place in places),
        tuple({"value": np.float32(place)} for place in places),  # type: ignore[arg-type]
    )
    variant = Variant(name="fp32", format="onnx", graph="graphs/fp32.onnx")
    manifest = Manifest(
        schema=1, name="vocabulary", version="1.0.0", batchable=True,
        variants=(variant,), files={},
    )  # fmt: skip
    files = {
        CONTRACT: contract.to_json(), PROFILE: Profile().to_json(), variant.graph: graph_of(kind),
        **kind.front_files("x"), **golden.to_files(),
    }  # fmt: skip
    return write_bundle(folder, manifest, files).path


def measured(path: Path) -> dict[str, float]:
    """One process that opens the bundle, loads it and asks it."""
    said = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(said.stdout)
    return found


def main() -> None:
    """Measure and print; write JSON where a file is named."""
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for sort in SORTS:
            paths = {}
            for size in SIZES:
                own = Path(folder, f"{sort} {size}")
                own.mkdir()
                paths[size] = seal(own, sort, size)
            turns = [{size: measured(path) for size, path in paths.items()} for _ in range(TURNS)]
            small, large = SIZES
            results[sort] = {
                name: round(median(turn[large][name] - turn[small][name] for turn in turns), 4)
                for name in turns[0][large]
            } | {"row_us_small": round(median(turn[small]["row_us"] for turn in turns), 1)}
            print(sort, json.dumps(results[sort]), flush=True)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
