"""What a search found so far, on disk: one that was stopped goes on where it was."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from seatrial_contracts.canonical import canonical_json
from seatrial_contracts.cost import Point

log = logging.getLogger("seatrial.quantize")


def journal_folder() -> Path:
    """Where the user's caches lie (XDG Base Directory Specification), and searches among them."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seatrial" / "searches"
    )


class Journal:
    """Candidates that were measured, one JSON line each.

    The key of a journal names everything that the candidates depend on.
    """

    def __init__(self, key: str, folder: Path | None = None) -> None:
        self.path = (folder or journal_folder()) / f"{key}.jsonl"
        self._points: dict[tuple[tuple[str, ...], bool], Point] = {}
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        for line in filter(None, lines):
            try:
                point = Point.model_validate(json.loads(line))
            except (ValueError, ValidationError):  # a search was stopped while it wrote this line
                log.info("a line of the journal is not whole; that candidate is measured again")
                continue
            self._points[key_of(point)] = point

    def find(self, keep: tuple[str, ...], *, timed: bool) -> Point | None:
        """Find the candidate that keeps these nodes, where it was measured.

        The candidate is measured with its speed (`timed`), or on fewer rows and without its speed.
        """
        return self._points.get((keep, timed))

    def add(self, point: Point) -> None:
        """Write a candidate down at once."""
        self._points[key_of(point)] = point
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            # Half a line before it spoils itself alone.
            file.write(b"\n" + canonical_json(point.model_dump(mode="json")))


def key_of(point: Point) -> tuple[tuple[str, ...], bool]:
    """The key of a candidate: its kept nodes, and whether it was timed.

    The speed of a timed candidate is not 0.
    """
    return point.keep, point.speed > 0
