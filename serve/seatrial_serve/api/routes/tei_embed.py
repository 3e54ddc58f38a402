"""text-embeddings-inference's `POST /embed`, and the two of its kind that are not answered."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TextsBody, tei_error, texts_of, unit
from seatrial_serve.api.routes.texts import TextEmbedding, Vectors
from seatrial_serve.http.status import ToldError

Ids = Annotated[list[int], Field(min_length=1)]


class EmbedBody(TextsBody):
    """Of `POST /embed`."""

    inputs: str | list[str] | Ids | list[Ids] = Field(
        description="a text, a list of texts, token ids, or a list of lists of token ids"
    )
    normalize: bool = Field(True, description="true or false")
    dimensions: int | None = Field(None, description="a whole number")


class TeiEmbed(Route[EmbedBody]):
    """Answers a list of vectors."""

    path: ClassVar[str] = "/embed"
    body = EmbedBody

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """See `Route`."""
        embedding = TextEmbedding(asked.model)
        body.check_side(embedding)
        is_unit = embedding.kind.normalized
        if is_unit and not body.normalize:
            raise Refusal("E_OPTION", "field 'normalize'", "false", "true: the model normalises")
        options = embedding.options(body.dimensions, body.prompt_name)

        def describe(vectors: Vectors) -> Any:
            wants = body.normalize and not is_unit
            return [unit(vector) if wants else vector for vector in vectors.rows]

        return embedding.job(texts_of(body.inputs), options, describe, may_cut=body.may_cut)


class TeiEmbedAll(TeiEmbed):
    """Refused: no kind of a contract answers a vector for each token."""

    path: ClassVar[str] = "/embed_all"

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """Raises `Refusal`."""
        raise Refusal(
            "E_UNSUPPORTED", "model", "one that answers no vectors of tokens", "POST /embed",
            "declare an st.Tensor with a side for each token, and ask over V1 or V2",
        )  # fmt: skip


class TeiEmbedSparse(TeiEmbedAll):
    """Refused likewise: no kind of a contract answers sparse vectors."""

    path: ClassVar[str] = "/embed_sparse"

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """Raises `Refusal`."""
        raise Refusal("E_UNSUPPORTED", "model", "one without sparse vectors", "POST /embed")
