"""A route of another project's client: its own bodies, replies and errors over the one exchange.

The model is named in the body, or by nobody. So the body is read first, as large as the largest
model's may be, and the model is found by it. From there on the request is like any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.exchange import Exchange, Exchanges, Job, Reply
from seatrial_serve.api.http_request import AsgiExchange, begin_record
from seatrial_serve.api.routes.body import B, json_of, validated
from seatrial_serve.api.routing import default_entry
from seatrial_serve.http.body import Receive, Scope, read_body, too_large
from seatrial_serve.http.headers import CONTENT_TYPE, is_file
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel
from seatrial_serve.models.entry import Entry
from seatrial_serve.process.budget import GROWTH


class Route(ABC, Generic[B]):
    """One path."""

    path: ClassVar[str]
    summary: ClassVar[str]
    """For the OpenAPI document."""
    body: type[B]
    answers: ClassVar[JsonSchema]
    """JSON Schema (2020-12) of an answer."""
    fails: ClassVar[JsonSchema]
    """The same of an error."""
    counted: ClassVar[bool] = True
    """Is it a request for predictions?"""

    @abstractmethod
    def error(self, told: ToldError) -> bytes:
        """An error in the shape of the protocol."""

    @abstractmethod
    def fit(self, model: KnownModel) -> Any:
        """What of a model answers here. Raises `Refusal` where the model does not fit."""

    def is_offered_by(self, model: KnownModel) -> bool:
        """Does the model fit?"""
        try:
            self.fit(model)
        except Refusal:
            return False
        return True

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
        return validated(self.body, json_of(raw))


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
            self.check_caller(name)
            return repository.find(name)
        entry = default_entry(repository)
        self.check_caller(entry.name)
        return entry

    def read(self) -> Any:
        """The body, once the model is known.

        Raises `Refusal` where it is larger than that model takes, and what `whole` raises.
        """
        most = self.model.contract.max_body_bytes
        if len(self.raw) > most:
            raise too_large(most)
        check_whole(self)
        self.whole(self.raw)
        return self.body_read


def check_whole(asked: Exchange) -> None:
    """Raise `Refusal` where a partial answer is asked for, which other projects do not have."""
    if asked.terms.partial:
        raise Refusal(
            "E_UNSUPPORTED", "header X-Partial", "it", "a request without it",
            "ask for partial answers over V1 or V2",
        )  # fmt: skip
