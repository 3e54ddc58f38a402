"""What a runner is: a context manager that answers raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.key_file import read_key
from seatrial_contracts.kinds.kind import Array

if TYPE_CHECKING:
    from seatrial_export.pipeline import Pipeline

Answers = list[dict[str, Array]]
RawRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TrialRequest:
    """What a trial is asked to try: a bundle, and whoever else can answer for it."""

    bundle: Bundle
    pipeline: Pipeline | None = None
    url: str | None = None
    """Our server, http://host:port."""
    grpc: str | None = None
    """Our server, host:port."""
    triton: str | None = None
    """NVIDIA's, http://host:port, with a repository that `seatrial triton` wrote."""
    triton_grpc: str | None = None
    edge: str | None = None
    """Our server before a Triton, http://host:port."""
    container: str | None = None
    """Our server in a container, http://host:port."""
    ray: str | None = None
    """Ray Serve with our replicas, http://host:port."""
    ray_grpc: str | None = None
    model: str | None = None
    """What our servers call the model, where that is not the bundle's name: --model-name."""
    key_file: Path | None = None
    """A file whose first line is the key that our servers ask for."""
    trust_torchscript: bool = False
    """May TorchScript graphs of the bundle run here? Each is a program."""

    @property
    def key(self) -> str | None:
        """The key that our servers ask for. Raises `DeclarationError`."""
        return read_key(self.key_file)


class Inexpressible(Exception):
    """A raw row that no tensor can carry, such as a word where a number should stand.

    The runner cannot send such a row.
    """


class Runner(Protocol):
    """Answers raw rows as the model's numbers, one mapping for each row."""

    @property
    def name(self) -> str:
        """What answers: "pytorch", "onnxruntime", "http v1"."""
        ...

    @property
    def variant(self) -> str:
        """Which graph answers, where that is known."""
        ...

    @property
    def provider(self) -> str | None:
        """What runs it, where that is known."""
        ...

    @property
    def client_terms(self) -> bool:
        """Are its answers in the client's terms, a mapped output as its client's tensors?

        If not, they are the graph's tensors.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        """Answer raw rows, `batch_rows` at a time.

        Raises a `SeatrialError` where a row is refused or fails.
        """
        ...

    def refusal_code(self, row: Any) -> str | None:
        """The code with which this raw row is refused; None where it is answered.

        Raises `Inexpressible`.
        """
        ...
