"""Cohere's `POST /v2/rerank`, and `POST /v1/rerank` as Jina's and vLLM's clients send it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from pydantic import Field

from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.body import COUNT, NUMBER, TEXT, Body, listed
from seatrial_serve.api.routes.cohere_embed import COHERE_ERROR
from seatrial_serve.api.routes.rerank import Ranked, Reranker
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel


class Document(Body):
    """A document as an object."""

    text: str = Field(description="a text")


class CohereBody(Body):
    """Of `POST /v2/rerank`. `max_tokens_per_doc` and `priority` change nothing."""

    query: str = Field(description="a text")
    documents: list[str | Document] = Field(description="a list of texts")
    model: str | None = Field(None, description="a model's name")
    top_n: int | None = Field(None, ge=1, description="a whole number from 1")
    max_tokens_per_doc: int | None = Field(None, description="a whole number")
    priority: int | None = Field(None, description="a whole number")
    return_documents: bool = Field(False, description="true or false")

    @property
    def texts(self) -> list[str]:
        """The texts of its documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    def results(self, ranked: Sequence[Ranked]) -> list[dict[str, Any]]:
        """The ranks as Cohere, Jina and vLLM write them."""
        texts = self.texts
        return [
            {"index": index, "relevance_score": score}
            | ({"document": {"text": texts[index]}} if self.return_documents else {})
            for index, score in ranked[: self.top_n]
        ]


RESULTS = listed(
    {
        "type": "object",
        "properties": {
            "index": COUNT, "relevance_score": NUMBER, "document": closed_object({"text": TEXT}),
        },
        "required": ["index", "relevance_score"],
        "additionalProperties": False,
    }
)  # fmt: skip


class CohereRerank(Route[CohereBody]):
    """Answers `{"id", "results": [{"index", "relevance_score"}]}`."""

    path: ClassVar[str] = "/v2/rerank"
    summary = "Cohere's ranks of texts by how relevant they are to a query"
    body = CohereBody
    answers: ClassVar[JsonSchema] = closed_object({"id": TEXT, "results": RESULTS})
    fails: ClassVar[JsonSchema] = COHERE_ERROR

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return orjson.dumps({"message": told.text, "id": told.request_id, "code": told.code})

    def fit(self, model: KnownModel) -> Reranker:
        """See `Route`."""
        return Reranker(model)

    def job(self, asked: RouteExchange, body: CohereBody) -> Job:
        """See `Route`."""
        identity = asked.record.request_id

        def describe(ranked: list[Ranked]) -> Any:
            return {"id": identity, "results": body.results(ranked)}

        return self.fit(asked.model).job(body.query, body.texts, describe, raw=False, may_cut=True)


class JinaBody(CohereBody):
    """Of `POST /v1/rerank`. The documents come back unless the request says otherwise."""

    return_documents: bool = Field(True, description="true or false")


class JinaRerank(Route[JinaBody]):
    """Answers `{"id", "model", "results": [{"index", "relevance_score", "document"}]}`."""

    path: ClassVar[str] = "/v1/rerank"
    summary = "Jina's ranks of texts by how relevant they are to a query"
    body = JinaBody
    answers: ClassVar[JsonSchema] = closed_object({"id": TEXT, "model": TEXT, "results": RESULTS})
    fails: ClassVar[JsonSchema] = closed_object({"detail": TEXT, "id": TEXT, "code": TEXT})

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return orjson.dumps({"detail": told.text, "id": told.request_id, "code": told.code})

    def fit(self, model: KnownModel) -> Reranker:
        """See `Route`."""
        return Reranker(model)

    def job(self, asked: RouteExchange, body: JinaBody) -> Job:
        """See `Route`."""
        identity, model = asked.record.request_id, asked.model

        def describe(ranked: list[Ranked]) -> Any:
            name = model.name
            return {"id": identity, "model": name, "results": body.results(ranked)}

        return self.fit(model).job(body.query, body.texts, describe, raw=False, may_cut=True)
