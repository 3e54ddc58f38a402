"""A per-row step that comes as a graph of its own.

The step takes the contract's tensors of one row, and makes the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import GateError
from seatrial_contracts.host_stage import EncodedRow
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.manifest import prepared_name
from seatrial_export.adopt.casts import element_type
from seatrial_export.adopt.editor import Editor, inside
from seatrial_export.adopt.foreign import check_graph
from seatrial_export.adopt.names import plain
from seatrial_export.adopt.port import Port, agree, shown
from seatrial_export.declaration import SHAPE_ROWS, specs_seen
from seatrial_export.graphs.session import Session


@dataclass(frozen=True)
class Prepared:
    """The step in the bundle's form: its graph, its inputs of the contract, and its outputs."""

    model: onnx.ModelProto
    takes: tuple[TensorSpec, ...]
    makes: tuple[TensorSpec, ...]
    foreign: onnx.ModelProto
    """The file as it was made."""
    ports: tuple[str, ...]
    """The file's own names of its inputs, in the order of `takes`."""


def fit_prepare(model: onnx.ModelProto, contract: Contract, rows: Sequence[EncodedRow]) -> Prepared:
    """Put the contract's names on the graph, and run it on golden rows.

    Raises `GateError`.
    """
    check_graph(model)
    editor = Editor(model)
    takes = tuple(
        _taken(port, contract.tensors, only=len(editor.takes) == 1) for port in editor.takes
    )
    for port, spec in zip(editor.takes, takes, strict=True):
        editor.before("Identity", [spec.name], output=inside(port.name))
    names = [plain(port.name) for port in editor.gives if port.dtype in V2_DATATYPES]
    if len(set(names)) != len(editor.gives):
        cause = f"the step makes {'; '.join(map(str, editor.gives))}"
        raise GateError(
            "prepare", cause, "let it make tensors of numbers, each with a name of its own"
        )
    for port, name in zip(editor.gives, names, strict=True):
        editor.behind("Identity", [inside(port.name)], output=prepared_name(name))
    closed = editor.close(
        [(spec.name, element_type(spec.dtype), spec.dims) for spec in takes],
        [
            (prepared_name(name), element_type(port.dtype), port.dims)
            for port, name in zip(editor.gives, names, strict=True)
        ],
    )
    session = Session(closed)
    made = []
    for row in rows[:SHAPE_ROWS]:
        given = {
            spec.name: np.asarray(value) for spec, value in zip(contract.tensors, row, strict=True)
        }
        made.append(
            dict(
                zip(
                    names,
                    session.run({spec.name: given[spec.name] for spec in takes}).values(),
                    strict=True,
                )
            )
        )
    ports = tuple(port.name for port in editor.takes)
    return Prepared(closed, takes, specs_seen(made), model, ports)


def _taken(port: Port, specs: Sequence[TensorSpec], *, only: bool) -> TensorSpec:
    """What of the contract enters an input of the step."""
    named = [spec for spec in specs if plain(spec.name) == plain(port.name)] or (
        list(specs) if only and len(specs) == 1 else []
    )
    spec = named[0] if named else None
    if (
        spec is None
        or spec.dtype != port.dtype
        or (port.dims is not None and not agree(spec.dims, port.dims))
    ):
        gives = "; ".join(f"{spec.name} {spec.dtype} {shown(spec.dims)}" for spec in specs)
        cause = f"the step takes {port}, of one row the contract gives: {gives}"
        raise GateError(
            "prepare",
            cause,
            "let the step take one row as the contract gives it, without a batch, by its name",
        )
    return spec
