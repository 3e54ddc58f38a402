"""The log: one line for each event, as text for people or as JSON.

Lines go to a sink that may block without holding anybody up.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

from seatrial_contracts.errors import Refusal, SeatrialError
from seatrial_serve.process.background import BackgroundWorker
from seatrial_serve.process.library_logs import is_told

KEPT_LINES = 4096
"""Lines that may wait for a sink that nobody reads; further ones are dropped and counted."""
FLUSH_S = 1.0
ODD = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What moves a terminal's cursor, begins a line or turns its direction.

These are controls, zero-width and bidirectional characters.
"""
LOGIN = re.compile(r"(?<=://)[^\s/]*@")
QUERY = re.compile(r"\?[^\s?=]+=[^\s'\"<>)]*")
"""Of a URL, which may hold a signature or a token."""
TEXT = "%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s"
FIELDS = {"levelname": "level", "name": "logger", "exc_info": "error"}
Excepted = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def start_log(level: str, form: str = "text", stream: TextIO | None = None) -> LogSink:
    """Log to stderr, or to a stream, in the form "text" or "json"."""
    sink = LogSink(stream or own_stderr())
    sink.setFormatter(TextLines(level) if form == "text" else JsonLines(level))
    sink.addFilter(is_told)
    sink.addFilter(hide_credentials)
    logging.basicConfig(handlers=[sink])
    logging.getLogger("seatrial").setLevel(level.upper())
    if sink in logging.root.handlers:  # below warnings, libraries log headers and URLs of stores
        logging.root.setLevel("ERROR" if level == "error" else "WARNING")
    return sink


def hide_credentials(line: logging.LogRecord) -> bool:
    """Let a line of a library hold no name, password or query of a URL."""
    if line.name.partition(".")[0] != "seatrial":
        line.msg, line.args = without_credentials(line.getMessage()), ()
    return True


def without_credentials(text: str) -> str:
    """A text without the names, passwords and queries of the URLs in it."""
    return QUERY.sub("?...", LOGIN.sub("", text))


def own_stderr() -> TextIO:
    """Standard error as a stream of its own, whose buffer nobody else flushes.

    At the end of a process Python flushes `sys.stderr`, and would wait for ever for a thread that
    writes there to a full pipe.
    """
    try:
        number = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # something else stands there, as in a notebook
        return sys.stderr
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def escaped(text: str) -> str:
    r"""The text on one line, and as it reads: CR, LF, ESC and the like as `\x1b` or `\u202e`."""
    return ODD.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class LogSink(logging.Handler):
    """Writes lines in a thread of its own.

    If the stream blocks, lines are dropped and counted: `emit` never waits.
    """

    def __init__(self, stream: TextIO, kept: int = KEPT_LINES) -> None:
        super().__init__()
        self._stream, self._lines = stream, BackgroundWorker[str]("log", self._write, kept)
        self._told = self.dropped = 0
        self.on_drop: Callable[[], None] = lambda: None
        """Called for each line that is dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line to the thread, or drop it."""
        try:
            if not self._lines.offer(self.format(record) + "\n"):
                self._drop()
        except Exception:  # a record that cannot be formatted is a bug: shown on stderr alone
            self.handleError(record)

    def _drop(self) -> None:
        self.dropped += 1
        self.on_drop()

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line)
            if self.dropped > self._told:
                lost, self._told = self.dropped - self._told, self.dropped
                self._stream.write(self.format(_lost_lines(lost)) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more, or the stream is closed
            self._drop()

    def flush(self) -> None:
        """Wait until every line is written, but not for long.

        The process's end must not hang on a full pipe.
        """
        self._lines.wait_idle(FLUSH_S)


def _lost_lines(count: int) -> logging.LogRecord:
    told = "%d lines were dropped here: nobody read the log"
    return logging.LogRecord("seatrial.log", logging.WARNING, __file__, 0, told, (count,), None)


def trace_of(error: BaseException, level: str) -> str:
    """Return where an error came from.

    Texts of others than seatrial may hold a client's values: they are left out, except at level
    "debug", where they come without the credentials of URLs.
    """
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += [trace_of(cause, level), "which led to:"]
    lines += [line.rstrip("\n") for line in traceback.format_tb(error.__traceback__)]
    said = (
        f": {escaped(without_credentials(str(error)))}"
        if level == "debug" or (isinstance(error, SeatrialError) and not isinstance(error, Refusal))
        else ""
    )
    return "\n".join([*lines, f"{type(error).__module__}.{type(error).__qualname__}{said}"])


class TextLines(logging.Formatter):
    """For people: time, level, logger, process, message, and below it where an error came from."""

    def __init__(self, level: str) -> None:
        super().__init__(TEXT)
        self._level = level

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        """One line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Excepted) -> str:  # noqa: N802  (the library's name)
        """See `trace_of`."""
        return trace_of(ei[1], self._level) if ei[1] is not None else ""


class JsonLines(JsonFormatter):
    """For machines: one object a line, in ASCII.

    It holds timestamp, level, logger, process, message, the event's own fields, `error`.
    """

    def __init__(self, level: str) -> None:
        super().__init__(
            "%(levelname)s %(name)s %(process)d %(message)s",
            rename_fields=FIELDS,
            timestamp=True,
            json_ensure_ascii=True,
        )
        self._level = level

    def formatException(self, ei: Excepted) -> str:  # noqa: N802  (the library's name)
        """See `trace_of`."""
        return trace_of(ei[1], self._level) if ei[1] is not None else ""
