"""A field kind: a frozen value that owns everything about one sort of input or output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    NoReturn,
    Protocol,
    Self,
    runtime_checkable,
)

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    field_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from seatrial_contracts.bins import Bins, split_numbers
from seatrial_contracts.declared import Declared
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import Refusal

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Array = NDArray[Any]
Column = Array | list[Any]
"""The values of one input for several rows.

A column is an array with the rows first, or a list of bytes, strings or None where it is BYTES.
"""
Dim = int | str
JsonSchema = dict[str, Any]
Features = Callable[[Column], Mapping[str, Column]]
"""Validated values of several rows -> the traits for drift, by name, one value a row.

The trait "" is the value itself.
"""
Stage = Callable[[Any], tuple[Any, ...]]


@runtime_checkable
class StageTogether(Protocol):
    """A host stage that takes several values at a lower price than one after another."""

    def together(self, values: Sequence[Any]) -> Sequence[tuple[Any, ...] | Refusal]:
        """What the stage makes of each, or why it refuses it."""
        ...


"""The host stage of one field.

It turns a validated value into scalars or arrays, one for each of `Kind.tensors`.
"""

MAX_TENSORS = 2**14
"""Inputs or outputs of one model."""
MAX_SIDE = 2**31 - 1
"""Of a tensor: what onnxruntime and the Open Inference Protocol's clients count with."""
MAX_WORDS = 2**20
SHORT_BYTES = 64
"""Room for a number or a flag in JSON: a float64 has 24 characters at most."""
ESCAPED_BYTES = 6
"""A character in JSON, written as \\u0041.

A character outside the basic plane takes two of them, and 4 bytes as it is.
"""
Word = Annotated[str, Field(max_length=1024)]
"""One of a closed list, whose length ends at `MAX_WORDS`."""


class Edge(NamedTuple):
    """A value at the edge of what a field takes, as it stands in JSON."""

    value: Any
    named: bool = True
    """Is the value within what the declaration names?

    If not, only the element type takes it, since no bound was declared.
    """
    what: str = ""
    """What it is, where its JSON does not show it."""


class TensorSpec(BaseModel):
    """One input of a graph, without its batch.

    `pad` is the value that fills the first side of shorter rows up to the longest of a batch; None
    where rows of unlike shape cannot share one. It stands after a row's own values, or before them
    with `pad_left`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=200)
    dtype: str = Field(max_length=16)
    dims: tuple[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Annotated[str, Field(max_length=200)], ...
    ] = Field(default=(), max_length=16)
    pad: Annotated[int, Field(ge=-(2**31), lt=2**31)] | str | None = None
    pad_left: bool = False

    @field_validator("dtype")
    @classmethod
    def _known(cls, dtype: str) -> str:
        if dtype not in V2_DATATYPES:
            raise ValueError(f"an element type: {', '.join(V2_DATATYPES)}")
        return dtype

    @cached_property
    def array_dtype(self) -> np.dtype[Any]:
        """Of an array that holds it: words are objects."""
        return np.dtype(object if self.dtype == "string" else self.dtype)


class _SchemaOfKind:
    """The schema of a kind, for Pydantic.

    Pydantic calls a class for the schema of its instances, and an instance in `Annotated` for the
    schema of the annotated type.
    """

    def __get__(
        self, instance: Kind | None, owner: type[Kind]
    ) -> Callable[[Any, GetCoreSchemaHandler], CoreSchema]:
        if instance is None:
            own: Callable[[Any, GetCoreSchemaHandler], CoreSchema] = BaseModel.__dict__[
                "__get_pydantic_core_schema__"
            ].__get__(None, owner)
            return own

        def as_rebuilt(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            annotation, nullable = split_optional(source)
            schema = handler.generate_schema(instance.rebuilt(annotation, nullable))
            return core_schema.nullable_schema(schema) if nullable else schema

        return as_rebuilt


class Kind(Declared):
    """A field kind.

    Subclasses add a literal `kind` with a default, their options, and what they can do.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        ignored_types=(cached_property,),
    )

    roles: ClassVar[frozenset[str]] = frozenset({"input"})
    """Where the kind may stand: "input", "output" or both."""
    takes_notes: ClassVar[bool] = False
    """Can an answer be about a field of this kind? See `noting_stage`."""
    staged: ClassVar[bool] = False
    """Does the host stage do more than hand the value on?

    Such a kind is encoded row by row, every other one by column.
    """
    marks_missing: ClassVar[bool] = True
    """Does a mark beside a fill value say that a value is missing?

    If not, the value's own tensor says it: NaN, or a word of its own.
    """
    keeps: ClassVar[Mapping[type, str]] = {}
    """Pydantic's words for an annotation (`annotated_types.Ge`), and the option that keeps each."""
    rules_go: ClassVar[str] = ""
    """Where a rule belongs that stands beside the kind and is not kept there."""
    nullable: bool = False
    description: Annotated[str, Field(max_length=4096)] | None = None

    @property
    def name(self) -> str:
        """The kind's own name, as `contract.json` holds it."""
        return str(type(self).model_fields["kind"].default)

    __get_pydantic_core_schema__ = _SchemaOfKind()

    @classmethod
    def from_type(cls, annotation: Any) -> Self | None:
        """The kind that a plain type stands for (`bool`, `float`, `Literal[...]`).

        None where the type is not this kind's.
        """
        return None

    def declared(self, annotation: Any, nullable: bool) -> Kind:
        """Complete this kind by the type that it annotates.

        Raises `DeclarationError` where the two do not fit.
        """
        return self.completed(nullable=nullable)

    def rebuilt(self, annotation: Any, nullable: bool) -> Any:
        """The type of one value in the user's own class, missing values aside."""
        return self.declared(annotation, nullable).given()

    def completed(self, **options: Any) -> Self:
        """Copy this kind with these options.

        Raises `DeclarationError` where the options do not make a whole kind.
        """
        kind = self.model_copy(update=options)
        kind.check()
        return kind

    def check(self) -> None:
        """Check the options of this kind against each other.

        Raises `DeclarationError` where options contradict each other, or a required one is missing:
        a kind that `declared` returns passes.
        """

    def front_names(self, field: str) -> Sequence[str]:
        """Names of the files in a bundle that the host stage, or the answer, needs."""
        return ()

    def front_files(self, field: str) -> Mapping[str, bytes]:
        """Files that the host stage, or the answer, needs: name in the bundle -> bytes."""
        return {}

    def with_files(self, name: str, files: Mapping[str, bytes]) -> Self:
        """The kind of a field with what lies beside its contract; `files` are the bundle's.

        Raises `DeclarationError` where a file is not as the contract has it, and `KeyError`.
        """
        return self

    def encodes_inline(self, value: Any) -> bool:
        """Is the host stage of this value shorter than a hop to another thread (some 50 us)?"""
        return True

    def breaks(self, option: str, old: Self) -> bool:
        """Whether the change of this option of an input breaks clients.

        A change from the option's value in `old` breaks if rows that clients send rightly today are
        refused or misread. Unless a subclass overrides the method, every change breaks.
        """
        if option == "nullable":
            return old.nullable
        return option != "description"

    def told_change(self, option: str, old: Self) -> str | None:
        """What is told of the change of an option, where that is not the option's two values."""
        return None

    def check_rows(self, values: Sequence[Any], files: Mapping[str, bytes], name: str) -> None:
        """Raise `DeclarationError` where golden rows show that an unset option must be declared.

        `values` are the validated values of the golden rows.
        """

    @abstractmethod
    def annotation(self) -> Any:
        """The strict Pydantic type of one value, missing values aside."""

    def given(self) -> Any:
        """The same, but the value stays as it was given: for rows that a user makes in Python."""
        return self.annotation()

    @abstractmethod
    def want(self) -> str:
        """What a right value is, for messages: "a number from 10 to 100 mm"."""

    def part_want(self) -> str:
        """What a right item is, of a value that has items."""
        return self.want()

    @property
    def column_names(self) -> Sequence[str]:
        """Names of the fields that a row in JSON has in the place of this one.

        None where it is a field of the row itself.
        """
        return ()

    @property
    def looked_up(self) -> Kind | None:
        """The category whose words the graph looks up in the tensor of this field's name."""
        return None

    @property
    @abstractmethod
    def datatype(self) -> str:
        """The V2 datatype of the raw value."""

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """Shape of one row's V2 tensor, None where a size varies.

        A tensor of several rows has the number of rows before it.
        """
        return (1,)

    @property
    def ragged(self) -> bool:
        """Does the first side of the V2 tensor differ from row to row of one request?

        Shorter rows are filled up there, and a tensor beside it says how many values count.
        """
        return False

    @property
    def takes_token_ids(self) -> bool:
        """May the ids of its tokens stand in the place of a text?"""
        return False

    @property
    def input_only(self) -> str | None:
        """What makes it no answer, where it could be one but for that."""
        return None

    @property
    def marked(self) -> bool:
        """May a value be missing, which a mark beside it says?"""
        return self.nullable and self.marks_missing

    @property
    def by_row(self) -> bool:
        """Is a column of this field encoded row by row, since the host stage changes it?"""
        return self.staged or self.marked or self.ragged

    @property
    def padding_item(self) -> int | str:
        """What fills up a list of such values: the model answers it, and it counts for nothing."""
        return 0

    @property
    def missing_element(self) -> Any:
        """What stands for a missing value in a V2 tensor of numbers."""
        return np.nan

    @property
    def most_values(self) -> int:
        """How many JSON values one row's value holds at most."""
        return 1

    @property
    def most_bytes(self) -> int:
        """How many bytes one row's value takes in JSON at most, as far as its sizes are fixed."""
        return SHORT_BYTES

    def column(self, values: Column) -> Column:
        """Check a V2 column at once: shape `(rows,)`, or `(rows, *row_shape)` for tensors.

        The column of a `ragged` kind is a list with the array of each row, and that of a `marked`
        one holds those rows alone that are there. Returns the graph's input or, where the kind is
        `staged`, the input of its host stage. Raises `Refusal` at "row 3".
        """
        raise NotImplementedError(f"{self.name} is an output kind: no rows come with it")

    def id_column(self, rows: Sequence[Array]) -> Column:
        """The same of a kind that `takes_token_ids`, from the ids of each row."""
        raise NotImplementedError(f"{self.name} takes no token ids: this is a bug in seatrial")

    def wire(self, value: Any) -> Any:
        """One row's JSON value as V2 has it: an element, or nested lists of them.

        A value that the kind does not take may raise what indexing raises.
        """
        return value

    def json_value(self, value: Any) -> Any:
        """A validated value as it was sent, where that is not the same: bytes stand for files."""
        return value

    @abstractmethod
    def json_schema(self) -> JsonSchema:
        """JSON Schema (2020-12) of one value, missing values aside."""

    def told_schema(self) -> JsonSchema:
        """The same with what the console and messages say of it, and null where it may be."""
        schema = {**self.json_schema(), "x-kind": self.name, "x-want": self.want()}
        return {"anyOf": [schema, {"type": "null"}]} if self.nullable else schema

    @abstractmethod
    def example(self) -> Any:
        """One value that the contract accepts, as it stands in JSON."""

    def strategy(self) -> SearchStrategy[Any]:
        """Hypothesis strategy of values that the contract accepts, in their JSON form.

        Missing values are left out.
        """
        raise NotImplementedError(f"{self.name} is an output kind: no rows are drawn from it")

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """Values at the edges of what the field takes, missing values aside.

        The values are the same each time, the telling ones first.

        `stage` is the field's own host stage, which may refuse some of them.
        """
        yield Edge(self.example())

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        """What this field is when it enters the graph."""
        raise NotImplementedError(f"{self.name} is an output kind: it enters no graph")

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """What the graph sees in the place of a missing value, for each of `tensors`.

        `stage` is the field's own, without the mark.
        """
        raise NotImplementedError(f"{self.name} is never missing: this is a bug in seatrial")

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        """Name of each varying size in `tensors` -> the contract's least and most."""
        return {}

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        """Make the host stage of one row; `files` are the bundle's.

        The stage raises `Refusal` for faults that only a closer look shows.
        """
        raise NotImplementedError(f"{self.name} is an output kind: it has no host stage")

    def noting_stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        """Make a host stage that also hands a note of the row to the answers about this field.

        The note stands behind the tensors. It is bounded, belongs to the row, and enters no batch.
        Kinds with `takes_notes` have such a stage.
        """
        raise NotImplementedError(f"{self.name} takes no notes: this is a bug in seatrial")

    @abstractmethod
    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Make the function that takes the traits for drift from a column.

        `stage` is the field's own host stage, or None for an output, whose values are the model's
        numbers.
        """

    def split(self, feature: str, values: Column) -> Bins:
        """Make the bins of a feature from its values in the reference rows.

        Unless a subclass overrides the method, the bins are ranges of numbers.
        """
        return split_numbers(values, missing=self.nullable)


def in_graph(name: str) -> str:
    """What the graph and the model call a field: `address_zip` of `address.zip`."""
    return name.replace(".", "_")


def closed_object(properties: Mapping[str, Any]) -> JsonSchema:
    """JSON Schema of an object that has all of these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        "additionalProperties": False,
    }


def split_optional(annotation: Any) -> tuple[Any, bool]:
    """`T | None` -> (T, True); anything else -> (itself, False)."""
    import types
    from typing import Union, get_args, get_origin

    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return (rest[0] if len(rest) == 1 else Union[tuple(rest)]), True  # noqa: UP007  (built at run time)
    return annotation, False


def refuse(code: str, got: str, want: str, field: str | None = None) -> NoReturn:
    """Refuse a value from inside a Pydantic validator; the contract adds where.

    `field` is the field of the row that is wrong, where an input has several.
    """
    raise finding_of(code, got, want, field)


def refuse_all(findings: Sequence[PydanticCustomError]) -> NoReturn:
    """Refuse a value of which several things are wrong: see `finding_of`."""
    details = [InitErrorDetails(type=each, input=None) for each in findings]
    raise ValidationError.from_exception_data("value", details)


def finding_of(code: str, got: str, want: str, field: str | None = None) -> PydanticCustomError:
    """One thing that is wrong with a value: what `refuse` raises."""
    told = {"code": code, "got": got, "want": want, "field": field}
    return PydanticCustomError("seatrial", "refused", told)


def described(value: Any) -> str:
    """Describe a caller's value: a number as it is, anything else by type and size.

    The text of the value is never part of the description.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return str(value)[:24]
    if isinstance(value, (str, bytes)):
        return f"a string of {len(value)} characters"
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else "an object"


def text_of(value: bytes | str | None, place: int, want: str) -> str:
    """A BYTES element as text. Raises `Refusal` at its row where it is missing or no UTF-8."""
    if value is None:
        raise Refusal("E_MISSING", f"row {place}", "nothing", want)
    try:
        return value if isinstance(value, str) else value.decode()
    except UnicodeDecodeError:
        raise Refusal("E_ENCODING", f"row {place}", "bytes that are no UTF-8", want) from None


def refuse_rows(bad: Array, code: str, got: str, want: str) -> None:
    """Refuse the first row that is bad; `bad` is bool, shape `(rows,)`."""
    if bad.any():
        raise Refusal(code, f"row {int(bad.argmax())}", got, want)
