"""The lines of audit logs, and the chains that they make: in a file, or among a syslog's lines."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from seatrial_contracts.canonical import canonical_json, read_json, sha256

FIRST = "0" * 64
"""What takes the place of a line before the first."""
CHAIN = "chain"
"""The field that names a line's chain, where a log has several: lines of a syslog have it."""


class Chain(NamedTuple):
    """What the lines of logs show."""

    lines: int
    last: str
    """SHA-256 of the last line."""
    fault: str
    """Where a chain breaks, and how; empty if all hold."""
    processes: int = 1
    """How many chains there are: one in a file that processes share, one a process in a syslog."""


class Line(NamedTuple):
    """A line of a log."""

    where: str
    data: bytes
    """The record as it was written, without what a syslog puts before it."""
    record: dict[str, Any] | None
    """None for a line that is no record."""


def line_of(event: logging.LogRecord, previous: str, **more: str) -> bytes:
    """The line of an event, behind the line whose SHA-256 is `previous`."""
    at = datetime.fromtimestamp(event.created, UTC).isoformat(timespec="milliseconds")
    told = {
        "at": at.removesuffix("+00:00") + "Z",
        "event": event.msg,
        "process": os.getpid(),
        "previous": previous,
        **more,
        **getattr(event, "fields", {}),
    }
    return canonical_json(told)


def lines_of(files: Iterable[Path]) -> Iterator[Line]:
    """The lines of files, the oldest first. Raises `OSError`.

    If a file's first line does not begin with a record, a syslog wrote it: whatever stands before a
    record is its prefix, and lines of other programs are left out.
    """
    for path in files:
        with path.open("rb") as file:
            prefixed = False
            for number, line in enumerate(file, 1):
                if number == 1:
                    prefixed = not line.startswith(b"{")
                data = line[max(line.find(b"{"), 0) :] if prefixed else line
                found = record_of(data)
                if found is not None or not prefixed:
                    yield Line(f"{path}, line {number}", data, found)


def follow_chain(files: Iterable[Path], first: Collection[str] = ()) -> Chain:
    """Follow the lines of files, the oldest first.

    A chain begins with the first line of a log, or behind a line whose digest is in `first`, which
    must all be met. The first line says whether lines name their chains: all of them do, or none.
    Raises `OSError`.
    """
    lines, newest, named = 0, FIRST, None
    last, begun = dict[str, str](), set[str]()

    def broken(fault: str) -> Chain:
        return Chain(lines, newest, fault, len(last))

    for line in lines_of(files):
        if line.record is None:
            return broken(f"{line.where}: got no record, want one that the server wrote")
        named = CHAIN in line.record if named is None else named
        if (CHAIN in line.record) is not named:
            got = "no `chain`" if named else "a `chain`, which a file's lines do not have"
            return broken(f"{line.where}: got {got}, want a line as those before it")
        chain, previous = str(line.record.get(CHAIN, "")), line.record["previous"]
        before = last.get(chain)
        if before is None:
            if previous not in (first or (FIRST,)) and (previous != FIRST or not named):
                return broken(f"{line.where}: {unknown_start(previous)}")
            begun.add(previous)
        elif previous != before:
            return broken(f"{line.where}: got a line that does not follow the one before it")
        newest = last[chain] = sha256(line.data)
        lines += 1
    missing = next((each for each in first if each not in begun), None)
    if missing is not None:
        return broken(f"--first {missing}: got no line that follows it")
    return broken("")


def unknown_start(previous: str) -> str:
    """What is said of a chain that begins behind a line that nobody named."""
    if previous == FIRST:
        return "got the first line of a log, want one that follows --first"
    mend = f"give the older files too, or --first {previous} if that was their last line"
    return f"got a line that follows another, want the first line of a log; {mend}"


def record_of(line: bytes) -> dict[str, Any] | None:
    """The record that a line is; None if it is none."""
    try:
        said = read_json(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("previous"), str):
        return None
    return said if line == canonical_json(said) else None
