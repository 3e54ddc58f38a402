"""onnxruntime in this process, through the engine that the server runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import MissingExtra
from seatrial_parity.runners.runner import Answers, RawRows, TrialRequest

if TYPE_CHECKING:
    from seatrial_serve.inference.engine import Engine

NAME = "onnxruntime"


def runners(asked: TrialRequest) -> Iterator[OnnxRunner]:
    """One for each variant; TorchScript has a runner of its own."""
    variants = (each for each in asked.bundle.manifest.variants if each.format != "torchscript")
    yield from (OnnxRunner(asked.bundle, each.name) for each in variants)


class OnnxRunner:
    """One variant of a bundle on one provider."""

    name = NAME

    client_terms = False

    def __init__(
        self,
        bundle: Bundle,
        variant: str = "fp32",
        provider: str = "CPUExecutionProvider",
        *,
        trust_torchscript: bool = False,
    ) -> None:
        self._trust_torchscript = trust_torchscript
        self._bundle, self.variant, self.provider = bundle, variant, provider
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        try:
            from seatrial_serve.inference.engine import load_engine
            from seatrial_serve.runtimes.runtime import RuntimeOptions
        except ImportError as error:
            raise MissingExtra("running a bundle", "serve") from error
        self._engine = load_engine(
            self._bundle,
            RuntimeOptions((self.provider,), trust_torchscript=self._trust_torchscript),
            self.variant,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._engine = None

    @property
    def engine(self) -> Engine:
        """The loaded engine."""
        assert self._engine is not None, "used inside `with`"
        return self._engine

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        """See `Runner.run`."""
        return self.engine.answer(rows, batch_rows if self._bundle.manifest.batchable else 1)

    def refusal_code(self, row: Any) -> str | None:
        """See `Runner.refusal_code`."""
        return self.engine.front.refusal_code(row)
