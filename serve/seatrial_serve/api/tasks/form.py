"""Hugging Face's `POST /hf/{model}`: an endpoint as `InferenceClient(model=URL)` asks it."""

from __future__ import annotations

from seatrial_contracts.contract import FileInput
from seatrial_serve.api.exchange import Job
from seatrial_serve.api.http_request import HttpExchange
from seatrial_serve.api.routes.body import json_of, validated
from seatrial_serve.api.routes.route import check_whole
from seatrial_serve.api.tasks import task_for
from seatrial_serve.http.headers import CONTENT_TYPE, is_file


class HuggingFace:
    """A `Form`: `{"inputs": ..., "parameters": {...}}`, or a file: a picture, a sound.

    The client sends a file without parameters as the body itself, and often without its type.
    """

    def check(self, asked: HttpExchange) -> None:
        """See `Form`."""
        check_whole(asked)
        field = asked.model.contract.file_input
        is_file(asked.headers.get(CONTENT_TYPE, b""), field.media_types if field else None)

    def read(self, asked: HttpExchange, body: bytes) -> Job:
        """See `Form`."""
        model = asked.model
        field = model.contract.file_input
        if field is not None and is_a_file(asked.headers.get(CONTENT_TYPE, b""), body, field):
            task = task_for(model, "")
            return task.job(task.body.model_construct(inputs=body))
        value = json_of(body)
        task = task_for(model, value.get("inputs") if isinstance(value, dict) else None)
        return task.job(validated(task.body, value))


HUGGING_FACE = HuggingFace()


def is_a_file(content_type: bytes, body: bytes, field: FileInput) -> bool:
    """Is the body a file? Where its type does not tell, JSON is what begins with a brace."""
    media = content_type.partition(b";")[0].strip().lower()
    if media in (b"", b"application/octet-stream"):
        return body.lstrip()[:1] != b"{"
    return is_file(content_type, field.media_types)
