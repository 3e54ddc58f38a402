"""`1.0 - whole_numbers` in a form that the exporter takes.

The exporter takes a number that stands first only beside a tensor of the answer's type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram

SCALAR_FIRST: tuple[Any, ...] = (torch.ops.aten.rsub.Scalar,)
"""Measured with torch 2.13.

The exporter turns it into a subtraction whose first operand is no tensor, which no overload takes.
"""


def cast_scalar_first(program: ExportedProgram) -> ExportedProgram:
    """Cast such a tensor first to the type of the answer, as PyTorch itself does."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in SCALAR_FIRST:
            tensor, dtype = node.args[0], node.meta["val"].dtype
            if tensor.meta["val"].dtype != dtype:
                with graph.inserting_before(node):
                    cast = graph.call_function(torch.ops.aten.to.dtype, (tensor, dtype))
                cast.meta = {**node.meta, "val": tensor.meta["val"].to(dtype)}
                node.replace_input_with(tensor, cast)
    program.graph_module.recompile()
    return program
