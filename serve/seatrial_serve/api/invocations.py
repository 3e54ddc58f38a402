"""`POST /invocations`: rows as clients of MLflow's scoring server and of SageMaker send them.

Forms and names are those of MLflow's "Local Model Serving" (mlflow.pyfunc.scoring_server):
`dataframe_split`, `dataframe_records`, `instances`, `inputs`, with `params`, and `text/csv` with a
line of names, or without one where its media type says so (RFC 4180). The answer is V1's:
`{"predictions": [...]}`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.json_values import check_values
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.http_request import HttpExchange
from seatrial_serve.api.v1 import PREDICT, job_of, sends_file
from seatrial_serve.http.headers import CONTENT_TYPE, is_file

PATH = "/invocations"
CSV = b"text/csv"
NO_NAMES = b"header=absent"
"""RFC 4180, section 3: the parameter of a CSV that has no line of names."""
CSV_WANT = "CSV whose first line names the columns, or 'Content-Type: text/csv; header=absent'"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
WANT = f"an object with one of {', '.join(FORMS)}"
FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Invocations:
    """A `Form`: rows by any of MLflow's names, or as CSV; a file's bytes where V1 takes them."""

    def check(self, asked: HttpExchange) -> None:
        """See `Form`."""
        if not is_csv(asked.headers):
            sends_file(asked)

    def read(self, asked: HttpExchange, body: bytes) -> Job:
        """See `Form`."""
        model = asked.model
        if is_csv(asked.headers):
            named = not has_no_names(asked.headers)
            asks: dict[str, Any] = {"instances": csv_rows(body, model.contract, named=named)}
        elif sends_file(asked):
            return PREDICT.read(asked, body)
        else:
            asks = as_v1(body, model.contract)
        request = model.reader.read(orjson.dumps(asks), by_row=asked.terms.partial)
        return job_of(asked, request._replace(columnar=False))


INVOCATIONS = Invocations()


def is_csv(headers: Mapping[bytes, bytes]) -> bool:
    """Does the body come as CSV? Raises `Refusal` for another charset than UTF-8."""
    media, _, parameters = headers.get(CONTENT_TYPE, b"").partition(b";")
    if media.strip().lower() != CSV:
        return False
    is_file(b"application/json;" + parameters, None)
    return True


def has_no_names(headers: Mapping[bytes, bytes]) -> bool:
    """Does the type of a CSV body say that no line names its columns?"""
    parameters = headers.get(CONTENT_TYPE, b"").lower().replace(b'"', b"").split(b";")[1:]
    return NO_NAMES in [each.strip() for each in parameters]


def as_v1(body: bytes, contract: Contract) -> dict[str, Any]:
    """A body of MLflow's as one of V1. Raises `Refusal`."""
    if not body:
        raise Refusal("E_EMPTY", "request body", "nothing", WANT)
    check_values(body, contract.most_values, contract.limits.max_rows)
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal("E_JSON", "request body", "no JSON", WANT) from None
    if not isinstance(asked, dict):
        raise Refusal("E_SCHEMA", "request body", "no object", WANT)
    given = [name for name in FORMS if name in asked]
    unknown = [name for name in asked if name not in (*FORMS, "params", "parameters")]
    if len(given) != 1 or unknown:
        got = "an unknown field" if unknown else f"{len(given)} of them"
        raise Refusal("E_SCHEMA", "request body", got, WANT)
    (form,) = given
    value = asked[form]
    options = {"parameters": asked.get("params") or asked.get("parameters") or {}}
    if form == "inputs" and isinstance(value, dict):
        return {"inputs": value} | options
    rows = split_rows(value) if form == "dataframe_split" else value
    return {"instances": named_rows(rows, contract)} | options


def split_rows(value: Any) -> list[Any]:
    """The rows of a data frame in pandas' orientation "split". Raises `Refusal`."""
    where, want = "field 'dataframe_split'", "an object of columns and data, a list for each row"
    columns = value.get("columns") if isinstance(value, dict) else None
    data = value.get("data") if isinstance(value, dict) else None
    if not (isinstance(columns, list) and all(isinstance(name, str) for name in columns)):
        raise Refusal("E_SCHEMA", where, "no list of names in 'columns'", want)
    if not (isinstance(data, list) and all(isinstance(row, list) for row in data)):
        raise Refusal("E_SCHEMA", where, "no list of lists in 'data'", want)
    if len(set(columns)) != len(columns):
        raise Refusal("E_SCHEMA", where, "two columns of one name", "a name for each column")
    for place, row in enumerate(data):
        if len(row) != len(columns):
            got = f"{len(row)} values in row {place}"
            raise Refusal("E_SHAPE", where, got, f"{len(columns)}, one for each column")
    return [dict(zip(columns, row, strict=True)) for row in data]


def named_rows(rows: Any, contract: Contract) -> Any:
    """Rows of a contract of one input may be its values alone, as a list of tensors has them."""
    names = contract.record.names
    if not isinstance(rows, list) or len(names) != 1:
        return rows
    return [row if isinstance(row, dict) else {names[0]: row} for row in rows]


def csv_rows(body: bytes, contract: Contract, *, named: bool = True) -> list[dict[str, Any]]:
    """The rows of a CSV body whose first line names the columns.

    If none does (`named`), the columns are the contract's inputs, in their order.
    A cell is read as the type that its field has in JSON. An empty cell is null where the field
    takes that, and empty text otherwise. Raises `Refusal`.
    """
    where, most = "request body", contract.limits.max_rows
    try:
        text = body.decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        inputs = contract.record.names
        names = next(lines, []) if named else [*inputs]
        if names and not {*inputs}.intersection(names):
            raise Refusal("E_SCHEMA", where, "a first line that names no input", CSV_WANT)
        readers = cell_readers(names, contract.row_schema())
        rows: list[dict[str, Any]] = []
        for place, cells in enumerate(lines):
            if not cells:
                continue
            if len(rows) == most:
                raise Refusal("E_BATCH", where, f"more than {most} rows", f"1 to {most} rows")
            if len(cells) != len(names):
                got = f"{len(cells)} cells in row {place}"
                raise Refusal("E_SHAPE", where, got, f"{len(names)}, one for each column")
            read = zip(names, readers, cells, strict=True)
            rows.append({name: value_of(cell) for name, value_of, cell in read})
    except UnicodeDecodeError:
        raise Refusal("E_SCHEMA", where, "bytes that are no UTF-8", "CSV in UTF-8") from None
    except csv.Error:
        raise Refusal("E_SCHEMA", where, "no CSV", CSV_WANT) from None
    return rows


Reader = Callable[[str], Any]


def cell_readers(names: Sequence[str], schema: JsonSchema) -> list[Reader]:
    """How the cells of each column are read. Raises `Refusal` where two have one name."""
    if len(set(names)) != len(names):
        raise Refusal(
            "E_SCHEMA", "request body", "two columns of one name", "a name for each column"
        )
    properties = schema.get("properties", {})
    return [reader_of(types_of(properties.get(name, {}))) for name in names]


def types_of(schema: JsonSchema) -> set[str]:
    """The JSON types that a schema takes, where it says them."""
    found = schema.get("type", [])
    types = {found} if isinstance(found, str) else set(found)
    for member in ("anyOf", "oneOf"):
        for each in schema.get(member, []):
            types |= types_of(each)
    for value in [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]:
        types.add("null" if value is None else "string" if isinstance(value, str) else "number")
    return types


def reader_of(types: set[str]) -> Reader:
    """How a cell becomes a value of one of these types; what is none of them stays text."""

    def read(cell: str) -> Any:
        if not cell:
            return None if "null" in types or "string" not in types else cell
        if "string" in types:
            return cell
        if "boolean" in types and cell in FLAGS:
            return FLAGS[cell]
        try:
            return orjson.loads(cell)
        except orjson.JSONDecodeError:
            return cell

    return read


def body_schema(rows: JsonSchema) -> JsonSchema:
    """JSON Schema of a JSON body; `rows` are those of V1."""
    listed: JsonSchema = {"type": "array"}
    split: JsonSchema = {
        "type": "object",
        "properties": {
            "index": listed,
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "items": listed},
        },
        "required": ["columns", "data"],
    }
    columns = {"type": "object", "additionalProperties": listed}
    forms = {
        "dataframe_split": split, "dataframe_records": rows, "instances": rows, "inputs": columns,
    }  # fmt: skip
    return {
        "oneOf": [
            {
                "type": "object",
                "properties": {name: form, "params": {"type": "object"}},
                "required": [name],
                "additionalProperties": False,
            }
            for name, form in forms.items()
        ]
    }
