"""Cohere's `POST /v2/rerank`, and `POST /v1/rerank` as Jina's and vLLM's clients send it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from pydantic import Field

from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.rerank import Ranked, Reranker
from seatrial_serve.api.routes.route import Body, Route, RouteExchange
from seatrial_serve.http.status import ToldError


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


class CohereRerank(Route[CohereBody]):
    """Answers `{"id", "results": [{"index", "relevance_score"}]}`."""

    path: ClassVar[str] = "/v2/rerank"
    body = CohereBody

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return orjson.dumps({"message": told.text, "id": told.request_id, "code": told.code})

    def job(self, asked: RouteExchange, body: CohereBody) -> Job:
        """See `Route`."""
        identity = asked.record.request_id

        def describe(ranked: list[Ranked]) -> Any:
            return {"id": identity, "results": body.results(ranked)}

        return Reranker(asked.model).job(body.query, body.texts, describe, raw=False, may_cut=True)


class JinaBody(CohereBody):
    """Of `POST /v1/rerank`. The documents come back unless the request says otherwise."""

    return_documents: bool = Field(True, description="true or false")


class JinaRerank(Route[JinaBody]):
    """Answers `{"id", "model", "results": [{"index", "relevance_score", "document"}]}`."""

    path: ClassVar[str] = "/v1/rerank"
    body = JinaBody

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return orjson.dumps({"detail": told.text, "id": told.request_id, "code": told.code})

    def job(self, asked: RouteExchange, body: JinaBody) -> Job:
        """See `Route`."""
        identity, model = asked.record.request_id, asked.model

        def describe(ranked: list[Ranked]) -> Any:
            name = model.engine.bundle.name
            return {"id": identity, "model": name, "results": body.results(ranked)}

        return Reranker(model).job(body.query, body.texts, describe, raw=False, may_cut=True)
