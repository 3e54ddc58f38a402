"""What a front and the engine process tell each other of a version, as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.receipt import Trial
from seatrial_serve.engines.wire import ToldError
from seatrial_serve.inference.engine import Engine
from seatrial_serve.inference.load_gate import Admitted, anchors_of
from seatrial_serve.inference.pace import Pace
from seatrial_serve.metrics.standing import GateResult
from seatrial_serve.runtimes.runtime import Placement
from seatrial_serve.scheduling.batch_rule import BatchRule


class Told(BaseModel):
    """What travels, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoadRequest(Told):
    """A front wants a version, whose bundle it has verified."""

    build: str
    name: str
    path: str
    digest: str
    variant: str | None
    signer: str
    """Whose signature of it the front has verified; empty where none is asked for."""


class ToldGate(Told):
    """A `GateResult`; infinity is no JSON."""

    passed: bool
    worst_error: float | None
    infinite: bool
    kept: bool

    @classmethod
    def of(cls, found: GateResult) -> ToldGate:
        """It, to be told."""
        worst = found.worst_error
        infinite = worst is not None and math.isinf(worst)
        return cls(
            passed=found.passed, worst_error=None if infinite else worst, infinite=infinite,
            kept=found.kept,
        )  # fmt: skip

    @property
    def found(self) -> GateResult:
        """What was told."""
        return GateResult(
            self.passed, math.inf if self.infinite else self.worst_error, kept=self.kept
        )


class NotLoadedReply(Told):
    """Why the engine process does not serve it, and what its load gate found, if it came so far."""

    error: dict[str, Any]
    gate: ToldGate | None = None

    @property
    def told(self) -> ToldError:
        """The error."""
        return ToldError(**self.error)


class LoadedReply(Told):
    """The version is loaded: with what it runs, and what its load gate found."""

    variant: str
    provider: str
    placement: dict[str, Any] | None
    slots: Annotated[int, Field(ge=1)]
    """How many batches run at once."""
    rule: dict[str, Any]
    trials: tuple[Trial, ...]
    seconds: dict[int, float]
    length: int
    elements: tuple[int, int]
    row: int | None
    kept_at: str
    gate: ToldGate
    memory_bytes: int

    @classmethod
    def of(
        cls, engine: Engine, admitted: Admitted, rule: BatchRule, *, slots: int, gate: GateResult,
        memory_bytes: int,
    ) -> LoadedReply:  # fmt: skip
        """What is told of an engine."""
        placement = engine.placement
        return cls(
            variant=engine.variant,
            provider=engine.provider,
            placement=None if placement is None else asdict(placement),
            slots=slots,
            rule=asdict(rule),
            trials=admitted.trials,
            seconds=admitted.pace.seconds,
            length=admitted.pace.length,
            elements=admitted.elements,
            row=admitted.row,
            kept_at=admitted.kept_at,
            gate=ToldGate.of(gate),
            memory_bytes=memory_bytes,
        )

    def admitted(self, bundle: Bundle) -> Admitted:
        """What the load gate found."""
        return Admitted(
            self.trials, Pace(self.seconds, self.length), self.elements, self.row,
            anchors_of(bundle), self.kept_at,
        )  # fmt: skip

    @property
    def batch_rule(self) -> BatchRule:
        """By which the engine process makes batches."""
        return BatchRule(**self.rule)

    @property
    def placed(self) -> Placement | None:
        """How the graph stands on devices."""
        if self.placement is None:
            return None
        told = self.placement
        lengths = {name: tuple(each) for name, each in told["lengths"].items()}
        tuples = {name: tuple(told[name]) for name in ("devices", "sizes")}
        return Placement(**told | tuples | {"lengths": lengths})
