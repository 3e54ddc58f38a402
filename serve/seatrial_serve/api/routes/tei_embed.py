"""text-embeddings-inference's `POST /embed`, `/embed_all` and `/embed_sparse`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_contracts.kinds.output_kind import OptionValues
from seatrial_contracts.kinds.sparse_embedding import SparseEmbedding
from seatrial_contracts.kinds.tensor import Tensor
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.body import COUNT, NUMBER, VECTOR, listed
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TEI_ERROR, TextsBody, tei_error, texts_of, unit
from seatrial_serve.api.routes.texts import TextEmbedding, TextInput, Vectors
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.described import KnownModel
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
    summary = "text-embeddings-inference's vectors of texts"
    body = EmbedBody
    answers: ClassVar[JsonSchema] = listed(VECTOR)
    fails: ClassVar[JsonSchema] = TEI_ERROR

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def fit(self, model: KnownModel) -> Any:
        """See `Route`."""
        return TextEmbedding(model)

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """See `Route`."""
        return embed_job(asked.model, body)


def embed_job(model: KnownModel, body: EmbedBody) -> Job:
    """The vectors of a request's texts. Raises `Refusal`."""
    embedding = TextEmbedding(model)
    body.check_side(embedding.input.kind)
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
    summary = "text-embeddings-inference's vectors of the tokens of texts"
    answers: ClassVar[JsonSchema] = listed(listed(VECTOR))

    def fit(self, model: KnownModel) -> Any:
        """See `Route`."""
        return vectors_of_tokens(model.contract), TextInput(model)

    def is_slow(self, body: EmbedBody) -> bool:
        """See `Route`: texts are tokenised to see whether they would be cut."""
        return not body.may_cut

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """See `Route`."""
        name, given = self.fit(asked.model)
        return Job(plain_rows(given, body), partial(write_vectors, name))


def plain_rows(given: TextInput, body: EmbedBody) -> list[dict[str, Any]]:
    """Rows of a body that chooses nothing of its vectors. Raises `Refusal`."""
    if body.dimensions is not None or body.prompt_name is not None:
        where, want = "request body", "a body without them"
        raise Refusal("E_OPTION", where, "dimensions or prompt_name", want)
    body.check_side(given.kind)
    return given.rows(texts_of(body.inputs), may_cut=body.may_cut)


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


class TeiEmbedSparse(TeiEmbedAll):
    """Answers the terms of each text with their weights, where the model answers such."""

    path: ClassVar[str] = "/embed_sparse"
    summary = "text-embeddings-inference's sparse vectors of texts"
    answers: ClassVar[JsonSchema] = listed(listed(closed_object({"index": COUNT, "value": NUMBER})))

    def fit(self, model: KnownModel) -> Any:
        """See `Route`."""
        return terms_of(model.contract), TextInput(model)

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """See `Route`."""
        (name, kind), given = self.fit(asked.model)
        options = asked.model.contract.default_options
        return Job(plain_rows(given, body), partial(write_terms, name, kind, options))


def terms_of(contract: Contract) -> tuple[str, SparseEmbedding]:
    """The contract's only sparse embedding. Raises `Refusal`."""
    found = [
        (field.name, field.kind)
        for field in contract.outputs
        if isinstance(field.kind, SparseEmbedding)
    ]
    if len(found) != 1:
        got, want = f"one with {len(found)} sparse embeddings", "st.SparseEmbedding(30522)"
        raise Refusal("E_UNSUPPORTED", "model", got, f"a model that answers one: {want}")
    return found[0]


def write_terms(name: str, kind: SparseEmbedding, options: OptionValues, answer: Answer) -> Reply:
    """The terms of each text."""
    told = [kind.describe([outputs[name][index]], None, options) for outputs, index in answer]
    return Reply(write_json(told, answer.size_bytes), answer=answer)
