"""Does onnxruntime answer as PyTorch does at sizes other than those the graphs were traced with?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from seatrial_contracts.compare import compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_contracts.judge import TRIAL_BATCH_SIZES
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.manifest import prepared_name
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.candidate import BATCH
from seatrial_export.gate.parity import MEND
from seatrial_export.gate.torch_candidate import TRACE_ROWS, Graph, TorchCandidate
from seatrial_export.graphs.exporter_messages import first_lines, raised_by_us
from seatrial_export.graphs.session import Session

assert TRACE_ROWS not in TRIAL_BATCH_SIZES
CHANGES: tuple[Callable[[int], int], ...] = (
    lambda n: n + 3,
    lambda n: 2 * n + 1,
    lambda n: n // 2,
    lambda n: n - 1,
)
"""From the traced size to others."""
MOST_TRIED = 2048
"""The longest that a size is made alone.

It is beyond the position tables of most text models, and takes a second or two of attention.
"""
MEND_BAKED = (
    "a size was baked in while tracing; known: adaptive_avg_pool2d to more than 1x1, interpolate "
    "with a computed scale"
)
MEND_RAISES = (
    "narrow the contract (st.Tensor[np.float32, 16:512], st.Text(max_tokens=...), "
    "st.Image(min_side_px=...)) or mend the model"
)


def check_sizes(candidate: TorchCandidate) -> None:
    """Compare each graph with its module on made-up tensors of other sizes, where a size varies.

    A pooled size that was baked in shows here. A size of the contract at which the module itself
    raises is a finding. Where only `prepare` decides which sizes it makes, such a size is passed
    over, and the receipt names it.
    """
    for name, call, graph in candidate.calls:
        if not any(isinstance(dim, str) for spec in graph.specs for dim in spec.dims):
            continue
        session = graph.session
        for changed, feeds in other_sizes(graph):
            try:
                want = arrays(call(feeds))
            except Exception as error:  # forward may raise anything
                if raised_by_us(error):
                    raise
                finding = (
                    f"{name} itself raises at sizes {sizes_of(feeds)}: "
                    f"{type(error).__name__}: {first_lines(error)}"
                )
                if changed <= set(graph.sizes):
                    raise GateError(
                        "other sizes",
                        f"the contract takes what the model does not: {finding}",
                        MEND_RAISES,
                    ) from error
                candidate.trials.append(passed_over(finding))
                continue
            finding = departure(candidate, name, session, feeds, want)
            if finding:
                at_traced = departure(
                    candidate, name, session, graph.feeds, arrays(call(graph.feeds))
                )
                where, mend = (
                    ("at the traced size too", MEND)
                    if at_traced
                    else ("away from the traced size", MEND_BAKED)
                )
                raise GateError(
                    "other sizes",
                    f"{name}: the graph departs from PyTorch {where}: {finding}",
                    mend,
                )


def passed_over(finding: str) -> Trial:
    """What the receipt says of a size that could not be compared."""
    return Trial(
        runner="other sizes",
        variant="fp32",
        rows=0,
        worst_error=None,
        allowed=None,
        passed=True,
        finding=f"not compared, and only prepare knows whether it makes such sizes: {finding}"[
            :400
        ],
    )


def other_sizes(graph: Graph) -> Iterator[tuple[set[str], dict[str, Tensor]]]:
    """Make the traced arguments longer and shorter, within the contract's bounds.

    Each result stands with the names of the sizes that changed. First every size that varies
    changes at once, the batch aside; then each size alone at its least and its most, one row.
    """
    names = {
        name: (spec.name, axis)
        for spec in graph.specs
        for axis, name in graph.dim_names(spec).items()
    }
    traced = {
        name: int(graph.feeds[tensor].shape[axis]) for name, (tensor, axis) in sorted(names.items())
    }
    varying = [name for name in traced if name != BATCH]

    def feeds(sizes: Mapping[str, int]) -> tuple[set[str], dict[str, Tensor]]:
        changed = {name for name in varying if sizes[name] != traced[name]}
        return changed, {
            spec.name: resized(graph.feeds[spec.name], spec, graph.dim_names(spec), sizes)
            for spec in graph.specs
        }

    for step, change in enumerate(CHANGES):
        sizes = dict(traced)
        for place, name in enumerate(varying):
            least, most = graph.bounds(name)
            sizes[name] = min(max(change(traced[name]) + step * (place % 2), least), most)
        yield feeds(sizes)
    one = {BATCH: 1} if BATCH in traced else {}
    for name in varying:
        if name in graph.sizes:
            least, most = graph.bounds(name)
            yield feeds({**traced, **one, name: least})
            yield feeds({**traced, **one, name: max(traced[name], min(most, MOST_TRIED))})


def resized(
    tensor: Tensor, spec: TensorSpec, names: Mapping[int, str], sizes: Mapping[str, int]
) -> Tensor:
    """The tensor's own values, repeated or cut along its varying axes."""
    for axis, name in names.items():
        places = torch.arange(sizes[name]) % tensor.shape[axis]
        tensor = tensor.index_select(axis, places)
    is_mask = (
        spec.name.endswith("_mask")
        and len(spec.dims) == 1
        and str(spec.dims[0]).endswith("_tokens")
    )
    return torch.ones_like(tensor) if is_mask else tensor


def departure(
    candidate: TorchCandidate,
    module: str,
    session: Session,
    feeds: Mapping[str, Tensor],
    want: Mapping[str, Array],
) -> str:
    """Where the graph's answer departs from what PyTorch answered; empty where it does not.

    What prepare makes is no answer: it departs where the model's answer to it does.
    """
    sizes = sizes_of(feeds)
    try:
        got = session.answer(
            {name: _strings(candidate, name, value.numpy()) for name, value in feeds.items()}
        )
    except Exception as error:  # onnxruntime's own kinds
        return f"onnxruntime fails at sizes {sizes}: {str(error)[:160]}"
    same_names = {name: got[name if name in got else prepared_name(name)] for name in want}
    pipeline = candidate.pipeline
    near = pipeline.contract.arranged_batch(want, same_names) if module == "model" else same_names
    found = compare_outputs([want], [near], pipeline.tolerance)
    if found.passed or (module == "prepare" and answers_agree(candidate, want, same_names)):
        return ""
    return f"at sizes {sizes}, {found}"


def answers_agree(
    candidate: TorchCandidate, one: Mapping[str, Array], other: Mapping[str, Array]
) -> bool:
    """Does the model answer the same to what prepare made here and there?

    The first traced row's other inputs stand beside it.
    """
    if any(array.shape != other[name].shape for name, array in one.items()):
        return False
    feeds = {name: tensor[:1] for name, tensor in candidate.feeds.items()}
    try:
        answers = [
            arrays(
                candidate.pipeline.call(
                    feeds | {name: torch.as_tensor(array)[None] for name, array in made.items()}
                )
            )
            for made in (one, other)
        ]
    except Exception as error:  # forward may raise anything: a size that prepare never makes, say
        if raised_by_us(error):
            raise
        return False
    first, second = answers
    near = candidate.pipeline.contract.arranged_batch(first, second)
    return compare_outputs([first], [near], candidate.pipeline.tolerance).passed


def arrays(answer: Mapping[str, Tensor]) -> dict[str, Array]:
    """Tensors to arrays."""
    return {name: value.numpy() for name, value in answer.items()}


def sizes_of(feeds: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Shapes by name, for messages."""
    return {name: list(value.shape) for name, value in feeds.items()}


def _strings(candidate: TorchCandidate, name: str, codes: Array) -> Array:
    """Codes of a category back to the entries that the graph takes."""
    kind = candidate.pipeline.categories.get(name)
    return codes if kind is None else kind.entries_of_codes(codes)
