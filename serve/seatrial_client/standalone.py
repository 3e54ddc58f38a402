"""A client of one model of a seatrial server. It needs httpx, and the standard library."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import httpx

# types: `seatrial client` writes those of a contract in the place of these lines
Row = dict[str, Any]
Answer = dict[str, Any]
MODEL = "model"
MAX_ROWS = 1024
MAX_BODY_BYTES = 4 * 2**20
# end of types

MOST_TRIES = 4
MOST_WAIT_S = 10.0
FIRST_WAIT_S = 0.1
LATER = (429, 503)
ROW = re.compile(r"^((?:input '[^']+', (?:[^:]*, )?)?row )(\d+):")
"""How the server's text names the row of a request."""
NEVER_SEEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
HUNG_UP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class ServerError(Exception):
    """The server did not answer. `code` is stable, `status` is that of HTTP; 0 without a reply."""

    def __init__(self, code: str, text: str, status: int = 0, request_id: str = "") -> None:
        super().__init__(f"{code}: {text}" + (f" (request {request_id})" if request_id else ""))
        self.code, self.text, self.status, self.request_id = code, text, status, request_id


class Refused(ServerError):
    """The request cannot be answered as it is.

    `errors` are all that is wrong with the rows, each with `input`, `row`, `code` and `error`;
    `more_errors` says how many are not listed. Rows count from 0 over all rows of the call.
    """

    errors: Sequence[Mapping[str, Any]] = ()
    more_errors: int = 0


class Unavailable(ServerError):
    """Another try may be answered, after `retry_after_s` seconds."""

    retry_after_s: float = 1.0


class _Tries:
    """The tries of one request, within a time."""

    def __init__(self, timeout_s: float) -> None:
        self._until_s = time.monotonic() + timeout_s
        self._tried = self._hung_up = 0

    @property
    def left_s(self) -> float:
        return max(self._until_s - time.monotonic(), 0.001)

    def after_loss(self, error: httpx.HTTPError) -> float:
        """The pause before another try. Raises `Unavailable` where there is none."""
        self._tried += 1
        self._hung_up += isinstance(error, HUNG_UP)
        wait_s: float = FIRST_WAIT_S * 2 ** (self._tried - 1) * random.uniform(0.5, 1.5)  # noqa: S311  (spreads clients out)
        again = isinstance(error, NEVER_SEEN + HUNG_UP) and self._hung_up < 2
        if not again or self._tried >= MOST_TRIES or wait_s >= self.left_s:
            late = isinstance(error, httpx.TimeoutException)
            code = "E_DEADLINE" if late and not again else "E_UNREACHABLE"
            raise Unavailable(code, f"no whole reply ({type(error).__name__})") from None
        return wait_s

    def after_reply(self, reply: httpx.Response) -> float | None:
        """The pause before another try; None where the reply stands."""
        self._tried += 1
        asked = reply.headers.get("retry-after", "")
        if reply.status_code not in LATER or not asked.isdecimal() or self._tried >= MOST_TRIES:
            return None
        wait_s = float(asked)
        return wait_s if wait_s <= MOST_WAIT_S and wait_s < self.left_s else None


class _Calls:
    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self._path = f"{self.url}/v1/models/{MODEL}:predict"
        self._headers = {"Content-Type": "application/json"}
        self._headers["X-Request-Timeout-Ms"] = str(max(1, int(timeout_s * 1000)))
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"


class Client(_Calls):
    """`Client("http://127.0.0.1:8000").predict(row)`. Use `with`, or `close`."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 60.0) -> None:
        super().__init__(url, key, timeout_s)
        self._http = httpx.Client()

    @overload
    def predict(self, rows: Row) -> Answer: ...
    @overload
    def predict(self, rows: Sequence[Row]) -> list[Answer]: ...
    def predict(self, rows: Row | Sequence[Row]) -> Answer | list[Answer]:
        """The answer to a row, or the answers to rows, which may be many.

        Raises `Refused`, `Unavailable` and `ServerError`.
        """
        one = isinstance(rows, Mapping)
        found = [
            answer
            for body, first, count in _bodies([rows] if isinstance(rows, Mapping) else rows)
            for answer in _answers(self._reply(body), first, count)
        ]
        return found[0] if one else found

    def _reply(self, body: bytes) -> httpx.Response:
        tries = _Tries(self.timeout_s)
        while True:
            try:
                reply = self._http.post(
                    self._path, content=body, headers=self._headers, timeout=tries.left_s
                )
            except httpx.HTTPError as error:
                time.sleep(tries.after_loss(error))
                continue
            wait_s = tries.after_reply(reply)
            if wait_s is None:
                return reply
            time.sleep(wait_s)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Calls):
    """The same on an event loop: `await client.predict(row)`. Use `async with`, or `close`."""

    def __init__(self, url: str, *, key: str | None = None, timeout_s: float = 60.0) -> None:
        super().__init__(url, key, timeout_s)
        self._http = httpx.AsyncClient()

    @overload
    async def predict(self, rows: Row) -> Answer: ...
    @overload
    async def predict(self, rows: Sequence[Row]) -> list[Answer]: ...
    async def predict(self, rows: Row | Sequence[Row]) -> Answer | list[Answer]:
        """See `Client.predict`."""
        found: list[Answer] = []
        for body, first, count in _bodies([rows] if isinstance(rows, Mapping) else rows):
            found += _answers(await self._reply(body), first, count)
        return found[0] if isinstance(rows, Mapping) else found

    async def _reply(self, body: bytes) -> httpx.Response:
        tries = _Tries(self.timeout_s)
        while True:
            try:
                reply = await self._http.post(
                    self._path, content=body, headers=self._headers, timeout=tries.left_s
                )
            except httpx.HTTPError as error:
                await asyncio.sleep(tries.after_loss(error))
                continue
            wait_s = tries.after_reply(reply)
            if wait_s is None:
                return reply
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _bodies(rows: Sequence[Row]) -> Iterator[tuple[bytes, int, int]]:
    """The body of each request, the place of its first row, and how many rows it holds."""
    for start in range(0, len(rows), MAX_ROWS):
        yield from _split(rows[start : start + MAX_ROWS], start)


def _split(rows: Sequence[Row], first: int) -> Iterator[tuple[bytes, int, int]]:
    body = json.dumps({"instances": rows}, default=_wire, allow_nan=False).encode()
    if len(body) <= MAX_BODY_BYTES or len(rows) == 1:
        yield body, first, len(rows)
        return
    half = len(rows) // 2
    yield from _split(rows[:half], first)
    yield from _split(rows[half:], first + half)


def _wire(value: Any) -> Any:
    """What JSON has no form for: files in base64, arrays as lists, times as text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"no JSON for a value of type {type(value).__name__}")


def _counted(text: str, first: int) -> str:
    """A text of the server with its row counted from the first row of the call."""
    return ROW.sub(lambda found: f"{found[1]}{int(found[2]) + first}:", text)


def _counted_error(error: Mapping[str, Any], first: int) -> Mapping[str, Any]:
    row = error["row"]
    moved = row if row is None else row + first
    return {**error, "row": moved, "error": _counted(error["error"], first)}


def _answers(reply: httpx.Response, first: int, rows: int) -> list[Any]:
    """The answers of a reply, whose first row is `first` of all. Raises `ServerError`."""
    try:
        said = reply.json()
    except ValueError:
        said = None
    status = reply.status_code
    if not isinstance(said, dict):
        raise ServerError("E_ODD_ANSWER", f"status {status} and no JSON object", status)
    if status != 200:
        code, text = str(said.get("code", "E_OTHER")), str(said.get("error", ""))
        text = _counted(text, first)
        kind = Unavailable if status in (*LATER, 504) else Refused if status < 500 else ServerError
        error = kind(code, text, status, str(said.get("request_id", "")))
        asked = reply.headers.get("retry-after", "")
        if isinstance(error, Unavailable) and asked.isdecimal():
            error.retry_after_s = float(asked)
        if isinstance(error, Refused):
            error.errors = [_counted_error(each, first) for each in said.get("errors", ())]
            error.more_errors = int(said.get("more_errors", 0))
        raise error
    predictions = said.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != rows:
        raise ServerError("E_ODD_ANSWER", "an answer without a prediction for each row", status)
    return predictions
