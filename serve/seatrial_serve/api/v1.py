"""V1: rows in, predictions out; the row protocol of TF Serving and KServe. A contract with one image also takes the file itself."""

from __future__ import annotations

from typing import Any

import orjson

from seatrial_contracts.predict_request import PredictRequest
from seatrial_serve.api.exchange import Reply
from seatrial_serve.api.http_request import Asked
from seatrial_serve.http.headers import is_file
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.partial import answer_each, described_errors, failed_runs
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.clock import now_s


async def predict(asked: Asked) -> Reply:
    """Answer `{"instances": [row, ...]}` with `{"predictions": [...], "model_version": ...}`, and columns in `inputs` with `outputs`.

    A partial answer holds null for a row without one, and says why in `errors`.
    """
    model, terms = asked.model, asked.terms
    request = await read(asked)
    if terms.partial:
        answer = await answer_each(model, request.rows, request.refused, terms)
        if failed_runs(answer):
            asked.blame()
    else:
        answer = await model.answer_rows(request.rows, terms)
    start = now_s()
    body = orjson.dumps(written(model, request, answer, partial=terms.partial), option=orjson.OPT_SERIALIZE_NUMPY)
    model.encoded(start, terms)
    return Reply(body, answer=answer)


async def read(asked: Asked) -> PredictRequest:
    """The rows in a request's body. Raises `Refusal`."""
    reader, by_row = asked.model.reader, asked.terms.partial
    field = asked.model.contract.file_input
    raw = is_file(asked.headers, field.media_types if field else None)
    body = await asked.body()
    if raw and field:
        return reader.read_file(field.name, body, by_row=by_row)
    return await asked.parsed(lambda body: reader.read(body, by_row=by_row), body)


def written(model: ServedModel, request: PredictRequest, answer: Answer, *, partial: bool) -> dict[str, Any]:
    """The answer as JSON values, in the form that the request came in."""
    predictions: list[Any] = [model.contract.describe(outputs, index) for outputs, index in answer]
    if answer.errors:
        known = dict(zip(answer.places, predictions, strict=True))
        predictions = [known.get(place) for place in range(answer.rows)]
    reply: dict[str, Any]
    if request.columnar:
        names = [field.name for field in model.contract.outputs]
        columns = {name: [row and row[name] for row in predictions] for name in names}
        reply = {"outputs": columns, "model_version": model.bundle.version}
    else:
        reply = {"predictions": predictions, "model_version": model.bundle.version}
    return reply | {"errors": described_errors(answer)} if partial else reply
