"""Optimised graphs on disk, which are read again in a tenth of the time.

Their weights are mapped and so shared by every process that runs them.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from seatrial_contracts.bundle import sync_folder
from seatrial_serve.process.private_cache import NotPrivate, make_private, remove_unused

log = logging.getLogger("seatrial.graph_cache")


def find_or_make(folder: Path, key: str, make: Callable[[Path], None]) -> Path | None:
    """Return the folder kept under `key`; None if nothing can be kept.

    If the folder is not there, `make` fills an empty one.

    `folder` must be this user's own and closed to others: what lies in it is run. A folder appears
    whole or not at all.
    """
    return _place(folder, key, make)


def find_kept(folder: Path, key: str) -> Path | None:
    """Return the folder kept under `key`; None if there is none, or none that can be trusted."""
    return _place(folder, key, None) if (folder / key).is_dir() else None


def _place(folder: Path, key: str, make: Callable[[Path], None] | None) -> Path | None:
    place = folder / key
    try:
        make_private(folder)
        if make is not None and not place.exists():
            _make(folder, place, make)
        os.utime(place)
    except NotPrivate as error:
        log.warning("graphs are not cached: %s", error)
        return None
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
    remove_unused(folder)
