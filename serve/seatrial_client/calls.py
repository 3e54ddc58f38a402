"""What a client asks of a model: its description, and predictions of rows and of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from pydantic import BaseModel

from seatrial_client.described import Described, described
from seatrial_client.plan import Plan, Reply, Result, Retries, Send, sent, together
from seatrial_client.reply import object_in, odd_answer
from seatrial_client.v2 import HEADER, v2_arrays, v2_body
from seatrial_contracts.answer_blocks import Block, arrays_of, frame_of, normalised
from seatrial_contracts.errors import DeclarationError, Refusal, Unavailable
from seatrial_contracts.golden import wire_row, wire_value
from seatrial_contracts.kinds.kind import Column
from seatrial_contracts.own_rows import own_row
from seatrial_contracts.own_values import own_value
from seatrial_contracts.tables import Table, columns_of_table, empty_table, rows_of_table, table_of

JSON = {"Content-Type": "application/json"}
BINARY = {"Content-Type": "application/octet-stream"}
TIMEOUT = "X-Request-Timeout-Ms"
OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_SUBCLASS
OPTIONS |= orjson.OPT_PASSTHROUGH_DATETIME
BESIDE_ROWS_BYTES = 1024
"""Room in a body for what is not rows."""
FORMS = ("rows", "frame", "arrays")


class Calls:
    """The plans of one client."""

    def __init__(
        self, url: str, model: str | None, version: str | None, row: type[BaseModel] | None,
        timeout_s: float, retries: Retries,
    ) -> None:  # fmt: skip
        self._url, self._model, self._version, self._row = url, model, version, row
        self._timeout_s, self._retries = timeout_s, retries
        self._described: Described | None = None

    def _sent(
        self, method: str, path: str, content: bytes | None = None,
        headers: Mapping[str, str] = JSON, timeout_s: float | None = None,
    ) -> Plan[Reply]:  # fmt: skip
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        told = (*headers.items(), (TIMEOUT, str(max(1, int(limit_s * 1000)))))
        request = Send(method, path, content, told, limit_s)
        return sent(request, self._retries, self._url)

    def model(self) -> Plan[str]:
        """The model's name: the given one, or that of the only one there is."""
        if self._model is None:
            said = object_in((yield from self._sent("GET", "/v1/models")))
            names = [each["name"] for each in said.get("models", ()) if isinstance(each, dict)]
            if len(names) != 1:
                got = f"{len(names)} models: {', '.join(map(str, names[:8]))}" if names else "none"
                raise DeclarationError("model", got, "one", "name it: st.Client(url, 'NAME')")
            self._model = str(names[0])
        return self._model

    def _path(self, protocol: str, model: str) -> str:
        path = f"/{protocol}/models/{quote(model, safe='')}"
        return path if self._version is None else f"{path}/versions/{quote(self._version, safe='')}"

    def description(self) -> Plan[Described]:
        """What the server says of the model; asked once."""
        if self._described is None:
            model = yield from self.model()
            said = object_in((yield from self._sent("GET", self._path("v1", model))))
            self._described = described(said, model, self._version)
        return self._described

    def predict(
        self, data: Any, to: str | None, options: Mapping[str, Any], timeout_s: float | None
    ) -> Plan[Any]:
        """Predictions in the form of `data`, or in the form `to`; see `Client.predict`."""
        if to is not None and to not in FORMS:
            raise Refusal("E_PARAMETER", "to", repr(to)[:60], "'rows', 'frame' or 'arrays'")
        table = table_of(data)
        if table is not None:
            return (yield from self._of_table(table, to or "frame", options, timeout_s))
        if isinstance(data, Mapping | BaseModel):
            found = yield from self._rows([data], options, timeout_s)
            return found[0] if to is None else self._as(found, to)
        if isinstance(data, str | bytes) or not isinstance(data, Sequence):
            want = "a row, a list of rows, or a data frame"
            raise Refusal("E_TYPE", "predict", f"a {type(data).__name__}", want)
        return self._as((yield from self._rows(data, options, timeout_s)), to or "rows")

    def _as(self, found: list[dict[str, Any]], to: str, table: Table | None = None) -> Any:
        if to == "rows":
            return found
        if to == "frame":
            return (table or empty_table(len(found))).like(normalised(found), {})
        want = "a data frame in" if table is None else "rows or a frame out of this model"
        raise Refusal("E_UNSUPPORTED", f"to='{to}'", "rows of this form", want)

    def _rows(
        self, rows: Sequence[Any], options: Mapping[str, Any], timeout_s: float | None
    ) -> Plan[list[dict[str, Any]]]:
        """The predictions of rows, in requests that the server takes."""
        about = yield from self.description()
        if self._row is not None:
            rows = [self._validated(row, self._row) for row in rows]
        starts = range(0, len(rows), about.max_rows)
        parts = [rows[start : start + about.max_rows] for start in starts]
        beside = {"parameters": options} if options else {}
        path = f"{self._path('v1', about.name)}:predict"
        plans = [
            counted(start, self._part(part, beside, path, about, timeout_s))
            for start, part in zip(starts, parts, strict=True)
        ]
        found = yield from together(plans)
        return found[0] if len(found) == 1 else [each for part in found for each in part]

    def _validated(self, row: Any, model: type[BaseModel]) -> Any:
        """The row as the caller's own model has it. Raises Pydantic's own error."""
        return row if isinstance(row, BaseModel) else model.model_validate(row)

    def _part(
        self, rows: Sequence[Any], beside: Mapping[str, Any], path: str, about: Described,
        timeout_s: float | None,
    ) -> Plan[list[dict[str, Any]]]:  # fmt: skip
        """The predictions of rows in one request, or in several where its body is too large."""
        body = json_of({"instances": rows, **beside})
        if len(body) > about.max_body_bytes and len(rows) > 1:
            half = len(rows) // 2
            found = yield from together(
                [
                    self._part(rows[:half], beside, path, about, timeout_s),
                    counted(half, self._part(rows[half:], beside, path, about, timeout_s)),
                ]
            )
            return [*found[0], *found[1]]
        said = object_in((yield from self._sent("POST", path, body, JSON, timeout_s)))
        predictions = said.get("predictions")
        if not isinstance(predictions, list) or len(predictions) != len(rows):
            raise odd_answer("an answer without a prediction for each row", "one")
        self._note_version(said.get("model_version"))
        return predictions

    def _note_version(self, version: Any) -> None:
        """Describe the model anew once another version answers."""
        if self._described is not None and version != self._described.version:
            self._described = None

    def _of_table(
        self, table: Table, to: str, options: Mapping[str, Any], timeout_s: float | None,
        *, anew: bool = False,
    ) -> Plan[Any]:  # fmt: skip
        about = yield from self.description()
        contract = about.contract
        columns = columns_of_table(table, contract) if about.columnar and len(table) else None
        if columns is None or to == "rows":
            rows = rows_of_table(table, contract)
            return self._as((yield from self._rows(rows, options, timeout_s)), to, table)
        step = self._rows_of_body(columns, len(table), about)
        starts = range(0, len(table), step)
        parts = [slice(start, start + step) for start in starts]
        plans = [
            counted(part.start, self._block(columns, part, about, options, timeout_s))
            for part in parts
        ]
        try:
            blocks = yield from together(plans)
        except Unavailable as error:
            if anew or error.code != "E_ODD_ANSWER":
                raise
            # Another version may answer by now, with other outputs.
            self._described = None
            return (yield from self._of_table(table, to, options, timeout_s, anew=True))
        chosen = contract.read_options(options)
        if to == "arrays":
            return arrays_of(blocks, contract, chosen)
        return frame_of(blocks, contract, chosen, table)

    def _rows_of_body(self, columns: Mapping[str, Column], rows: int, about: Described) -> int:
        """How many rows fit into one request."""
        sizes = [
            sum(len(word.encode()) + 4 for word in array.tolist())
            if array.dtype.kind == "O"
            else array.nbytes
            for array in map(np.asarray, columns.values())
        ]
        room = max(about.max_body_bytes - BESIDE_ROWS_BYTES - 256 * len(columns), 1)
        parts = -(-2 * sum(sizes) // room) if sum(sizes) > room else 1
        return max(1, min(about.max_rows, rows // parts))

    def _block(
        self, columns: Mapping[str, Column], rows: slice, about: Described,
        options: Mapping[str, Any], timeout_s: float | None,
    ) -> Plan[Block]:  # fmt: skip
        part = {name: column[rows] for name, column in columns.items()}
        count = len(next(iter(part.values())))
        body, json_bytes = v2_body(part, count, about.contract, options)
        headers = {**BINARY, HEADER: str(json_bytes)}
        path = f"{self._path('v2', about.name)}/infer"
        reply = yield from self._sent("POST", path, body, headers, timeout_s)
        arrays, version = v2_arrays(reply, about.contract, count)
        self._note_version(version)
        return Block(arrays, count)


def counted(start: int, plan: Plan[Result]) -> Plan[Result]:
    """A plan for rows from the place `start` on: what it refuses is named by its place in all."""
    try:
        return (yield from plan)
    except Refusal as refusal:
        if refusal.row is None or not start:
            raise
        raise refusal.in_row(start + refusal.row) from None


def json_of(value: Any) -> bytes:
    """A body of rows. NaN is null; see `own_row` and `wire_row` for the rest."""
    return orjson.dumps(value, _wire, OPTIONS)


def _wire(value: Any) -> Any:
    """What JSON has no form for: rows of classes, files, times, pandas' own values."""
    if isinstance(value, BaseModel | Mapping):
        return wire_row(own_row(value))
    made = wire_value(own_value(value))
    if made is value:
        raise TypeError(f"no JSON for a value of type {type(value).__name__}")
    return made
