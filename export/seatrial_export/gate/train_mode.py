"""Is the model in the state that it is served in?

The checks are flags, two runs, and a row alone against the same row in a batch.
"""

from __future__ import annotations

import torch
from torch import nn

from seatrial_contracts.compare import Tolerance, compare_outputs
from seatrial_contracts.errors import GateError
from seatrial_export.gate.candidate import ROWS_ALONE
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_export.pipeline import Pipeline

EAGER_TOLERANCE = Tolerance(relative_to_max=1e-5, relative=1e-4)


def check_flags(candidate: TorchCandidate) -> None:
    """Check that no module is in training mode.

    In training mode, dropout and batch norm would answer otherwise than in evaluation.
    """
    for name, module in modules(candidate.pipeline):
        left = [
            f"{name}.{path}".rstrip(".")
            for path, child in module.named_modules()
            if getattr(child, "training", False)  # a frozen TorchScript has no mode
        ]
        if left:
            shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
            raise GateError(
                "training mode",
                f"in training mode: {shown}",
                f"call {name}.eval() before the export",
            )


def check_two_runs(candidate: TorchCandidate) -> None:
    """Check that two eager runs on one input agree to the bit.

    `F.dropout` without `training=self.training` does not.
    """
    for name, call, graph in candidate.calls:
        first, second = call(graph.feeds), call(graph.feeds)
        for output in first:
            if not torch.equal(first[output].nan_to_num(), second[output].nan_to_num()):
                raise GateError(
                    "two runs",
                    f"{name}: output '{output}' differs between two runs on one input",
                    "look for F.dropout(x) without training=self.training, torch.rand* "
                    "or another source of chance in forward",
                )


def check_row_in_batch(candidate: TorchCandidate) -> None:
    """Check that a row's eager answer does not depend on its mates.

    The check is skipped for pipelines with `batchable=False`.
    """
    pipeline = candidate.pipeline
    if not pipeline.batchable:
        return
    rows = candidate.trace_rows
    together = pipeline.call(pipeline.batch(rows))
    alone = [pipeline.answer_encoded(row) for row in rows]
    batched = [
        {name: value[i].numpy() for name, value in together.items()} for i in range(len(rows))
    ]
    near = [*map(pipeline.contract.arranged, alone, batched)]
    found = compare_outputs(alone, near, EAGER_TOLERANCE)
    if not found.passed:
        raise GateError(
            "row in batch",
            f"a row's answer depends on the other rows of its batch: {found}",
            f"look for {filled_up(pipeline)}F.batch_norm(..., training=True), a mean or softmax "
            "over dim 0, an `if` over values (torch.where(x > 1, a, b) chooses row by row); "
            "if the model must see all rows at once, " + ROWS_ALONE,
        )


def filled_up(pipeline: Pipeline) -> str:
    """For a mend: the inputs whose shorter rows are filled up beside longer ones."""
    padded = [spec.name for spec in pipeline.specs if spec.pad is not None]
    if not padded:
        return ""
    return (
        f"what fills up shorter rows of '{padded[0]}' and counts in the answer (a recurrent state, "
        "a mean or softmax without the mask), "
    )


def modules(pipeline: Pipeline) -> list[tuple[str, nn.Module]]:
    """The pipeline's modules by the name the user gave them."""
    return [("model", pipeline.model)] + (
        [("prepare", pipeline.prepare)] if pipeline.prepare is not None else []
    )
