"""Is the server of this container alive? `python -m seatrial_serve.probe` ends with 0 if it is.

The image's HEALTHCHECK runs it each ten seconds, so it imports no more than it needs. It knows the
server's address by the variables that the server reads; flags and files of settings it cannot see.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from typing import Any

from seatrial_serve.containers import CONTAINERS

PREFIX, PATH = "SEATRIAL_", "/v2/health/live"
PORT = 8000
TIMEOUT_S = 2.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (nothing listens here)
"""An address that stands for all of this machine's -> the one to ask."""
WITHOUT_CERTIFICATE = "CERTIFICATE_REQUIRED"
"""In OpenSSL's name of the alert for a client that has to show a certificate, and shows none."""


def is_alive(environ: Mapping[str, str]) -> bool:
    """Does the server that these variables start answer?

    Over TLS its certificate is not verified: it may name other hosts than the loopback. A server
    that turns the probe away for want of a client's certificate is alive.
    """
    said = {name.upper().removeprefix(PREFIX).lower(): value for name, value in environ.items()
            if name.upper().startswith(PREFIX)}  # fmt: skip
    container = CONTAINERS.get(said.get("container", ""))
    said = {**(container(environ) if container is not None else {}), **said}
    host, port = address_of(said)
    if not said.get("tls_cert"):
        status = status_of(http.client.HTTPConnection(host, port, timeout=TIMEOUT_S))
        if status != http.HTTPStatus.BAD_REQUEST:
            return status == http.HTTPStatus.OK
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    over_tls = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    return status_of(over_tls) == http.HTTPStatus.OK


def address_of(said: Mapping[str, Any]) -> tuple[str, int]:
    """Where the server listens, by its settings as text."""
    host, port = said.get("host") or "127.0.0.1", str(said.get("http_port", ""))
    return EVERYWHERE.get(host, host), int(port) if port.isdigit() else PORT


def status_of(connection: http.client.HTTPConnection) -> int | None:
    """The status of an answer; None if there is none."""
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status
    except ssl.SSLError as error:
        return http.HTTPStatus.OK if WITHOUT_CERTIFICATE in (error.reason or "") else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(os.environ) else 1)
