"""The audit log: what was loaded, refused, retired and administered, in lines that tell changes.

Each line is a JSON object with the SHA-256 of the line before it. Whoever changes, adds or removes
a line before the last one breaks the chain; what was cut off or rewritten up to the end shows by
the digest of the last line, which an operator keeps elsewhere.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.process.audit_lines import FIRST, line_of, record_of
from seatrial_serve.process.audit_writer import AuditWriter, lost_event, not_recorded
from seatrial_serve.process.syslog import PREFIX, Syslog, read_target

log = logging.getLogger("seatrial.audit")
MOST_LINE_BYTES = 64 * 1024
"""The longest line, and how much of a file's end is read to find the last one."""
recorded = logging.getLogger("seatrial.record")
"""Records reach the audit log's file by this logger, and nothing else."""
recorded.setLevel(logging.INFO)
recorded.propagate = False
recorded.addHandler(logging.NullHandler())


def record(event: str, **fields: object) -> None:
    """Write an event to the audit log, if there is one. Never a client's values.

    A thread writes it: whoever records an event does not wait for a disk.
    """
    recorded.info(event, extra={"fields": fields})


class AuditFile:
    """Appends events to a file, which several processes may share."""

    def __init__(self, path: Path) -> None:
        """Open the file once. Raises `DeclarationError` if it cannot be written."""
        self._path, self._last = path, FIRST
        try:
            self._file = self._opened()
        except OSError as error:
            where = f"setting 'audit_log', '{path}'"
            raise DeclarationError(where, error.strerror or "an error", "a writable file") from None

    def write(self, events: Sequence[logging.LogRecord]) -> int:
        """Write events, and wait until they are on disk; return how many were written.

        A failure is logged: then it is none of them.
        """
        try:
            self._append(events)
        except OSError as error:
            not_recorded(events, error.strerror or "an error")
            return 0
        return len(events)

    def look(self) -> None:
        """Find out whether another process follows a file that was moved away.

        What this one writes next then follows what that one wrote.
        """
        with suppress(OSError):
            there = self._path.stat(follow_symlinks=False)
            if there.st_size and not os.path.samestat(there, os.fstat(self._file)):
                self._take(self._opened())

    def stop(self) -> None:
        """See `AuditTarget`."""

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _append(self, events: Sequence[logging.LogRecord]) -> None:
        with self._locked() as file:
            size = os.fstat(file).st_size
            end = tail_of(file, size)
            if half := half_line(end):
                log.error("'%s' ended within a line, which was removed", self._path)
                size -= len(half)
                os.ftruncate(file, size)
                end, events = tail_of(file, size), (lost_event(1), *events)
            # a file that was moved away is followed by a new one
            previous = line_digest(end) or self._before(file) or self._last
            lines = []
            for event in events:
                lines.append(line_of(event, previous))
                previous = sha256(lines[-1])
            data = (b"" if not end or end.endswith(b"\n") else b"\n") + b"".join(lines)
            if os.write(file, data) < len(data):
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
            self._last = previous

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file that lies at the path, held; it is the one that was written last afterwards."""
        while True:
            file = self._opened()
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                there = self._path.stat(follow_symlinks=False)
                moved = not os.path.samestat(there, os.fstat(file))
            except FileNotFoundError:
                moved = True
            except BaseException:  # whatever ends it, the file is not left open
                os.close(file)
                raise
            if not moved:
                break
            os.close(file)
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
            self._take(file)

    def _take(self, file: int) -> None:
        file, self._file = self._file, file
        os.close(file)

    def _before(self, file: int) -> str:
        """The digest of the last line of the file that was moved away; empty if there is none."""
        if os.path.samestat(os.fstat(file), os.fstat(self._file)):
            return ""
        fcntl.flock(self._file, fcntl.LOCK_EX)  # until it is closed: another may be writing there
        return line_digest(tail_of(self._file, os.fstat(self._file).st_size))

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._path, flags, 0o600)


def tail_of(file: int, size: int) -> bytes:
    """The end of a file, which holds its last line."""
    return os.pread(file, MOST_LINE_BYTES, max(0, size - MOST_LINE_BYTES))


def half_line(end: bytes) -> bytes:
    """What a crash left of a file's last line; empty if it is whole, or follows no line of ours."""
    before, _, last = end.rpartition(b"\n")
    if not last or record_of(last + b"\n") is not None:
        return b""
    return last if record_of(before.rpartition(b"\n")[2] + b"\n") is not None else b""


def line_digest(end: bytes) -> str:
    """The digest of the last line of a file's end; empty for none."""
    last = end.rstrip(b"\n").rpartition(b"\n")[2]
    return sha256(last + b"\n") if last else ""


@contextmanager
def recording(target: str | Path | None) -> Iterator[None]:
    """Record events into a file or a syslog, if one is wanted. Raises `DeclarationError`.

    Events that are left when it ends are written before it has ended.
    """
    if target is None:
        yield
        return
    is_syslog = str(target).startswith(PREFIX)
    written = Syslog(*read_target(str(target))) if is_syslog else AuditFile(Path(target))
    handler = AuditWriter(written)
    recorded.addHandler(handler)
    try:
        record("start")
        yield
        record("stop")
    finally:
        recorded.removeHandler(handler)
        handler.finish()
