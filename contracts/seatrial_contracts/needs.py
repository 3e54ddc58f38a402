"""What has to be there before a graph is opened: its format, its operators, its element types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

STANDARD, CLASSICAL = "ai.onnx", "ai.onnx.ml"
"""Domains of ONNX's own operators; a graph may write the first as an empty text."""
Domain = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=1, le=99)]
Release = Annotated[str, Field(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}$")]


class Reader(NamedTuple):
    """A release of onnxruntime and the newest that it reads."""

    release: str
    opset: int
    classical: int
    """Of ai.onnx.ml."""
    ir: int


READERS = (
    Reader("1.17", 20, 4, 9),
    Reader("1.18", 21, 4, 10),
    Reader("1.19", 21, 5, 10),
    Reader("1.21", 22, 5, 10),
    Reader("1.23", 23, 5, 11),
    Reader("1.24", 25, 5, 13),
    Reader("1.25", 26, 5, 13),
    Reader("1.28", 27, 5, 13),
    Reader("1.32", 28, 5, 14),
)
"""The releases that read more than the one before; a release opens what is older too.

Source: 1.19 to 1.25 and 1.32 opened graphs of every opset and IR version
(`tools/probe_onnxruntime.py`); 1.17 and 1.18 by onnxruntime's compatibility page; 1.28 by the ONNX
release that it is built with (onnxruntime's pull request 28754, ONNX's docs/Versioning.md). 1.29 to
1.31 were not tried.
"""
SAFE_FOREIGN = "1.28"
"""The first release for graphs that another tool made.

Earlier ones read beyond the memory of OneHot, Expand, Tile and others (onnxruntime's release notes
of 1.27 and 1.28).
"""


class Needs(BaseModel):
    """What one graph asks of whoever opens it. It is read off the graph when the bundle is sealed.

    No graph needs an instruction set: onnxruntime has kernels for every processor. Those that a
    variant was proven with are in its receipt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ir: Count
    """The version of ONNX's file format."""
    opsets: dict[Domain, Count] = Field(max_length=16)
    """Domain of operators -> version."""
    element_types: tuple[Domain, ...] = Field(default=(), max_length=32)
    """Narrow element types within the graph: what a card's provider must have kernels for."""
    onnxruntime: Release
    """The first release that opens it, as "1.24"."""

    @property
    def opset(self) -> int:
        """Of the standard operators; 0 where the graph has none."""
        return self.opsets.get(STANDARD, 0)

    def met_by(self, release: str) -> bool:
        """Does this release of onnxruntime open the graph? "1.24.4" counts as "1.24"."""
        return numbers(release) >= numbers(self.onnxruntime)

    def __str__(self) -> str:
        sets = [f"opset {self.opset}"] if self.opset else []
        sets += [f"{name} {version}" for name, version in self.opsets.items() if name != STANDARD]
        return ", ".join([*sets, f"IR {self.ir}", *self.element_types])


def numbers(release: str) -> tuple[int, int]:
    """Major and minor of a release: "1.24.4" is (1, 24)."""
    major, minor = release.split(".")[:2]
    return int(major), int(minor)


def least_onnxruntime(ir: int, opsets: Mapping[str, int], proven: str) -> str:
    """Return the first release that opens such a graph.

    `proven` is the release that opened it. It is the answer where no known release reads so much.
    """
    proven = ".".join(proven.split(".")[:2])
    reads = [
        reader.release
        for reader in READERS
        if reader.ir >= ir
        and reader.opset >= opsets.get(STANDARD, 0)
        and reader.classical >= opsets.get(CLASSICAL, 0)
    ]
    return min(reads[0] if reads else proven, proven, key=numbers)
