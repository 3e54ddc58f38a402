"""A bundle's files as they arrive: bounded, and compared with the manifest before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from seatrial_contracts.bundle import MANIFEST, read_manifest
from seatrial_contracts.encryption import MAX_CIPHERTEXT_BYTES, read_encryption, stored_files
from seatrial_contracts.errors import BundleError, StoreError
from seatrial_contracts.manifest import ENCRYPTION, Manifest, check_path

CHUNK_BYTES = 2**20
ABOUT = (MANIFEST, ENCRYPTION)
MAX_FILES = 1026
"""Those, and as many as a manifest can name."""
MEND = "fetch it again, or push it again from the sealed bundle"


def never() -> bool:
    """Nobody asks to stop."""
    return False


class ReceivedBundle:
    """Writes files into an empty folder. What was written is no bundle before `finish`."""

    def __init__(self, folder: Path, where: str, stopped: Callable[[], bool] = never) -> None:
        """`where` names the store in messages; `stopped` is asked between chunks."""
        self.folder, self.where, self._stopped = folder, where, stopped
        self._files: dict[str, tuple[str, int]] = {}
        """Name -> SHA-256 and size."""

    def write(self, name: str, size: int, read: Callable[[int], bytes]) -> None:
        """Write a file of `size` bytes, of which `read` gives at most as many as it is asked for.

        Raises `BundleError` for a name that no bundle has, for a second file of a name and for
        other than `size` bytes, `StoreError` if it is told to stop, and `OSError` of the disk.
        """
        self._check_name(name)
        if not 0 <= size <= MAX_CIPHERTEXT_BYTES:
            raise self._changed(f"'{name}' of {size} bytes", f"at most {MAX_CIPHERTEXT_BYTES}")
        path, digest, left = self.folder / name, hashlib.sha256(), size
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb", buffering=0) as file:
            while left:
                if self._stopped():
                    raise StoreError(self.where, "told to stop while fetching")
                chunk = read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise self._changed(f"{size - left} of {size} bytes of '{name}'", "all of them")
                digest.update(chunk)
                left -= len(chunk)
                write_all(file.write, chunk)
        self._files[name] = digest.hexdigest(), size

    def _check_name(self, name: str) -> None:
        try:
            check_path(name)
        except ValueError:
            raise self._changed(f"a file {ascii(name)[:64]}", "names of a bundle's files") from None
        if name in self._files or len(self._files) >= MAX_FILES:
            got = f"'{name}' twice" if name in self._files else f"more than {MAX_FILES} files"
            raise self._changed(got, "the sealed files, each once")

    def finish(self, digest: str) -> Manifest:
        """Return the manifest of a whole bundle: its files, and no other.

        Raises `BundleError` unless the manifest has this SHA-256, and every file is as the manifest
        says, or the record of its encryption.
        """
        manifest = self.manifest(digest)
        stored = stored_files(manifest, read_encryption(self.folder, manifest))
        found = {name: file for name, file in self._files.items() if name not in ABOUT}
        for name, sealed in stored.items():
            if name not in found:
                raise self._changed(f"no file '{name}'", "every sealed file")
            if found[name] != (sealed.sha256, sealed.size):
                raise self._changed(f"'{name}' with other bytes than were sealed", "those bytes")
        if extra := found.keys() - stored.keys():
            raise self._changed(f"'{min(extra)}', which was not sealed", "the sealed files alone")
        return manifest

    def manifest(self, digest: str) -> Manifest:
        """The manifest, once it is written. Raises `BundleError` unless it has this SHA-256."""
        got, _ = self._files.get(MANIFEST, ("none", 0))
        if got != digest:
            raise self._changed(f"manifest {got[:16]}", f"manifest {digest[:16]}")
        return read_manifest(self.folder)

    def _changed(self, got: str, want: str) -> BundleError:
        return BundleError("E_BUNDLE_CHANGED", self.where, got, want, MEND)


def write_all(write: Callable[[memoryview], int | None], data: bytes) -> None:
    """Write all of `data` by calls that may write less of it. Raises `OSError`."""
    left = memoryview(data)
    while left:
        left = left[write(left) or 0 :]
