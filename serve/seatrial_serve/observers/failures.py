"""Keeping failures: requests go into a folder to be run again.

They are requests that failed on our side, or came later than their objective.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.observers.kept_failure import Form, encrypt, keep, kept_files
from seatrial_serve.process.background import BackgroundWorker
from seatrial_serve.process.token_bucket import TokenBucket

log = logging.getLogger("seatrial.failures")
MOST_FILES, MOST_BYTES = 200, 256 * 2**20
"""What the folder holds at most: the oldest go first."""
PER_S = 1.0
WAITING = 4


class Failures:
    """A `RequestObserver` that keeps at most one request a second.

    A thread of its own writes the requests.

    If there is a `recipient`, an age public key, rows are encrypted for it. If `plain` is set, they
    are written as they came. Else only the kind and size of each value is kept.
    """

    def __init__(self, folder: Path, recipient: str | None = None, *, plain: bool = False) -> None:
        """Raises `DeclarationError` where nothing can be kept as asked."""
        if recipient:
            encrypt(b"", recipient)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / ".writable").touch(mode=0o600)
            (folder / ".writable").unlink()
        except OSError as error:
            where = f"folder '{folder}' for failures"
            raise DeclarationError(
                where, error.strerror or "an error", "a folder to write to", "--keep-failures"
            ) from None
        self._folder, self._recipient = folder, recipient
        self._form: Form = "encrypted" if recipient else "plain" if plain else "redacted"
        self._rate = TokenBucket(PER_S)
        self._aside = BackgroundWorker[RequestRecord]("failures", self._keep, WAITING)

    def ended(self, record: RequestRecord) -> None:
        """See `RequestObserver`."""
        if (record.status >= 500 or record.slow) and record.given is not None and self._rate.take():
            self._aside.offer(record)

    def wait_idle(self, within_s: float = 5.0) -> bool:
        """Wait until what was taken is written: is it?"""
        return self._aside.wait_idle(within_s)

    def close(self, within_s: float) -> None:
        """Write what was taken and end the thread, within a moment."""
        self._aside.close(within_s)

    def _keep(self, record: RequestRecord) -> None:
        try:
            keep(record, self._form, self._recipient).write(self._folder)
            self._make_room()
        except OSError as error:
            log.warning("a failure was not kept: %s", error.strerror)

    def _make_room(self) -> None:
        """Whatever else lies in the folder stays; other workers may take files away meanwhile."""
        held_bytes = 0
        for place, file in enumerate(kept_files(self._folder)):
            with suppress(FileNotFoundError):
                held_bytes += file.lstat().st_size
            if place >= MOST_FILES or held_bytes > MOST_BYTES:
                file.unlink(missing_ok=True)
