"""Does onnxruntime answer as PyTorch does, from raw rows, at sizes other than those the graphs were traced with?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from seatrial_contracts.compare import compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.front import EncodedRow, places_by
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.manifest import prepared_name
from seatrial_export.gate.candidate import BATCH, TRACE_ROWS, Candidate, Graph
from seatrial_export.gate.session import Chain, Outputs, Session

BATCH_SIZES = (1, 2, 7, 32)
"""None of them the traced one."""
assert TRACE_ROWS not in BATCH_SIZES
CHANGES: tuple[Callable[[int], int], ...] = (lambda n: n + 3, lambda n: 2 * n + 1, lambda n: n // 2, lambda n: n - 1)
"""From the traced size to others."""


def check_sizes(candidate: Candidate) -> None:
    """Each graph against its module on made-up tensors of other sizes, where a size varies: a pooled size that was baked in shows here."""
    for name, call, graph in candidate.calls:
        if not any(isinstance(dim, str) for spec in graph.specs for dim in spec.dims):
            continue
        session = Session(graph.onnx)
        for feeds in other_sizes(graph):
            try:
                want = {key: value.numpy() for key, value in call(feeds).items()}
            except RuntimeError:
                continue  # the model itself cannot take this size
            finding = departure(candidate, session, feeds, want)
            if finding:
                raise GateError(
                    "other sizes", f"{name}: the graph departs from PyTorch away from the traced size: {finding}",
                    "a size was baked in while tracing; known: adaptive_avg_pool2d to more than 1x1, interpolate with a computed scale",
                )  # fmt: skip


def other_sizes(graph: Graph) -> Iterator[dict[str, Tensor]]:
    """The traced arguments made longer and shorter along every size that varies, the batch aside, within the contract's bounds."""
    names = {name: (spec.name, axis) for spec in graph.specs for axis, name in graph.dim_names(spec).items()}
    traced = {name: int(graph.feeds[tensor].shape[axis]) for name, (tensor, axis) in sorted(names.items())}
    for step, change in enumerate(CHANGES):
        sizes = dict(traced)
        for place, name in enumerate(name for name in traced if name != BATCH):
            least, most = graph.bounds(name)
            sizes[name] = min(max(change(traced[name]) + step * (place % 2), least), most)
        yield {spec.name: resized(graph.feeds[spec.name], spec, graph.dim_names(spec), sizes) for spec in graph.specs}


def resized(tensor: Tensor, spec: TensorSpec, names: Mapping[int, str], sizes: Mapping[str, int]) -> Tensor:
    """The tensor's own values, repeated or cut along its varying axes."""
    for axis, name in names.items():
        places = torch.arange(sizes[name]) % tensor.shape[axis]
        tensor = tensor.index_select(axis, places)
    return torch.ones_like(tensor) if spec.pad is not None and spec.name.endswith("_mask") else tensor


def departure(candidate: Candidate, session: Session, feeds: Mapping[str, Tensor], want: Mapping[str, Array]) -> str:
    """Where the graph's answer departs from what PyTorch answered; empty where it does not."""
    sizes = {name: list(value.shape) for name, value in feeds.items()}
    try:
        got = session.run({name: _strings(candidate, name, value.numpy()) for name, value in feeds.items()})
    except Exception as error:  # onnxruntime's own kinds
        return f"onnxruntime fails at sizes {sizes}: {str(error)[:160]}"
    same_names = {name: got[name if name in got else prepared_name(name)] for name in want}
    found = compare_outputs([want], [same_names], candidate.pipeline.tolerance)
    return "" if found.passed else f"at sizes {sizes}, {found}"


def _strings(candidate: Candidate, name: str, codes: Array) -> Array:
    """Codes of a category back to the words that the graph takes."""
    kind = candidate.pipeline.categories.get(name)
    if kind is None:
        return codes
    words = {code: word for word, code in kind.lookup().items()}
    return np.array([words.get(int(code), "?") for code in codes], object)


def check_golden(candidate: Candidate) -> None:
    """Every golden row, at several batch sizes, and every held-out row, against PyTorch's answer to it alone."""
    pipeline = candidate.pipeline
    chain = Chain(candidate)
    sizes = BATCH_SIZES if pipeline.batchable else (1,)
    judge_rows(candidate, chain, candidate.golden, pipeline.encoded_golden, sizes)
    if candidate.held_out is not None:
        judge_rows(candidate, chain, candidate.held_out, pipeline.encoded_held_out, sizes[-1:], held_out=True)


def judge_rows(
    candidate: Candidate, chain: Chain, want: Golden, encoded: Sequence[EncodedRow], sizes: Sequence[int], *, held_out: bool = False
) -> None:  # fmt: skip
    """One set of rows at each batch size. Raises `GateError` where the answers break what is promised."""
    pipeline = candidate.pipeline
    rows = [chain.prepared(row) for row in encoded]
    for size in sizes:
        found = judge(pipeline.contract, pipeline.whole_promise, want, run_in_batches(chain, rows, size))
        if found.comparison.passed and found.finding:
            mend = "the graph answers as PyTorch does: mend the model, its data or the promise"
            raise GateError(
                "parity", f"the promise is broken, {'held-out' if held_out else 'golden'} rows: {found.finding}", mend
            )
        if found.finding:
            raise GateError(
                "parity",
                f"onnxruntime departs from PyTorch at batch size {size}{', held-out rows' if held_out else ''}: {found.finding}",
                "look for operations whose ONNX form differs; compare layer by layer, or widen the tolerance if the difference is harmless",
            )
        candidate.trials.append(found.trial("onnxruntime", "fp32", "CPUExecutionProvider", size, held_out=held_out))


def run_in_batches(chain: Chain, rows: list[EncodedRow], size: int) -> list[Outputs]:
    """Prepared rows in batches of `size` of like shape; answers in the rows' order."""
    answers: list[Outputs] = [{}] * len(rows)
    for places in places_by(map(chain.shape, rows)).values():
        for start in range(0, len(places), size):
            some = places[start : start + size]
            for place, answer in zip(some, chain.run([rows[place] for place in some]), strict=True):
                answers[place] = answer
    return answers
