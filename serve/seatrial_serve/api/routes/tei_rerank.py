"""text-embeddings-inference's `POST /rerank`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.body import COUNT, NUMBER, TEXT, Body, listed
from seatrial_serve.api.routes.rerank import Ranked, Reranker
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TEI_ERROR, Side, tei_error
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel


class RerankBody(Body):
    """Of `POST /rerank`. Where `truncate` is not said, texts are cut as the contract has it."""

    query: str = Field(description="a text")
    texts: list[str] = Field(description="a list of texts")
    raw_scores: bool = Field(False, description="true or false")
    return_text: bool = Field(False, description="true or false")
    truncate: bool | None = Field(None, description="true or false")
    truncation_direction: Side | None = Field(None, description="right or left")

    def check_side(self, reranker: Reranker) -> None:
        """Raise `Refusal` where texts are cut on the other side."""
        side = reranker.kind.truncation_side or "right"
        said = self.truncation_direction
        if self.truncate is not False and said is not None and said.lower() != side:
            raise Refusal("E_OPTION", "field 'truncation_direction'", "the other side", side)


RANKS = listed(
    {
        "type": "object",
        "properties": {"index": COUNT, "score": NUMBER, "text": TEXT},
        "required": ["index", "score"],
        "additionalProperties": False,
    }
)


class TeiRerank(Route[RerankBody]):
    """Answers `[{"index", "score"}]`, with `text` where `return_text` asks for it."""

    path: ClassVar[str] = "/rerank"
    summary = "text-embeddings-inference's ranks of texts by how relevant they are"
    body = RerankBody
    answers: ClassVar[JsonSchema] = RANKS
    fails: ClassVar[JsonSchema] = TEI_ERROR

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def fit(self, model: KnownModel) -> Reranker:
        """See `Route`."""
        return Reranker(model)

    def is_slow(self, body: RerankBody) -> bool:
        """See `Route`: texts are tokenised to see whether they would be cut."""
        return body.truncate is False

    def job(self, asked: RouteExchange, body: RerankBody) -> Job:
        """See `Route`."""
        reranker = self.fit(asked.model)
        body.check_side(reranker)

        def describe(ranked: list[Ranked]) -> Any:
            return [
                {"index": index, "score": score}
                | ({"text": body.texts[index]} if body.return_text else {})
                for index, score in ranked
            ]

        return reranker.job(
            body.query, body.texts, describe, raw=body.raw_scores,
            may_cut=body.truncate is not False,
        )  # fmt: skip
