"""Audit events to a syslog (RFC 5424).

Each process has a chain of its own, under a name that its lines carry. Events wait while the syslog
is away, and go there in their order when it is back.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import socket
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from logging.handlers import SysLogHandler
from urllib.parse import urlsplit

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.process.audit_lines import CHAIN, FIRST, line_of
from seatrial_serve.process.audit_writer import not_recorded

log = logging.getLogger("seatrial.audit")
PREFIX, LOCAL = "syslog:", "/dev/log"
RETRY_S, TIMEOUT_S = 1.0, 5.0
WANT = "syslog: for the local one, syslog:PATH of its socket, or syslog://HOST:PORT (TCP)"


class Syslog(SysLogHandler):
    """Sends one event after another, until each has gone or the process stops.

    Over TCP a message ends with a line feed (RFC 6587); over a local socket it is a datagram.
    """

    append_nul = False

    def __init__(self, address: str | tuple[str, int], where: str) -> None:
        """`where` names the syslog in the log. It is connected to by the first event."""
        self._stopping, self._where, self._away = threading.Event(), where, False
        self._chain, self._last = secrets.token_hex(8), FIRST
        self._host, self._message = socket.gethostname() or "-", ""
        self._error: BaseException | None = None
        self._connects = self._gave_up = False
        kind = socket.SOCK_DGRAM if isinstance(address, str) else socket.SOCK_STREAM
        super().__init__(address, SysLogHandler.LOG_SECURITY, kind)
        self._connects = True

    def createSocket(self) -> None:  # noqa: N802  (the standard library's name)
        """Connect, where an event is to be sent. Raises `OSError`."""
        self.unixsocket = isinstance(self.address, str)
        if not self._connects:
            return
        if isinstance(self.address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.settimeout(TIMEOUT_S)
            self.socket.connect(self.address)
        else:
            self.socket = socket.create_connection(self.address, TIMEOUT_S)

    def write(self, events: Sequence[logging.LogRecord]) -> int:
        """Send events one after another; return how many went there. See `AuditTarget`."""
        for place, event in enumerate(events):
            if not self._goes(event):
                not_recorded(events[place:], f"{self._where} is away")
                return place
        return len(events)

    def look(self) -> None:
        """See `AuditTarget`."""

    def stop(self) -> None:
        """See `AuditTarget`."""
        self._stopping.set()

    def _goes(self, event: logging.LogRecord) -> bool:
        """Send an event, again and again while that fails, until the process stops."""
        if self._gave_up:
            return False
        said = line_of(event, self._last, **{CHAIN: self._chain})
        at = datetime.fromtimestamp(event.created, UTC).isoformat(timespec="milliseconds")
        head = f"1 {at} {self._host} seatrial {os.getpid()} audit - "
        self._message = f"{head}{said.decode().rstrip()}" + ("" if self.unixsocket else "\n")
        while not self._sent(event):
            if self._stopping.wait(RETRY_S):
                self._gave_up = True
                return False
        self._last = sha256(said)
        return True

    def _sent(self, record: logging.LogRecord) -> bool:
        """Send it once; say where the syslog goes away and comes back."""
        self._error = None
        if self._is_closed():
            self._forget()
        super().emit(record)
        if self._error is not None:
            self._forget()
            if not self._away:
                why = getattr(self._error, "strerror", None) or type(self._error).__name__
                log.error("%s is away (%s): audit events wait for it", self._where, why)
            self._away = True
            return False
        if self._away:
            log.warning("%s is back", self._where)
        self._away = False
        return True

    def _is_closed(self) -> bool:
        """Did the other end close a connection? What is sent then is lost without an error."""
        if self.socket is None or self.unixsocket:
            return False
        try:
            waiting = select.poll()  # which takes files of any number, as select does not
            waiting.register(self.socket, select.POLLIN)
            return bool(waiting.poll(0)) and not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def format(self, record: logging.LogRecord) -> str:  # noqa: ARG002  (made once for each event)
        """What follows the priority."""
        return self._message

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (the standard library's name)
        """Keep what went wrong while sending."""
        self._error = sys.exc_info()[1]

    def _forget(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None  # type: ignore[assignment]


def read_target(target: str) -> tuple[str | tuple[str, int], str]:
    """The address of a syslog, and what messages call it. Raises `DeclarationError`."""
    where = f"setting 'audit_log', '{target}'"
    rest = target.removeprefix(PREFIX)
    if not rest.startswith("//"):
        path = rest or LOCAL
        return path, f"syslog at {path}"
    parts = urlsplit(target)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or parts.path or parts.query or "@" in parts.netloc:
        raise DeclarationError(where, "no host and port", WANT)
    return (host, port), f"syslog at {host}:{port}"
