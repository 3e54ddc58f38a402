"""The contract: the inputs and outputs of a model, as a plain value.

A contract is written, read, and turned into a strict validator.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import ErrorDetails

from seatrial_contracts.answer_faults import AnswerFaults
from seatrial_contracts.answer_forms import AnswerForms
from seatrial_contracts.canonical import read_json, readable_json
from seatrial_contracts.compare import Answers, Tolerance
from seatrial_contracts.contract_fields import OutputField
from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import MOST_FAULTS, DeclarationError, Refusal
from seatrial_contracts.findings import describe_finding, describe_object
from seatrial_contracts.input_field import InputField
from seatrial_contracts.kinds.file_kind import FileKind
from seatrial_contracts.kinds.kind import (
    ESCAPED_BYTES,
    Column,
    JsonSchema,
)
from seatrial_contracts.records import Record
from seatrial_contracts.row import Row, plain_row

DEFAULT_BODY_BYTES, MOST_BODY_BYTES = 4 * 2**20, 2**31
BESIDE_ROWS_BYTES = 64 * 2**10
"""Room for what a request says beside its rows."""


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


class FileInput(NamedTuple):
    """The input that a raw request body stands for."""

    name: str
    media_types: tuple[str, ...]


class Contract(AnswerForms, AnswerFaults):
    """Inputs, outputs, limits, tolerance and objective of one model.

    Equal contracts are equal values.
    """

    schema_version: int = Field(default=1, alias="schema", ge=1, le=1)
    limits: Limits = Limits()
    tolerance: Tolerance = Tolerance()
    objective: Objective = Objective()

    def to_json(self) -> bytes:
        """`contract.json`: sorted, indented, the same bytes for equal contracts."""
        return readable_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read the contract that `to_json` wrote.

        Raises `ValueError`, and `DeclarationError` where its fields do not fit each other.
        """
        return cls.model_validate(read_json(data))

    def with_files(self, files: Mapping[str, bytes]) -> Contract:
        """The contract with what lies beside it in its bundle, such as vocabularies.

        Raises what `Kind.with_files` raises, and `ValueError` for a default that no row may have.
        """
        kinds = [field.kind.with_files(field.name, files) for field in self.inputs]
        answered = [field.kind.with_files(field.name, files) for field in self.outputs]
        inputs = [
            InputField(name=field.name, kind=kind, default=field.default)
            for field, kind in zip(self.inputs, kinds, strict=True)
        ]
        _ = [field.default_value for field in inputs]
        same = zip((*kinds, *answered), self.all_fields, strict=True)
        if all(kind is field.kind for kind, field in same):
            return self
        outputs = [
            OutputField(name=field.name, kind=kind)
            for field, kind in zip(self.outputs, answered, strict=True)
        ]
        return self.model_copy(update={"inputs": tuple(inputs), "outputs": tuple(outputs)})

    @cached_property
    def row_model(self) -> type[Row]:
        """A strict Pydantic model of one row, built from this value alone.

        A field that is left out has its default, or is null where it may be missing.
        """
        return self.record.model()

    @cached_property
    def values_model(self) -> type[Row]:
        """The same of a row's values by the names of the inputs, without objects."""
        flat = Record(parts={field.name: field for field in self.inputs})
        return flat.model() if self.is_nested else self.row_model

    def validate_row(self, row: Any, place: int | None = None) -> dict[str, Any]:
        """Validate one row, from JSON values or a `Row`; return its values by the inputs' names.

        Raises `Refusal` that names row `place`, where given.
        """
        values = plain_row(row) if isinstance(row, Row) else row
        try:
            valid = self.row_model.model_validate(values)
        except ValidationError as error:
            raise self.refusal(error, place) from None
        return self.record.flat(valid) if self.is_nested else valid.__dict__

    def validate_columns(self, columns: Mapping[str, Column], rows: int) -> dict[str, Column]:
        """Validate columns of `rows` values with numpy: each of `raw_tensors`, by its name.

        An optional one may be left out. Element types and shapes are right already. Returned is the
        column of each input, in their order. Raises `Refusal`.
        """
        checked = {field.name: field.column(columns, rows) for field in self.inputs}
        if self.is_nested:
            self.record.check_lengths(checked)
        return checked

    def column_faults(
        self, columns: Mapping[str, Column], rows: int, unread: Container[str | None] = ()
    ) -> list[Refusal]:
        """What is wrong with columns that `validate_columns` refuses.

        That is the first fault of each input, and each fault of the first row that is wrong.
        Inputs with a tensor in `unread` are left out.
        """
        fields = [
            field
            for field in self.inputs
            if not any(raw.name in unread for raw in field.raw_tensors)
        ]
        faults = list(faults_of(fields, columns, rows))
        bad = [fault.row for fault in faults if fault.row is not None]
        if not bad:
            return faults
        row = min(bad)
        named = {fault.field for fault in faults if fault.row in (row, None)}
        others = [field for field in fields if field.name not in named]
        alone = {name: column[row : row + 1] for name, column in columns.items()}
        return faults + [fault.in_row(row) for fault in faults_of(others, alone, 1)]

    def refusal(
        self, error: ValidationError, place: int | None = None, most: int = MOST_FAULTS
    ) -> Refusal:
        """What Pydantic found wrong with a row, in our words and without the caller's text.

        At most `most` faults are listed.
        """
        return self.refusal_of(error.errors(include_url=False), place, most)

    def refusal_of(
        self, found: Sequence[ErrorDetails], place: int | None = None, most: int = MOST_FAULTS
    ) -> Refusal:
        """The same of findings, in their order."""
        faults = [self.fault(finding, place) for finding in found[: max(1, most)]]
        return Refusal.of_all(faults, len(found))

    def fault(self, finding: ErrorDetails, place: int | None = None) -> Refusal:
        """One finding of Pydantic's."""
        path: list[int | str] = [part for part in finding["loc"] if part != "function-plain"]
        if path[:1] == ["instances"] and place is None:
            path = path[1:]
            place, path = (
                (path[0], path[1:])
                if path and isinstance(path[0], int)
                else (None, ["instances", *path])
            )
        at, item = self.record.find(path)
        if isinstance(at, Record) and at.name:
            return describe_object(finding, at, item, place)
        leaf = at if isinstance(at, InputField) else None
        return describe_finding(
            finding,
            leaf.name if leaf is not None else str(path[0]) if path else None,
            leaf.kind if leaf is not None else None,
            place,
            item,
            self.limits.max_rows,
            [*self.record.names],
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
        """The single input that is a file (an image, a sound), if the contract has no other.

        Such a contract also takes the raw file as the request's body.
        """
        kind = self.inputs[0].kind
        if len(self.inputs) > 1 or not isinstance(kind, FileKind):
            return None
        return FileInput(self.inputs[0].name, kind.media_types)

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

    def row_schema(self) -> JsonSchema:
        """JSON Schema of one row."""
        return self.record.schema()

    def example_row(self) -> dict[str, Any]:
        """One row that the contract accepts, as it stands in JSON."""
        return self.record.nested({field.name: field.kind.example() for field in self.inputs})


def faults_of(
    fields: Iterable[InputField], columns: Mapping[str, Column], rows: int
) -> Iterator[Refusal]:
    """The first fault of each column that is refused."""
    for field in fields:
        try:
            field.column(columns, rows)
        except Refusal as refusal:
            yield refusal
