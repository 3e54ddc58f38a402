"""The audit log: what was loaded, refused, retired and administered, in lines that tell changes.

Each line is a JSON object with the SHA-256 of the line before it. Whoever changes, adds or removes
a line breaks the chain from there on; what was cut off at the end shows by the digest of the last
line, which an operator keeps elsewhere.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.receipt import now
from seatrial_serve.process.audit_lines import FIRST
from seatrial_serve.process.syslog import PREFIX, SyslogAudit

log = logging.getLogger("seatrial.audit")
MOST_LINE_BYTES = 64 * 1024
"""The longest line, and how much of a file's end is read to find the last one."""
recorded = logging.getLogger("seatrial.record")
"""Records reach the audit log's file by this logger, and nothing else."""
recorded.setLevel(logging.INFO)
recorded.propagate = False
recorded.addHandler(logging.NullHandler())


def record(event: str, **fields: object) -> None:
    """Write an event to the audit log, if there is one. Never a client's values."""
    recorded.info(event, extra={"fields": fields})


class AuditLog(logging.Handler):
    """Appends events to a file, which several processes may share."""

    def __init__(self, path: Path) -> None:
        """Open the file once. Raises `DeclarationError` if it cannot be written."""
        super().__init__()
        self._path, self._last = path, FIRST
        try:
            with self._opened():
                pass
        except OSError as error:
            where = f"setting 'audit_log', '{path}'"
            raise DeclarationError(where, error.strerror or "an error", "a writable file") from None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one event, and wait until it is on disk. A failure is logged."""
        fields = getattr(record, "fields", {})
        try:
            self._append(record.getMessage(), fields)
        except OSError as error:
            log.error("an event '%s' was not recorded: %s", record.msg, error.strerror)

    def _append(self, event: str, fields: dict[str, object]) -> None:
        with self._opened() as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            size = os.fstat(file).st_size
            end = os.pread(file, MOST_LINE_BYTES, max(0, size - MOST_LINE_BYTES))
            before = end.rstrip(b"\n").rpartition(b"\n")[2]
            said = {
                "at": now(),
                "event": event,
                "process": os.getpid(),
                # a file that was moved away is followed by a new one
                "previous": sha256(before + b"\n") if before else self._last,
                **fields,
            }
            line = canonical_json(said)
            os.write(file, line if not end or end.endswith(b"\n") else b"\n" + line)
            os.fsync(file)
            self._last = sha256(line)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, 0o600)
        try:
            yield file
        finally:
            os.close(file)


@contextmanager
def recording(target: str | Path | None) -> Iterator[None]:
    """Record events into a file or a syslog, if one is wanted. Raises `DeclarationError`."""
    if target is None:
        yield
        return
    syslog = SyslogAudit(str(target)) if str(target).startswith(PREFIX) else None
    handler = AuditLog(Path(target)) if syslog is None else syslog.handler
    recorded.addHandler(handler)
    try:
        record("start")
        yield
        record("stop")
    finally:
        recorded.removeHandler(handler)
        if syslog is not None:
            syslog.close()
