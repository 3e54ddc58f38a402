"""A trial ends with a receipt, whatever the server does that is asked."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner
from support.toys import toy_bundle

from seatrial.main import cli
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import DeclarationError, Unavailable
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

RESET = None
"""Instead of a reply."""
ODD: dict[str, tuple[int, str] | None] = {
    "a reset": RESET,
    "a proxy's page": (502, "<html>Bad Gateway</html>"),
    "a list": (500, "[]"),
    "an error without words": (400, "{}"),
    "an error without a code": (400, '{"error": "no"}'),
    "an answer without predictions": (200, "{}"),
    "predictions that are none": (200, '{"predictions": 7, "outputs": 7}'),
    "predictions of something else": (200, '{"predictions": [7], "outputs": [{"name": "x"}]}'),
    "something deep": (200, "[" * 100_000),
}


class Server(ThreadingHTTPServer):
    """Holds the right bundle, and answers every POST as `odd` says."""

    odd: tuple[int, str] | None = RESET
    about: dict[str, Any]
    asked: list[str]
    """The path of each request."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._reply(200, json.dumps(self.server.about))

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers["content-length"]))
        if self.server.odd is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        else:
            self._reply(*self.server.odd)

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()

    def _reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path)


@pytest.fixture
def server(bundle: Bundle) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.asked = []
    properties = {"digest": bundle.digest, "variant": "fp32"}
    made.about = {
        **properties,
        "execution": {"provider": "CPU", "variant": "fp32"},
        "properties": properties,
    }
    thread = Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("runner", ["http v1", "v2 binary", "v2 json"])
def test_a_server_that_answers_oddly_is_a_finding_of_its_own(
    runner: str, odd: str, server: Server, bundle: Bundle
) -> None:
    server.odd = ODD[odd]
    receipt = try_bundle(
        TrialRequest(bundle, url=f"http://127.0.0.1:{server.server_port}"), [runner]
    )
    answered = [trial for trial in receipt.trials if trial.rows]
    assert answered
    assert all(trial.finding.startswith("a golden row was not answered: ") for trial in answered)
    (refusals,) = [trial for trial in receipt.trials if not trial.rows]
    assert refusals.finding.startswith("refusal 0: ") == (len(bundle.golden.refusals) > 0)


@pytest.mark.parametrize(
    ("address", "runner"),
    [
        ("url", "http v1"), ("url", "v2 binary"), ("url", "v2 json"), ("container", "container"),
        ("edge", "edge on triton"), ("ray", "ray http"),
    ],
)  # fmt: skip
def test_a_server_is_asked_for_the_name_that_it_has_for_the_model(
    address: str, runner: str, server: Server, bundle: Bundle
) -> None:
    where: dict[str, Any] = {address: f"http://127.0.0.1:{server.server_port}"}
    try_bundle(TrialRequest(bundle, model="toy-blue", **where), [runner])
    assert len(server.asked) > 1
    assert all("/models/toy-blue/versions/1.0.0" in path for path in server.asked)


def test_parity_passes_that_name_on(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    url, junit = f"http://127.0.0.1:{server.server_port}", str(tmp_path / "junit.xml")
    asked = ["parity", str(bundle.path), "--url", url, "--runner", "http v1", "--junit", junit]
    CliRunner().invoke(cli, [*asked, "--model", "toy-blue"])
    assert len(server.asked) > 1
    assert all(path.startswith("/v1/models/toy-blue/") for path in server.asked)


def test_parity_writes_its_receipt_where_the_server_resets(
    server: Server, bundle: Bundle, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    asked = [
        "parity",
        str(bundle.path),
        "--url",
        url,
        "--runner",
        "http v1",
        "--junit",
        str(tmp_path / "junit.xml"),
    ]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 1
    assert "no server answers there (ReadError); is it running?" in done.output
    (kept,) = bundle.receipts()
    assert not kept.passed


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd != "predictions of something else"])
def test_predict_says_what_a_server_answers_oddly(odd: str, server: Server) -> None:
    server.odd = ODD[odd]
    target = f"http://127.0.0.1:{server.server_port}"
    done = CliRunner().invoke(cli, ["predict", target, '{"x": 1}', "--model", "toy"])
    assert isinstance(done.exception, Unavailable) or "E_OTHER: no" in str(done.exception)


def test_what_is_no_url_is_said(bundle: Bundle) -> None:
    with pytest.raises(DeclarationError, match="want a URL"):
        try_bundle(TrialRequest(bundle, url="http://127.0.0.1:port"), ["http v1"])
