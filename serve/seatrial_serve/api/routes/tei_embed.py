"""text-embeddings-inference's `POST /embed`, `/embed_all` and `/embed_sparse`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.tensor import Tensor
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TextsBody, tei_error, texts_of, unit
from seatrial_serve.api.routes.texts import TextEmbedding, TextInput, Vectors
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.answer import Answer
from seatrial_serve.process.json_pieces import write_json

VECTORS = 2
"""Sides of a tensor that holds a vector for each token."""
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
    """Answers the vectors of each text's tokens, where the model answers such."""

    path: ClassVar[str] = "/embed_all"

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """See `Route`."""
        name = vectors_of_tokens(asked.model.contract)
        if body.dimensions is not None or body.prompt_name is not None:
            where, want = "request body", "a body without them"
            raise Refusal("E_OPTION", where, "dimensions or prompt_name", want)
        rows = TextInput(asked.model).rows(texts_of(body.inputs))
        return Job(rows, partial(write_vectors, name))


def vectors_of_tokens(contract: Contract) -> str:
    """The contract's only tensor of vectors, one for each token. Raises `Refusal`."""
    found = [
        field.name
        for field in contract.outputs
        if isinstance(field.kind, Tensor)
        and len(field.kind.shape) == VECTORS
        and field.kind.shape[0] is None
    ]
    if len(found) != 1:
        got, want = f"one with {len(found)} tensors of tokens' vectors", "st.Tensor[..., None, 384]"
        raise Refusal("E_UNSUPPORTED", "model", got, f"a model that answers one: {want}")
    return found[0]


def write_vectors(name: str, answer: Answer) -> Reply:
    """The vectors of each text."""
    told = [list(outputs[name][index]) for outputs, index in answer]
    return Reply(write_json(told, answer.size_bytes), answer=answer)


class TeiEmbedSparse(TeiEmbed):
    """Refused: no kind of a contract answers sparse vectors."""

    path: ClassVar[str] = "/embed_sparse"

    def job(
        self,
        asked: RouteExchange,  # noqa: ARG002  (every model is refused)
        body: EmbedBody,  # noqa: ARG002  (whatever is asked)
    ) -> Job:
        """Raises `Refusal`."""
        raise Refusal("E_UNSUPPORTED", "model", "one without sparse vectors", "POST /embed")
