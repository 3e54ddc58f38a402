"""The signature file of a bundle, which travels with it: its bytes, which nobody here judges."""

from __future__ import annotations

from pathlib import Path

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.bundle import MAX_SIGNATURE_BYTES, SIGNATURE_FILE
from seatrial_contracts.errors import BundleError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file


def read_beside(bundle: Path) -> bytes | None:
    """The signature in a bundle's folder; None if there is none. Raises `BundleError`."""
    try:
        return read_plain_file(bundle / SIGNATURE_FILE, MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, NotPlainFile) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise BundleError("E_SIGNATURE", f"{SIGNATURE_FILE} of {bundle.name}", got) from None


def put_beside(bundle: Path, signature: bytes | None) -> None:
    """Let a bundle's folder hold this signature, or none. Raises `OSError`."""
    there = bundle / SIGNATURE_FILE
    if signature is None:
        there.unlink(missing_ok=True)
    elif not there.is_file() or there.read_bytes() != signature:
        write_whole(there, signature)
