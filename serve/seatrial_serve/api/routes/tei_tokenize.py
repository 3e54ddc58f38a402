"""text-embeddings-inference's `POST /tokenize`: the tokens that the model reads of a text."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import orjson
from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.routes.body import COUNT, TEXT, Body, listed
from seatrial_serve.api.routes.route import Route, RouteExchange
from seatrial_serve.api.routes.tei import TEI_ERROR, tei_error
from seatrial_serve.api.routes.texts import TextInput
from seatrial_serve.http.status import ToldError
from seatrial_serve.models.described import KnownModel


class TokenizeBody(Body):
    """Of `POST /tokenize`."""

    inputs: str | list[str] = Field(description="a text, or a list of texts")
    add_special_tokens: bool = Field(True, description="true or false")
    prompt_name: None = Field(None, description="nothing: send the prompt as part of the text")


TOKEN: JsonSchema = {
    "type": "object",
    "properties": {
        "id": COUNT, "text": TEXT, "special": {"type": "boolean"}, "start": COUNT, "stop": COUNT,
    },
    "required": ["id", "text", "special"],
    "additionalProperties": False,
}  # fmt: skip


class TeiTokenize(Route[TokenizeBody]):
    """Answers the tokens of each text, with their places in code points."""

    path: ClassVar[str] = "/tokenize"
    summary = "text-embeddings-inference's tokens of texts"
    body = TokenizeBody
    answers: ClassVar[JsonSchema] = listed(listed(TOKEN))
    fails: ClassVar[JsonSchema] = TEI_ERROR
    counted: ClassVar[bool] = False

    def error(self, told: ToldError) -> bytes:
        """See `Route`."""
        return tei_error(told)

    def fit(self, model: KnownModel) -> TextInput:
        """See `Route`."""
        return TextInput(model)

    def job(self, asked: RouteExchange, body: TokenizeBody) -> Job:
        """Nothing: no model runs."""
        raise NotImplementedError("a text is tokenised without a model: this is a bug in seatrial")

    async def answer(self, asked: RouteExchange) -> Reply:
        """See `Route`."""
        body = asked.read()
        return await asked.parsed(lambda _: Reply(self._tokens(asked, body)), asked.raw)

    def _tokens(self, asked: RouteExchange, body: TokenizeBody) -> bytes:
        given = self.fit(asked.model)
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        rows = given.rows(texts)
        encode = partial(given.tokenizer.encode, add_special_tokens=body.add_special_tokens)
        told = [_described(encode(row[given.name])) for row in rows]
        size = sum(map(len, told))
        most = asked.model.contract.limits.max_answer_bytes // 64
        if size > most:
            raise Refusal("E_ANSWER_BYTES", "the answer", f"{size} tokens", f"at most {most}")
        return orjson.dumps(told)


def _described(encoding: Any) -> list[dict[str, Any]]:
    columns = encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets
    return [
        {"id": each, "text": text, "special": bool(special)}
        | ({} if special else {"start": start, "stop": stop})
        for each, text, special, (start, stop) in zip(*columns, strict=True)
    ]
