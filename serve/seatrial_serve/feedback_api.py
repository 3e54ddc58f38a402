"""The route that takes the truth of what was predicted."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seatrial_contracts.errors import Refusal
from seatrial_serve.admission import Budget
from seatrial_serve.body import expected_bytes, is_file, read_body
from seatrial_serve.clock import now_s
from seatrial_serve.feedback import Feedback
from seatrial_serve.lane import LARGE_BODY_BYTES
from seatrial_serve.model import Answer, ServedModel, Terms
from seatrial_serve.models_api import found, json_response
from seatrial_serve.repository import Repository

BODY_S = 10.0
MOST_ROWS = 65_536
Rows = Field(min_length=1, max_length=MOST_ROWS)


class Told(BaseModel):
    """What turned out to be true: of an answer, by the request's id, or of rows, which are answered again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    truth: Annotated[list[dict[str, str] | None], Rows] = Field(
        description="One for each row of the request, in order: label output -> its true class; null where nothing is known."
    )
    request_id: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        "", description="The X-Request-Id of the answer. Its truth can be told once."
    )
    instances: Annotated[list[Any], Rows] = Field([], description="The rows, in place of the id of their answer.")
    slices: Annotated[list[list[str]], Rows] = Field(
        [], description="For each row, the slices of the bundle's samples that it belongs to."
    )


def feedback_router(
    repository: Repository, feedback: Feedback, budget: Budget, timeout_s: float, workers: int
) -> APIRouter:
    """Feedback to the version that a model's own name stands for, and to each one; `openapi.py` describes it for each model."""
    router = APIRouter(include_in_schema=False)

    @router.post("/v1/models/{model}:feedback")
    async def tell(model: str, request: Request) -> Response:
        return await answer(found(repository, model).ready_model(), request)

    @router.post("/v1/models/{model}/versions/{version}:feedback")
    async def tell_version(model: str, version: str, request: Request) -> Response:
        return await answer(found(repository, model, version).ready_model(), request)

    async def answer(model: ServedModel, request: Request) -> Response:
        headers, most = dict(request.scope["headers"]), model.contract.max_body_bytes
        is_file(headers, None)
        held = budget.take(expected_bytes(headers, most))
        try:
            return await answer_within(model, await read_body(headers, request.receive, most, BODY_S))
        finally:
            budget.give_back(held)

    async def answer_within(model: ServedModel, body: bytes) -> Response:
        told = read_told(body) if len(body) <= LARGE_BODY_BYTES else await asyncio.to_thread(read_told, body)
        labels = feedback.labels_of(model)
        if not labels.classes:
            raise Refusal(
                "E_UNSUPPORTED", "model", "one without labels", "a model that answers labels: their truth is a class"
            )
        if told.request_id:
            if workers > 1 or not feedback.kept:
                raise not_remembered(workers)
            answered = feedback.find(model.bundle.name, model.bundle.version, told.request_id)
        else:
            answered = labels.remember(await answer_again(model, told.instances, timeout_s))
        right, wrong = feedback.learn(answered, told.truth, told.slices)
        if told.request_id:
            feedback.forget(told.request_id)
        return json_response({"model_version": answered.labels.version, "right": right, "wrong": wrong})

    return router


def read_told(body: bytes) -> Told:
    """The body. Raises `Refusal`."""
    want = '{"request_id": "...", "truth": [{"output": "class"}]}, or "instances" in place of the id'
    try:
        told = Told.model_validate(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise Refusal("E_JSON", "request body", "no JSON", want) from None
    except ValidationError:
        raise Refusal("E_SCHEMA", "request body", "something else", want) from None
    if bool(told.request_id) == bool(told.instances):
        raise Refusal("E_SCHEMA", "request body", "both or neither of request_id and instances", want)
    return told


def not_remembered(workers: int) -> Refusal:
    """Answers cannot be found by their id here."""
    got = f"one of {workers} workers' answers" if workers > 1 else "an id where no answers are remembered"
    want = 'the rows themselves: {"instances": [...], "truth": [...]}'
    return Refusal("E_UNSUPPORTED", "request_id", got, want, "or serve with one worker and --feedback-answers")


async def answer_again(model: ServedModel, instances: list[Any], timeout_s: float) -> Answer:
    """What the model says of rows now. Raises what `ServedModel.answer_rows` raises, and `Refusal` for too many."""
    if len(instances) > model.contract.limits.max_rows:
        raise Refusal("E_BATCH", "instances", f"{len(instances)} rows", f"1 to {model.contract.limits.max_rows} rows")
    rows = await asyncio.to_thread(
        lambda: [model.contract.validate_row(row, place) for place, row in enumerate(instances)]
    )
    deadline_s = now_s() + timeout_s
    model.pressure.admit(deadline_s)
    with model:
        return await model.answer_rows(rows, Terms(deadline_s))
