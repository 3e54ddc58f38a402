"""What a runtime is: something that holds a graph and runs batches through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from seatrial_contracts.decrypt import MemoryFile
from seatrial_contracts.kinds.kind import Array


def unchecked() -> None:
    """Nothing lies outside of the graph that could be changed."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How to hold a graph.

    `providers` are tried in order; the first must really be the one that runs.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    allow_cpu_fallback: bool = False
    intra_op_threads: int = 1
    cache: Path | None = None
    """Where optimised graphs are kept; None: nowhere."""
    trust_torchscript: bool = False
    """May a graph be a program?"""
    runtime: str | None = None
    """Which runtime is to run the graph; None: the one of the graph's own format."""
    address: str = ""
    """Where a runtime in another process listens."""
    serves: tuple[str, str, str] = ("", "", "")
    """Name, version and digest of the bundle.

    A runtime in another process must hold that very one.
    """
    data: Path | MemoryFile | None = None
    """The file that holds the graph's weights, where they lie outside of the graph.

    One in memory comes without `cache`: nothing of it may reach the disk.
    """
    data_sha256: str = ""
    """Of that file's bytes, as they were sealed."""
    check_data: Callable[[], None] = unchecked
    """Raises `BundleError` where that file was changed since it was verified."""
    graph_sha256: str = ""
    """Of the graph's bytes, where they were verified; empty: whoever needs it hashes them."""
    devices: tuple[int, ...] = ()
    """Numbers of the cards that run the graph, a session each.

    Empty: the first card, if the provider runs on cards.
    """
    device_memory_bytes: int | None = None
    provider_options: tuple[tuple[str, str], ...] = ()
    """Options of the first provider, in its own words."""
    cuda_graphs: bool = False
    max_rows: int | None = None
    """Most rows in a batch, where the operator says so."""


@dataclass(frozen=True)
class Placement:
    """A graph that was to run on devices: what was asked for and what came of it.

    With `Runtime.provider` it is the execution receipt.
    """

    asked: str
    devices: tuple[int, ...] = ()
    nodes: Mapping[str, int] = field(default_factory=dict)
    """Provider -> how many of the graph's nodes it runs."""
    cuda_graphs: bool = False
    slots: int | None = None
    """How many batches run at once, none of them on the event loop; None: as on the processor."""
    most_rows: int | None = None
    """Most rows in a batch; None: no bound."""
    sizes: tuple[int, ...] = ()
    """The sizes to which batches are filled up, ascending; empty: none is."""
    lengths: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Input -> the lengths to which batches are padded, ascending; beyond them as long as a row."""


Batches = Callable[[], Iterable[Mapping[str, Array]]]
"""Makes batches, each by input."""


def no_batches() -> Iterable[Mapping[str, Array]]:
    """See `Batches`: none."""
    return ()


class Runtime(Protocol):
    """A loaded graph.

    `run` may be called from several threads at once and releases the GIL while it computes.
    """

    @property
    def provider(self) -> str:
        """What really runs the graph, as the runtime itself reports it: the execution receipt."""
        ...

    @property
    def version(self) -> str:
        """Name and version of what computes: another one may round otherwise."""
        ...

    @property
    def placement(self) -> Placement | None:
        """How it stands on devices; None where none was asked for."""
        ...

    @property
    def inputs(self) -> Mapping[str, str]:
        """Input name -> numpy element type, or "string"."""
        ...

    @property
    def outputs(self) -> Sequence[str]:
        """Output names, in order."""
        ...

    @property
    def remote(self) -> bool:
        """Whether `run` waits for another process.

        If so, it never runs on the event loop, and what it raises is `Unavailable`.
        """
        ...

    @property
    def healthy(self) -> bool:
        """Can it run now?"""
        ...

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """Batched arrays in, batched arrays out, by name.

        After `deadline_s` (a time of `now_s`) nobody waits any more: a remote runtime gives up
        then. The memory that an `outlier` took goes back to the system; that of other batches is
        kept for the next one. Raises `ModelError` where the graph fails on them, `Refusal` where a
        value is one that it cannot take, `OutOfMemory` where fewer rows may run, `Unavailable`
        where a remote one cannot be asked or answers what it must not, or a device is lost.
        """
        ...

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """Prepare for batches of at most `most_rows` rows from here on.

        Do now what the first batch of a size would have to, and let go of what larger ones needed.
        `batches` are run on each device, also on one that comes back.

        To be called once something has run. Raises `ModelError` if the graph fails.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class LoadRuntime(Protocol):
    """Loads a graph from its bytes.

    Raises `ModelError` if it cannot, or if another provider than asked for runs the graph.
    """

    def __call__(self, graph: bytes, options: RuntimeOptions) -> Runtime:
        """Load `graph`."""
        ...
