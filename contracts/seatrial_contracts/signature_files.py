"""The signatures beside a bundle, in its folder: their bytes, which nobody here judges."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.bundle import MAX_SIGNATURE_BYTES, SIGNATURE_FILE, UNSEALED_SUFFIX
from seatrial_contracts.errors import BundleError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

SIGNATURES_FOLDER = "signatures"
"""Where further signatures lie: a registry may have several of one bundle."""
PREDICATE = "https://model_signing/signature/v1.0"
"""The type of what a signature of OpenSSF Model Signing 1.0 states."""
MAX_SIGNATURES = 32
"""Of one bundle."""


def signature_name(number: int) -> str:
    """Where a signature lies below the bundle's folder; the first one has number 1."""
    if number == 1:
        return SIGNATURE_FILE
    return f"{SIGNATURES_FOLDER}/{number}{UNSEALED_SUFFIX}"


def read_signatures(folder: Path) -> tuple[bytes, ...]:
    """The signatures of the bundle in a folder, in their order; empty if it is unsigned.

    They are read up to the first that is missing. Raises `BundleError` with E_SIGNATURE for one
    that is no plain file, cannot be read or is too large.
    """
    found: list[bytes] = []
    for number in range(1, MAX_SIGNATURES + 1):
        name = signature_name(number)
        try:
            found.append(read_plain_file(folder / name, MAX_SIGNATURE_BYTES))
        except FileNotFoundError:
            break
        except (OSError, NotPlainFile) as error:
            where = f"bundle '{folder.parent.name}/{folder.name}', {name}"
            got = getattr(error, "strerror", None) or str(error)
            raise BundleError("E_SIGNATURE", where, got, "a plain file") from None
    return tuple(found)


def put_signatures(folder: Path, signatures: Sequence[bytes]) -> None:
    """Let a bundle's folder hold these signatures alone, `MAX_SIGNATURES` at most.

    Raises `OSError`.
    """
    for number, signature in enumerate(signatures, 1):
        path = folder / signature_name(number)
        if not path.is_file() or path.read_bytes() != signature:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, signature)
    for number in range(len(signatures) + 1, MAX_SIGNATURES + 1):
        (folder / signature_name(number)).unlink(missing_ok=True)
    if len(signatures) < 2:
        with suppress(OSError):  # it is not there, or holds something else
            (folder / SIGNATURES_FOLDER).rmdir()


def add_signatures(folder: Path, signatures: Sequence[bytes]) -> None:
    """Put signatures before those of the same bundle that are there.

    Whoever checks them tries each, so one that somebody else has found is kept. Raises
    `BundleError` where they cannot be read or written.
    """
    there = read_signatures(folder)
    both = tuple(dict.fromkeys((*signatures, *there)))[:MAX_SIGNATURES]
    if both == there:  # nothing to write, perhaps where nothing can be written
        return
    try:
        put_signatures(folder, both)
    except OSError as error:
        where, got = f"writing signatures into {folder}", error.strerror or "an error"
        raise BundleError("E_BUNDLE_WRITE", where, got, "a writable folder with room") from error
