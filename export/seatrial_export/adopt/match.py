"""Matching the fields of a contract to the inputs and outputs of a foreign graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.kinds.tokenised import WHAT, Tokenised
from seatrial_export.adopt.casts import holds, range_of
from seatrial_export.adopt.names import match_names, plain
from seatrial_export.adopt.port import Port, agree, shown
from seatrial_export.adopt.promised import Promised, shape_of

TEXT_PORTS = WHAT
"""Name of a tensor of a text, in exporters of language models -> the text field's tensor."""
SEGMENTS = "token_type_ids"
"""Zeros, where a model takes one text."""


class Misfit(Exception):
    """Why a contract and a graph do not go together."""


class Fed(NamedTuple):
    """An input of the graph and the tensors that enter it.

    One tensor enters, or several scalars as the columns of a matrix, or zeros in the tensor's
    shape.
    """

    port: Port
    specs: Sequence[TensorSpec]
    zeros: bool = False


class Inputs:
    """The graph's inputs and the contract's tensors while they are matched.

    Matching goes by name, by shape, and the rest as matrices.
    """

    def __init__(
        self,
        takes: Sequence[Port],
        contract: Contract,
        specs: Sequence[TensorSpec],
        renamed: Mapping[str, str],
    ) -> None:
        self._kinds = {spec.name: field.kind for field in contract.inputs for spec in field.tensors}
        self._texts = [field.name for field in contract.inputs if isinstance(field.kind, Tokenised)]
        self._free = {spec.name: spec for spec in specs}
        self._left, self._fed, self._renamed = list(takes), list[Fed](), renamed

    def matched(self) -> list[Fed]:
        """Every input and what enters it. Raises `Misfit` where either side has something left."""
        self._by_name()
        self._by_shape(exactly=True)
        self._by_shape(exactly=False)
        masks = {"attention_mask", *(f"{text}_mask" for text in self._texts)}
        wanted = [spec for name, spec in self._free.items() if name not in masks]  # may be unused
        if len(self._left) == 1 and len(wanted) == 1:
            return [*self._fed, Fed(self._left[0], wanted)]
        for port in self._left:
            columns = self._columns(port)
            wanted = [spec for spec in wanted if spec not in columns]
            self._fed.append(Fed(port, columns))
        if wanted:
            raise Misfit(f"the graph has no input for '{wanted[0].name}'")
        return self._fed

    def _feed(self, port: Port, spec: TensorSpec) -> None:
        self._left.remove(port)
        self._fed.append(Fed(port, [self._free.pop(spec.name)]))

    def _by_name(self) -> None:
        """An input's own name, spelled as a field can be, or what it is of the only text."""
        ids = None
        if len(self._texts) == 1:
            ids = self._free.get(f"{self._texts[0]}_ids") or self._free.get("input_ids")
        renamed = {name for name in self._free if name in self._renamed.values()}
        same = match_names([port.name for port in self._left], self._free.keys() - renamed)
        for port in tuple(self._left):
            name = self._renamed.get(port.name) or self._text_name(port) or same.get(port.name)
            if name in self._free:
                self._feed(port, self._free[name])
            elif plain(port.name) == SEGMENTS and ids is not None:
                self._left.remove(port)
                self._fed.append(Fed(port, [ids], zeros=True))

    def _text_name(self, port: Port) -> str | None:
        if len(self._texts) == 1 and plain(port.name) in TEXT_PORTS:
            return f"{self._texts[0]}_{TEXT_PORTS[plain(port.name)]}"
        return None

    def _by_shape(self, *, exactly: bool) -> None:
        """Tensors and inputs that can only be each other."""
        for port in tuple(self._left):
            specs = [
                spec for spec in self._free.values() if self._may_be(spec, port, exactly=exactly)
            ]
            if (
                len(specs) == 1
                and sum(self._may_be(specs[0], other, exactly=exactly) for other in self._left) == 1
            ):
                self._feed(port, specs[0])

    def _may_be(self, spec: TensorSpec, port: Port, *, exactly: bool) -> bool:
        """Is this tensor of that input's shape and, `exactly` or after a cast, of its type?"""
        dims = port.dims or ()
        fits = agree(spec.dims, dims[1:]) or agree(spec.dims, dims)
        kind = self._kinds.get(spec.name)
        same = (
            spec.dtype == port.dtype if exactly else holds(spec.dtype, port.dtype, range_of(kind))
        )
        return bool(spec.dims) and fits and same

    def _columns(self, port: Port) -> list[TensorSpec]:
        """The scalars that go into the only matrix of their sort.

        The scalars are words or numbers; codes stand for words if there is no other place for them.
        """
        words = [other for other in self._left if other.dtype == "string"]
        mates = words if port in words else [other for other in self._left if other not in words]
        columns = [spec for spec in self._free.values() if not spec.dims]
        if words:
            columns = [spec for spec in columns if (spec.dtype == "string") == (port in words)]
        if len(mates) > 1 or not columns:
            raise Misfit(f"nothing in the contract is meant for the graph's input '{port.name}'")
        return columns


def match_answers(
    gives: Sequence[Port], outputs: Sequence[Promised], renamed: Mapping[str, str]
) -> list[tuple[Port, Promised]]:
    """Match each promised output to an output of the graph.

    Outputs match by name, then as the only one of their type and shape. Raises `Misfit`.
    """
    free = {port.name: port for port in gives}
    by_foreign = match_names(
        [renamed.get(name, name) for name in free], [field.name for field in outputs]
    )
    named = {
        by_foreign[said]: name for name in free if (said := renamed.get(name, name)) in by_foreign
    }
    pairs = []
    for field in sorted(outputs, key=lambda field: field.name not in named):
        name = named.get(field.name)
        fitting = (
            [name]
            if name in free
            else [port.name for port in free.values() if not misfit_of(port, field)]
        )
        if not fitting and len(free) == 1:
            fitting = list(free)
        if len(fitting) != 1:
            got = (
                "nothing in the graph is"
                if not fitting
                else f"any of {', '.join(map(repr, fitting))} could be"
            )
            raise Misfit(f"{got} the output '{field.name}'")
        port = free.pop(fitting[0])
        misfit = misfit_of(port, field) or other_classes(port, field)
        if misfit:
            raise Misfit(misfit)
        pairs.append((port, field))
    return pairs


def match_labels(
    gives: Sequence[Port], pairs: Sequence[tuple[Port, Promised]]
) -> list[tuple[Port, Promised]]:
    """Outputs beside the contract's that may be the label of its scores, one for each row.

    Only a graph with one output of scores leaves no doubt whose label it is.
    """
    promised = {port.name for port, _ in pairs}
    scored = [field for _, field in pairs if field.classes]
    beside = [
        port
        for port in gives
        if port.name not in promised
        and port.dtype in ("string", "int64", "int32")
        and port.dims is not None
        and (len(port.dims) == 1 or port.width() == 1)
    ]
    return [(port, scored[0]) for port in beside] if len(scored) == 1 else []


def misfit_of(port: Port, field: Promised) -> str:
    """Why an output of the graph is not the one promised; empty where it may be."""
    shape, dtype = field.shape, field.dtype
    where = (
        f"the graph's output '{port.name}' is {port.dtype} {shown(port.dims)}, "
        f"'{field.name}' is {dtype} {shown(shape_of(field, 'rows'))}"
    )
    if port.dtype not in V2_DATATYPES or not same_sort(port.dtype, dtype):
        return where
    if port.dims is None:
        return ""
    if len(port.dims) == 2 and not shape:
        return "" if port.dims[1] == 1 or isinstance(port.dims[1], str) else where
    dims = port.dims[1:] if len(port.dims) == 1 + len(shape) else port.dims
    fits = len(dims) == len(shape) and all(
        size is None or isinstance(got, str) or got == size
        for got, size in zip(dims, shape, strict=True)
    )
    return "" if fits else where


def other_classes(port: Port, field: Promised) -> str:
    """Describe where a label names the classes otherwise than the graph, or in another order.

    The text is empty where the classes are alike.
    """
    if not field.classes or port.classes in ((), field.classes):
        return ""
    ours, theirs = ", ".join(field.classes), ", ".join(port.classes)
    return f"'{field.name}' has the classes {ours}, the graph has {theirs}, in this order"


def same_sort(have: str, want: str) -> bool:
    """Whether an output of type `have` may answer for a field of type `want`.

    Floats may answer for floats, and whole numbers for a type that holds all of them: an answer is
    never another number than the graph's.
    """
    return (
        have != "string"
        and (np.dtype(have).kind == "f") == (np.dtype(want).kind == "f")
        and holds(have, want)
    )
