"""A plain file, read with a bound.

The file is never a pipe or a device, a link only where links are wanted, and no more bytes are read
than were allowed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class NotPlainFile(ValueError):
    """A path that names no plain file of the wanted size.

    The text describes the file that is there, and holds no path.
    """


@contextmanager
def open_plain_file(
    path: Path, max_bytes: int, *, follow_links: bool = False
) -> Iterator[tuple[BinaryIO, int]]:
    """The opened file and its size in bytes.

    A link at the path's last part is followed with `follow_links` alone: an operator's file may be
    one (Kubernetes mounts ConfigMaps as links), a sealed file is none. A pipe is not waited for.
    Type and size are those of the opened file. Raises `NotPlainFile` where it is no plain file or
    holds more than `max_bytes`, and `OSError` where it cannot be opened.
    """
    # asked before it is opened, since opening a device can have effects of its own
    mode = path.stat(follow_symlinks=follow_links).st_mode
    if not stat.S_ISREG(mode):
        raise NotPlainFile("a link" if stat.S_ISLNK(mode) else "no plain file")
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotPlainFile("no plain file")
        if status.st_size > max_bytes:
            raise NotPlainFile(f"{status.st_size} bytes, more than the {max_bytes} that are read")
        yield file, status.st_size


def read_plain_file(path: Path, max_bytes: int, *, follow_links: bool = False) -> bytes:
    """Read the whole file.

    Raises as `open_plain_file` does, and `NotPlainFile` where the file changes its size meanwhile.
    """
    with open_plain_file(path, max_bytes, follow_links=follow_links) as (file, size):
        data = file.read(size)
        if len(data) != size or file.read(1):
            raise NotPlainFile("a file that changes while it is read")
    return data
