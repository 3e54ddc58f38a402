"""Vectors of texts: Hugging Face's feature extraction and sentence similarity."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.body import VECTOR, listed
from seatrial_serve.api.routes.tei_embed import EmbedBody, embed_job
from seatrial_serve.api.routes.tei_similarity import SimilarityBody, similarity_job
from seatrial_serve.api.routes.texts import TextEmbedding
from seatrial_serve.api.tasks.task import Task
from seatrial_serve.models.described import KnownModel


class FeatureBody(EmbedBody):
    """Texts; their parameters stand beside them, as the task has it."""

    inputs: str | list[str] = Field(description="a text, or a list of texts")
    encoding_format: Literal["float"] | None = Field(
        None, description="float: POST /v1/embeddings answers base64"
    )


class FeatureExtraction(Task[FeatureBody]):
    """A list of vectors, of a single text too."""

    name = "feature-extraction"
    body = FeatureBody
    answers: ClassVar[JsonSchema] = listed(VECTOR)

    def __init__(self, model: KnownModel) -> None:
        super().__init__(model)
        TextEmbedding(model)

    def takes(self, inputs: Any) -> bool:
        """See `Task`."""
        return not isinstance(inputs, dict)

    def job(self, body: FeatureBody) -> Job:
        """See `Task`."""
        return embed_job(self.model, body)


class SentenceSimilarity(Task[SimilarityBody]):
    """The cosine of each sentence to the source."""

    name = "sentence-similarity"
    body = SimilarityBody
    answers = VECTOR

    def __init__(self, model: KnownModel) -> None:
        super().__init__(model)
        TextEmbedding(model)

    def takes(self, inputs: Any) -> bool:
        """See `Task`."""
        return isinstance(inputs, dict)

    def job(self, body: SimilarityBody) -> Job:
        """See `Task`."""
        return similarity_job(self.model, body)
