"""The record of one request: who it is, what its way through the server took, and how it ended."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seatrial_serve.process.clock import now_s
from seatrial_serve.scheduling.ticket import BatchInfo

if TYPE_CHECKING:
    from seatrial_serve.models.answer import Answer
    from seatrial_serve.models.entry import Entry
    from seatrial_serve.models.request import Given
    from seatrial_serve.models.served_model import ServedModel

log = logging.getLogger("seatrial.journey")


@dataclass(slots=True)
class RequestRecord:
    """One request to a model, from its first byte here to its answer.

    Times are those of `now_s`.
    """

    request_id: str
    route: str
    began_s: float
    traceparent: str | None = None
    """The header of W3C Trace Context, as the client sent it."""
    entry: Entry | None = None
    """The version that it is for, loaded or not; None where there is none."""
    model: ServedModel | None = None
    given: Given | None = None
    """What it asked, as validated; None where it did not come so far."""
    phases: list[tuple[str, float, float]] = field(default_factory=list)
    """Name, beginning and end of each phase: front, prepare, queue, run, encode.

    The phases of a request in parts come more than once.
    """
    batches: list[BatchInfo] = field(default_factory=list)
    answer: Answer | None = None
    code: str = ""
    """"ok", or the stable code of what went wrong.

    It is empty if the client left before it was answered.
    """
    status: int = 0
    error: BaseException | None = None
    """For the observers, while they are told."""
    ended_s: float = 0.0
    load_s: float = 0.0
    """How long it waited for its model to be loaded on demand, which no objective covers."""

    def end(self, code: str, status: int = 0, error: BaseException | None = None) -> None:
        """It ended so, now; without a code, its client left."""
        self.code, self.status, self.error, self.ended_s = code, status, error, now_s()

    @property
    def named(self) -> tuple[str, str, str] | None:
        """Name, version and digest of what it is for; None where that is not there."""
        if self.model is not None:
            return self.model.name, self.model.version, self.model.bundle.digest
        if self.entry is not None:
            return self.entry.name, self.entry.version, self.entry.digest
        return None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by phase, from the first of its parts to the last."""
        spans: dict[str, tuple[float, float]] = {}
        for name, began_s, ended_s in self.phases:
            first, last = spans.get(name, (began_s, ended_s))
            spans[name] = min(first, began_s), max(last, ended_s)
        return {name: last - first for name, (first, last) in spans.items()}

    @property
    def slow(self) -> bool:
        """Was it answered later than its contract's objective, once its model was loaded?"""
        return (
            self.code == "ok"
            and self.model is not None
            and self.seconds - self.load_s > self.model.objective_s
        )

    def ran(self, arrived_s: float, started_s: float, ended_s: float, batch: BatchInfo) -> None:
        """Note that some rows waited since they arrived, and ran in a batch.

        See `seatrial_serve.scheduling.ticket.TicketListener`.
        """
        self.phases += (("queue", arrived_s, started_s), ("run", started_s, ended_s))
        self.batches.append(batch)
