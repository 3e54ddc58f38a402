"""V1: rows in, predictions out; the row protocol of TF Serving and KServe. A contract with one image also takes the file itself."""

from __future__ import annotations

import asyncio

import orjson

from seatrial_serve.body import is_file
from seatrial_serve.clock import now_s
from seatrial_serve.lane import LARGE_BODY_BYTES, Asked, Reply


async def predict(asked: Asked) -> Reply:
    """Answer `{"instances": [row, ...]}` with `{"predictions": [...], "model_version": ...}`."""
    model = asked.model
    contract = model.contract
    field = contract.file_input
    raw = is_file(asked.headers, field.media_types if field else None)
    body = await asked.body()
    if raw and field:
        rows = [contract.validate_row({field.name: body}, 0)]
    elif len(body) > LARGE_BODY_BYTES:
        rows = await asyncio.get_running_loop().run_in_executor(asked.pool, contract.parse_request, body)
    else:
        rows = contract.parse_request(body)
    answer = await model.answer_rows(rows, asked.terms)
    start = now_s()
    predictions = [contract.describe(outputs, index) for outputs, index in answer]
    reply = {"predictions": predictions, "model_version": model.bundle.version}
    body = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    model.encoded(start, asked.terms)
    return Reply(body, answer=answer)
