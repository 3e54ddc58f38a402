"""text-embeddings-inference's `POST /similarity`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.route import Body, Route, RouteExchange
from seatrial_serve.api.routes.tei import TextsBody, tei_error, unit
from seatrial_serve.api.routes.texts import TextEmbedding, Vectors
from seatrial_serve.http.status import ToldError


class Sentences(BaseModel):
    """One sentence, and those that it is compared with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source_sentence: str
    sentences: list[str] = Field(min_length=1)


class SimilarityBody(Body):
    """Of `POST /similarity`."""

    inputs: Sentences = Field(description='{"source_sentence": "...", "sentences": ["...", ...]}')
    parameters: TextsBody = Field(TextsBody(), description="an object of truncate, prompt_name")


class TeiSimilarity(Route[SimilarityBody]):
    """Answers the cosine of each sentence to the source."""

    path: ClassVar[str] = "/similarity"
    body = SimilarityBody

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def job(self, asked: RouteExchange, body: SimilarityBody) -> Job:
        """See `Route`."""
        embedding = TextEmbedding(asked.model)
        body.parameters.check_side(embedding)

        def describe(vectors: Vectors) -> Any:
            source, *others = map(unit, vectors.rows)
            return [float(source @ other) for other in others]

        return embedding.job(
            [body.inputs.source_sentence, *body.inputs.sentences],
            embedding.options(None, body.parameters.prompt_name),
            describe,
            may_cut=body.parameters.may_cut,
        )
