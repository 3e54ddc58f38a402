"""The probe of the container's health, against real servers: plain, over TLS, with certificates."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.tls import Authority
from support.toys import fake_runtimes, toy_bundle

from seatrial_serve.probe import address_of, is_alive
from seatrial_serve.settings import Settings
from seatrial_serve.thread_server import ThreadServer

ROOT = Path(__file__).resolve().parents[2]
FORMS = ("plain", "tls", "certificates of clients", "optional certificates of clients")


OWN: Mapping[str, str] = {"SEATRIAL_HTTP_PORT": "PORT"}


def answered(text: bytes, variables: Mapping[str, str] = OWN) -> bool:
    """Does the probe take who answers so for alive? `PORT` among variables is that one's."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        port = str(listening.getsockname()[1])
        told = {name: value.replace("PORT", port) for name, value in variables.items()}
        listening.settimeout(30)
        asked = pool.submit(is_alive, told)
        taken, _ = listening.accept()
        with taken:
            taken.recv(4096)
            taken.sendall(text)
            return asked.result(30)


@contextmanager
def serving(tmp_path: Path, form: str) -> Iterator[str]:
    """A server of a form; yields its port."""
    toy_bundle(tmp_path / "bundles")
    authority = Authority(tmp_path / "tls")
    options: dict[str, Any] = {}
    if form != "plain":
        pair = authority.issue(alternative=(), subject="models.example.org")
        options = {"tls_cert": pair.certificate, "tls_key": pair.key}
    if "certificates" in form:
        options["tls_client_ca"] = authority.path
        options["tls_clients"] = "optional" if "optional" in form else "required"
    settings = Settings(
        bundles=tmp_path / "bundles",
        http_port=0,
        grpc=False,
        metrics=False,
        drain_window_s=0.0,
        **options,
    )
    with ThreadServer(settings).start() as server:
        yield server.url.rpartition(":")[2]


@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_answers_is_alive_whether_variables_or_flags_name_its_certificate(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    with serving(tmp_path, form) as port:
        by_flags = {"SEATRIAL_HTTP_PORT": port}
        by_variables = by_flags if form == "plain" else by_flags | {"SEATRIAL_TLS_CERT": "c.pem"}
        assert is_alive(by_flags)
        assert is_alive(by_variables)
    assert not is_alive(by_flags)  # it has ended
    assert not is_alive(by_variables)


def test_the_address_is_that_which_the_server_reads() -> None:
    for said, found in (
        ({}, ("127.0.0.1", 8000)),
        ({"host": "0.0.0.0", "http_port": "9000"}, ("127.0.0.1", 9000)),
        ({"host": "::"}, ("::1", 8000)),
        ({"host": "10.0.0.7"}, ("10.0.0.7", 8000)),
        ({"http_port": "tcp://10.0.0.1:8000"}, ("127.0.0.1", 8000)),  # a Service of Kubernetes
    ):
        assert address_of(said) == found


@pytest.mark.parametrize(
    "variables",
    [
        {"seatrial_http_port": "PORT"},
        {"SEATRIAL_CONTAINER": "cloudrun", "PORT": "PORT"},
        {"SEATRIAL_CONTAINER": "vertex", "AIP_HTTP_PORT": "PORT"},
        {"SEATRIAL_CONTAINER": "vertex", "AIP_HTTP_PORT": "1", "SEATRIAL_HTTP_PORT": "PORT"},
    ],
)
def test_the_port_is_that_which_the_server_reads(variables: Mapping[str, str]) -> None:
    assert answered(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", variables)


def test_another_answer_is_none() -> None:
    assert not answered(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
    assert not answered(b"220 mail\r\n")


def test_the_command_ends_with_its_finding() -> None:
    command = [sys.executable, "-m", "seatrial_serve.probe"]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    named = {"SEATRIAL_HTTP_PORT": str(port), "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=named, timeout=30, check=False).returncode == 1


def test_the_image_asks_by_this_module() -> None:
    text = (ROOT / "Dockerfile").read_text()
    (command,) = re.findall(r"HEALTHCHECK .*\\\n +CMD (.*)", text)
    assert command == '["python", "-m", "seatrial_serve.probe"]'
