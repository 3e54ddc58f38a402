"""Which addresses a server listens on without keys and without TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.servers import OURS

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.settings import Settings
from seatrial_serve.thread_server import ThreadServer

KEYS = {"api_keys": Path("keys.toml")}
TLS = {"tls_cert": Path("server.pem"), "tls_key": Path("server.key")}
CLIENTS = TLS | {"tls_client_ca": Path("ca.pem")}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_the_loopback_needs_neither(host: str) -> None:
    Settings(host=host).check_exposure()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "models.internal"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"want keys \(--api-keys FILE\) and TLS \(--tls-cert FILE --tls-key FILE\)"),
        (KEYS, r"want TLS \(--tls-cert FILE --tls-key FILE\); or --insecure"),
        (TLS, r"want keys \(--api-keys FILE\); or --insecure"),
        (CLIENTS | {"tls_clients": "optional"}, r"want keys \(--api-keys FILE\); or --insecure"),
    ],
)
def test_every_other_address_needs_both(host: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        Settings(host=host, **given).check_exposure()
    Settings(host=host, insecure=True, **given).check_exposure()
    Settings(host=host, **(KEYS | TLS | given)).check_exposure()


def test_certificates_that_all_clients_must_show_say_who_asks() -> None:
    Settings(host="0.0.0.0", **CLIENTS).check_exposure()  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_server_that_would_listen_for_everybody_does_not_start(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    command = [*OURS, str(tmp_path), "--host", "0.0.0.0", "--http-port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "or --insecure" in done.stderr


def test_nor_does_one_in_a_thread(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="or --insecure"):
        ThreadServer(Settings(bundles=tmp_path, host="0.0.0.0", http_port=0)).start()
