"""The server that the cases are sent to, and how it is asked."""

from __future__ import annotations

import signal
import socket
import ssl
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from refusals import (
    binary_cases,
    client_cases,
    date_cases,
    entry_cases,
    http_cases,
    json_cases,
    media_cases,
    name_cases,
    tensor_cases,
)
from refusals.case import ROW, Case, request, rows
from support.waiting import until

CASES = [
    case
    for group in (
        json_cases,
        binary_cases,
        entry_cases,
        media_cases,
        http_cases,
        name_cases,
        client_cases,
        date_cases,
        tensor_cases,
    )
    for case in group.CASES
]
GOOD, LIVE = rows(ROW), request("/v2/health/live", method="GET")
FLAGS = "--budget-bytes", str(2**28), "--default-model", "sentences"


class Target:
    """The server under trial."""

    def __init__(self, server: Any, context: ssl.SSLContext | None = None, key: str = "") -> None:
        """`context`: a client's, of a server over TLS; `key`: what each request names."""
        self.server, self._context, self.key = server, context, key
        host, port = server.url.rpartition("/")[2].split(":")
        self.address = host, int(port)
        self.process = psutil.Process(server.process.pid)

    def connect(self, within_s: float = 10.0) -> socket.socket:
        sock = socket.create_connection(self.address, within_s)
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname="localhost")

    def named(self, data: bytes) -> bytes:
        """A request's bytes with the key as its first header."""
        if not self.key:
            return data
        return data.replace(b"\r\n", f"\r\nAuthorization: Bearer {self.key}\r\n".encode(), 1)

    @property
    def rss_mb(self) -> float:
        return self.process.memory_info().rss / 2**20

    @property
    def metrics(self) -> str:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        asked = urllib.request.Request(self.server.metrics_url, headers=headers)
        with urllib.request.urlopen(asked, timeout=10, context=self._context) as reply:
            text: str = reply.read().decode()
        return text


def reload(target: Target, folder: Path, ask: Callable[[], object]) -> None:
    """Let a model go, and come back; `ask` asks the server to look at the folder."""
    away = folder.parent / "away"
    for moved, to, status in ((folder / "tabular", away, 404), (away, folder / "tabular", 200)):
        moved.rename(to)
        ask()
        until(lambda: all(status_of(target) == status for _ in range(8)))  # noqa: B023  (called at once)


def hang_up(target: Target) -> None:
    """Ask for a reload by a signal."""
    target.process.send_signal(signal.SIGHUP)


def status_of(target: Target, data: bytes = GOOD) -> int:
    with target.connect() as sock:
        sock.sendall(target.named(data))
        return read_answer(sock)[0]


def read_answer(sock: socket.socket, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
    """One answer: status (0 where the connection was closed without one), headers, body."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            part = sock.recv(65_536)
        except ConnectionResetError:
            part = b""
        if not part:
            return 0, {}, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    while len(body) < int(headers.get("content-length", 0)) and not head_only:
        body += sock.recv(65_536)
    return int(first.split()[1]), headers, body


def answer_of(target: Target, case: Case) -> tuple[int, dict[str, str], bytes, bool]:
    """What a case is answered, and whether its connection is closed afterwards."""
    with target.connect(case.within_s) as sock:
        with suppress(OSError):  # it may be refused while it is being sent
            sock.sendall(target.named(case.data))
        status, headers, body = read_answer(sock, head_only=case.data.startswith(b"HEAD"))
        try:
            sock.sendall(LIVE)
            again = read_answer(sock)[0]
        except OSError:
            again = 0
    return status, headers, body, again != 200
