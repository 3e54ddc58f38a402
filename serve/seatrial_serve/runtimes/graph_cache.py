"""Optimised graphs on disk: read again in a tenth of the time, their weights mapped and so shared by every process that runs them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from seatrial_contracts.bundle import sync_folder

log = logging.getLogger("seatrial.graph_cache")
UNUSED_S = 30 * 24 * 3600
"""A graph that nobody loaded for so long is removed when another one comes."""


def cache_folder() -> Path:
    """Where the user's caches lie (XDG Base Directory Specification), and ours among them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seatrial" / "graphs"


def find_or_make(folder: Path, key: str, make: Callable[[Path], None]) -> Path | None:
    """The folder kept under `key`; made by `make`, which fills an empty one, where it is not there. None where nothing can be kept.

    `folder` must be this user's own and closed to others: what lies in it is run. A folder appears whole or not at all.
    """
    place = folder / key
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat()
        if owner.st_uid != os.getuid() or owner.st_mode & 0o022:
            log.warning("graphs are not cached: others may write into the cache folder; mend: chmod 700")
            return None
        if not place.exists():
            _make(folder, place, make)
        os.utime(place)
    except OSError as error:
        log.info("graphs are not cached: %s", error.strerror)
        return None
    return place


def _make(folder: Path, place: Path, make: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    try:
        make(temporary)
        for file in temporary.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        sync_folder(temporary)
        if not place.exists():  # another process may have been quicker
            temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_unused(folder)


def _remove_unused(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.stat().st_mtime < time.time() - UNUSED_S:
            shutil.rmtree(entry, ignore_errors=True)
