"""The fields of a contract: what is given, what is answered, and how these fit each other."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    model_validator,
)

from seatrial_contracts.declared import PlainValue
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds import kind_of
from seatrial_contracts.kinds.kind import (
    MAX_TENSORS,
    JsonSchema,
    Kind,
    TensorSpec,
)
from seatrial_contracts.kinds.output_kind import (
    AnswerTensor,
    OutputKind,
)
from seatrial_contracts.kinds.raw_tensor import RawTensor
from seatrial_contracts.options import MAX_OPTIONS, OptionField
from seatrial_contracts.records import SEPARATOR, Record, record_of, schema_of
from seatrial_contracts.row import Row
from seatrial_contracts.state import graph_answer

LONGEST_NAME = 128
NAME_WANT = (
    f"a letter of any script, then letters, digits and _, {LONGEST_NAME} at most, in NFKC, and "
    "none of Pydantic's own names"
)
FIELD_WANT = f"{NAME_WANT}; and a kind that can stand there"


class OutputField(BaseModel):
    """A named output."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Annotated[SerializeAsAny[OutputKind], BeforeValidator(kind_of)]


class ContractFields(PlainValue):
    """Named inputs and outputs, and the options of requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    inputs: tuple[InputField, ...] = Field(min_length=1, max_length=MAX_TENSORS)
    outputs: tuple[OutputField, ...] = Field(min_length=1, max_length=MAX_TENSORS)
    options: tuple[OptionField, ...] = Field(default=(), max_length=MAX_OPTIONS)

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        """Check the fields against each other.

        Raises `DeclarationError` where two things have one name, a name is none, or a kind stands
        where it cannot or is not whole.
        """
        fields = [("input", *field) for field in _pairs(self.inputs)]
        fields += [("output", *field) for field in _pairs(self.outputs)]
        for role, name, kind in fields:
            parts = name.split(SEPARATOR) if role == "input" else [name]
            if not all(map(is_field_name, parts)) or role not in kind.roles:
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
            if role == "output" and kind.input_only:
                raise DeclarationError(f"output '{name}'", kind.input_only, "that of an input")
            try:
                kind.check()
            except DeclarationError as error:
                raise DeclarationError(f"{role} '{name}', {error}") from None
        self._check_about()
        self._check_sizes()
        self._check_state()
        names = [spec.name for spec in self.tensors]
        names += [each.name for each in self.answer_tensors if each.name not in self.state]
        sent = [raw.name for field in self.inputs for raw in field.raw_tensors]
        try:
            _ = self.record
        except ValueError as error:
            raise DeclarationError(
                f"input '{error}'",
                "a field and an object or packed columns of one name",
                "a name of its own for each",
            ) from None
        counts = [*Counter(names).items(), *Counter(sent).items()]
        twice = [name for name, count in counts if count > 1]
        if twice:
            raise DeclarationError(
                "names of inputs, their tensors and outputs",
                f"'{min(twice)}' twice",
                "a name of its own for each",
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
            if kind.nullable:
                got = f"an answer about '{about}', which may be missing"
                raise DeclarationError(where, got, "an input that is always there")
            if kind.takes_token_ids and field.kind.needs_text:
                got = f"an answer about '{about}', whose token_ids have no text"
                raise DeclarationError(where, got, "a text without token_ids")
            try:
                field.kind.check_about(kind)
            except DeclarationError as error:
                raise DeclarationError(f"{where}, {error}") from None

    def _check_state(self) -> None:
        """Raise `DeclarationError` where a field comes out as something else than went in."""
        given = {field.name: field.kind for field in self.inputs}
        for field in self.outputs:
            kind = given.get(field.name, field.kind)
            if type(kind) is not type(field.kind) or kind.datatype != field.kind.datatype:
                raise DeclarationError(
                    f"output '{field.name}'",
                    f"the name of an input, {kind.name} of {kind.datatype}",
                    f"{kind.name} of {kind.datatype} too, as a state has it, or a name of its own",
                )

    def _check_sizes(self) -> None:
        """Raise `DeclarationError` where one name stands for sizes between other ends."""
        seen: dict[str, tuple[int, int]] = {}
        for field in self.inputs:
            for name, ends in field.sizes.items():
                if seen.setdefault(name, ends) != ends:
                    (least, most), (other, end) = ends, seen[name]
                    raise DeclarationError(
                        f"input '{field.name}'",
                        f"the size '{name}' from {least} to {most}",
                        f"{other} to {end}, as another input has it",
                    )

    @cached_property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """What the inputs are when they enter the graph (or prepare), in order.

        Where an answer has a side of any size, no input is padded: such a side follows an input
        (one answer for each token), and a row's answer would have the length of its longest mate.
        Rows share a batch there only where their own lengths are equal.
        """
        specs = tuple(spec for field in self.inputs for spec in field.tensors)
        if all(size is not None for tensor in self.answer_tensors for size in tensor.shape):
            return specs
        return tuple(spec.model_copy(update={"pad": None}) for spec in specs)

    @cached_property
    def record(self) -> Record:
        """The row as V1 has it: objects within it hold the inputs of dotted names."""
        return record_of(self.inputs)

    @cached_property
    def is_nested(self) -> bool:
        """Does a row in JSON hold objects, or columns that are packed?"""
        return any(SEPARATOR in each.name or each.kind.column_names for each in self.inputs)

    @cached_property
    def raw_tensors(self) -> Mapping[str, RawTensor]:
        """What clients send over V2 and gRPC, by name, in the order of the inputs."""
        return {raw.name: raw for field in self.inputs for raw in field.raw_tensors}

    @cached_property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """Name of each size in `tensors` that varies -> the least and the most of it."""
        return {size: bounds for field in self.inputs for size, bounds in field.sizes.items()}

    @cached_property
    def answer_tensors(self) -> tuple[AnswerTensor, ...]:
        """What the graph answers, in the order of the outputs."""
        return tuple(
            tensor for field in self.outputs for tensor in field.kind.answer_tensors(field.name)
        )

    @cached_property
    def state(self) -> frozenset[str]:
        """Fields that go in and come out under one name."""
        given = {field.name for field in self.inputs}
        return frozenset(field.name for field in self.outputs if field.name in given)

    @cached_property
    def graph_answers(self) -> Mapping[str, str]:
        """Name of each answer tensor -> what the graph calls it."""
        return {each.name: graph_answer(each.name, self.state) for each in self.answer_tensors}

    @cached_property
    def tensor_names(self) -> Mapping[str, tuple[str, ...]]:
        """Output -> the names of the graph's tensors that it is made of."""
        return {
            field.name: tuple(each.name for each in field.kind.answer_tensors(field.name))
            for field in self.outputs
        }

    @property
    def all_fields(self) -> tuple[InputField | OutputField, ...]:
        """The inputs, then the outputs."""
        return (*self.inputs, *self.outputs)

    @cached_property
    def noted(self) -> tuple[str, ...]:
        """Inputs that an answer is about, in their order: what a row's notes are of."""
        about = {field.kind.about for field in self.outputs}
        return tuple(field.name for field in self.inputs if field.name in about)


def is_field_name(name: str) -> bool:
    """Can an input or output be called so?"""
    return (
        name.isidentifier()
        and not name.startswith("_")
        and len(name) <= LONGEST_NAME
        and unicodedata.normalize("NFKC", name) == name  # as Python itself reads names (PEP 3131)
        and not hasattr(Row, name)
    )


def _pairs(fields: Sequence[InputField] | Sequence[OutputField]) -> list[tuple[str, Kind]]:
    return [(field.name, field.kind) for field in fields]


def object_schema(fields: Mapping[str, Kind], required: list[str]) -> JsonSchema:
    """JSON Schema (2020-12) of an object with these fields and no other."""
    properties = {name: schema_of(kind) for name, kind in fields.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
