"""The route that takes the truth of what was predicted."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import Refusal
from seatrial_contracts.json_values import check_values
from seatrial_serve.api.exchange import Reply
from seatrial_serve.api.http_request import AsgiExchange
from seatrial_serve.http.headers import CONTENT_TYPE, is_file
from seatrial_serve.models.answer import Answer
from seatrial_serve.observers.feedback import Feedback

MOST_ROWS = 65_536
MOST_TRUE = 256
"""Values of one output's truth, as a bound of a body's values."""
MOST_SLICES = 64
"""Slices that one row is counted in, as a bound of a body's values."""
Rows = Field(min_length=1, max_length=MOST_ROWS)


class Told(BaseModel):
    """The truth about an answer, by the request's id, or about rows, which are answered again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    truth: Annotated[list[dict[str, str | list[Any]] | None], Rows] = Field(
        description=(
            "One for each row of the request, in order: output -> its truth, a class or a list; "
            "null where nothing is known."
        )
    )
    request_id: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        "", description="The X-Request-Id of the answer. Its truth can be told once."
    )
    instances: Annotated[list[Any], Rows] = Field(
        [], description="The rows, in place of the id of their answer."
    )
    slices: Annotated[list[list[str]], Rows] = Field(
        [], description="For each row, the slices of the bundle's samples that it belongs to."
    )


class FeedbackApi:
    """The handler of `POST /v1/models/{name}:feedback`, with or without a version.

    `openapi.py` describes the route for each model.
    """

    def __init__(self, feedback: Feedback, workers: int) -> None:
        self._feedback, self._workers = feedback, workers

    async def tell(self, asked: AsgiExchange) -> Reply:
        """Count what is true of an answer, or of rows.

        Raises `Refusal`, and what `ServedModel.answer_rows` raises.
        """
        is_file(asked.headers.get(CONTENT_TYPE, b""), None)
        feedback, model = self._feedback, asked.model
        tellable = feedback.tellable_of(model)
        if not tellable.outputs:
            raise Refusal(
                "E_UNSUPPORTED",
                "model",
                "one whose answers are neither right nor wrong",
                "a model that answers labels, spans or boxes",
            )
        told = await asked.parsed(partial(read_told, contract=model.contract), await asked.body())
        if told.request_id:
            if self._workers > 1 or not feedback.kept:
                raise not_remembered(self._workers)
            answered = feedback.find(model.name, model.bundle.version, told.request_id)
        else:
            answered = tellable.whole(await answer_again(asked, told.instances))
        right, wrong = feedback.learn(answered, told.truth, told.slices)
        if told.request_id:
            feedback.forget(model.name, told.request_id)
        version = answered.of.version
        return Reply(orjson.dumps({"model_version": version, "right": right, "wrong": wrong}))


def read_told(body: bytes, contract: Contract) -> Told:
    """The body. Raises `Refusal`."""
    rows = contract.limits.max_rows
    of_row = MOST_TRUE * len(contract.outputs) + MOST_SLICES
    check_values(body, contract.most_values + rows * of_row, rows)
    want = '{"request_id": "...", "truth": [{"output": ...}]}, or "instances" in place of the id'
    try:
        told = Told.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise Refusal("E_JSON", "request body", "no JSON", want) from None
    except ValidationError:
        raise Refusal("E_SCHEMA", "request body", "something else", want) from None
    if bool(told.request_id) == bool(told.instances):
        raise Refusal(
            "E_SCHEMA", "request body", "both or neither of request_id and instances", want
        )
    return told


def not_remembered(workers: int) -> Refusal:
    """Answers cannot be found by their id here."""
    got = (
        f"one of {workers} workers' answers"
        if workers > 1
        else "an id where no answers are remembered"
    )
    want = 'the rows themselves: {"instances": [...], "truth": [...]}'
    return Refusal(
        "E_UNSUPPORTED", "request_id", got, want, "or serve with one worker and --feedback-answers"
    )


async def answer_again(asked: AsgiExchange, instances: list[Any]) -> Answer:
    """Return the model's answer to rows now.

    Raises what `ServedModel.answer_rows` raises, and `Refusal` for too many rows.
    """
    contract = asked.model.contract
    if len(instances) > contract.limits.max_rows:
        raise Refusal(
            "E_BATCH",
            "instances",
            f"{len(instances)} rows",
            f"1 to {contract.limits.max_rows} rows",
        )
    rows = await asyncio.to_thread(
        lambda: [contract.validate_row(row, place) for place, row in enumerate(instances)]
    )
    return await asked.model.answer_rows(rows, asked.terms)
