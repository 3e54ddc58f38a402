"""From PyTorch to ONNX: `torch.export` first, since it raises where `torch.onnx.export` would silently bake a shape in."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch

from seatrial_contracts.errors import GateError
from seatrial_export.gate.candidate import BATCH, Candidate, Graph

APART = "seatrial_output_"
MOST_SIZE = 2**16
"""Of a size that the contract leaves open, and of a batch."""
NOISY = (
    "torch.onnx",
    "torch.export",
    "torch._dynamo",
    "torch.fx",
    "onnxscript",
    "onnx_ir",
    "torch._export",
    "torch.utils._sympy",
)


def check_arguments(candidate: Candidate) -> None:
    """`model.forward` takes the contract's tensors by name."""
    names = [spec.name for spec in candidate.pipeline.specs]
    try:
        inspect.signature(candidate.pipeline.model.forward).bind(**dict.fromkeys(names))
    except TypeError as error:
        raise GateError(
            "arguments",
            f"model.forward does not take the contract's tensors: {error}",
            f"declare it as forward(self, {', '.join(names)})",
        ) from None


def check_torch_export(candidate: Candidate) -> None:
    """`torch.export.export` with every varying size dynamic. It raises where code branches on a shape."""
    for graph in candidate.graphs:
        try:
            with quiet(), torch.no_grad():
                graph.program = torch.export.export(
                    graph.module, (), dict(graph.feeds), dynamic_shapes=dynamic_shapes(graph), strict=False
                )
        except Exception as error:  # torch raises many kinds, of several modules, and all mean the same here
            raise GateError("torch.export", first_lines(error), MENDS) from error


MENDS = (
    "sizes that vary (the batch, text and image lengths) must not decide the path: replace `if x.shape[0] > n`, `for i in range(x.shape[0])` "
    "and `int(x.shape[i])` by tensor operations; if the model exports rightly all the same, say waive={'torch.export': 'why'}"
)


def export_onnx(candidate: Candidate) -> None:
    """`torch.onnx.export(dynamo=True)` with named sizes, at the pipeline's opset."""
    for graph in candidate.graphs:
        source: Any = graph.program if graph.program is not None else graph.module
        try:
            with quiet(), torch.no_grad():
                program = torch.onnx.export(
                    source, (), kwargs=dict(graph.feeds), dynamo=True, dynamic_shapes=dynamic_shapes(graph), output_names=[f"{APART}{name}" for name in graph.outputs],
                    opset_version=candidate.pipeline.opset, verbose=False, external_data=False,
                )  # fmt: skip
        except Exception as error:  # as above
            raise GateError(
                "torch.onnx.export",
                first_lines(error),
                "an operation of the model has no ONNX form; the message names it",
            ) from error
        assert program is not None, "dynamo=True returns a program"
        graph.proto = program.model_proto
        name_outputs(graph.proto, graph.outputs)


def name_outputs(model: onnx.ModelProto, outputs: list[str]) -> None:
    """Give the outputs their names; values inside that the exporter happened to call the same step aside."""
    new = {name: f"inner_{name}" for name in outputs} | {f"{APART}{name}": name for name in outputs}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    for value in (*model.graph.value_info, *model.graph.output, *model.graph.initializer):
        value.name = new.get(value.name, value.name)


def dynamic_shapes(graph: Graph) -> dict[str, dict[int, Any]]:
    """Named dynamic sizes of every argument; one name is one size wherever it stands."""
    names = {name for spec in graph.specs for name in graph.dim_names(spec).values()}
    dims = {
        name: torch.export.Dim(name, min=1 if name == BATCH else 2, max=graph.most.get(name, MOST_SIZE))
        for name in names
    }
    return {spec.name: {axis: dims[name] for axis, name in graph.dim_names(spec).items()} for spec in graph.specs}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporters print progress, hints and deprecations of their own; what matters of them the lint finds in the graph."""
    levels = {name: logging.getLogger(name).level for name in NOISY}
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def first_lines(error: BaseException, most: int = 4) -> str:
    """The telling lines of a library's message, with the folders of this machine cut off its file names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    place = user_line(error)
    text = " ".join(lines[:most])[:500] + (f" (at {place})" if place else "")
    return re.sub(r"(?:/[^\s\"':,]+)+/([^\s/\"':,]+)", r"\1", text) or type(error).__name__


def user_line(error: BaseException) -> str | None:
    """File and line of the user's code, the innermost frame outside torch, without its folder."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "site-packages" not in name and "seatrial_export" not in name and not name.startswith("<"):
            found = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
