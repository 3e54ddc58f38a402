"""V2 over HTTP: the infer route."""

from __future__ import annotations

from seatrial_serve.api.exchange import Reply
from seatrial_serve.api.http_request import Asked
from seatrial_serve.api.v2_infer import infer
from seatrial_serve.http.headers import is_file
from seatrial_serve.models.partial import failed_runs
from seatrial_serve.process.clock import now_s
from seatrial_serve.v2.http_body import HEADER, header_length, read_request, write_response

BINARY = b"application/octet-stream"


async def infer_over_http(asked: Asked) -> Reply:
    """Answer an inference request, in JSON or with binary tensors behind it."""
    contract = asked.model.contract
    is_file(asked.headers, None)
    body = await asked.body()
    json_bytes = header_length(asked.headers, len(body))
    request = await asked.parsed(lambda body: read_request(body, json_bytes, contract), body)
    response, answer = await infer(asked.model, request, asked.terms, asked.pool)
    if failed_runs(answer):
        asked.blame()
    start = now_s()
    text, head = write_response(response)
    asked.model.encoded(start, asked.terms)
    if head is None:
        return Reply(text, answer=answer)
    return Reply(text, BINARY, [(HEADER, b"%d" % head)], answer)
