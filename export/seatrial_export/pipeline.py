"""A pipeline: the model, its preprocessing and its contract, as training knows them and as they are to be sealed."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from seatrial_contracts.compare import Array, Tolerance
from seatrial_contracts.contract import Contract, Limits, Objective, contract_from_rows
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.front import EncodedRow, Front, collate
from seatrial_contracts.golden import Refused
from seatrial_contracts.kinds.category import Category
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.manifest import check_name, check_version
from seatrial_contracts.row import Answer, Row
from torch import Tensor, nn

RawRow = Row | Mapping[str, Any]
DEFAULT_OPSET = 20
WAIVABLE = frozenset({"torch_export"})
"""Steps of the export gate that an author may waive, with a reason, because they refuse some models that export rightly."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pipeline:
    """What `seatrial export` seals: the same objects that training uses.

    `model.forward` takes the graph's inputs by keyword, batched: a number as its own type, shape `(batch,)`, missing as NaN; a
    flag bool `(batch,)`; a category int64 codes `(batch,)`; a text as `<field>_ids` and `<field>_mask`, int64
    `(batch, tokens)`; a tensor `(batch, *shape)`; an image uint8 `(batch, height, width, 3)`, or what `prepare` makes of it.
    It returns a tensor, or a tuple in the order of the answer's fields, or a dict of them; every output has the batch first.

    `prepare.forward` works on one row, without a batch. It takes by keyword the inputs that its signature names, and returns
    a tensor, which replaces its only input under the same name, or a dict of the model's inputs. All others go straight to
    the model. Both are in eval mode before they are exported: the gate never calls `eval()` for you.

    `golden`: raw rows, as a client would send them, that the sealed bundle has to answer as the model does now, on every
    machine; the odd ones belong here. `refused`: rows, each with the code it must be refused with. `reference`: rows as
    production will see them, thousands at best; their distribution is what drift is measured against.

    Raises `DeclarationError` that names what to mend.
    """

    name: str
    version: str
    inputs: type[Row]
    outputs: type[Answer]
    model: nn.Module
    golden: Sequence[RawRow]
    prepare: nn.Module | None = None
    reference: Sequence[RawRow] = ()
    refused: Sequence[Refused | tuple[Any, str]] = ()
    limits: Limits | None = None
    tolerance: Tolerance | None = None
    objective: Objective | None = None
    batchable: bool = True
    """False: one row's answer may depend on the others of its batch; rows are then never run together."""
    opset: int = DEFAULT_OPSET
    formats: Sequence[str] = ("onnx",)
    waive: Mapping[str, str] = field(default_factory=dict)
    """Gate step -> why it does not apply; it is written into the manifest for all to read."""

    def __post_init__(self) -> None:
        for check, value in ((check_name, self.name), (check_version, self.version)):
            try:
                check(value)
            except (ValueError, TypeError) as error:
                raise DeclarationError(f"Pipeline.{check.__name__[6:]}", repr(value)[:80], str(error)) from None
        for role, module in (("model", self.model), ("prepare", self.prepare)):
            if not isinstance(module, nn.Module) and (role == "model" or module is not None):
                raise DeclarationError(f"Pipeline.{role}", f"a {type(module).__name__}", "a torch.nn.Module")
        if not self.golden:
            raise DeclarationError("Pipeline.golden", "no rows", "at least one raw row, as a client would send it")
        for step, reason in self.waive.items():
            if step not in WAIVABLE or not isinstance(reason, str) or not reason.strip():
                raise DeclarationError("Pipeline.waive", repr({step: reason})[:100], f"one of {sorted(WAIVABLE)} with the reason why")
        self._check_names()

    def _check_names(self) -> None:
        fields = {spec.name for spec in self.contract.tensors}
        both = fields & {field.name for field in self.contract.outputs}
        if both:
            raise DeclarationError(f"{self.outputs.__name__}.{min(both)}", "a name that an input of the graph has already", "names of their own", "rename the answer's field")
        missing = sorted(set(self.prepare_inputs) - fields)
        if missing:
            raise DeclarationError("prepare.forward", f"a parameter '{missing[0]}'", f"the names of the row's tensors: {', '.join(sorted(fields))}")

    @cached_property
    def contract(self) -> Contract:
        """The contract, read off the two classes. Raises `DeclarationError`."""
        return contract_from_rows(self.inputs, self.outputs, limits=self.limits, tolerance=self.tolerance, objective=self.objective)

    @cached_property
    def front_files(self) -> Mapping[str, bytes]:
        """The files of the host stage, as the bundle holds them."""
        return {name: data for field in self.contract.inputs for name, data in field.kind.front_files(field.name).items()}

    @cached_property
    def front(self) -> Front:
        """The host stage."""
        return Front(self.contract, self.front_files)

    @cached_property
    def refusals(self) -> tuple[Refused, ...]:
        """The rows that must be refused, with their codes."""
        return tuple(item if isinstance(item, Refused) else Refused(*item) for item in self.refused)

    @cached_property
    def categories(self) -> Mapping[str, Category]:
        """The inputs that are strings in the graph and codes in training."""
        return {field.name: field.kind for field in self.contract.inputs if isinstance(field.kind, Category)}

    @cached_property
    def prepare_inputs(self) -> tuple[str, ...]:
        """What prepare takes, by the signature of its `forward`."""
        if self.prepare is None:
            return ()
        return tuple(inspect.signature(self.prepare.forward).parameters)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """The answer's fields, in order."""
        return tuple(field.name for field in self.contract.outputs)

    def stage(self, rows: Iterable[RawRow]) -> list[EncodedRow]:
        """Raw rows, validated, through the host stage: aligned with `contract.tensors`. Raises `Refusal`."""
        return [self.front.encode_row(self.contract.validate_row(row, place), place) for place, row in enumerate(rows)]

    def encode(self, rows: Sequence[RawRow]) -> dict[str, Tensor]:
        """What the model takes for these rows, as one batch: the call that training makes. Raises `Refusal`."""
        return self.batch([self.enter(row) for row in self.stage(rows)])

    def answer(self, rows: Sequence[RawRow]) -> list[dict[str, Array]]:
        """The reference: what the model, in the mode it is in, answers to each row, asked alone. Raises `Refusal`."""
        return [self.answer_staged([row])[0] for row in self.stage(rows)]

    def answer_staged(self, rows: Sequence[EncodedRow]) -> list[dict[str, Array]]:
        """As `answer`, for rows that went through the host stage and run as one batch."""
        outputs = {name: value.numpy(force=True) for name, value in self.run(self.batch([self.enter(row) for row in rows])).items()}
        return [{name: array[place] for name, array in outputs.items()} for place in range(len(rows))]

    def enter(self, row: EncodedRow) -> dict[str, Array]:
        """One row as the model takes it, without the batch: categories as codes, `prepare` applied."""
        values = {spec.name: self._code(spec, value) for spec, value in zip(self.contract.tensors, row, strict=True)}
        if self.prepare is None:
            return values
        taken = {name: torch.tensor(values.pop(name)) for name in self.prepare_inputs}
        with torch.no_grad():
            return values | {name: value.numpy(force=True) for name, value in named_prepared(self.prepare(**taken), self.prepare_inputs).items()}

    def _code(self, spec: TensorSpec, value: Any) -> Array:
        if spec.dtype == "string":
            return cast(Array, self.categories[spec.name].codes([value])[0])
        return np.asarray(value, spec.dtype)

    def batch(self, rows: Sequence[Mapping[str, Array]]) -> dict[str, Tensor]:
        """Rows as `enter` gives them to one batch, padded where the contract says so."""
        pads = {spec.name: spec.pad for spec in self.contract.tensors}
        specs = [TensorSpec(name=name, dtype=value.dtype.name, dims=value.shape, pad=pads.get(name)) for name, value in rows[0].items()]
        for spec in specs:
            shapes = sorted({row[spec.name].shape for row in rows})
            if spec.pad is None and len(shapes) > 1:
                raise DeclarationError(f"input '{spec.name}'", f"rows of shapes {shapes[0]} and {shapes[1]} in one batch", "rows of one shape",
                                       "let prepare bring them to one shape, or encode them one by one")  # fmt: skip
        return {name: torch.tensor(array) for name, array in collate(specs, [tuple(row[spec.name] for spec in specs) for row in rows]).items()}

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The model's outputs by name, batched, without gradients."""
        with torch.no_grad():
            return named_outputs(self.model(**feeds), self.output_names)


def named_outputs(result: Any, names: Sequence[str]) -> dict[str, Tensor]:
    """What a model returned, by the names of the answer's fields. Raises `DeclarationError`."""
    if isinstance(result, Mapping) and set(result) == set(names):
        result = [result[name] for name in names]
    elif isinstance(result, Tensor):
        result = [result]
    if not isinstance(result, (list, tuple)) or len(result) != len(names) or not all(isinstance(value, Tensor) for value in result):
        got = f"a dict with {sorted(result)}" if isinstance(result, Mapping) else f"{len(result)} of them" if isinstance(result, (list, tuple)) else f"a {type(result).__name__}"
        raise DeclarationError("model.forward", got[:200], f"tensors for {', '.join(names)}, in this order, or a dict with these names")
    return dict(zip(names, result, strict=True))


def named_prepared(result: Any, inputs: Sequence[str]) -> dict[str, Tensor]:
    """What prepare returned, by the names of the model's inputs. Raises `DeclarationError`."""
    if isinstance(result, Tensor) and len(inputs) == 1:
        return {inputs[0]: result}
    if isinstance(result, Mapping) and result and all(isinstance(value, Tensor) for value in result.values()):
        return dict(result)
    raise DeclarationError("prepare.forward", f"a {type(result).__name__}", "one tensor for its one input, or a dict: the model's input name -> tensor")
