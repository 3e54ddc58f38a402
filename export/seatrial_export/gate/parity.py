"""Does onnxruntime answer as PyTorch does, from raw rows, at sizes other than those the graphs were traced with?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from seatrial_contracts.compare import Comparison, Tolerance, compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.front import EncodedRow
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.candidate import TRACE_ROWS, Candidate, Graph
from seatrial_export.gate.session import Chain, Outputs, Session
from seatrial_export.gate.to_onnx import MOST_SIZE

BATCH_SIZES = (1, 2, 7, 32)
"""None of them the traced one."""
assert TRACE_ROWS not in BATCH_SIZES


def check_sizes(candidate: Candidate) -> None:
    """Each graph against its module on made-up tensors of other sizes, where a size varies: a pooled size that was baked in shows here."""
    for name, graph in (("model", candidate.model), ("prepare", candidate.prepare)):
        if graph is not None and any(isinstance(dim, str) for spec in graph.specs for dim in spec.dims):
            session = Session(graph.onnx)
            pipeline = candidate.pipeline
            call: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = (
                pipeline.call if name == "model" else pipeline.call_prepare
            )
            tried = [
                found
                for feeds in other_sizes(graph)
                if (found := compare_at(graph, session, call, feeds, pipeline.tolerance, candidate)) is not None
            ]
            bad = next((found for found in tried if not found.passed), None)
            if bad is not None:
                raise GateError(
                    "other sizes", f"{name}: the graph departs from PyTorch away from the traced size: {bad.cause or bad}",
                    "a size was baked in while tracing; known: adaptive_avg_pool2d to more than 1x1, interpolate with a computed scale",
                )  # fmt: skip


def other_sizes(graph: Graph) -> Iterator[dict[str, Tensor]]:
    """The traced arguments made longer and shorter along every size that varies, the batch aside."""
    traced = {
        name: int(graph.feeds[spec.name].shape[axis])
        for spec in graph.specs
        for axis, name in graph.dim_names(spec).items()
    }
    for step, change in enumerate(
        (lambda n: n + 3, lambda n: 2 * n + 1, lambda n: max(2, n // 2), lambda n: max(1, n - 1))
    ):
        sizes = {
            name: size if name == "batch" else min(change(size) + step * (place % 2), graph.most.get(name, MOST_SIZE))
            for place, (name, size) in enumerate(sorted(traced.items()))
        }
        yield {spec.name: resized(graph.feeds[spec.name], spec, graph.dim_names(spec), sizes) for spec in graph.specs}


def resized(tensor: Tensor, spec: TensorSpec, names: Mapping[int, str], sizes: Mapping[str, int]) -> Tensor:
    """The tensor's own values, repeated or cut along its varying axes."""
    for axis, name in names.items():
        places = torch.arange(sizes[name]) % tensor.shape[axis]
        tensor = tensor.index_select(axis, places)
    return torch.ones_like(tensor) if spec.pad is not None and spec.name.endswith("_mask") else tensor


def compare_at(
    graph: Graph,
    session: Session,
    call: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    feeds: dict[str, Tensor],
    tolerance: Tolerance,
    candidate: Candidate,
) -> Comparison | None:
    """How graph and module compare on these arguments; None where PyTorch itself cannot run them."""
    try:
        want = {name: value.numpy() for name, value in call(feeds).items()}
    except RuntimeError:
        return None  # a size below what the model can take at all
    sizes = {name: list(value.shape) for name, value in feeds.items()}
    try:
        got = session.run({name: _strings(candidate, name, value.numpy()) for name, value in feeds.items()})
    except Exception as error:  # onnxruntime's own kinds
        return Comparison(
            passed=False,
            rows=0,
            worst_error=float("inf"),
            allowed=0.0,
            cause=f"onnxruntime fails at sizes {sizes}: {str(error)[:160]}",
        )
    found = compare_outputs([want], [{name.removesuffix("_prepared"): value for name, value in got.items()}], tolerance)
    return found if found.passed else found.model_copy(update={"cause": f"at sizes {sizes}, {found}"})


def _strings(candidate: Candidate, name: str, codes: Array) -> Array:
    """Codes of a category back to the words that the graph takes."""
    kind = candidate.pipeline.categories.get(name)
    if kind is None:
        return codes
    words = {code: word for word, code in kind.lookup().items()}
    return np.array([words.get(int(code), "?") for code in codes], object)


def check_golden(candidate: Candidate) -> None:
    """Every golden row, at several batch sizes, against PyTorch's answer to it alone."""
    pipeline = candidate.pipeline
    chain = Chain(candidate)
    want = [pipeline.answer_encoded(row) for row in pipeline.encoded_golden]
    rows = [chain.prepared(row) for row in pipeline.encoded_golden]
    for size in BATCH_SIZES if pipeline.batchable else (1,):
        found = compare_outputs(want, run_in_batches(chain, rows, size), pipeline.tolerance)
        if not found.passed:
            raise GateError(
                "parity",
                f"onnxruntime departs from PyTorch at batch size {size}: {found}",
                "look for operations whose ONNX form differs; compare layer by layer, or widen the tolerance if the difference is harmless",
            )
        candidate.trials.append(Trial(runner="onnxruntime", variant="fp32", provider="CPUExecutionProvider", batch_sizes=(size,), rows=len(rows),
                                      worst_error=found.worst_error, allowed=found.allowed, passed=True))  # fmt: skip


def run_in_batches(chain: Chain, rows: list[EncodedRow], size: int) -> list[Outputs]:
    """Prepared rows in batches of `size` of like shape; answers in the rows' order."""
    groups: dict[object, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(chain.shape(row), []).append(place)
    answers: list[Outputs] = [{}] * len(rows)
    for places in groups.values():
        for start in range(0, len(places), size):
            some = places[start : start + size]
            for place, answer in zip(some, chain.run([rows[place] for place in some]), strict=True):
                answers[place] = answer
    return answers
