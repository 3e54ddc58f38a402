"""OpenAI's `POST /v1/embeddings`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field

from seatrial_contracts.kinds.embedding import in_base64
from seatrial_contracts.kinds.kind import JsonSchema, closed_object
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.routes.body import COUNT, TEXT, VECTOR, Body, listed
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.texts import TextEmbedding, Vectors
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel

Ids = Annotated[list[int], Field(min_length=1)]


def openai_error(told: ToldError) -> bytes:
    """An error as OpenAI's clients read it."""
    kind = "invalid_request_error" if told.status < 500 else "server_error"
    param = told.where.removeprefix("field '").rstrip("'") if "field '" in told.where else None
    said = {"message": told.text, "type": kind, "param": param, "code": told.code}
    return orjson.dumps({"error": said})


class EmbeddingsBody(Body):
    """Of `POST /v1/embeddings`. `user` changes nothing."""

    input: str | list[str] | Ids | list[Ids] = Field(
        description="a text, a list of texts, token ids, or a list of lists of token ids"
    )
    model: str | None = Field(None, description="a model's name")
    dimensions: int | None = Field(None, description="a whole number")
    encoding_format: Literal["float", "base64"] = Field("float", description="float or base64")
    user: str | None = Field(None, description="a string")

    @property
    def texts(self) -> list[Any]:
        """The texts, or the ids of their tokens."""
        given = self.input
        is_one = isinstance(given, str) or (given and isinstance(given[0], int))
        return [given] if is_one else list(given)


class OpenAiEmbeddings(Route[EmbeddingsBody]):
    """Answers vectors with an index each, and the tokens that they took."""

    path: ClassVar[str] = "/v1/embeddings"
    summary = "OpenAI's embeddings of texts"
    body = EmbeddingsBody
    answers: ClassVar[JsonSchema] = closed_object(
        {
            "object": {"const": "list"},
            "data": listed(
                closed_object(
                    {
                        "object": {"const": "embedding"},
                        "index": COUNT,
                        "embedding": {"anyOf": [VECTOR, TEXT]},
                    }
                )
            ),
            "model": TEXT,
            "usage": closed_object({"prompt_tokens": COUNT, "total_tokens": COUNT}),
        }
    )
    fails: ClassVar[JsonSchema] = closed_object(
        {
            "error": closed_object(
                {"message": TEXT, "type": TEXT, "param": {"type": ["string", "null"]}, "code": TEXT}
            )
        }
    )

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return openai_error(told)

    def fit(self, model: KnownModel) -> TextEmbedding:
        """See `Route`."""
        return TextEmbedding(model)

    def job(self, asked: RouteExchange, body: EmbeddingsBody) -> Job:
        """See `Route`."""
        embedding = self.fit(asked.model)
        options = embedding.options(body.dimensions)
        coded = body.encoding_format == "base64"

        def describe(vectors: Vectors) -> Any:
            data = [
                {
                    "object": "embedding",
                    "index": place,
                    "embedding": in_base64(vector) if coded else vector,
                }
                for place, vector in enumerate(vectors.rows)
            ]
            usage = {"prompt_tokens": vectors.tokens, "total_tokens": vectors.tokens}
            name = vectors.model.name
            return {"object": "list", "data": data, "model": name, "usage": usage}

        return embedding.job(body.texts, options, describe)
