"""The clients: one that waits in its thread, and one on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, overload

import httpx
from pydantic import BaseModel

from seatrial_client.calls import Calls
from seatrial_client.described import Described
from seatrial_client.plan import Lost, Plan, Reply, Result, Retries, Send, Wait
from seatrial_contracts.errors import DeclarationError, Unavailable

Form = Literal["rows", "frame", "arrays"]
Row = Mapping[str, Any] | BaseModel
NEVER_SEEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""The server has not seen such a request."""
HUNG_UP = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
AT_ONCE = 4
"""Requests of one call that an `AsyncClient` has under way together."""
MOST_MERGED = 256
"""Headers that are kept: V2's differ with the length of its JSON."""
RETRIES = Retries()


class _Clients:
    """What both clients share."""

    def __init__(
        self, url: str, model: str | None = None, *, key: str | None = None,
        version: str | None = None, row: type[BaseModel] | None = None, timeout_s: float = 60.0,
        retries: Retries = RETRIES,
    ) -> None:  # fmt: skip
        """Take the URL of a server, http://host:port, and the name of one of its models.

        Without a name the server must have one model alone. `key` goes with each request as
        `Authorization: Bearer`. `version` is a version of the model, in place of the one that it
        serves. `row` is a Pydantic model that rows are validated against before they are sent; a
        row may also be an instance of any. `timeout_s` bounds a request with its tries and pauses;
        the server is told of it. `retries` says when a request is sent again. Raises
        `DeclarationError` where `url` is none.
        """
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = self._opened(url, headers)
        self.url = str(self._http.base_url).rstrip("/")
        self._merged: dict[tuple[tuple[str, str], ...], httpx.Headers] = {}
        self._urls: dict[str, httpx.URL] = {}
        self._calls = Calls(self.url, model, version, row, timeout_s, retries)

    def _opened(self, url: str, headers: dict[str, str]) -> Any:
        raise NotImplementedError

    def _request(self, send: Send) -> httpx.Request:
        """The request of httpx, over URLs and headers that are made once.

        `httpx.Client.request` would merge both anew each time.
        """
        url, headers = self._urls.get(send.path), self._merged.get(send.headers)
        if url is None:
            url = self._urls[send.path] = httpx.URL(self.url + send.path)
        if headers is None:
            headers = httpx.Headers(self._http.headers)
            headers.update(dict(send.headers))
            if len(self._merged) < MOST_MERGED:
                self._merged[send.headers] = headers
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), send.timeout_s)
        return httpx.Request(
            send.method, url, headers=headers, content=send.content, extensions={"timeout": timeout}
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"


def _base(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise DeclarationError("url", repr(url)[:80], "a URL: http://host:port")
    return url.rstrip("/")


class Client(_Clients):
    """A model behind a server, from Python.

        with st.Client("http://127.0.0.1:8000", "churn") as churn:
            churn.predict({"plan": "team", "age_days": 120, "spent": None})

    A client keeps its connections. It may be used from several threads.
    """

    _http: httpx.Client

    def _opened(self, url: str, headers: dict[str, str]) -> httpx.Client:
        try:
            return httpx.Client(base_url=_base(url), headers=headers)
        except httpx.InvalidURL:
            raise DeclarationError("url", repr(url)[:80], "a URL: http://host:port") from None

    @overload
    def predict(
        self, data: Row, *, to: None = None, options: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]: ...  # fmt: skip
    @overload
    def predict(
        self, data: Sequence[Row], *, to: None = None, options: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[dict[str, Any]]: ...  # fmt: skip
    @overload
    def predict(
        self, data: Any, *, to: Form | None = None, options: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any: ...  # fmt: skip
    def predict(
        self, data: Any, *, to: Form | None = None, options: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:  # fmt: skip
        """Predict on the server: what goes in comes out, as `Bundle.predict` has it.

        `data` is a row, a sequence of rows or a data frame of any length: what is too large for one
        request goes in several. Rows travel as JSON. The columns of a frame travel as V2's binary
        tensors where the contract allows it, and `to="arrays"` gives the tensors that come back.

        Raises `Refusal`, `Unavailable` and `ModelError`, each with the server's `code`.
        """
        return self._run(self._calls.predict(data, to, options or {}, timeout_s))

    def describe(self) -> Described:
        """What the server says of the model: contract, row model, example, limits. Asked once.

        `describe().row` is a Pydantic model of the model's rows, made from the contract.
        """
        return self._run(self._calls.description())

    def _run(self, plan: Plan[Result]) -> Result:
        value: Any = None
        gone: Lost | None = None
        try:
            while True:
                step = plan.send(value) if gone is None else plan.throw(gone)
                value, gone = None, None
                if isinstance(step, Send):
                    try:
                        value = self._send(step)
                    except Lost as error:
                        gone = error
                elif isinstance(step, Wait):
                    time.sleep(step.seconds)
                else:
                    value = [self._run(each) for each in step]
        except StopIteration as end:
            result: Result = end.value
            return result

    def _send(self, send: Send) -> Reply:
        try:
            reply = self._http.send(self._request(send))
        except httpx.HTTPError as error:
            raise lost(error) from None
        return Reply(reply.status_code, reply.headers, reply.content)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Clients):
    """The same on an event loop: `await client.predict(row)`.

    The requests of one large call are under way together, four at a time.
    """

    _http: httpx.AsyncClient

    def _opened(self, url: str, headers: dict[str, str]) -> httpx.AsyncClient:
        self._turns = asyncio.Semaphore(AT_ONCE)
        try:
            return httpx.AsyncClient(base_url=_base(url), headers=headers)
        except httpx.InvalidURL:
            raise DeclarationError("url", repr(url)[:80], "a URL: http://host:port") from None

    async def predict(
        self, data: Any, *, to: Form | None = None, options: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:  # fmt: skip
        """See `Client.predict`."""
        return await self._run(self._calls.predict(data, to, options or {}, timeout_s))

    async def describe(self) -> Described:
        """See `Client.describe`."""
        return await self._run(self._calls.description())

    async def _run(self, plan: Plan[Result]) -> Result:
        value: Any = None
        gone: Lost | None = None
        try:
            while True:
                step = plan.send(value) if gone is None else plan.throw(gone)
                value, gone = None, None
                if isinstance(step, Send):
                    try:
                        value = await self._send(step)
                    except Lost as error:
                        gone = error
                elif isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                else:
                    value = await self._all(step)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _all(self, plans: Sequence[Plan[Any]]) -> list[Any]:
        """Run plans beside each other; the first that fails ends the others."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._run(plan)) for plan in plans]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _send(self, send: Send) -> Reply:
        try:
            async with self._turns:
                reply = await self._http.send(self._request(send))
        except httpx.HTTPError as error:
            raise lost(error) from None
        return Reply(reply.status_code, reply.headers, reply.content)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def lost(error: httpx.HTTPError) -> Lost | Unavailable:
    """What httpx raises where no whole reply comes: may the request be sent again?"""
    name = type(error).__name__
    if isinstance(error, NEVER_SEEN + HUNG_UP):
        return Lost(name, begun=isinstance(error, HUNG_UP))
    code = "E_DEADLINE" if isinstance(error, httpx.TimeoutException) else "E_UNREACHABLE"
    return Unavailable(code, f"no whole reply ({name})")
