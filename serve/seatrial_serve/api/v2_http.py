"""V2 over HTTP: the infer route."""

from __future__ import annotations

from seatrial_serve.api.exchange import Job, Reply
from seatrial_serve.api.http_request import HttpExchange
from seatrial_serve.api.v2_infer import inference
from seatrial_serve.http.headers import CONTENT_TYPE, is_file
from seatrial_serve.models.answer import Answer
from seatrial_serve.v2.http_body import HEADER, header_length, read_request, write_response
from seatrial_serve.v2.message import InferResponse

BINARY = b"application/octet-stream"


class Infer:
    """Answers an inference request, in JSON or with binary tensors behind it."""

    def check(self, asked: HttpExchange) -> None:
        """See `Form`."""
        is_file(asked.headers.get(CONTENT_TYPE, b""), None)

    def read(self, asked: HttpExchange, body: bytes) -> Job:
        """See `Form`."""
        json_bytes = header_length(asked.headers, len(body))
        model = asked.model
        plain = None if asked.terms.partial else model.plain_row
        return inference(asked, read_request(body, json_bytes, model.contract, plain), write)


INFER = Infer()


def write(response: InferResponse, answer: Answer) -> Reply:
    """The answer as a body."""
    text, head = write_response(response)
    if head is None:
        return Reply(text, answer=answer)
    return Reply(text, BINARY, [(HEADER, b"%d" % head)], answer)
