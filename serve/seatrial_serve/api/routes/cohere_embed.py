"""Cohere's `POST /v2/embed`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.embedding import Embedding, in_base64
from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.body import TEXT, VECTOR, Body, listed
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.texts import TextEmbedding, Vectors, prompt_among
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel

Type = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
PROMPTS: Mapping[str, Sequence[str]] = {
    "search_query": ("search_query", "query"),
    "search_document": ("search_document", "document", "passage"),
    "classification": ("classification",),
    "clustering": ("clustering",),
}
"""`input_type` -> the names of prompts that it may mean, of which the first declared one stands."""


class EmbedBody(Body):
    """Of `POST /v2/embed`. `priority` changes nothing."""

    texts: list[str] = Field(description="a list of texts: images and mixed inputs are not taken")
    input_type: Literal["search_query", "search_document", "classification", "clustering"] = Field(
        description=f"one of {', '.join(PROMPTS)}"
    )
    model: str | None = Field(None, description="a model's name")
    embedding_types: Annotated[list[Type], Field(min_length=1, max_length=6)] = Field(
        ["float"], description="some of float, base64, int8, uint8, binary, ubinary"
    )
    output_dimension: int | None = Field(None, description="a whole number")
    truncate: Literal["NONE", "START", "END"] = Field("END", description="NONE, START or END")
    priority: int | None = Field(None, description="a whole number")


COHERE_ERROR: JsonSchema = closed_object({"message": TEXT, "id": TEXT, "code": TEXT})


class CohereEmbed(Route[EmbedBody]):
    """Answers the vectors of each type that was asked for."""

    path: ClassVar[str] = "/v2/embed"
    summary = "Cohere's embeddings of texts"
    body = EmbedBody
    answers: ClassVar[JsonSchema] = closed_object(
        {
            "id": TEXT,
            "response_type": {"const": "embeddings_by_type"},
            "embeddings": {
                "type": "object", "additionalProperties": listed({"anyOf": [VECTOR, TEXT]}),
            },
            "texts": listed(TEXT),
            "meta": {"type": "object"},
        }
    )  # fmt: skip
    fails: ClassVar[JsonSchema] = COHERE_ERROR

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return orjson.dumps({"message": told.text, "id": told.request_id, "code": told.code})

    def fit(self, model: KnownModel) -> TextEmbedding:
        """See `Route`."""
        return TextEmbedding(model)

    def job(self, asked: RouteExchange, body: EmbedBody) -> Job:
        """See `Route`."""
        embedding = self.fit(asked.model)
        check_types(embedding.kind, body.embedding_types)
        cut_side = {"START": "left", "END": "right"}.get(body.truncate)
        side = embedding.input.kind.truncation_side or "right"
        is_cut = embedding.input.kind.overflow == "truncate"
        if is_cut and cut_side not in (None, side):
            want = "END" if side == "right" else "START"
            raise Refusal("E_OPTION", "field 'truncate'", body.truncate, f"{want} or NONE")
        prompt = prompt_among(embedding.kind, PROMPTS, body.input_type)
        request_id = asked.record.request_id

        def describe(vectors: Vectors) -> Any:
            return {
                "id": request_id,
                "response_type": "embeddings_by_type",
                "embeddings": {name: typed(vectors, name) for name in body.embedding_types},
                "texts": body.texts,
                "meta": {
                    "api_version": {"version": "2"},
                    "billed_units": {"input_tokens": vectors.tokens},
                },
            }

        options = embedding.options(body.output_dimension, prompt)
        return embedding.job(body.texts, options, describe, may_cut=body.truncate != "NONE")


def typed(vectors: Vectors, name: str) -> list[Any]:
    """The vectors as one of Cohere's types."""
    if name == "base64":
        return [in_base64(vector) for vector in vectors.rows]
    return list(vectors.rows if name == "float" else vectors.formed(name))


def check_types(kind: Embedding, types: Sequence[str]) -> None:
    """Raise `Refusal` for a type whose form the contract does not declare."""
    known = {"float", "base64", *kind.forms} - {"float32", "float16"}
    for name in types:
        if name not in known:
            where, want = "field 'embedding_types'", f"some of {', '.join(sorted(known))}"
            raise Refusal("E_OPTION", where, f"'{name}', which is not declared", want)
