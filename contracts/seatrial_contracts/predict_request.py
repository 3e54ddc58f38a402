"""The body of a V1 request: rows (`instances`) or columns (`inputs`).

Each value is validated against the contract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import repeat
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, cast
from weakref import WeakValueDictionary

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import ErrorDetails, from_json

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import MOST_FAULTS, Refusal
from seatrial_contracts.json_values import check_values
from seatrial_contracts.kinds.output_kind import NO_OPTIONS
from seatrial_contracts.records import Record
from seatrial_contracts.row import BuiltRow, Row

SIGNATURE = "serving_default"
"""TensorFlow Serving's name of the signature that a model has when it has only one."""
ONLY_SIGNATURE: Any = Literal["serving_default"]
NONE_REFUSED: Mapping[int, Refusal] = MappingProxyType({})


class PredictRequest(NamedTuple):
    """The validated rows of a request in order, without those in `refused`.

    `refused` is keyed by a row's place in the request.
    """

    rows: list[dict[str, Any]]
    columnar: bool = False
    """Did the rows come by column, so that the answer goes back by column?"""
    refused: Mapping[int, Refusal] = NONE_REFUSED
    options: Mapping[str, Any] = NO_OPTIONS
    """As the client chose them; they are not checked yet."""


READERS: WeakValueDictionary[int, RequestReader] = WeakValueDictionary()
"""`id` of a contract -> its reader, which holds the contract, so that no other gets this `id`."""


def reader_of(contract: Contract) -> RequestReader:
    """The reader of a contract; all who hold that very value share it."""
    reader = READERS.get(id(contract))
    if reader is None:
        reader = READERS[id(contract)] = RequestReader(contract)
    return reader


class RequestReader:
    """A reader of request bodies for one contract.

    A body is `{"instances": [row, ...]}`, or `{"inputs": {name: [value, ...]}}`, and may hold a
    request's options in `parameters`. Both forms and
    `signature_name` are TensorFlow Serving's (its REST API, "Predict API").
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._names = [*contract.record.parts]
        self._values_of = contract.record.flat if contract.is_nested else vars
        self._optional = contract.record.optional
        self._needed = frozenset(self._names) - self._optional.keys()

    @cached_property
    def _quick(self) -> TypeAdapter[Any]:
        """Takes rows and columns that lack something: see `Record.model`."""
        return self._adapter(incomplete=True)

    @cached_property
    def _quick_by_row(self) -> TypeAdapter[Any]:
        """The same; what else is wrong within a row stands in its place, and fails no other."""
        return self._adapter(incomplete=True, by_row=True)

    @cached_property
    def _strict(self) -> TypeAdapter[Any]:
        return self._adapter()

    @cached_property
    def _strict_by_row(self) -> TypeAdapter[Any]:
        return self._adapter(by_row=True)

    def _adapter(self, *, incomplete: bool = False, by_row: bool = False) -> TypeAdapter[Any]:
        wrap = (WrapValidator(kept),) if by_row else ()
        count: Any = Field(min_length=1, max_length=self._contract.limits.max_rows)

        def listed(item: Any) -> Any:
            each: Any = Annotated[item, *wrap] if wrap else item
            return Annotated[list[each], count]

        record = self._contract.record
        packing = record.packing(record.with_packed_columns)
        lacking = None if incomplete else ...
        columns: dict[str, Any] = {
            name: (
                listed(annotation | None if nullable else annotation),
                None if name in self._optional else lacking,
            )
            for name, (annotation, nullable) in record.annotations_of().items()
        }
        rows = record.model(incomplete=True) if incomplete else self._contract.row_model
        return TypeAdapter(
            create_model(
                "PredictRequest",
                __base__=BuiltRow,
                instances=(listed(rows), None),
                inputs=(
                    create_model("Columns", __base__=BuiltRow, __validators__=packing, **columns),
                    None,
                ),
                signature_name=(ONLY_SIGNATURE, None),
                parameters=(dict[str, Any], None),
            )
        )

    def read(self, body: bytes, *, by_row: bool = False) -> PredictRequest:
        """Read the request in a body.

        Raises `Refusal`; with `by_row`, only for faults that are not of one row.
        """
        if not body:
            raise Refusal("E_EMPTY", "request body", "nothing", 'an object: {"instances": [{...}]}')
        check_values(body, self._contract.most_values, self._contract.limits.max_rows)
        try:
            request = (self._quick_by_row if by_row else self._quick).validate_json(body)
        except ValidationError as error:
            raise self._refusal(error, body, by_row=by_row) from None
        if (request.instances is None) == (request.inputs is None):
            raise self._neither(request.inputs)
        options = request.parameters or NO_OPTIONS
        if request.instances is None:
            self._check_columns(request.inputs, body, by_row=by_row)
            return self._of_columns(request.inputs.__dict__, by_row=by_row)._replace(
                options=options
            )
        record = self._contract.record
        if not by_row:
            if not record.are_complete(request.instances):
                raise self._refusal(None, body)
            return PredictRequest(list(map(self._values_of, request.instances)), options=options)
        rows: list[dict[str, Any]] = []
        bad: dict[int, list[ErrorDetails]] = {}
        for place, row in enumerate(request.instances):
            if isinstance(row, Row) and record.is_complete(row):
                rows.append(self._values_of(row))
            else:
                bad[place] = findings_of(row) if isinstance(row, ValidationError) else []
        return PredictRequest(rows, refused=self._refused(bad, body), options=options)

    def _refused(self, bad: Mapping[int, list[ErrorDetails]], body: bytes) -> dict[int, Refusal]:
        """What is wrong with these rows of a body, of which some findings are known."""
        sent = from_json(body)["instances"] if bad else ()
        refused: dict[int, Refusal] = {}
        room = MOST_FAULTS
        for place, some in bad.items():
            try:
                self._contract.row_model.model_validate(sent[place])
            except ValidationError as error:
                found = [
                    cast("ErrorDetails", {**each, "input": value_at(sent[place], each["loc"])})
                    for each in merged(findings_of(error), some)
                ]
                refused[place] = self._contract.refusal_of(found, place, room)
                room -= len(refused[place].faults)
        return refused

    def _check_columns(self, columns: Row, body: bytes, *, by_row: bool) -> None:
        """Raise `Refusal` where a column is missing that every request has to have."""
        given = columns.__pydantic_fields_set__
        if len(given) < len(self._names) and not self._needed <= given:
            raise self._refusal(None, body, by_row=by_row)

    def read_file(self, name: str, body: bytes, *, by_row: bool = False) -> PredictRequest:
        """Read the request of one row whose only input, `name`, is the body itself.

        Raises `Refusal`, as `read` does.
        """
        try:
            return PredictRequest([self._contract.validate_row({name: body}, 0)])
        except Refusal as refusal:
            if not by_row:
                raise
            return PredictRequest([], refused={0: refusal})

    def _of_columns(
        self, columns: Mapping[str, list[Any] | None], *, by_row: bool
    ) -> PredictRequest:
        counts = {name: len(values) for name, values in columns.items() if values is not None}
        if not counts:
            raise Refusal(
                "E_EMPTY_BATCH",
                "request body",
                "no column",
                "'inputs': a list of values for each input",
            )
        first, rows = next(iter(counts.items()))
        for name, count in counts.items():
            if count != rows:
                raise Refusal(
                    "E_SHAPE", f"input '{name}'", f"{count} rows", f"{rows} rows, as '{first}' has"
                )
        values = [
            repeat(self._optional[name], rows) if columns[name] is None else columns[name] or ()
            for name in self._names
        ]
        whole = [dict(zip(self._names, row, strict=True)) for row in zip(*values, strict=True)]
        if not by_row:
            return PredictRequest(self._values(whole), columnar=True)
        refused: dict[int, Refusal] = {}
        room = MOST_FAULTS
        for place, row in enumerate(whole):
            found = [
                cast("ErrorDetails", {**finding, "loc": (name, *finding["loc"])})
                for name, value in row.items()
                if isinstance(value, ValidationError)
                for finding in value.errors(include_url=False)
            ]
            if found:
                refused[place] = self._contract.refusal_of(found, place, room)
                room -= len(refused[place].faults)
        return PredictRequest(
            self._values([row for place, row in enumerate(whole) if place not in refused]),
            True,
            refused,
        )

    def _values(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same by the names of the inputs, where rows hold objects."""
        return list(map(self._contract.record.flat, rows)) if self._contract.is_nested else rows

    def _neither(self, inputs: Any) -> Refusal:
        want = f"'instances': a list of 1 to {self._contract.limits.max_rows} rows"
        if inputs is None:
            return Refusal("E_MISSING", "request body", "nothing", want)
        return Refusal("E_SCHEMA", "request body", "'instances' and 'inputs' both", "one of them")

    def _refusal(
        self, error: ValidationError | None, body: bytes, *, by_row: bool = False
    ) -> Refusal:
        """What is wrong with a request, of which `error` says some."""
        some = findings_of(error) if error is not None else []
        unread = bool(some) and some[0]["type"] == "json_invalid"
        sent = None if unread else from_json(body)
        whole = [] if unread else self._found(sent, by_row=by_row)
        found = merged(whole, some) if whole else some
        told = [
            cast("ErrorDetails", {**each, "input": value_at(sent, each["loc"])})
            for each in found[:MOST_FAULTS]
        ]
        bare = self._bare(told)
        return bare or Refusal.of_all([*map(self._fault, told)], len(found))

    def _found(self, sent: Any, *, by_row: bool) -> list[ErrorDetails]:
        """All that is wrong with a parsed body, of which Pydantic holds no copies."""
        try:
            (self._strict_by_row if by_row else self._strict).validate_python(sent)
        except ValidationError as error:
            return findings_of(error)
        return []

    def _bare(self, found: Sequence[ErrorDetails]) -> Refusal | None:
        """The refusal of rows without the object around them; None where that is not the fault."""
        where, want = "request body", 'an object: {"instances": [{...}]}'
        first = found[0]
        if first["loc"] == () and isinstance(first["input"], list):
            got = f"a list of {len(first['input'])} without 'instances'"
            return Refusal("E_SCHEMA", where, got, want, 'send {"instances": ROWS}, ROWS this list')
        if first["loc"] == ("instances",) and isinstance(first["input"], dict):
            mend = 'send {"instances": [ROW]}, ROW this object'
            return Refusal("E_SCHEMA", where, "an object in 'instances'", want, mend)
        names = {str(each["loc"][0]) for each in found if len(each["loc"]) == 1}
        if first["type"] == "extra_forbidden" and names & {*self._contract.record.names}:
            mend = 'send {"instances": [ROW]}, ROW this object'
            return Refusal("E_SCHEMA", where, "a row without 'instances'", want, mend)
        return None

    def _fault(self, finding: ErrorDetails) -> Refusal:
        """One finding: a value in a column is named as the same value in a row is."""
        match finding["loc"]:
            case ("signature_name", *_):
                return Refusal(
                    "E_SCHEMA",
                    "signature_name",
                    "another one",
                    f"'{SIGNATURE}', the only one there is",
                )
            case ("inputs", str(name), int(place), *inner) if name in self._names:
                here = cast("ErrorDetails", {**finding, "loc": (name, *inner)})
                return self._contract.fault(here, place)
            case ("inputs", str(name), *_) if finding["type"] in (
                "missing",
                "extra_forbidden",
                "list_type",
            ):
                return self._of_column(name, finding)
        return self._contract.fault(finding)

    def _of_column(self, name: str, finding: ErrorDetails) -> Refusal:
        if name not in self._names:
            known = ", ".join(self._contract.record.names)
            got, want = "a column that the contract does not have", known
            return Refusal("E_UNKNOWN_FIELD", "inputs", got, want)
        part = self._contract.record.parts[name]
        wanted = part.want() if isinstance(part, Record) else part.kind.want()
        want = f"a list, for each row {wanted}"
        if finding["type"] == "missing":
            return Refusal("E_MISSING", f"input '{name}'", "nothing", want)
        return Refusal("E_TYPE", f"input '{name}'", "no list", want)


def findings_of(error: ValidationError) -> list[ErrorDetails]:
    """Without what was sent: Pydantic would copy a row anew for each field that it lacks."""
    return error.errors(include_url=False, include_input=False)


def merged(whole: Sequence[ErrorDetails], some: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """All findings about a parsed body, those about its JSON first where both have one.

    A whole number beyond every float is another fault in JSON than in Python.
    """
    told = {each["loc"]: each for each in some}
    counts = Counter(each["loc"] for each in (*whole, *some))
    return [
        told[each["loc"]] if counts[each["loc"]] == 2 and each["loc"] in told else each
        for each in whole
    ]


def kept(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """The validated value, or the error where there is one."""
    try:
        return validate(value)
    except ValidationError as error:
        return error


def value_at(sent: Any, path: Sequence[int | str]) -> Any:
    """What stands at a finding's place in a parsed body."""
    for part in path:
        # A part that is not there is a mark of Pydantic's own.
        with suppress(LookupError, TypeError):
            sent = sent[part]
    return sent
