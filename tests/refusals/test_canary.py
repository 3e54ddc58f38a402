"""A word sent in every place that a client can fill stands in no output of the server.

The outputs are the log, metrics, traces, kept failures and errors.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from refusals import client_cases
from refusals.case import CANARY, INPUTS, ROW, Case, infer, request, rows, v1, v2
from refusals.sealed import seal
from refusals.test_refusals import CASES, Target, answer_of

pytestmark = pytest.mark.slow
NUMBER = 71903.25
"""A canary for fields of numbers.

What is out of range comes back to its sender, and goes nowhere else.
"""
HEADERS = (
    "Accept",
    "Accept-Language",
    "Authorization",
    "Baggage",
    "Content-Type",
    "Cookie",
    "Forwarded",
    "From",
    "Origin",
    "Referer",
    "Traceparent",
    "Tracestate",
    "User-Agent",
    "Via",
    "X-Api-Key",
    "X-Forwarded-For",
    "X-Request-Timeout-Ms",
    CANARY,
)
PATHS = (
    f"/v1/models/{CANARY}:predict",
    f"/v1/models/tabular/versions/{CANARY}:predict",
    f"/v1/models/tabular/labels/{CANARY}:predict",
    f"/v2/models/{CANARY}/infer",
    f"/v1/models/{CANARY}:feedback",
    f"/v1/models/tabular:{CANARY}",
    f"/v1/models/tabular:predict?{CANARY}={CANARY}",
)


def everywhere() -> Iterator[bytes]:
    """The canary in every field, key, header and part of a path."""
    yield from (
        v1({"instances": [ROW]}, **{header.replace("-", "_"): CANARY}) for header in HEADERS
    )
    yield from (request(path, json.dumps({"instances": [ROW]}).encode()) for path in PATHS)
    for field in ROW:
        yield from (
            rows(ROW | {field: value}) for value in (CANARY, [CANARY], {CANARY: CANARY}, NUMBER)
        )
        yield rows({CANARY if name == field else name: value for name, value in ROW.items()})
    yield from (
        v1({CANARY: [ROW]}),
        v1({"instances": [ROW], CANARY: CANARY}),
        v1({"instances": CANARY}),
    )
    for name, tensor in INPUTS.items():
        for key in tensor:
            yield v2(
                {
                    "inputs": [
                        tensor | {key: CANARY},
                        *(INPUTS[other] for other in INPUTS if other != name),
                    ]
                }
            )
        yield v2({"inputs": [tensor | {"parameters": {CANARY: CANARY}}]})
    yield from (
        infer(id=CANARY, outputs=[{"name": CANARY}]),
        infer(parameters={CANARY: CANARY}),
        infer(parameters={"priority": CANARY}),
    )
    yield from (
        request(path, json.dumps(body).encode())
        for path in (*client_cases.SHAPES, "/hf/sentences", "/hf/pairs", "/")
        for body in (
            {"inputs": CANARY}, {"input": CANARY}, {"texts": [CANARY]}, {CANARY: CANARY},
            {"query": CANARY, "documents": [CANARY], "model": CANARY},
            {"inputs": CANARY, "parameters": {"candidate_labels": [CANARY]}},
        )
    )  # fmt: skip
    for told in (
        {"request_id": CANARY, "truth": [{}]},
        {"instances": [{CANARY: 1}], "truth": [{CANARY: CANARY}]},
        {CANARY: CANARY},
    ):
        yield request("/v1/models/tabular:feedback", json.dumps(told).encode())


def marked(case: Case) -> bytes:
    """A case of the matrix, the canary in its query and in a header, where it is HTTP at all."""
    line, newline, rest = case.data.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[1].startswith(b"/") or b"?" in parts[1]:
        return case.data
    mark = CANARY.encode()
    return (
        b" ".join((parts[0], parts[1] + b"?" + mark + b"=" + mark, parts[2]))
        + newline
        + b"X-Key: "
        + mark
        + b"\r\n"
        + rest
    )


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP endpoint on the loopback, and what it was sent."""
    sent: list[bytes] = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    listening = HTTPServer(("127.0.0.1", 0), Keep)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}", sent
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def test_what_clients_send_is_kept_nowhere(tmp_path: Path, serve: Callable[..., Any]) -> None:
    seal(tmp_path / "bundles")
    with collector() as (endpoint, spans):
        flags = (
            "--log-format",
            "json",
            "--logged-per-s",
            "1e6",
            "--otlp-endpoint",
            endpoint,
            "--keep-failures",
            str(tmp_path / "kept"),
            "--default-model",
            "sentences",
        )
        server = serve(tmp_path / "bundles", *flags)
        assert server.wait_until_loaded()[0] == 200
        target = Target(server)
        answers = [answer_of(target, Case("canary", data, 0)) for data in everywhere()]
        answers += [
            answer_of(target, Case("canary", marked(case), 0))
            for case in CASES
            if case.grows_mb <= 32
        ]
        metrics = target.metrics
        assert server.stop() == 0
    refused = [(body, headers) for status, headers, body, _ in answers if status >= 400]
    assert len(refused) > 250
    lines = [line for line in server.log if '"logger": "seatrial.request"' in line]
    assert len(lines) > 150
    assert all(json.loads(line)["request_id"] for line in lines)
    assert len(b"".join(spans)) > 10_000
    assert b"E_RANGE" in b"".join(spans)
    for body, headers in refused:
        sent_id = headers["x-request-id"]
        assert json.loads(body).get("request_id", sent_id) == sent_id
    for place in (
        *server.log,
        metrics,
        *(body.decode() for body, _ in refused),
        *(file.read_text() for file in (tmp_path / "kept").iterdir()),
    ):
        assert CANARY not in place
    assert CANARY.encode() not in b"".join(spans)
    for place in (*server.log, metrics):
        assert str(NUMBER) not in place
