"""Fitting a contract to a foreign graph: which field goes where, and the operators that stand between the two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from seatrial_contracts.contract import OutputField
from seatrial_contracts.errors import GateError
from seatrial_contracts.golden import numpy_dtype
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.kind import V2_DATATYPES, Dim, Kind, TensorSpec
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.text import Text
from seatrial_export.adopt.casts import element_type, holds, range_of
from seatrial_export.adopt.editor import Editor, inside
from seatrial_export.adopt.port import OPEN, Port, agree, plain, shown
from seatrial_export.declared import Declared
from seatrial_export.gate.lookup import ML_DOMAIN, lookup_attributes
from seatrial_export.gate.sealable import BATCH

TEXT_PORTS = {"input_ids": "ids", "attention_mask": "mask"}
"""What exporters of language models call the tensors of a text, and which of a text field's they are."""
SEGMENTS = "token_type_ids"
"""Zeros, where a model takes one text."""
Pair = tuple[Port, list[TensorSpec]]


class Misfit(Exception):
    """Why a field and a port do not go together."""


@dataclass(frozen=True)
class Fitted:
    """A graph that takes what the contract gives, and answers what it promises."""

    model: onnx.ModelProto
    one_at_a_time: bool
    """Does the graph take exactly one row?"""


def fit(model: onnx.ModelProto, declared: Declared, renamed: Mapping[str, str]) -> Fitted:
    """Put the contract's names, types and shapes on a foreign graph. Raises `GateError` that lists both sides."""
    editor = Editor(model)
    try:
        return Fitting(editor, declared, renamed).fitted()
    except Misfit as misfit:
        wants = [f"{spec.name} {spec.dtype} {shown(('rows', *spec.dims))}" for spec in declared.specs]
        answers = [
            f"{field.name} {dtype_of(field)} {shown(shape_of(field, 'rows'))}" for field in declared.contract.outputs
        ]
        sides = (
            ("contract gives", wants),
            ("graph takes", editor.takes),
            ("graph answers", editor.gives),
            ("contract answers", answers),
        )
        listed = "".join(f"\n  {side}: {'; '.join(map(str, items)) or 'nothing'}" for side, items in sides)
        mend = "declare rows and answers as the graph has them; where names alone differ: --rename GRAPH_NAME=FIELD"
        raise GateError("contract", f"it does not fit the graph: {misfit}{listed}", mend) from None


class Fitting:
    """One graph and one contract while they are put together."""

    def __init__(self, editor: Editor, declared: Declared, renamed: Mapping[str, str]) -> None:
        self._editor, self._takes, self._gives, self._renamed = editor, editor.takes, editor.gives, renamed
        self._specs, self._outputs = declared.specs, declared.contract.outputs
        self._kinds = {
            spec.name: field.kind for field in declared.contract.inputs for spec in field.kind.tensors(field.name)
        }
        self._texts = [field.name for field in declared.contract.inputs if isinstance(field.kind, Text)]
        self._sizes = {spec.name: spec.dims for spec in self._specs}
        """Of each input, without the batch."""
        self._alone = False

    def fitted(self) -> Fitted:
        """The graph with what stands before and behind it."""
        self._check_renamed()
        for port, specs in self._inputs():
            if len(specs) == 1:
                self._feed(port, specs[0])
            else:
                self._feed_matrix(port, specs)
        for port, field in self._answers():
            self._give(port, field)
        batch: Dim = 1 if self._alone else BATCH
        inputs = [(spec.name, element_type(spec.dtype), (batch, *self._sizes[spec.name])) for spec in self._specs]
        outputs = [(field.name, element_type(dtype_of(field)), shape_of(field, batch)) for field in self._outputs]
        return Fitted(self._editor.close(inputs, outputs), self._alone)

    def _check_renamed(self) -> None:
        fields = [spec.name for spec in self._specs] + [field.name for field in self._outputs]
        for name, field in self._renamed.items():
            if name not in {port.name for port in (*self._takes, *self._gives)}:
                raise Misfit(f"--rename {name}={field}: the graph has no '{name}'")
            if field not in fields:
                raise Misfit(f"--rename {name}={field}: the contract has no '{field}'")

    def _inputs(self) -> list[Pair]:
        """Each input of the graph and what of the contract enters it: by name, then the only one left, then the rest as matrices."""
        free = {spec.name: spec for spec in self._specs}
        pairs: list[Pair] = []
        left = []
        for port in self._takes:
            name = self._renamed.get(port.name) or self._same_name(port, free)
            if name in free:
                pairs.append((port, [free.pop(name)]))
            elif plain(port.name) == SEGMENTS and self._texts:
                self._zeros(port, f"{self._texts[0]}_ids")
            else:
                left.append(port)
        unneeded = {f"{text}_mask" for text in self._texts}
        wanted = [name for name in free if name not in unneeded]
        if len(left) == 1 and len(wanted) == 1:
            return [*pairs, (left[0], [free[wanted[0]]])]
        for port in left:
            specs = self._rest(port, left, free)
            wanted = [name for name in wanted if free[name] not in specs]
            pairs.append((port, specs))
        if wanted:
            raise Misfit(f"the graph has no input for '{wanted[0]}'")
        return pairs

    def _same_name(self, port: Port, names: Iterable[str]) -> str | None:
        """The contract's name for a port: its own, spelled as a field can be, or what it is of the only text."""
        if len(self._texts) == 1 and plain(port.name) in TEXT_PORTS:
            return f"{self._texts[0]}_{TEXT_PORTS[plain(port.name)]}"
        return next((name for name in names if plain(name) == plain(port.name)), None)

    def _rest(self, port: Port, left: Sequence[Port], free: Mapping[str, TensorSpec]) -> list[TensorSpec]:
        """What has no input of its own name goes into the only matrix of its sort: words, or numbers, where codes stand for words if there is no other place."""
        words = [each for each in left if each.dtype == "string"]
        mates = words if port in words else [each for each in left if each not in words]
        rest = [spec for spec in free.values() if not spec.dims]
        if words:
            rest = [spec for spec in rest if (spec.dtype == "string") == (port in words)]
        if len(mates) > 1 or not rest:
            raise Misfit(f"nothing in the contract is meant for the graph's input '{port.name}'")
        return rest

    def _answers(self) -> list[tuple[Port, OutputField]]:
        """Each output promised and the graph's output that it is: by name, then the only one of its type and shape."""
        free = {port.name: port for port in self._gives}
        named = {self._renamed.get(name, plain(name)): name for name in free}
        pairs = []
        for field in sorted(self._outputs, key=lambda field: not self._named(field, named)):
            name = self._named(field, named)
            fitting = [name] if name in free else [port.name for port in free.values() if not misfit_of(port, field)]
            if not fitting and len(free) == 1:
                fitting = list(free)
            if len(fitting) != 1:
                got = "nothing in the graph is" if not fitting else f"any of {', '.join(map(repr, fitting))} could be"
                raise Misfit(f"{got} the output '{field.name}'")
            pairs.append((free.pop(fitting[0]), field))
        return pairs

    @staticmethod
    def _named(field: OutputField, named: Mapping[str, str]) -> str | None:
        return named.get(field.name) or named.get(plain(field.name))

    def _feed(self, port: Port, spec: TensorSpec) -> None:
        """One field into one input."""
        value = self._cast(spec, port)
        dims = port.dims if port.dims is not None else (OPEN, *spec.dims)
        if not spec.dims and len(dims) == 2 and dims[1] in (1, OPEN):
            value = self._editor.before("Unsqueeze", [value], axes=[1])
        elif len(dims) == len(spec.dims) and agree(spec.dims, dims):
            self._alone = True
            value = self._editor.before("Squeeze", [value], axes=[0])
        elif not (len(dims) == 1 + len(spec.dims) and agree(spec.dims, dims[1:])):
            raise Misfit(
                f"'{spec.name}' is {shown(('rows', *spec.dims))}, the graph's input '{port.name}' is {shown(dims)}"
            )
        if len(dims) > len(spec.dims):
            self._check_batch(port, dims[0])
        self._sizes[spec.name] = sizes_between(spec, dims)
        self._enter(port, value)

    def _feed_matrix(self, port: Port, specs: Sequence[TensorSpec]) -> None:
        """Several fields side by side into one input, in the contract's order."""
        width = port.width()
        if (port.dims is not None and len(port.dims) != 2) or width not in (None, len(specs)):
            names = ", ".join(spec.name for spec in specs)
            raise Misfit(
                f"{len(specs)} fields ({names}) are left for the graph's input '{port.name}' {shown(port.dims)}"
            )
        columns = [self._editor.before("Unsqueeze", [self._cast(spec, port)], axes=[1]) for spec in specs]
        if port.dims is not None:
            self._check_batch(port, port.dims[0])
        self._enter(port, self._editor.before("Concat", columns, axis=1))

    def _check_batch(self, port: Port, batch: Dim) -> None:
        if batch == 1:
            self._alone = True
        elif isinstance(batch, int):
            raise Misfit(
                f"the graph's input '{port.name}' {shown(port.dims)} takes exactly {batch} rows at once; export it with an open batch, "
                "or with a batch of 1, which is served a row at a time"
            )

    def _cast(self, spec: TensorSpec, port: Port) -> str:
        """The field as the port's type: words become codes where the graph takes numbers."""
        kind, have, value = self._kinds.get(spec.name), spec.dtype, spec.name
        if isinstance(kind, Category) and port.dtype != "string":
            value, have = (
                self._editor.before("LabelEncoder", [value], domain=ML_DOMAIN, **lookup_attributes(kind)),
                "int64",
            )
            self._editor.use_lookups()
        if not castable(have, port.dtype, kind):
            raise Misfit(
                f"'{spec.name}' is {spec.dtype}, the graph's input '{port.name}' is {port.dtype}, which does not hold all its values"
            )
        return value if have == port.dtype else self._editor.before("Cast", [value], to=element_type(port.dtype))

    def _zeros(self, port: Port, ids: str) -> None:
        """Zeros in the shape of a text."""
        zeros = self._editor.before("Sub", [ids, ids])
        if port.dtype != "int64":
            zeros = self._editor.before("Cast", [zeros], to=element_type(port.dtype))
        self._enter(port, zeros)

    def _enter(self, port: Port, value: str) -> None:
        self._editor.before("Identity", [value], output=inside(port.name))

    def _give(self, port: Port, field: OutputField) -> None:
        """One output of the graph as the contract promises it."""
        misfit = misfit_of(port, field)
        if misfit:
            raise Misfit(misfit)
        kind, value, dtype = field.kind, inside(port.name), dtype_of(field)
        if isinstance(kind, Label) and port.classes and port.classes != kind.classes:
            raise Misfit(
                f"'{field.name}' has the classes {', '.join(kind.classes)}, the graph has {', '.join(port.classes)}, in this order"
            )
        if port.dtype != dtype:
            value = self._editor.behind("Cast", [value], to=element_type(dtype))
        rank = 1 + len(kind.shape) if port.dims is None else len(port.dims)
        if rank == len(kind.shape):
            self._alone = True
            value = self._editor.behind("Unsqueeze", [value], axes=[0])
        elif not kind.shape and rank == 2:
            value = self._editor.behind("Squeeze", [value], axes=[1])
        self._editor.behind("Identity", [value], output=field.name)


def castable(have: str, want: str, kind: Kind | None) -> bool:
    """May a field's values be of the port's type?"""
    return holds(
        have, want, range_of(kind, have) if kind is not None and not have.startswith(("float", "string")) else None
    )


def sizes_between(spec: TensorSpec, theirs: Sequence[Dim]) -> tuple[Dim, ...]:
    """Sizes of a field where it enters: open where the graph is open, since a branch not taken may be for other sizes than the contract's."""
    pairs = zip(spec.dims, theirs[len(theirs) - len(spec.dims) :], strict=True)
    return tuple(
        f"{spec.name}_{axis}" if isinstance(own, int) and isinstance(size, str) else own
        for axis, (own, size) in enumerate(pairs)
    )


def misfit_of(port: Port, field: OutputField) -> str:
    """Why an output of the graph is not the one promised; empty where it may be."""
    shape, dtype = field.kind.shape, dtype_of(field)
    where = f"the graph's output '{port.name}' is {port.dtype} {shown(port.dims)}, '{field.name}' is {dtype} {shown(shape_of(field, 'rows'))}"
    if port.dtype not in V2_DATATYPES or not same_sort(port.dtype, dtype):
        return where
    if port.dims is None:
        return ""
    if len(port.dims) == 2 and not shape:
        return "" if port.dims[1] == 1 or isinstance(port.dims[1], str) else where
    dims = port.dims[1:] if len(port.dims) == 1 + len(shape) else port.dims
    fits = len(dims) == len(shape) and all(
        size is None or isinstance(got, str) or got == size for got, size in zip(dims, shape, strict=True)
    )
    return "" if fits else where


def same_sort(have: str, want: str) -> bool:
    """Floats for floats, and whole numbers that hold all of the others: an answer is never another number than the graph's."""
    return have != "string" and (np.dtype(have).kind == "f") == (np.dtype(want).kind == "f") and holds(have, want)


def dtype_of(field: OutputField) -> str:
    """Numpy's name of what an output is made of."""
    return numpy_dtype(field.kind.datatype)


def shape_of(field: OutputField, batch: Dim) -> tuple[Dim, ...]:
    """Sizes of an output, those that are open by names of their own."""
    return (batch, *(f"{field.name}_{axis}" if size is None else size for axis, size in enumerate(field.kind.shape)))
