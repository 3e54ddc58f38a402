"""One version of one model in the repository, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from seatrial_contracts.errors import Unavailable
from seatrial_serve.metrics.standing import GateResult, Held, Standing
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.trust.signed import Signed

SOON_S = 2.0
"""After how many seconds a client may try again: a load, or a runtime's new start, ends by then."""


class State(StrEnum):
    """Where a version stands. A READY one takes traffic, and a COLD one once it is loaded."""

    COLD = "COLD"
    """It is loaded at its first request, or when an administrator asks for it."""
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"


class Demand(Protocol):
    """Who loads a version for those that ask for it."""

    async def wait(self, entry: Entry, deadline_s: float) -> None:
        """Return once the version is loaded, or has failed.

        Raises `Unavailable` where that comes after the deadline, a time of `now_s`.
        """


class NotLoaded(Unavailable):
    """A version is not loaded yet: see `Demand.wait`."""

    def __init__(self, entry: Entry, demand: Demand) -> None:
        super().__init__("E_NOT_READY", f"{entry.name} {entry.version} is not loaded yet")
        self.entry, self.demand = entry, demand


@dataclass(eq=False)
class Entry:
    """One version of one model in this server. Each is equal to itself alone."""

    name: str
    version: str
    path: Path
    stamp: str = ""
    """sha256 of its manifest when it was found, and what was selected of it."""
    variant: str | None = None
    """What `variants.json` beside it wants it served as; None: its first."""
    unselected: str = ""
    """Why nobody knows what its operator selects: a reason not to load it."""
    sealed_as: str = ""
    """The name that its bundle was sealed with; empty: its own."""
    state: State = State.LOADING
    reason: str = ""
    code: str = ""
    model: ServedModel | None = None
    load_s: float = 0.0
    gate: GateResult | None = None
    """What its load gate found; None where it was not reached."""
    held: Held | None = None
    """With what its model is served."""
    signed: Signed | None = None
    """Who signed it; None where nobody asked for signatures."""
    demand: Demand | None = None
    """Who loads it at its first request; None where it is loaded before."""
    memory_bytes: int = 0
    """What its model takes, as its last load measured it; 0 before that."""
    being_loaded: bool = False
    """Does somebody wait for it to be loaded, COLD as it is?"""
    loaded_s: float = 0.0
    """When its last load ended, a time of `now_s`."""
    hold: object = None
    """What keeps its bundle in the cache as long as this entry lives; None for a folder's."""

    @property
    def digest(self) -> str:
        """The sha256 of the manifest when it was found, which names the bundle.

        It is empty if there was no manifest to read.
        """
        return self.stamp.partition(" ")[0]

    @property
    def shown_state(self) -> State:
        """Its state as clients are told: a COLD one that is being loaded is LOADING.

        It is available all the same: whoever asks it waits for that load.
        """
        return State.LOADING if self.state is State.COLD and self.being_loaded else self.state

    @property
    def is_available(self) -> bool:
        """Is it ready, or will it be loaded when it is asked for?"""
        return self.state in (State.READY, State.COLD)

    @property
    def takes_traffic(self) -> bool:
        """Is it available, and what runs it there?"""
        return self.is_available and (self.model is None or self.model.engine.healthy)

    @property
    def standing(self) -> Standing:
        """How it stands, for the metrics."""
        gate = self.gate or (GateResult(False) if self.state is State.FAILED else None)
        return Standing(
            self.takes_traffic, gate, self.held if self.model is not None else None, self.load_s
        )

    @property
    def wants_runtime(self) -> bool:
        """Did it fail for want of the right runtime in another process, which may come yet?"""
        return self.state is State.FAILED and self.code.startswith("E_RUNTIME")

    def ready_model(self) -> ServedModel:
        """Its model. Raises `Unavailable` where it takes no traffic, `NotLoaded` where it may."""
        model = self.model
        if model is not None and self.state is State.READY and model.engine.healthy:
            return model
        if self.demand is not None and self.state in (State.COLD, State.LOADING):
            raise NotLoaded(self, self.demand)
        if self.state is State.READY:
            text = f"the runtime behind {self.name} {self.version} is not there"
            raise Unavailable("E_RUNTIME_DOWN", text, retry_after_s=SOON_S)
        text = f"{self.name} {self.version} is {self.state.lower()}" + (
            f": {self.code}" if self.code else ""
        )
        soon = self.state is State.LOADING or self.wants_runtime
        raise Unavailable("E_NOT_READY", text, retry_after_s=SOON_S if soon else 30)
