"""A small model that is treated as a large one: its weights lie in a data file.

`lowered` sets the bounds from which weights lie outside and are hashed by gigabyte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from annotated_types import Interval
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts import shards
from seatrial_export.graphs import weights

DATA = "graphs/fp32.onnx.data"
SHARD_BYTES = 10_000
"""In place of a gigabyte."""
WORDS, WIDTH = 300, 32


def lowered(patch: pytest.MonkeyPatch) -> None:
    """Treat a graph of 4 kB of weights as a large one, and 10 kB of a file as a gigabyte."""
    patch.setattr(weights, "OUTSIDE_FROM_BYTES", 2**12)
    patch.setattr(weights, "LEAST_BYTES", 2**9)
    patch.setattr(shards, "SHARD_BYTES", SHARD_BYTES)


class Ids(st.Row):
    ids: st.Tensor[np.int64, 1:12, Interval(ge=0, lt=WORDS)]


class Scores(st.Answer):
    scores: st.Tensor[np.float32, 16]


class Net(nn.Module):
    """A table, a matrix over tokens and one over rows, as exporters write them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.first, self.last = nn.Linear(WIDTH, 64), nn.Linear(64, 16)

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(self.table(ids))).mean(1))


def rows(count: int = 12) -> list[dict[str, Any]]:
    chance = np.random.default_rng(0)
    return [{"ids": chance.integers(0, WORDS, 1 + place % 9).tolist()} for place in range(count)]


def pipeline(**more: Any) -> st.Pipeline:
    torch.manual_seed(0)
    return st.Pipeline(
        name="net",
        version="1.0.0",
        inputs=Ids,
        outputs=Scores,
        model=Net().eval(),
        golden=rows(),
        **more,
    )


class Four(st.Row):
    x: st.Tensor[np.float32, 4]


class Forty(st.Answer):
    y: st.Tensor[np.float32, 400]


FOURS = [{"x": [float(place), 1.0, -2.0, 0.5]} for place in range(5)]


def foreign(seed: int = 0) -> onnx.ModelProto:
    """y = x @ first @ second + bias, 4 -> 100 -> 400."""
    chance = np.random.default_rng(seed)
    values = {
        "first": chance.normal(size=(4, 100)).astype(np.float32),
        "second": chance.normal(size=(100, 400)).astype(np.float32),
        "bias": chance.normal(size=400).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("MatMul", ["h", "second"], ["p"]),
        helper.make_node("Add", ["p", "bias"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", size])
        for name, size in (("x", 4), ("y", 400))
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def saved(folder: Path, *, one_file: bool = True) -> Path:
    """The foreign model with its weights in files beside it, as onnx writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save_model(
        foreign(),
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=one_file,
        location="model.onnx.data" if one_file else None,
        size_threshold=0,
    )
    return path


def weights_of(path: Path) -> Mapping[str, np.ndarray]:
    """The weights of a graph on disk, as onnx itself reads them."""
    model = onnx.load(path)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def places(path: Path) -> Sequence[dict[str, str]]:
    """Where each weight in a data file lies, as the graph's bytes say."""
    model = onnx.load(path, load_external_data=False)
    return [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    ]
