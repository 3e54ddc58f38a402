"""V1: rows in, predictions out; the row protocol of TF Serving and KServe.

A contract of one file (an image, a sound) also takes the file itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from seatrial_contracts.answer_forms import prompted
from seatrial_contracts.kinds.output_kind import OptionValues
from seatrial_contracts.predict_request import PredictRequest
from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.http_request import HttpExchange
from seatrial_serve.http.headers import CONTENT_TYPE, is_file
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.partial import described_errors
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.json_pieces import write_json


class Predict:
    """Answers rows in `instances`, or columns in `inputs`.

    `{"instances": [row, ...]}` is answered with `{"predictions": [...], "model_version": ...}`, and
    columns in `inputs` with `outputs`.

    `parameters` hold the request's options, where the contract has some.

    A partial answer holds null for a row without one, and the reason in `errors`.
    """

    def check(self, asked: HttpExchange) -> None:
        """See `Form`."""
        sends_file(asked)

    def read(self, asked: HttpExchange, body: bytes) -> Job:
        """See `Form`."""
        model, by_row = asked.model, asked.terms.partial
        field = model.contract.file_input
        if field is not None and sends_file(asked):
            return job_of(asked, model.reader.read_file(field.name, body, by_row=by_row))
        return job_of(asked, model.reader.read(body, by_row=by_row))


PREDICT = Predict()


def job_of(asked: HttpExchange, request: PredictRequest) -> Job:
    """What validated rows ask of the model, answered as V1 does. Raises `Refusal`."""
    model, by_row = asked.model, asked.terms.partial
    options = model.contract.read_options(request.options)
    prompts = model.contract.prompts(options)
    write_it = partial(write, model, request.columnar, by_row, options)
    return Job(prompted(request.rows, prompts), write_it, request.refused, prompts)


def sends_file(asked: HttpExchange) -> bool:
    """Is the body the file itself? Raises `Refusal`, as `is_file` does."""
    field = asked.model.contract.file_input
    return is_file(asked.headers.get(CONTENT_TYPE, b""), field.media_types if field else None)


def write(
    model: ServedModel, columnar: bool, by_row: bool, options: OptionValues, answer: Answer
) -> Reply:
    """The answer as JSON, in the form that the request came in."""
    if columnar or by_row or len(answer.parts) > 1:
        value = described(model, columnar, by_row, options, answer)
    else:
        part, describe = answer.parts[0], model.contract.describe
        value = {
            "predictions": [
                describe(part.outputs, index, notes, options)
                for index, notes in zip(part.rows, answer.notes_by_row, strict=False)
            ],
            "model_version": model.version,
        }
    return Reply(
        write_json(value, 0 if answer.rows <= model.few_rows else answer.size_bytes), answer=answer
    )


def described(
    model: ServedModel, columnar: bool, by_row: bool, options: OptionValues, answer: Answer
) -> dict[str, Any]:
    """The same as JSON values."""
    describe = model.contract.describe
    predictions: list[Any] = [
        describe(outputs, index, notes, options)
        for (outputs, index), notes in zip(answer, answer.notes_by_row, strict=False)
    ]
    if answer.errors:
        known = dict(zip(answer.places, predictions, strict=True))
        predictions = [known.get(place) for place in range(answer.rows)]
    reply: dict[str, Any]
    if columnar:
        names = [field.name for field in model.contract.outputs]
        columns = {name: [row and row[name] for row in predictions] for name in names}
        reply = {"outputs": columns, "model_version": model.version}
    else:
        reply = {"predictions": predictions, "model_version": model.version}
    return reply | {"errors": described_errors(answer)} if by_row else reply
