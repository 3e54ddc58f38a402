"""What tells that a file has changed."""

from __future__ import annotations

import os
from pathlib import Path


def file_stamp(path: Path) -> tuple[int, ...]:
    """What differs once a file, its owner or its mode has changed, or a link to it was turned.

    Of a file that cannot be looked at, the number of the error.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  (called each second: without a Path's own work)
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
