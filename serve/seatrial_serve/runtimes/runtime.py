"""What a runtime is: something that holds a graph and runs batches through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from seatrial_contracts.kinds.kind import Array


@dataclass(frozen=True)
class RuntimeOptions:
    """How to hold a graph. `providers` are asked for in order; the first must really be the one that runs."""

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    allow_cpu_fallback: bool = False
    intra_op_threads: int = 1
    cache: Path | None = None
    """Where optimised graphs are kept; None: nowhere."""


class Runtime(Protocol):
    """A loaded graph. `run` may be called from several threads at once and releases the GIL while it computes."""

    @property
    def provider(self) -> str:
        """What really runs the graph, as the runtime itself reports it: the execution receipt."""
        ...

    @property
    def inputs(self) -> Mapping[str, str]:
        """Input name -> numpy element type, or "string"."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Output names, in order."""
        ...

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> dict[str, Array]:
        """Batched arrays in, batched arrays out, by name. Raises `ModelError` where the graph fails on them.

        The memory that an `outlier` took goes back to the system; that of other batches is kept for the next one.
        """
        ...


class LoadRuntime(Protocol):
    """Loads a graph from its bytes. Raises `ModelError` where it cannot, or where another provider than asked for runs it."""

    def __call__(self, graph: bytes, options: RuntimeOptions) -> Runtime:
        """Load `graph`."""
        ...
