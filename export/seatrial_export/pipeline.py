"""The pipeline: what a user declares in one file, and what training itself calls for its inputs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seatrial_contracts.calibration import Calibration
from seatrial_contracts.element_types import DECLARED_DATATYPES, DTYPES, FLOATS
from seatrial_contracts.errors import DeclarationError, shortened
from seatrial_contracts.host_stage import EncodedRow, collate
from seatrial_contracts.kinds.flag import Flag
from seatrial_contracts.kinds.kind import Array, TensorSpec
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.manifest import Origin
from seatrial_contracts.own_rows import own_rows
from seatrial_contracts.sample import RawRow
from seatrial_export.around import ByName, naming
from seatrial_export.bfloat16_edges import edged
from seatrial_export.declaration import SHAPE_ROWS, ModelDeclaration, specs_seen
from seatrial_export.judge import Judge
from seatrial_export.precision import (
    DOUBLE,
    NARROW,
    as_given,
    cast,
    computes_in,
    is_double,
    name_of,
    narrow_weights,
    raised,
)
from seatrial_export.programs.modules import from_program
from seatrial_export.temperature import fit_temperatures, tempered
from seatrial_export.wrappers import unwrapped

CASTS = {"FP32": "float", "FP64": "double", "INT64": "long", "INT32": "int", "BOOL": "bool"}
"""V2's datatype -> the method of a tensor that makes it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pipeline(ModelDeclaration):
    """Rows, prepare and model: the same objects that training uses.

    `model.forward` takes the contract's tensors by name (a single one by any name), batched:
    numbers float32 or intN `(batch,)` with NaN for missing, flags bool `(batch,)`, categories int64
    codes `(batch,)`, texts `<field>_ids` and `<field>_mask` int64 `(batch, tokens)`, tensors
    `(batch, *shape)`, images uint8 `(batch, height, width, 3)`. `forward(self, **fields)` takes
    whatever there is. It returns one tensor, or a tuple in the order of the answer's fields, or a
    dict by their names. Fields of bfloat16 are bfloat16 for the model, and float32 in the graph and
    for `prepare`.

    `prepare.forward`, where there is one, takes the tensors that its signature names, of one row,
    without the batch. It returns one tensor, which takes the place of its only input, or a dict of
    tensors by the names that the model takes.

    `temperature=True` makes the probabilities of labels honest: one temperature for each label,
    fitted at export on the held-out rows whose truth is known, becomes part of the graph.

    `judge` answers raw rows by the code of the library that the model comes from. The export
    compares the graph with it too, on golden, held-out and drawn rows.
    Everything else that it holds is described by `ModelDeclaration`.
    """

    model: nn.Module
    prepare: nn.Module | None = None
    temperature: bool | tuple[Calibration, ...] = False
    opset: int = 20
    judge: Judge | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "model", from_program(self.model, "pipeline model"))
        for role, module in (("model", self.model), ("prepare", self.prepare)):
            if not isinstance(module, nn.Module) and (role == "model" or module is not None):
                raise DeclarationError(
                    f"pipeline {role}",
                    f"a {type(module).__name__}",
                    "a torch.nn.Module",
                    mend_of_no_module(module, role),
                )
            if module is not None:
                object.__setattr__(self, role, unwrapped(module, f"pipeline {role}"))
        object.__setattr__(self, "model", raised(self.model, "pipeline model"))

    @property
    def origin(self) -> Origin:
        """Training itself, in PyTorch."""
        return Origin()

    @cached_property
    def calibrated(self) -> Pipeline:
        """The pipeline in its sealed form: with its temperatures, fitted now where they are wanted.

        Raises `DeclarationError` where too few held-out rows have a truth.
        """
        if self.temperature is not True:
            return self
        answers = [self.answer_encoded(row) for row in self.encoded_held_out]
        return replace(
            self, temperature=fit_temperatures(self.contract, self.held_out_samples, answers)
        )

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """The temperatures that were fitted."""
        return self.temperature if isinstance(self.temperature, tuple) else ()

    @cached_property
    def sealed_model(self) -> nn.Module:
        """What becomes the graph: the model, with its temperatures once they are fitted.

        Its edges are float32 where the model's are bfloat16. What it computes in 16 bits is
        computed in float32.
        """
        return self._sealed(self.model, self.precision)

    @cached_property
    def traced_model(self) -> nn.Module:
        """What is traced: the same, or in float32 what `sealed_model` computes in float64."""
        if not self.is_lowered:
            return self.sealed_model
        return self._sealed(copy.deepcopy(self.model).float(), torch.float32, DOUBLE)

    def _sealed(
        self, model: nn.Module, precision: torch.dtype | None,
        instead: Sequence[torch.dtype] = NARROW,
    ) -> nn.Module:  # fmt: skip
        model = self._by_position(model)
        outputs = [tensor.name for tensor in self.contract.answer_tensors]
        if precision is not None:
            model = cast(model, self.arguments, outputs, precision, self._answer_types, instead)
        if self.calibrations:
            model = tempered(model, self.arguments, outputs, self.calibrations)
        gives = {
            tensor.name for tensor in self.contract.answer_tensors if tensor.datatype == "BF16"
        }
        return edged(model, self.arguments, outputs, self.bfloat16_arguments, gives)

    @cached_property
    def narrow(self) -> str:
        """The type of 16 bits that the model has or computes in, where that is raised to float32.

        Empty where there is none. A model without such weights is called once to see.
        """
        weights = narrow_weights(as_given(self.model))
        if weights:
            return name_of(weights[0].dtype)
        feeds = self.batch(self.encoded_golden[:1])
        return computes_in(
            self._by_position(self.model),
            [
                feeds[name].to(torch.bfloat16) if name in self.bfloat16_arguments else feeds[name]
                for name in self.arguments
            ],
        )

    @cached_property
    def precision(self) -> torch.dtype | None:
        """The type that the model computes in, where that is not the contract's own.

        None where nothing needs a cast.
        """
        if self.narrow:
            return torch.float32
        return torch.float64 if is_double(self.model) else None

    @cached_property
    def is_lowered(self) -> bool:
        """Is a model of float64 traced in float32, as its contract has no float64?"""
        doubles = [spec.name for spec in self.specs if spec.dtype == "float64"]
        doubles += [t.name for t in self.contract.answer_tensors if t.datatype == "FP64"]
        return self.precision is torch.float64 and not doubles

    @cached_property
    def _answer_types(self) -> Mapping[str, torch.dtype]:
        """The types of the answers, as the answer class declares them."""
        named = {datatype: dtype for dtype, datatype in DECLARED_DATATYPES.items()}
        return {
            tensor.name: getattr(torch, named[tensor.datatype])
            for tensor in self.contract.answer_tensors
            if tensor.datatype in FLOATS
        }

    @cached_property
    def bfloat16_arguments(self) -> frozenset[str]:
        """Those of the model's arguments that are bfloat16: fields that no `prepare` takes."""
        declared = {
            field.graph_name for field in self.contract.inputs if field.kind.datatype == "BF16"
        }
        return frozenset(declared - set(self.prepare_inputs))

    @cached_property
    def prepare_inputs(self) -> tuple[str, ...]:
        """Names of the tensors that `prepare` takes, read off its signature.

        The tuple is empty where there is no prepare.
        """
        if self.prepare is None:
            return ()
        names = tuple(inspect.signature(self.prepare.forward).parameters)
        known = {spec.name for spec in self.contract.tensors}
        if not names or not set(names) <= known:
            raise DeclarationError(
                "prepare.forward",
                f"parameters {', '.join(names) or 'none'}",
                f"some of {', '.join(sorted(known))}",
            )
        return names

    @cached_property
    def prepared_specs(self) -> tuple[TensorSpec, ...]:
        """What `prepare` makes: sizes that are equal for the golden rows are fixed, others vary."""
        if self.prepare is None:
            return ()
        made = [
            self.call_prepare(self.prepare_feeds(row)) for row in self.encoded_golden[:SHAPE_ROWS]
        ]
        return specs_seen([{name: value.numpy() for name, value in row.items()} for row in made])

    def encode(self, rows: Sequence[RawRow] | Any) -> dict[str, Tensor]:
        """Encode raw rows, or a data frame, to the model's arguments, batched, for training.

        Raises `Refusal` that shows what breaks the contract.
        """
        raw = own_rows(rows, self.contract)
        feeds = self.batch([self.encode_row(row, place) for place, row in enumerate(raw)])
        return {
            name: tensor.to(torch.bfloat16) if name in self.bfloat16_arguments else tensor
            for name, tensor in feeds.items()
        }

    def answer(self, rows: Sequence[RawRow]) -> list[dict[str, Array]]:
        """The training side's answers, each row alone: the reference of every comparison."""
        return [self.answer_encoded(self.encode_row(row)) for row in rows]

    def answer_encoded(self, row: EncodedRow) -> dict[str, Array]:
        """The training side's answer to one row after the host stage, without the batch."""
        return {name: value[0].numpy() for name, value in self.call(self.batch([row])).items()}

    def batch(self, rows: Sequence[EncodedRow]) -> dict[str, Tensor]:
        """Batch rows after the host stage to the arguments of `sealed_model`.

        The rows are prepared, padded and stacked, with categories as codes.
        """
        feeds = collate(self.specs, [self.prepared(row) for row in rows])
        # A single picture is Pillow's own memory, which torch warns of: it cannot be written to.
        return {
            name: torch.as_tensor(np.require(self._coded(name, array), requirements="W"))
            for name, array in feeds.items()
        }

    def prepared(self, row: EncodedRow) -> EncodedRow:
        """A row after the host stage to a row for the model: one value for each of `specs`."""
        values: dict[str, Any] = {
            spec.name: value for spec, value in zip(self.contract.tensors, row, strict=True)
        }
        if self.prepare is not None:
            values |= {
                name: value.numpy()
                for name, value in self.call_prepare(self.prepare_feeds(row)).items()
            }
        return tuple(values[spec.name] for spec in self.specs)

    def prepare_feeds(self, row: EncodedRow) -> dict[str, Tensor]:
        """What `prepare` takes of one row after the host stage."""
        pairs = zip(self.contract.tensors, row, strict=True)
        return {
            spec.name: _tensor(spec, value)
            for spec, value in pairs
            if spec.name in self.prepare_inputs
        }

    def call_prepare(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`prepare` on one row, without gradients; what it makes, by name."""
        assert self.prepare is not None, "only called where there is a prepare"
        with torch.no_grad():
            # As above.
            made = self.prepare(**{name: tensor.clone() for name, tensor in feeds.items()})
        if isinstance(made, Tensor) and len(self.prepare_inputs) == 1:
            return {self.prepare_inputs[0]: made}
        if (
            isinstance(made, dict)
            and made
            and all(isinstance(value, Tensor) for value in made.values())
        ):
            return made
        want = "a tensor (where it takes one), or a dict of tensors by the model's parameter names"
        raise DeclarationError("prepare.forward", f"it returned a {type(made).__name__}", want)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Names of the model's tensors in the order in which `forward` takes them.

        Tensors are matched by name; where there is one tensor and one parameter, as in
        `nn.Sequential`, the names may differ. Raises `DeclarationError` where they do not fit.
        """
        for spec in self.specs:
            if spec.dtype == "string" and spec.name not in self.categories:
                raise DeclarationError(
                    f"input '{spec.name}'",
                    "a text without a tokenizer, for a PyTorch module",
                    'st.Text(tokenizer="path/to/tokenizer.json"): torch has no strings',
                    "seatrial adopt seals an ONNX graph that reads strings",
                )
        names = [spec.name for spec in self.specs]
        parameters = inspect.signature(self.model.forward).parameters.values()
        places = [
            parameter
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        required = [parameter.name for parameter in places if parameter.default is parameter.empty]
        taken = [parameter.name for parameter in places if parameter.name in names]
        if self._takes_by_name:
            return tuple(names)
        if len(names) == 1 and len(required) == 1:
            return tuple(names)
        if (
            set(taken) != set(names)
            or not set(required) <= set(names)
            or [parameter.name for parameter in places[: len(taken)]] != taken
        ):
            raise DeclarationError(
                "model.forward",
                f"parameters {', '.join(p.name for p in parameters)}",
                shortened(f"forward(self, {', '.join(names)})"),
                self._mend_of_arguments(required),
            )
        return tuple(taken)

    @cached_property
    def _takes_by_name(self) -> bool:
        """Does `forward` take tensors by name alone: `forward(self, **fields)`?"""
        parameters = inspect.signature(self.model.forward).parameters.values()
        return [parameter.kind for parameter in parameters] == [inspect.Parameter.VAR_KEYWORD]

    def _by_position(self, model: nn.Module) -> nn.Module:
        """The model, of which the tensors are arguments in their order."""
        if not self._takes_by_name:
            return model
        return naming(ByName, self.arguments)(model, self.arguments)

    def _mend_of_arguments(self, required: Sequence[str]) -> str:
        """What makes `forward` take the row."""
        plain = all(isinstance(field.kind, Number | Flag) for field in self.contract.inputs)
        if len(required) == 1 and plain and self.prepare is None:
            cls = self.inputs.__name__
            return (
                f'class {cls}(st.Row, packed="{required[0]}") gives all numbers as one tensor, '
                "(rows, fields)"
            )
        return (
            "name the fields as the parameters are named, or take them by name: "
            'forward(self, **fields), with fields["NAME"]'
        )

    def call(
        self, feeds: Mapping[str, Tensor], model: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """The model on its arguments, without gradients, in whatever mode it is; outputs by name.

        `model` is the sealed one, unless another form of it is given.

        Raises `DeclarationError` where they are not what the answer class declares.
        """
        with torch.no_grad():
            # Which forward may change.
            asked = self.sealed_model if model is None else model
            answer = asked(*(feeds[name].clone() for name in self.arguments))
        outputs = self.by_name(answer)
        rows = len(next(iter(feeds.values())))
        for spec in self.contract.answer_tensors:
            value, want = outputs[spec.name], (rows, *spec.shape)
            fits = len(value.shape) == len(want) and all(
                size in (None, got) for got, size in zip(value.shape, want, strict=True)
            )
            dtype = str(value.dtype).removeprefix("torch.")
            if not fits or DTYPES[spec.datatype] != dtype:
                sizes = ("any" if size is None else str(size) for size in spec.shape)
                shape = f"({', '.join(['rows', *sizes])})"
                raise DeclarationError(
                    f"model.forward, output '{spec.name}'",
                    f"{dtype} of shape {tuple(value.shape)} for {rows} rows",
                    f"{spec.datatype} of shape {shape}",
                    f"return {spec.name}.{CASTS[spec.datatype]}()"
                    if fits and spec.datatype in CASTS
                    else mend_of_shape(spec.name, value, want),
                )
        return outputs

    def by_name(self, answer: Any) -> dict[str, Tensor]:
        """What the model answered, by the names of the outputs. Raises `DeclarationError`."""
        names = [tensor.name for tensor in self.contract.answer_tensors]
        values = (answer,) if isinstance(answer, Tensor) else answer
        if isinstance(values, dict) and set(values) == set(names):
            return {name: values[name] for name in names}
        if (
            isinstance(values, (tuple, list))
            and len(values) == len(names)
            and all(isinstance(v, Tensor) for v in values)
        ):
            return dict(zip(names, values, strict=True))
        want = f"tensors for {', '.join(names)}: one, a tuple in this order, or a dict"
        got, mend = mend_of_answer(answer, names, self.outputs.__name__)
        raise DeclarationError("model.forward", f"it returned {got}", want, mend)

    def _coded(self, name: str, array: Array) -> Array:
        kind = self.categories.get(name)
        return array if kind is None else kind.codes(array)


def mend_of_answer(answer: Any, names: Sequence[str], cls: str) -> tuple[str, str]:
    """What an answer is that is not as its class declares it, and what makes it so."""
    kind = f"a {type(answer).__name__}"
    if isinstance(answer, Mapping):
        keys = [*map(str, answer)]
        pairs = zip(names, [*keys, *["KEY"] * len(names)], strict=False)
        named = ", ".join(f'"{name}": answer["{key}"]' for name, key in pairs)
        return f"{kind} of {', '.join(map(repr, keys[:8]))}", f"return {{{named}}} in forward"
    if isinstance(answer, np.ndarray):
        return kind, "return the tensor itself, without .numpy() and numpy's functions"
    if isinstance(answer, (tuple, list)):
        few = len(answer) < len(names)
        cut = "answer[0]" if len(names) == 1 else f"answer[:{len(names)}]"
        mend = f"declare a field of {cls} for each"
        return f"{kind} of {len(answer)}", mend if few else f"return {cut} in forward, or {mend}"
    return kind, "return tensors"


def mend_of_no_module(value: Any, role: str) -> str:
    """What makes a module of a value that is none."""
    if isinstance(value, type) and issubclass(value, nn.Module):
        return f"make one: {role}={value.__name__}(...).eval()"
    if isinstance(value, Mapping):
        return f"weights alone are no model: {role}=MODEL, after MODEL.load_state_dict(WEIGHTS)"
    if callable(value):
        return "class Model(nn.Module) with a forward(self, ...) that calls it"
    return "an object of a class derived from nn.Module"


def mend_of_shape(name: str, answer: Tensor, want: Sequence[int | None]) -> str:
    """What makes an answer one of the shape `want`, where that is known."""
    got = tuple(answer.shape)
    if got == (*want, 1):
        whole = ", or model=nn.Sequential(model, nn.Flatten(0))" if len(want) == 1 else ""
        return f"return {name}[..., 0] in forward{whole}"
    rows, *rest = want
    if len(rest) == 1 and not answer.is_floating_point() and got == (rows,):
        return "return the scores of all classes, without argmax"
    if rest == [2] and got in ((rows,), (rows, 1)):
        scores = name if len(got) == 2 else f"{name}[:, None]"
        return (
            f"if it is the score of the second class, from 0 to 1: return torch.cat([1 - {scores}, "
            f"{scores}], -1) in forward"
        )
    if len(rest) == 1 and rest[0] is not None and len(got) == 2:
        return (
            f"name {got[1]} classes in the answer class, or let the model answer {rest[0]} numbers"
        )
    return "one answer for each row, of the type and shape that the answer class declares"


def _tensor(spec: TensorSpec, value: Any) -> Tensor:
    return torch.as_tensor(np.array(value, None if spec.dtype == "string" else spec.dtype))
