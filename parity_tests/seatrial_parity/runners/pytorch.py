"""The reference: eager PyTorch, fp32, each row alone, from raw rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from seatrial_parity.runners.runner import Answers, RawRows, TrialRequest

if TYPE_CHECKING:
    from seatrial_export.pipeline import Pipeline

NAME = "pytorch"


def runners(asked: TrialRequest) -> Iterator[PyTorchRunner]:
    """One, where there is a pipeline."""
    if asked.pipeline is not None:
        yield PyTorchRunner(asked.pipeline)


class PyTorchRunner:
    """The user's own pipeline, which the other runners are measured by.

    Rows are run alone, whatever the wanted batch size.
    """

    name, variant, provider = NAME, "eager", "cpu"
    client_terms = False

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline.calibrated

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, rows: RawRows, batch_rows: int) -> Answers:  # noqa: ARG002  (each row runs alone)
        """See `Runner.run`."""
        return self._pipeline.answer(rows)

    def refusal_code(self, row: Any) -> str | None:
        """See `Runner.refusal_code`."""
        return self._pipeline.front.refusal_code(row)
