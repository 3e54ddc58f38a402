"""The lines of audit logs, and the chains that they make: in a file, or among a syslog's lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seatrial_contracts.canonical import canonical_json, read_json, sha256

FIRST = "0" * 64
"""What takes the place of a line before the first."""


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


def follow_chain(files: Iterable[Path]) -> Chain:
    """Follow the lines of files, the oldest first. Raises `OSError`."""
    lines, last = 0, dict[str, str]()
    newest = FIRST
    for line in lines_of(files):
        if line.record is None:
            return Chain(lines, newest, f"{line.where}: no record", len(last))
        chain = str(line.record.get("chain", ""))
        if chain in last and line.record["previous"] != last[chain]:
            fault = f"{line.where}: not what followed the line before"
            return Chain(lines, newest, fault, len(last))
        newest = last[chain] = sha256(line.data)
        lines += 1
    return Chain(lines, newest, "", len(last))


def record_of(line: bytes) -> dict[str, Any] | None:
    """The record that a line is; None if it is none."""
    try:
        said = read_json(line)
    except ValueError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("previous"), str):
        return None
    return said if line == canonical_json(said) else None
