"""text-embeddings-inference's `POST /similarity`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.body import VECTOR, Body
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TEI_ERROR, TextsBody, tei_error, unit
from seatrial_serve.api.routes.texts import TextEmbedding, Vectors
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel


class Sentences(Body):
    """One sentence, and those that it is compared with."""

    source_sentence: str = Field(description="a text")
    sentences: list[str] = Field(min_length=1, description="a list of one text or more")


class SimilarityBody(Body):
    """Of `POST /similarity`."""

    inputs: Sentences = Field(description='{"source_sentence": "...", "sentences": ["...", ...]}')
    parameters: TextsBody = Field(TextsBody(), description="an object of truncate, prompt_name")


class TeiSimilarity(Route[SimilarityBody]):
    """Answers the cosine of each sentence to the source."""

    path: ClassVar[str] = "/similarity"
    summary = "text-embeddings-inference's cosines of sentences"
    body = SimilarityBody
    answers: ClassVar[JsonSchema] = VECTOR
    fails: ClassVar[JsonSchema] = TEI_ERROR

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def fit(self, model: KnownModel) -> Any:
        """See `Route`."""
        return TextEmbedding(model)

    def job(self, asked: RouteExchange, body: SimilarityBody) -> Job:
        """See `Route`."""
        return similarity_job(asked.model, body)


def similarity_job(model: KnownModel, body: SimilarityBody) -> Job:
    """The cosines of a request's sentences. Raises `Refusal`."""
    embedding = TextEmbedding(model)
    body.parameters.check_side(embedding.input.kind)

    def describe(vectors: Vectors) -> Any:
        source, *others = map(unit, vectors.rows)
        return [float(source @ other) for other in others]

    return embedding.job(
        [body.inputs.source_sentence, *body.inputs.sentences],
        embedding.options(None, body.parameters.prompt_name),
        describe,
        may_cut=body.parameters.may_cut,
    )
