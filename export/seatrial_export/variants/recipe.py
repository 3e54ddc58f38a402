"""A recipe: the way from the fp32 graph to a variant.

A recipe also holds the variant's promise, and the nodes that stay in fp32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import onnx
from pydantic import ConfigDict, Field

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.contract import Contract
from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.measures import decided_outputs, wide_outputs
from seatrial_contracts.promise import Promise
from seatrial_export.graphs import weights
from seatrial_export.graphs.weights import weight_bytes
from seatrial_export.variants.original import Original

MIN_SLICE_ROWS = 10
"""A default promise is held against slices of so many rows: the mean of fewer says little."""


class Edges(NamedTuple):
    """How far from fp32's an answer at a drawn row may be, and from where on the receipt tells."""

    most: Tolerance
    told: Tolerance


class Recipe(Declared, ABC):
    """A frozen value; its fields are what `variants=[...]` and `--variant NAME:field=value` set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    KIND: ClassVar[str]
    """The name that it goes by."""
    COSINE: ClassVar[float]
    AGREEMENT: ClassVar[float]
    RELATIVE: ClassVar[float]
    """The default bounds: mean cosine, share of equal labels, largest error over the largest value.

    They hold where the author gives no promise.
    """
    APART: ClassVar[Tolerance] = Tolerance(relative_to_max=1e-6, relative=1e-5)
    """How far a row's answer among mates may be from that alone."""
    EDGES: ClassVar[Tolerance] = Tolerance(relative_to_max=1, relative=0)
    """How far an answer at a drawn row may be from fp32's.

    By default an answer is wild if it is further from fp32's than the largest answer is from 0: a
    range measured on calibration rows cuts what lies beyond it, and no more.
    """
    CALIBRATED: ClassVar[bool] = False
    """Does it need rows to measure ranges on?"""
    WHOLE: ClassVar[bool] = False
    """Is it made by a library that holds the whole graph, weights and all, in memory?"""
    LEAVES: ClassVar[str]
    """What it changes, in words: "MatMul and Gemm with constant weights"."""

    name: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,31})?$")
    """Name of the variant; empty: the recipe's own. Two of one recipe need two names."""
    keep: tuple[str, ...] = ()
    """Names of nodes that stay in fp32; `seatrial quantize --budget` finds them."""
    promise: Promise | None = None
    """What the variant promises in place of the recipe's default."""

    @property
    def variant(self) -> str:
        """The variant's name in the bundle."""
        return self.name or self.KIND

    @property
    def edges(self) -> Edges:
        """What is asked of it at drawn rows."""
        promised = self.promise.tolerance if self.promise is not None else None
        return Edges(self.EDGES, promised or Tolerance(relative_to_max=self.RELATIVE, relative=0))

    def __str__(self) -> str:
        """The text that `--variant` takes: "int8:calibration=percentile,keep=a+b".

        The promise, which the manifest holds, is left out.
        """
        given = self.model_dump(exclude={"promise"}, exclude_defaults=True)
        options = (
            f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"
            for name, value in given.items()
        )
        return ":".join(filter(None, (self.KIND, ",".join(options))))

    @abstractmethod
    def nodes(self, original: Original) -> list[str]:
        """Names of the nodes that it would change were none kept, in the graph's order."""

    @abstractmethod
    def transform(self, original: Original) -> onnx.ModelProto:
        """The variant's graph. What a library raises passes."""

    def check(self, original: Original) -> None:
        """Check that the graph can have this variant.

        Raises `DeclarationError` where it cannot, or `keep` names a node that the variant would not
        change.
        """
        where = f"variant '{self.variant}'"
        if self.WHOLE and original.is_large:
            raise DeclarationError(
                where,
                f"{weight_bytes(original.model) / 1e9:.1f} GB of weights",
                f"less than {weights.OUTSIDE_FROM_BYTES / 1e9:.1f} GB: onnxruntime's quantizer "
                "holds all of them in memory, several times over",
                "fp16, int8_weights, int8_per_token and int4_weights are made tensor by tensor",
            )
        nodes = self.nodes(original)
        if not nodes:
            raise DeclarationError(
                where, f"a graph without {self.LEAVES}", "one with at least one of them"
            )
        unknown = [node for node in self.keep if node not in nodes]
        if unknown:
            shown = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
            raise DeclarationError(
                f"{where}, keep", repr(unknown[0])[:80], f"nodes that it would change: {shown}"
            )

    def promised(self, contract: Contract) -> Promise:
        """The promise, or the default.

        The default bounds the error where outputs are single numbers. Else it bounds the cosine of
        outputs of several numbers with a fraction, and the agreement of labels and whole numbers.
        """
        if self.promise is not None:
            return self.promise
        if all(field.kind.shape in ((), (1,)) for field in contract.outputs):
            return Promise(tolerance=Tolerance(relative_to_max=self.RELATIVE, relative=0))
        return Promise(
            cosine=self.COSINE if wide_outputs(contract) else None,
            agreement=self.AGREEMENT if decided_outputs(contract) else None,
            min_slice_rows=MIN_SLICE_ROWS,
        )
