"""The contract: the inputs and outputs of a model, as a plain value.

A contract is written, read, and turned into a strict validator.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails

from seatrial_contracts.canonical import read_json, readable_json
from seatrial_contracts.compare import Answers, Array, Tolerance
from seatrial_contracts.declared import Declared
from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.errors import DeclarationError, ModelError, Refusal
from seatrial_contracts.findings import describe_finding
from seatrial_contracts.kinds import kinds
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    MAX_TENSORS,
    Column,
    JsonSchema,
    Kind,
    TensorSpec,
)
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import (
    NO_OPTIONS,
    AnswerTensor,
    Arrays,
    OptionValues,
    OutputKind,
)
from seatrial_contracts.options import MAX_OPTIONS, Option, OptionField, read_options, widest
from seatrial_contracts.row import BuiltRow, Row

LONGEST_NAME = 128
NAME_WANT = (
    f"a letter of any script, then letters, digits and _, {LONGEST_NAME} at most, in NFKC, and "
    "none of Pydantic's own names"
)
FIELD_WANT = f"{NAME_WANT}; and a kind that can stand there"
DEFAULT_BODY_BYTES, MOST_BODY_BYTES = 4 * 2**20, 2**31
BESIDE_ROWS_BYTES = 64 * 2**10
"""Room for what a request says beside its rows."""
FEW = 32
NO_ROWS: Mapping[int, Any] = MappingProxyType({})
RowsOrColumns = Sequence[Mapping[str, Any]] | Mapping[str, Column]
"""Validated rows, or columns."""


class Limits(Declared):
    """What one request may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_rows: int = Field(default=1024, ge=1, le=2**20)
    max_body_bytes: int | None = Field(default=None, ge=1, le=MOST_BODY_BYTES)
    """None: 4 MiB, or what the largest row needs in JSON, as far as its sizes are fixed."""
    max_answer_bytes: int = Field(default=64 * 2**20, ge=1, le=2**32)
    """What a request's answers may take as tensors; JSON takes several times that."""


class Objective(Declared):
    """What the model promises while serving."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p99_s: float | None = Field(default=None, gt=0, le=86_400)


def _kind(value: Any) -> Any:
    """A kind from its JSON, by its name."""
    if isinstance(value, Mapping):
        known = kinds()
        if value.get("kind") not in known:
            raise ValueError(f"unknown field kind; known: {', '.join(sorted(known))}")
        return known[value["kind"]].model_validate(dict(value))
    return value


class InputField(BaseModel):
    """A named input."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Annotated[SerializeAsAny[Kind], BeforeValidator(_kind)]


class OutputField(BaseModel):
    """A named output."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Annotated[SerializeAsAny[OutputKind], BeforeValidator(_kind)]


class FileInput(NamedTuple):
    """The input that a raw request body stands for."""

    name: str
    media_types: tuple[str, ...]


class Contract(BaseModel):
    """Inputs, outputs, limits, tolerance and objective of one model.

    Equal contracts are equal values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    schema_version: int = Field(default=1, alias="schema", ge=1, le=1)
    inputs: tuple[InputField, ...] = Field(min_length=1, max_length=MAX_TENSORS)
    outputs: tuple[OutputField, ...] = Field(min_length=1, max_length=MAX_TENSORS)
    options: tuple[OptionField, ...] = Field(default=(), max_length=MAX_OPTIONS)
    limits: Limits = Limits()
    tolerance: Tolerance = Tolerance()
    objective: Objective = Objective()

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        """Check the fields against each other.

        Raises `DeclarationError` where two things have one name, a name is none, or a kind stands
        where it cannot or is not whole.
        """
        fields = [("input", *field) for field in _pairs(self.inputs)]
        fields += [("output", *field) for field in _pairs(self.outputs)]
        for role, name, kind in fields:
            if not is_field_name(name) or role not in kind.roles:
                raise DeclarationError(
                    f"{role} {name[:64]!a}", f"this name, of kind {kind.name}", FIELD_WANT
                )
            if role == "output" and kind.nullable:
                mend = (
                    "answer a number always, and say in a flag or label beside it whether it means "
                    "anything"
                )
                raise DeclarationError(
                    f"output '{name}'", "an answer that may be missing", "one that is there", mend
                )
            try:
                kind.check()
            except DeclarationError as error:
                raise DeclarationError(f"{role} '{name}', {error}") from None
        self._check_about()
        self._check_options()
        names = [spec.name for spec in self.tensors]
        names += [tensor.name for tensor in self.answer_tensors]
        twice = (
            {name for name in names if names.count(name) > 1}
            if len(set(names)) < len(names)
            else set()
        )
        if twice or len({field.name for field in self.inputs}) < len(self.inputs):
            got = f"'{min(twice)}' twice" if twice else "an input twice"
            raise DeclarationError(
                "names of inputs, their tensors and outputs", got, "a name of its own for each"
            )
        return self

    def _check_about(self) -> None:
        """Raise `DeclarationError` where an answer is about no input that it can be about."""
        kinds = {field.name: field.kind for field in self.inputs}
        for field in self.outputs:
            about = field.kind.about
            if about is None:
                continue
            where = f"output '{field.name}'"
            kind = kinds.get(about)
            if kind is None or not kind.takes_notes:
                known = ", ".join(name for name, kind in kinds.items() if kind.takes_notes)
                raise DeclarationError(where, f"an answer about '{about}'", f"one of: {known}")
            try:
                field.kind.check_about(kind)
            except DeclarationError as error:
                raise DeclarationError(f"{where}, {error}") from None

    def _check_options(self) -> None:
        """Raise `DeclarationError` where an option is declared twice, or nothing reads it."""
        names = [field.name for field in self.options]
        own = [name for field in self.outputs for name in field.kind.own_options()]
        unlike = [
            name
            for name, each in self._own_options.items()
            if len(set(each)) > 1 and any(option.choices for option in each)
        ]
        if unlike:
            got = "two answers that know it otherwise"
            raise DeclarationError(f"option '{unlike[0]}'", got, "answers that know it alike")
        read = {name for field in self.outputs for name in field.kind.reads_options}
        for field in self.options:
            taken = names.count(field.name) > 1 or (field.name in own and field.name not in read)
            if taken or not is_field_name(field.name):
                raise DeclarationError(f"option '{field.name}'", "this name", "one of its own")
            if field.name not in read:
                raise DeclarationError(
                    f"option '{field.name}'",
                    "an option that no answer reads",
                    f"one of: {', '.join(sorted(read)) or 'none, by these kinds of answers'}",
                    "what the model itself shall see is an input field",
                )
            field.option.check()
            for output in self.outputs:
                if field.name in output.kind.reads_options:
                    output.kind.check_option(field.name, field.option)

    def to_json(self) -> bytes:
        """`contract.json`: sorted, indented, the same bytes for equal contracts."""
        return readable_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the contract that `to_json` wrote.

        Raises `ValueError`, and `DeclarationError` where its fields do not fit each other.
        """
        return cls.model_validate(read_json(data))

    @cached_property
    def row_model(self) -> type[Row]:
        """A strict Pydantic model of one row, built from this value alone.

        A missing nullable field counts as null.
        """
        fields: dict[str, Any] = {
            field.name: (field.kind.annotation() | None, None)
            if field.kind.nullable
            else (field.kind.annotation(), ...)
            for field in self.inputs
        }
        return create_model("Row", __base__=BuiltRow, **fields)

    def validate_row(self, row: Any, place: int | None = None) -> dict[str, Any]:
        """Validate one row, from JSON values or a `Row`.

        Raises `Refusal` that names row `place`, where given.
        """
        values = dict(row.__dict__) if isinstance(row, Row) else row
        try:
            return self.row_model.model_validate(values).__dict__
        except ValidationError as error:
            raise self.refusal(error, place) from None

    def validate_columns(self, columns: Mapping[str, Column], rows: int) -> dict[str, Column]:
        """Validate one column of `rows` values for each input, with numpy.

        An input that may be missing may be left out. Element types and shapes are right already.
        The columns are returned in the order of the inputs. Raises `Refusal`.
        """
        checked = {}
        for name, kind in ((field.name, field.kind) for field in self.inputs):
            values = columns.get(name)
            if values is None:
                if not kind.nullable:
                    raise Refusal("E_MISSING", f"input '{name}'", "nothing", kind.want())
                values = (
                    [None] * rows
                    if kind.datatype == "BYTES"
                    else np.full(rows, np.nan, DTYPES[kind.datatype])
                )
            try:
                checked[name] = kind.column(values)
            except Refusal as refusal:
                raise refusal.at(
                    ", ".join(filter(None, (f"input '{name}'", refusal.where)))
                ) from None
        return checked

    def refusal(self, error: ValidationError, place: int | None = None) -> Refusal:
        """The first finding of a validation error, in our words and without the caller's text."""
        return self.refusal_of(error.errors(include_url=False), place)

    def refusal_of(self, found: Sequence[ErrorDetails], place: int | None = None) -> Refusal:
        """The first of what Pydantic found, as `refusal` has it."""
        first = found[0]
        path: list[int | str] = [part for part in first["loc"] if part != "function-plain"]
        if path[:1] == ["instances"] and place is None:
            path = path[1:]
            place, path = (
                (path[0], path[1:])
                if path and isinstance(path[0], int)
                else (None, ["instances", *path])
            )
        name = str(path[0]) if path else None
        kind = next((field.kind for field in self.inputs if field.name == name), None)
        return describe_finding(
            first,
            name,
            kind,
            place,
            len(found) - 1,
            self.limits.max_rows,
            [field.name for field in self.inputs],
        )

    @cached_property
    def max_body_bytes(self) -> int:
        """The largest request body, in bytes.

        The limit is the declared one, or 4 MiB, or what the largest row needs in JSON, open sides
        aside.
        """
        if self.limits.max_body_bytes is not None:
            return self.limits.max_body_bytes
        row = sum(field.kind.most_bytes + len(field.name) * ESCAPED_BYTES for field in self.inputs)
        return min(max(DEFAULT_BODY_BYTES, row + BESIDE_ROWS_BYTES), MOST_BODY_BYTES)

    @cached_property
    def most_values(self) -> int:
        """How many values the largest request holds: those of `max_rows` rows."""
        return self.limits.max_rows * sum(field.kind.most_values for field in self.inputs)

    @cached_property
    def file_input(self) -> FileInput | None:
        """The single image input, if the contract has no other input.

        Such a contract also takes the raw file as the request's body.
        """
        kind = self.inputs[0].kind
        only = len(self.inputs) == 1 and isinstance(kind, Image)
        return (
            FileInput(self.inputs[0].name, kind.media_types)
            if only and isinstance(kind, Image)
            else None
        )

    @cached_property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """What the inputs are when they enter the graph (or prepare), in order.

        Where an answer has a side of any size, no input is padded: such a side follows an input
        (one answer for each token), and a row's answer would have the length of its longest mate.
        Rows share a batch there only where their own lengths are equal.
        """
        specs = tuple(spec for field in self.inputs for spec in field.kind.tensors(field.name))
        if all(size is not None for tensor in self.answer_tensors for size in tensor.shape):
            return specs
        return tuple(spec.model_copy(update={"pad": None}) for spec in specs)

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Name of each size in `tensors` that varies -> the least and the most of it."""
        return {
            size: bounds
            for field in self.inputs
            for size, bounds in field.kind.sizes(field.name).items()
        }

    @cached_property
    def answer_tensors(self) -> tuple[AnswerTensor, ...]:
        """What the graph answers, in the order of the outputs."""
        return tuple(
            tensor for field in self.outputs for tensor in field.kind.answer_tensors(field.name)
        )

    @cached_property
    def noted(self) -> tuple[str, ...]:
        """Inputs that an answer is about, in their order: what a row's notes are of."""
        about = {field.kind.about for field in self.outputs}
        return tuple(field.name for field in self.inputs if field.name in about)

    @cached_property
    def mapped(self) -> tuple[MappedOutput, ...]:
        """The outputs whose answer is in the client's own terms."""
        return tuple(
            MappedOutput(
                field.name,
                field.kind,
                tuple(tensor.name for tensor in field.kind.answer_tensors(field.name)),
                self._place_of_note(field.kind),
            )
            for field in self.outputs
            if isinstance(field.kind, MappedKind)
        )

    @cached_property
    def plain_tensors(self) -> tuple[AnswerTensor, ...]:
        """Those of the graph's tensors that clients see as they are."""
        mapped = {name for output in self.mapped for name in output.tensors}
        return tuple(tensor for tensor in self.answer_tensors if tensor.name not in mapped)

    @cached_property
    def client_tensors(self) -> Mapping[str, AnswerTensor]:
        """What a client sees over V2 and gRPC, by name, in the order of the outputs."""
        found: list[AnswerTensor] = []
        for field in self.outputs:
            if isinstance(field.kind, MappedKind):
                found += field.kind.counted_tensors(field.name)
            else:
                found += field.kind.answer_tensors(field.name)
        return {tensor.name: tensor for tensor in found}

    def client_bytes(self, notes: Sequence[Sequence[Any]]) -> int:
        """What clients' tensors take of rows with these notes, beside the graph's own tensors."""
        return sum(
            output.kind.client_bytes(of_row[output.place])
            for output in self.mapped
            if output.place is not None
            for of_row in notes
        )

    def client_tensors_for(self, options: OptionValues) -> Mapping[str, AnswerTensor]:
        """The same for a request with these options, which may change types and sizes."""
        changed = {
            tensor.name: tensor
            for output in self.mapped
            for tensor in output.kind.tensors_for(output.name, options)
        }
        return {**self.client_tensors, **changed} if changed else self.client_tensors

    def prompted(self, given: RowsOrColumns, options: OptionValues) -> RowsOrColumns:
        """Validated rows or columns with the prompts that the options put before their texts."""
        for field in self.outputs:
            prompt, name = field.kind.prompt(options), field.kind.about
            if not prompt or name is None:
                continue
            given = (
                {**given, name: [prompt + text for text in given[name]]}
                if isinstance(given, Mapping)
                else [{**row, name: prompt + row[name]} for row in given]
            )
        return given

    def sealed(self, reference: Answers, held_out: Answers) -> Contract:
        """The contract with what an export fills in: see `OutputKind.sealed`.

        Raises `DeclarationError`.
        """
        outputs = []
        for field in self.outputs:
            try:
                kind = field.kind.sealed(field.name, reference, held_out)
            except DeclarationError as error:
                raise DeclarationError(f"output '{field.name}', {error}") from None
            outputs.append(OutputField(name=field.name, kind=kind))
        return self.model_copy(update={"outputs": tuple(outputs)})

    def _place_of_note(self, kind: OutputKind) -> int | None:
        return None if kind.about is None else self.noted.index(kind.about)

    @cached_property
    def known_options(self) -> Mapping[str, Option]:
        """What a request may choose: declared options, and those that kinds bring with them.

        If several kinds bring one of a name, a request may choose what any of them takes.
        """
        own = {name: widest(each) for name, each in self._own_options.items()}
        return {**own, **self._declared}

    @cached_property
    def _declared(self) -> Mapping[str, Option]:
        return {field.name: field.option for field in self.options}

    @cached_property
    def _own_options(self) -> Mapping[str, list[Option]]:
        found: dict[str, list[Option]] = {}
        for kind in self.answered.values():
            for name, option in kind.own_options().items():
                found.setdefault(name, []).append(option)
        return found

    @cached_property
    def answered(self) -> Mapping[str, OutputKind]:
        """The outputs' kinds by name, as they answer beside the declared options."""
        return {field.name: field.kind.beside(self._declared) for field in self.outputs}

    @cached_property
    def default_options(self) -> OptionValues:
        """The options of a request that chooses none.

        If kinds bring an option with defaults of their own, each of them goes by its own.
        """
        unlike = {
            name
            for name, own in self._own_options.items()
            if name not in self._declared and len({option.default for option in own}) > 1
        }
        return {
            name: option.default
            for name, option in self.known_options.items()
            if name not in unlike
        }

    @cached_property
    def whole_options(self) -> Mapping[str, Any]:
        """The options to choose in order to see all that the model answered."""
        wanted: dict[str, Any] = {}
        for kind in self.answered.values():
            for name, value in kind.whole_options().items():
                wanted[name] = max(value, wanted.get(name, value))
        known = self.known_options.items()
        return {name: option.nearest(wanted[name]) for name, option in known if name in wanted}

    def read_options(self, given: Mapping[str, Any]) -> OptionValues:
        """The options of a request that chooses these.

        Raises `Refusal` where one is unknown, or cannot have such a value.
        """
        return read_options(self.known_options, self.default_options, given)

    @cached_property
    def _describers(
        self,
    ) -> list[tuple[str, tuple[str, ...], int | None, Callable[[Arrays, Any, OptionValues], Any]]]:
        return [
            (
                field.name,
                tuple(tensor.name for tensor in field.kind.answer_tensors(field.name)),
                self._place_of_note(field.kind),
                self.answered[field.name].describe,
            )
            for field in self.outputs
        ]

    def describe(
        self,
        outputs: Mapping[str, Array],
        index: int,
        notes: Sequence[Any] = (),
        options: OptionValues = NO_OPTIONS,
    ) -> dict[str, Any]:
        """The answer of row `index` as a client sees it; `outputs` are batched.

        `notes` are those of the row, one for each of `noted`.
        """
        return {
            name: describe(
                (outputs[names[0]][index],)
                if len(names) == 1
                else [outputs[each][index] for each in names],
                None if place is None else notes[place],
                options,
            )
            for name, names, place, describe in self._describers
        }

    def recover(self, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """What the model answered to one row, back from what a client saw with `whole_options`.

        The numbers stand by the tensors' names; a mapped output stands by its own name, as its
        client's tensors.
        """
        found: dict[str, Any] = {}
        for field in self.outputs:
            values = self.answered[field.name].recover(prediction[field.name])
            if isinstance(field.kind, MappedKind):
                found[field.name] = values
            else:
                tensors = field.kind.answer_tensors(field.name)
                found |= {each.name: value for each, value in zip(tensors, values, strict=True)}
        return found

    def filled(self, want: Mapping[str, Array], got: Mapping[str, Any]) -> dict[str, Any]:
        """What `recover` read of a row, with what `whole_options` cannot show taken from `want`.

        See `OutputKind.filled`.
        """
        found = dict(got)
        for name, kind in self.answered.items():
            if not isinstance(kind, MappedKind):
                names = [tensor.name for tensor in kind.answer_tensors(name)]
                wanted, seen = ([answer[each] for each in names] for answer in (want, got))
                shown = kind.filled(wanted, seen, self.whole_options)
                found |= dict(zip(names, shown, strict=True))
        return found

    def arranged(self, want: Mapping[str, Array], got: Mapping[str, Array]) -> Mapping[str, Array]:
        """`got` in the order of `want`, where the order of an answer's things says nothing."""
        for names, arrange in self._arrangers:
            if all(name in want and name in got for name in names):
                pair = [[each[name] for name in names] for each in (want, got)]
                got = {**got, **dict(zip(names, arrange(*pair), strict=True))}
        return got

    @cached_property
    def _arrangers(self) -> list[tuple[tuple[str, ...], Callable[[Arrays, Arrays], Arrays]]]:
        return [
            (tuple(each.name for each in f.kind.answer_tensors(f.name)), f.kind.arranged)
            for f in self.outputs
            if type(f.kind).arranged is not OutputKind.arranged
        ]

    def check_outputs(self, outputs: Mapping[str, Array], rows: int) -> None:
        """Raise `ModelError` where batched outputs break their declaration.

        An output breaks it if it is missing, has another shape, or holds NaN, an infinity or a
        number out of bounds.
        """
        for row, fault in self.faulty_rows(outputs, rows).items():
            raise fault.error(row)

    def faulty_rows(self, outputs: Mapping[str, Array], rows: int) -> Mapping[int, OutputFault]:
        """The rows of batched outputs that nobody may be given, each with its first fault.

        A fault is NaN, an infinity, or a number out of bounds.

        Each row stands with the first output that has one. Raises `ModelError` where outputs as a
        whole break their declaration: missing, or another shape.
        """
        found: Mapping[int, OutputFault] = NO_ROWS
        for name, shape, whole in self._output_shapes:
            got = outputs.get(name)
            if got is None or (
                got.shape != (rows, *shape) and not _fits(got.shape, (rows, *shape))
            ):
                raise ModelError(
                    "E_OUTPUT_CONTRACT",
                    f"output '{name}': the model's answer does not have the shape it was "
                    "sealed with",
                )
            if not whole and not all_finite(got):
                bad = ~np.isfinite(got).reshape(rows, -1).all(1)
                found = {**dict.fromkeys(np.flatnonzero(bad).tolist(), OutputFault(name)), **found}
        for name, outside, breach in self._output_bounds:
            bad = outside(outputs[name]).reshape(rows, -1).any(1)
            if bad.any():
                range_fault = OutputFault(name, breach)
                found = {**dict.fromkeys(np.flatnonzero(bad).tolist(), range_fault), **found}
        for name, names, faults in self._row_faults:
            for row, what in faults([outputs[each] for each in names]).items():
                found = {row: OutputFault(name, what), **found}
        return dict(sorted(found.items())) if found else NO_ROWS

    def fault_of(self, answer: Mapping[str, Array]) -> OutputFault | None:
        """Why nobody may be given this answer to one row; None where all may.

        Some outputs may be absent from the answer.
        """
        for tensor in self.answer_tensors:
            array = answer.get(tensor.name)
            if array is not None and array.dtype.kind == "f" and not all_finite(array):
                return OutputFault(tensor.name)
        for name, outside, breach in self._output_bounds:
            array = answer.get(name)
            if array is not None and outside(array).any():
                return OutputFault(name, breach)
        for name, names, faults in self._row_faults:
            if all(each in answer for each in names):
                for what in faults([answer[each][None] for each in names]).values():
                    return OutputFault(name, what)
        return None

    @cached_property
    def _row_faults(
        self,
    ) -> list[tuple[str, tuple[str, ...], Callable[[Arrays], Mapping[int, str]]]]:
        """Of the kinds that know faults of a row beside bounds: name, tensors, and which rows."""
        kinds = {field.name: field.kind for field in self.inputs}
        return [
            (
                field.name,
                tuple(tensor.name for tensor in field.kind.answer_tensors(field.name)),
                partial(field.kind.faults, about=kinds.get(field.kind.about or "")),
            )
            for field in self.outputs
            if type(field.kind).faults is not OutputKind.faults
        ]

    @cached_property
    def _output_shapes(self) -> list[tuple[str, tuple[int | None, ...], bool]]:
        return [
            (each.name, each.shape, "INT" in each.datatype or each.datatype == "BOOL")
            for each in self.answer_tensors
        ]

    @cached_property
    def _output_bounds(self) -> list[tuple[str, Callable[[Array], Array], str]]:
        return [
            (field.name, field.kind.outside, field.kind.breach)
            for field in self.outputs
            if field.kind.is_bounded
        ]

    @cached_property
    def answer_row_bytes(self) -> int | None:
        """The size of one row's answer, in bytes; None where the outputs' sizes are open."""
        shapes = [shape for _, shape, _ in self._output_shapes]
        if any(size is None for shape in shapes for size in shape):
            return None
        return 8 * sum(math.prod(size or 0 for size in shape) for shape in shapes)

    def row_schema(self) -> JsonSchema:
        """JSON Schema of one row."""
        return _object(
            {f.name: f.kind for f in self.inputs},
            [f.name for f in self.inputs if not f.kind.nullable],
        )

    def answer_schema(self) -> JsonSchema:
        """JSON Schema of one prediction."""
        return _object(self.answered, [*self.answered])

    def options_schema(self) -> JsonSchema:
        """JSON Schema of a request's options."""
        properties = {
            name: option.json_schema() | {"x-want": option.want()}
            for name, option in self.known_options.items()
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def example_row(self) -> dict[str, Any]:
        """One row that the contract accepts, as it stands in JSON."""
        return {field.name: field.kind.example() for field in self.inputs}


def is_field_name(name: str) -> bool:
    """Can an input or output be called so?"""
    return (
        name.isidentifier()
        and not name.startswith("_")
        and len(name) <= LONGEST_NAME
        and unicodedata.normalize("NFKC", name) == name  # as Python itself reads names (PEP 3131)
        and not hasattr(BaseModel, name)
    )


def _pairs(fields: Sequence[InputField] | Sequence[OutputField]) -> list[tuple[str, Kind]]:
    return [(field.name, field.kind) for field in fields]


class MappedOutput(NamedTuple):
    """An output in the client's own terms."""

    name: str
    kind: MappedKind
    tensors: tuple[str, ...]
    """Of the graph."""
    place: int | None
    """Of its note among a row's notes; None where it needs none."""

    def client(
        self, answer: Mapping[str, Array], notes: Sequence[Any], options: OptionValues
    ) -> tuple[Array, ...]:
        """One row's answer as its client's tensors, from the graph's without the batch."""
        arrays = [answer[name] for name in self.tensors]
        return self.kind.client(arrays, None if self.place is None else notes[self.place], options)


class OutputFault(NamedTuple):
    """Why nobody may be given the answer to a row."""

    output: str
    breach: str = ""
    """Which promise of the contract it breaks, in words; else it holds NaN or an infinity."""

    @property
    def cause(self) -> str:
        """What the model answered, and what was wanted."""
        if self.breach:
            return f"the model answered {self.breach}"
        return "the model answered NaN or an infinity, want finite numbers"

    def error(self, row: int) -> ModelError:
        """It as the error of the row at this place."""
        code = "E_OUTPUT_RANGE" if self.breach else "E_OUTPUT_CONTRACT"
        return ModelError(code, f"output '{self.output}', row {row}: {self.cause}")


def all_finite(array: Array) -> bool:
    """Whether an array holds neither NaN nor an infinity.

    For few numbers, Python itself takes a fifth of numpy's time.
    """
    return (
        all(map(math.isfinite, array.ravel().tolist()))
        if array.size <= FEW
        else bool(np.isfinite(array).all())
    )


def _fits(got: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    return len(got) == len(want) and all(
        size in (None, have) for size, have in zip(want, got, strict=True)
    )


def _object(fields: Mapping[str, Kind], required: list[str]) -> JsonSchema:
    properties = {}
    for name, kind in fields.items():
        schema = {**kind.json_schema(), "x-kind": kind.name, "x-want": kind.want()}
        if isinstance(kind, OutputKind) and kind.about is not None:
            schema["x-about"] = kind.about
        if kind.nullable:
            schema = {"anyOf": [schema, {"type": "null"}]}
        properties[name] = {
            **schema,
            **({"description": kind.description} if kind.description else {}),
        }
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
