"""The user's cache folder: whole files or none, and nothing that another user could put there."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from seatrial_contracts.plain_file import NotPlainFile
from seatrial_serve.process.folder_lock import locked_folder

log = logging.getLogger("seatrial.cache")
UNUSED_S = 30 * 24 * 3600
"""What nobody looked at for so long is removed when something else is kept."""
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What flock answers on a file system that has none."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotPrivate(Exception):
    """A folder or file that another user owns or may write into; the text says which."""


def cache_folder(name: str) -> Path:
    """`name` among seatrial's caches, where the user's lie (XDG Base Directory Specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seatrial" / name


def check_private(status: os.stat_result, what: str) -> None:
    """Raise `NotPrivate` unless this user owns it and nobody else may write to it."""
    if status.st_uid != os.geteuid():
        raise NotPrivate(f"another user owns the {what}")
    if status.st_mode & OTHERS_WRITE:
        raise NotPrivate(f"others may write into the {what}; mend: chmod go-w")


def make_private(folder: Path) -> None:
    """Make a cache folder, for this user alone, and the one above it, unless they are there.

    Raises `NotPrivate` if one of both is a link or not this user's alone to write, and `OSError`.
    """
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = each.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotPrivate("the cache folder is a link")
        check_private(status, f"cache folder {each}")


def read_private(folder: Path, name: str, max_bytes: int) -> bytes:
    """A file of a cache folder, which counts as used now.

    Raises `NotPrivate` if folder or file are not this user's alone to write, `NotPlainFile` if the
    file is none or is larger, and `OSError`. Nothing that is read was checked under another name.
    """
    check_private(folder.parent.lstat(), f"cache folder {folder.parent}")
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        check_private(os.fstat(place), f"cache folder {folder}")
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)
    with os.fdopen(file, "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise NotPlainFile("no plain file")
        check_private(status, "file in the cache folder")
        data = opened.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise NotPlainFile(f"more than {max_bytes} bytes")
        with suppress(OSError):  # of a cache that is only read, nothing is removed either
            os.utime(opened.fileno())
    return data


def write_private(folder: Path, name: str, data: bytes) -> None:
    """As `replace_private`, and remove what nobody used for a month."""
    replace_private(folder, name, data)
    remove_unused(folder)


def replace_private(folder: Path, name: str, data: bytes) -> None:
    """Write a file into a folder of this user's; it appears whole, in the place of its namesake.

    Raises `NotPrivate` and `OSError`.
    """
    make_private(folder)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(folder / name)
    finally:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()


@contextmanager
def locked_private(folder: Path) -> Iterator[None]:
    """One process at a time holds a folder of this user's, which is made unless it is there.

    A file system without locks has none. Raises `NotPrivate` and `OSError`.
    """
    make_private(folder)
    with ExitStack() as held:
        try:
            held.enter_context(locked_folder(folder))
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
        yield


def remove_unused(folder: Path) -> None:
    """Remove what nobody used for a month. Raises `OSError`."""
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # another process may have been quicker
            if entry.lstat().st_mtime >= time.time() - UNUSED_S:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
