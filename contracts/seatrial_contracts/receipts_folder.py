"""The receipts beside a bundle. They are unsealed and unsigned: anybody may have put them there."""

from __future__ import annotations

import heapq
import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from seatrial_contracts.errors import BundleError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_contracts.receipt import MAX_RECEIPT_BYTES, RECEIPTS_FOLDER, Receipt

CODE = "E_BUNDLE_RECEIPT"
NEWEST = 50
"""How many receipts are read; older ones are passed over."""
MAX_RECEIPTS_BYTES = 16 * 2**20
"""Of the receipts that are read together; older ones are passed over."""
MAX_ENTRIES = 10_000
"""Of the folder. A listing of that many names takes some 5 ms."""
MEND = "remove it, and run seatrial parity again"
SHOWN_CHARS = 80


class ReceiptFile(NamedTuple):
    """A file that may hold a receipt. While `stamp` stays the same, so does what the file holds."""

    path: Path
    size_bytes: int
    stamp: tuple[str, int, int, int, int]
    """Name, inode, size, and the times of its last change, in ns."""


def newest_files(bundle_path: Path) -> list[ReceiptFile]:
    """List the newest receipts beside a bundle, by name, the newest first.

    A name begins with its time. At most `NEWEST` are listed, and at most `MAX_RECEIPTS_BYTES`
    together. Nothing is opened. Raises `BundleError` where the folder cannot be listed, is a link,
    or holds more than `MAX_ENTRIES` names.
    """
    folder = bundle_path / RECEIPTS_FOLDER
    where, want = f"folder '{RECEIPTS_FOLDER}' beside the bundle", "a folder of receipts"
    try:
        if folder.is_symlink():
            raise BundleError(CODE, where, "a link", want, "remove it")
        with os.scandir(folder) as listing:
            entries = list(islice(listing, MAX_ENTRIES + 1))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BundleError(CODE, where, error.strerror or "an error", want) from None
    if len(entries) > MAX_ENTRIES:
        raise BundleError(
            CODE, where, f"more than {MAX_ENTRIES} files", want, "remove the old ones"
        )
    receipts = (
        entry
        for entry in entries
        if entry.name.endswith(".json") and not entry.name.startswith(".")
    )
    return _within_bounds(heapq.nlargest(NEWEST, receipts, key=lambda entry: entry.name))


def _within_bounds(entries: list[os.DirEntry[str]]) -> list[ReceiptFile]:
    files: list[ReceiptFile] = []
    left_bytes = MAX_RECEIPTS_BYTES
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:  # it is gone meanwhile
            continue
        left_bytes -= min(status.st_size, MAX_RECEIPT_BYTES)
        if left_bytes < 0:
            break
        stamp = entry.name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        files.append(ReceiptFile(Path(entry.path), status.st_size, stamp))
    return files


def read_receipt(path: Path) -> Receipt:
    """Read a receipt from its file.

    Raises `BundleError` where the file is no receipt, is no plain file, or cannot be read.
    """
    return parse_receipt(read_receipt_file(path), path.name)


def read_receipt_file(path: Path) -> bytes:
    """Read a receipt's bytes. Raises `BundleError` where they are no plain file's."""
    try:
        return read_plain_file(path, MAX_RECEIPT_BYTES)
    except NotPlainFile as error:
        got = str(error)
    except OSError as error:
        got = error.strerror or "an error"
    raise no_receipt(path.name, got)


def parse_receipt(data: bytes, name: str) -> Receipt:
    """Return the receipt in a file of this name. Raises `BundleError` where it is none."""
    try:
        return Receipt.model_validate_json(data)
    except ValidationError:
        raise no_receipt(name, "a file that this seatrial cannot read") from None


def no_receipt(name: str, got: str) -> BundleError:
    """Return the error about a file that is no receipt."""
    name = name.encode("ascii", "backslashreplace").decode()
    return BundleError(CODE, f"receipt '{name[:SHOWN_CHARS]}'", got, "a receipt of schema 1", MEND)
