"""A route of another project's client: its own bodies, replies and errors over the one exchange.

The model is named in the body, or by nobody. So the body is read first, as large as the largest
model's may be, and the model is found by it. From there on the request is like any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from seatrial_contracts.errors import Refusal
from seatrial_contracts.json_values import check_values
from seatrial_serve.api.exchange import Exchanges, Job, Reply
from seatrial_serve.api.http_request import AsgiExchange, begin_record
from seatrial_serve.http.body import Receive, Scope, read_body, too_large
from seatrial_serve.http.headers import CONTENT_TYPE, is_file
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.entry import Entry
from seatrial_serve.process.budget import GROWTH

MOST_VALUES = 2**18
"""JSON values of a body, before its model is known."""


class Body(BaseModel):
    """A request's body. A field's description says what is wanted there, for messages."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @property
    def model_name(self) -> str | None:
        """The model that the body names; None where its protocol names none."""
        return getattr(self, "model", None)


B = TypeVar("B", bound=Body)


class Route(ABC, Generic[B]):
    """One path."""

    path: ClassVar[str]
    body: type[B]
    counted: ClassVar[bool] = True
    """Is it a request for predictions?"""

    @abstractmethod
    def error(self, told: ToldError) -> bytes:
        """An error in the shape of the protocol."""

    def is_slow(self, body: B) -> bool:  # noqa: ARG002  (for routes that look at it)
        """Shall a thread call `job`, however short the body is?"""
        return False

    @abstractmethod
    def job(self, asked: RouteExchange, body: B) -> Job:
        """What the body asks of the model. Any thread may call it. Raises `Refusal`."""

    async def answer(self, asked: RouteExchange) -> Reply:
        """Answer a request whose model is found.

        Raises what `job` and `ServedModel.answer` raise.
        """
        body = asked.read()
        job = await asked.parsed(
            lambda _: self.job(asked, body), asked.raw, aside=self.is_slow(body)
        )
        return await asked.answered(job)

    def read(self, raw: bytes) -> B:
        """The body. Raises `Refusal`."""
        check_values(raw, MOST_VALUES)
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise Refusal("E_JSON", "request body", "no JSON", "a JSON object") from None
        try:
            return self.body.model_validate(value)
        except ValidationError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: ValidationError) -> Refusal:
        """The first finding by the field it is in, without the client's text."""
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        fields, name = self.body.model_fields, next(iter(first["loc"]), None)
        if not isinstance(name, str) or name not in fields:
            known = ", ".join(field.alias or name for name, field in fields.items())
            return Refusal("E_SCHEMA", "request body", "something else", f"an object of: {known}")
        got = "nothing" if first["type"] == "missing" else "something else"
        want = fields[name].description or "what the protocol has there"
        return Refusal("E_SCHEMA", f"field '{name}'", got, want)


class RouteExchange(AsgiExchange):
    """A request to a route: its body is here before its model."""

    __slots__ = ("_method", "body_read", "raw", "route")

    def __init__(
        self,
        shared: Exchanges,
        route: Route[Any],
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> None:
        record = begin_record(headers, route.path)
        super().__init__(shared, record, None, scope, headers, receive, counted=route.counted)
        self.route, self.raw, self._method = route, b"", scope["method"]
        self.body_read: Any = None

    async def find(self) -> Entry | None:
        """Read the body, and find the model that it names, or the one that needs no name."""
        if self._method != "POST":
            raise Refusal("E_METHOD", "method", "another", "POST")
        is_file(self.headers.get(CONTENT_TYPE, b""), None)
        repository = self.shared.repository
        self.unread = True
        most = repository.largest_body_bytes
        self.raw = await read_body(self.headers, self._receive, most, self.shared.pace, self.hold)
        self.unread = False
        self.hold.work(len(self.raw) * GROWTH)  # what parsing takes, whoever the model is
        self.body_read = await self.parsed(self.route.read, self.raw)
        name = self.body_read.model_name
        if name is not None:
            return repository.find(name)
        entry = repository.default
        if entry is None:
            raise Refusal(
                "E_MODEL_NOT_FOUND",
                "model",
                "none named, and several to choose from",
                "one of GET /v1/models",
                "serve with --default-model",
            )
        return entry

    def read(self) -> Any:
        """The body, once the model is known.

        Raises `Refusal` where it is larger than that model takes, and what `whole` raises.
        """
        most = self.model.contract.max_body_bytes
        if len(self.raw) > most:
            raise too_large(most)
        if self.terms.partial:
            raise Refusal(
                "E_UNSUPPORTED", "header X-Partial", "it", "a request without it",
                "ask for partial answers over V1 or V2",
            )  # fmt: skip
        self.whole(self.raw)
        return self.body_read
