"""The thread that writes audit events: whoever records one waits for no disk and no syslog."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

log = logging.getLogger("seatrial.audit")
MOST_WAITING = 10_000
"""Events that wait to be written; those beyond are lost, which an event `lost` counts."""
LOST = "lost"
MOST_AT_ONCE = 1000
"""Events that one write takes, and one wait for the disk."""
LOOK_S = 60.0
"""How long nothing is written until the log is looked at again."""


class AuditTarget(Protocol):
    """What events are written to, by one thread."""

    def write(self, events: Sequence[logging.LogRecord]) -> int:
        """Write events in their order; return how many were. What went wrong is logged."""

    def look(self) -> None:
        """Nothing was written for a while."""

    def stop(self) -> None:
        """No further event will come: try those that wait once, and no more. Any thread."""

    def close(self) -> None:
        """Let go of what is open."""


class AuditWriter(logging.Handler):
    """Takes events in any thread, and writes them in their order in one of its own."""

    def __init__(self, target: AuditTarget) -> None:
        """Start the thread, which ends by `finish`."""
        super().__init__()
        self._target = target
        self._waiting = queue.SimpleQueue[logging.LogRecord | None]()
        self._lost, self._full, self._counting = 0, False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name="seatrial-audit", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let an event wait for the thread. One that finds no room is counted, and said once."""
        if self._waiting.qsize() < MOST_WAITING:
            self._full = False
            self._waiting.put(record)
            return
        self._count(1)
        if not self._full:
            self._full = True
            not_recorded([record], f"{MOST_WAITING} wait already")

    def finish(self) -> None:
        """Write what waits, and end the thread."""
        self._target.stop()
        self._waiting.put(None)
        self._thread.join()
        self._target.close()

    def _run(self) -> None:
        ended = False
        while not ended:
            try:
                events = [self._waiting.get(timeout=LOOK_S)]
            except queue.Empty:
                self._target.look()
                continue
            with suppress(queue.Empty):
                while events[-1] is not None and len(events) < MOST_AT_ONCE:
                    events.append(self._waiting.get_nowait())
            ended = events[-1] is None
            self._write([event for event in events if event is not None])

    def _write(self, events: list[logging.LogRecord]) -> None:
        """Write events, behind the count of those that were lost before."""
        with self._counting:
            lost, self._lost = self._lost, 0
        if lost:
            events.insert(0, lost_event(lost))
        written = 0
        try:
            written = self._target.write(events) if events else 0
        except Exception:  # the thread must not end: the events after these are still written
            log.exception("audit events were not recorded; this is a bug in seatrial")
        missing = len(events) - written
        self._count(missing + lost - 1 if lost and not written else missing)

    def _count(self, lost: int) -> None:
        with self._counting:
            self._lost += lost


def lost_event(count: int) -> logging.LogRecord:
    """The event that so many were lost."""
    return logging.makeLogRecord({"msg": LOST, "fields": {"events": count}})


def not_recorded(events: Sequence[logging.LogRecord], why: str) -> None:
    """Log that events are lost; that of those before them was said then."""
    names = [event.msg for event in events if event.msg != LOST]
    if len(names) == 1:
        log.error("an event '%s' was not recorded: %s", names[0], why)
    elif names:
        log.error("%d events from '%s' on were not recorded: %s", len(names), names[0], why)
