"""Fitting a contract to a foreign graph: the operators that stand between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from seatrial_contracts.errors import GateError
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.kind import Dim, TensorSpec
from seatrial_export.adopt.activation import OPERATORS, Activations
from seatrial_export.adopt.casts import element_type, holds, range_of
from seatrial_export.adopt.editor import Editor, inside
from seatrial_export.adopt.label_rule import check_scores
from seatrial_export.adopt.match import (
    Fed,
    Inputs,
    Misfit,
    match_answers,
    match_labels,
)
from seatrial_export.adopt.port import OPEN, Port, agree, shown
from seatrial_export.adopt.promised import Promised, promised_by, shape_of
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.gate.answered import LABELS
from seatrial_export.gate.candidate import BATCH
from seatrial_export.gate.lookup import ML_DOMAIN, lookup_attributes


@dataclass(frozen=True)
class Fitted:
    """A graph that takes what the contract gives, and answers what it promises."""

    model: onnx.ModelProto
    one_at_a_time: bool
    """Does the graph take exactly one row?"""
    inputs: tuple[Fed, ...]
    """The foreign graph's inputs, each with the fields that enter it."""
    outputs: tuple[tuple[Port, Promised], ...]
    """The foreign graph's outputs that the contract promises."""
    labels: tuple[tuple[Port, Promised], ...]
    """Its further outputs that may be the class for which some scores stand."""


def fit(
    model: onnx.ModelProto,
    declared: ModelDeclaration,
    renamed: Mapping[str, str],
    activations: Activations,
) -> Fitted:
    """Put the contract's names, types, shapes and activations on a foreign graph.

    Raises `GateError` that lists both sides.
    """
    editor = Editor(model)
    try:
        check_renamed(renamed, editor, declared)
        return Fitting(editor, declared, renamed, activations).fitted()
    except Misfit as misfit:
        mend = (
            "declare rows and answers as the graph has them; "
            "where names alone differ: --rename GRAPH_NAME=FIELD"
        )
        raise GateError(
            "contract", f"it does not fit the graph: {misfit}{both_sides(editor, declared)}", mend
        ) from None


def both_sides(editor: Editor, declared: ModelDeclaration) -> str:
    """What contract and graph give and take, a line each."""
    outputs = promised_by(declared.contract)
    sides: dict[str, Sequence[object]] = {
        "contract gives": [
            f"{spec.name} {spec.dtype} {shown(('rows', *spec.dims))}" for spec in declared.specs
        ],
        "graph takes": editor.takes,
        "graph answers": editor.gives,
        "contract answers": [
            f"{field.name} {field.dtype} {shown(shape_of(field, 'rows'))}" for field in outputs
        ],
    }
    return "".join(
        f"\n  {side}: {'; '.join(map(str, items)) or 'nothing'}" for side, items in sides.items()
    )


def check_renamed(renamed: Mapping[str, str], editor: Editor, declared: ModelDeclaration) -> None:
    """Raise `Misfit` for a name that neither side has."""
    theirs = {port.name for port in (*editor.takes, *editor.gives)}
    ours = {spec.name for spec in declared.specs}
    ours |= {tensor.name for tensor in declared.contract.answer_tensors}
    for name, field in renamed.items():
        if name not in theirs or field not in ours:
            which, what = ("graph", name) if name not in theirs else ("contract", field)
            raise Misfit(f"--rename {name}={field}: the {which} has no '{what}'")


class Fitting:
    """One graph and one contract while they are put together."""

    def __init__(
        self,
        editor: Editor,
        declared: ModelDeclaration,
        renamed: Mapping[str, str],
        activations: Activations,
    ) -> None:
        self._editor, self._declared, self._renamed = editor, declared, renamed
        self._activations = activations
        self._kinds = {
            spec.name: field.kind for field in declared.contract.inputs for spec in field.tensors
        }
        self._sizes = {spec.name: spec.dims for spec in declared.specs}
        """Of each input, without the batch."""
        self._alone = False

    def fitted(self) -> Fitted:
        """The graph with what stands before and behind it. Raises `Misfit`."""
        specs, outputs = self._declared.specs, promised_by(self._declared.contract)
        gives = self._declared.contract.graph_answers
        fed = Inputs(self._editor.takes, self._declared.contract, specs, self._renamed).matched()
        for port, parts, zeros in fed:
            value = (
                self._columns(port, parts)
                if len(parts) > 1
                else self._whole(port, parts[0], zeros=zeros)
            )
            self._editor.feed(port.name, value)
        given = match_answers(self._editor.gives, outputs, self._renamed)
        for port, field in given:
            self._give(port, field)
        batch: Dim = 1 if self._alone else BATCH
        closed = self._editor.close(
            [
                (spec.name, element_type(spec.dtype), (batch, *self._sizes[spec.name]))
                for spec in specs
            ],
            [
                (gives[field.name], element_type(field.dtype), shape_of(field, batch))
                for field in outputs
            ],
        )
        theirs = [port for port in self._editor.gives if port.name not in self._editor.tree_labels]
        labels = match_labels(theirs, given)
        return Fitted(closed, self._alone, tuple(fed), tuple(given), tuple(labels))

    def _whole(self, port: Port, spec: TensorSpec, *, zeros: bool) -> str:
        """One tensor as the port takes it: as it is, as a column, or as a row without its batch."""
        value = self._cast(
            self._editor.before("Sub", [spec.name] * 2) if zeros else spec.name, spec, port
        )
        dims = port.dims if port.dims is not None else (OPEN, *spec.dims)
        if not spec.dims and len(dims) == 2 and dims[1] in (1, OPEN):
            value = self._editor.before("Unsqueeze", [value], axes=[1])
        elif agree(spec.dims, dims):
            self._alone = True
            value = self._editor.before("Squeeze", [value], axes=[0])
        elif not agree(spec.dims, dims[1:]):
            ours = shown(("rows", *spec.dims))
            raise Misfit(
                f"'{spec.name}' is {ours}, the graph's input '{port.name}' is {shown(dims)}"
            )
        if len(dims) > len(spec.dims):
            self._check_batch(port, dims[0])
        self._sizes[spec.name] = sizes_between(spec, dims)
        return value

    def _columns(self, port: Port, specs: Sequence[TensorSpec]) -> str:
        """Several fields side by side, in the contract's order."""
        width = port.width()
        if (port.dims is not None and len(port.dims) != 2) or width not in (None, len(specs)):
            names = ", ".join(spec.name for spec in specs)
            raise Misfit(
                f"{len(specs)} fields ({names}) are left for the graph's input "
                f"'{port.name}' {shown(port.dims)}"
            )
        if port.dims is not None:
            self._check_batch(port, port.dims[0])
        columns = [
            self._editor.before("Unsqueeze", [self._cast(spec.name, spec, port)], axes=[1])
            for spec in specs
        ]
        return self._editor.before("Concat", columns, axis=1)

    def _check_batch(self, port: Port, batch: Dim) -> None:
        if batch == 1:
            self._alone = True
        elif isinstance(batch, int):
            raise Misfit(
                f"the graph's input '{port.name}' {shown(port.dims)} takes exactly {batch} rows "
                "at once; export it with an open batch, "
                "or with a batch of 1, which is served a row at a time"
            )

    def _cast(self, value: str, spec: TensorSpec, port: Port) -> str:
        """Cast the value of a field to the port's type.

        Words become codes where the graph takes numbers; whole numbers enter as they are.
        """
        kind, have = self._kinds.get(spec.name), spec.dtype
        if isinstance(kind, Category) and kind.whole and (kind.nullable or kind.buckets):
            raise Misfit(
                f"'{spec.name}' is a category of whole numbers, some of which stand for what is "
                "missing or unknown, which an adopted graph knows nothing of"
            )
        if isinstance(kind, Category) and not kind.whole and port.dtype != "string":
            value = self._editor.before(
                "LabelEncoder", [value], domain=ML_DOMAIN, **lookup_attributes(kind)
            )
            have = "int64"
            self._editor.use_lookups()
        if not holds(have, port.dtype, range_of(kind)):
            cause = (
                f"the graph's input '{port.name}' is {port.dtype}, "
                "which does not hold all its values"
            )
            raise Misfit(f"'{spec.name}' is {spec.dtype}, {cause}")
        return (
            value
            if have == port.dtype
            else self._editor.before("Cast", [value], to=element_type(port.dtype))
        )

    def _give(self, port: Port, field: Promised) -> None:
        """One output of the graph as the contract promises it."""
        check_scores(field, port.name, self._editor.platt_scores)
        if port.name in self._editor.tree_labels:
            raise GateError(
                LABELS,
                f"output '{field.name}' is the label of a classifier of trees with two classes, "
                "which contradicts its scores in onnxruntime",
                "declare the scores: Annotated[str, st.Label(...)], whose label is the first "
                "class with the highest score",
            )
        value, dtype, shape = inside(port.name), field.dtype, field.shape
        if port.dtype != dtype:
            value = self._editor.behind("Cast", [value], to=element_type(dtype))
        rank = 1 + len(shape) if port.dims is None else len(port.dims)
        if rank == len(shape):
            self._alone = True
            value = self._editor.behind("Unsqueeze", [value], axes=[0])
        elif not shape and rank == 2:
            value = self._editor.behind("Squeeze", [value], axes=[1])
        operator = OPERATORS.get(self._activations.get(field.name, ""))
        if operator is not None:
            attributes: dict[str, Any] = {"axis": len(shape)} if operator == "Softmax" else {}
            value = self._editor.behind(operator, [value], **attributes)
        output = self._declared.contract.graph_answers[field.name]
        self._editor.behind("Identity", [value], output=output)


def sizes_between(spec: TensorSpec, theirs: Sequence[Dim]) -> tuple[Dim, ...]:
    """Sizes of a field where it enters the graph.

    A size is open where the graph is open, since a branch not taken may be for other sizes than the
    contract's.
    """
    pairs = zip(spec.dims, theirs[len(theirs) - len(spec.dims) :], strict=True)
    return tuple(
        f"{spec.name}_{axis}" if isinstance(own, int) and isinstance(size, str) else own
        for axis, (own, size) in enumerate(pairs)
    )
