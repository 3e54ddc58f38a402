"""Bundles to be encrypted: a graph with its weights outside, and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyrage
from onnx import TensorProto, helper

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, write_bundle
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.identities import Identities
from seatrial_contracts.manifest import Manifest, Variant

GRAPH, DATA = "graphs/model.onnx", "graphs/model.onnx.data"
KNOWN = 12345.6789
"""In the golden rows, and nowhere else."""
NAME = "secret_matrix_of_the_graph"
"""In the graph, and nowhere else."""


class Key(NamedTuple):
    """A secret key in a file, and its recipient."""

    file: Path
    recipient: str

    @property
    def identities(self) -> Identities:
        return Identities(self.file)

    @property
    def to(self) -> Any:
        return pyrage.x25519.Recipient.from_str(self.recipient)


def make_identity(file: Path) -> Key:
    file.parent.mkdir(parents=True, exist_ok=True)
    identity = pyrage.x25519.Identity.generate()
    file.write_text(f"# a key of a test\n{identity}\n")
    return Key(file, str(identity.to_public()))


def weights_of(width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((width, width)).astype(np.float32)


def graph_of(width: int) -> bytes:
    """y = x @ w, with w in a file of its own."""
    value = helper.make_tensor_value_info
    matrix = TensorProto(
        name=NAME, data_type=TensorProto.FLOAT, dims=[width, width],
        data_location=TensorProto.EXTERNAL,
    )  # fmt: skip
    told = {"location": Path(DATA).name, "offset": "0", "length": str(4 * width * width)}
    for key, text in told.items():
        matrix.external_data.add(key=key, value=text)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", NAME], ["y"])],
        "net",
        [value("x", TensorProto.FLOAT, ["batch", width])],
        [value("y", TensorProto.FLOAT, ["batch", width])],
        [matrix],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def seal(
    folder: Path, version: str = "1.0.0", *, width: int = 64, seed: int = 0, name: str = "net"
) -> st.Bundle:
    """A bundle of `width` squared weights, in a folder of bundles."""
    row = type("In", (st.Row,), {"__annotations__": {"x": st.Tensor[np.float32, width]},
                                 "__module__": __name__})  # fmt: skip
    answer = type("Out", (st.Answer,), {"__annotations__": {"y": st.Tensor[np.float32, width]},
                                        "__module__": __name__})  # fmt: skip
    contract = st.contract_from_rows(row, answer)
    matrix = weights_of(width, seed)
    data = folder / f".{version}.data"
    folder.mkdir(parents=True, exist_ok=True)
    matrix.tofile(data)
    feeds = [np.full(width, KNOWN, np.float32), np.arange(width, dtype=np.float32)]
    golden = Golden(
        tuple({"x": [KNOWN] * width if not place else each.tolist()}
              for place, each in enumerate(feeds)),
        tuple({"y": each @ matrix} for each in feeds),
        (),
    )  # fmt: skip
    files = {CONTRACT: contract.to_json(), PROFILE: b"{}\n", GRAPH: graph_of(width),
             **golden.to_files()}  # fmt: skip
    variant = Variant(name="fp32", format="onnx", graph=GRAPH)
    manifest = Manifest(
        schema=1, name=name, version=version, batchable=True, variants=(variant,), files={}
    )
    return write_bundle(folder, manifest, files, moved={DATA: data})


def encrypted(folder: Path, key: Key, version: str = "1.0.0", **options: Any) -> Path:
    """An encrypted bundle in a folder of bundles; the plain one lies beside that folder."""
    plain = seal(folder.with_name(f"{folder.name}-plain"), version, **options)
    return encrypt_bundle(st.open_bundle(plain.path), [key.to], folder)


def secrets_of(plain: Mapping[str, bytes], weights: bytes) -> list[re.Pattern[bytes]]:
    """Known plain bytes of a bundle: of its graph, its weights and its golden rows."""
    found = [NAME.encode(), weights[:64], weights[-64:], str(KNOWN).encode()]
    assert NAME.encode() in plain[GRAPH]
    return [re.compile(re.escape(each)) for each in found]
