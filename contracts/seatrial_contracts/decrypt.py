"""Plain bytes of encrypted files, in memory alone."""

from __future__ import annotations

import hashlib
import io
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from seatrial_contracts.encryption import (
    MAX_HEADER_BYTES,
    Encryption,
    encrypted_name,
)
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.identities import Identities, age_library
from seatrial_contracts.plain_file import NotPlainFile, open_plain_file
from seatrial_contracts.shards import Shard

MAGIC = b"age-encryption.org/v1\n"
NO_KEY = "No matching keys found"
"""What pyrage says where no identity opens a file."""
MOST_KINDS = 8
DONT_DUMP = getattr(mmap, "MADV_DONTDUMP", None)


class MemoryFile(NamedTuple):
    """A decrypted file: its own name, without folders, and the memory that holds it."""

    name: str
    memory: mmap.mmap
    """Kept out of core dumps. It is given back when nothing refers to it any more."""


class _Bounded:
    """What pyrage writes to: passes on at most `size` bytes.

    It is written in Python on purpose: pyrage holds the interpreter while it decrypts, and lets
    other threads run here, after each chunk. `pyrage.decrypt` of 200 MB stops them for 0.5 s.
    """

    def __init__(self, size: int, take: Callable[[bytes], object]) -> None:
        self.got, self._size, self._take = 0, size, take

    def write(self, data: bytes) -> int:
        """Pass it on. Raises `ValueError` where it is too much."""
        self.got += len(data)
        if self.got > self._size:
            raise ValueError("more bytes than were sealed")
        self._take(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to wait for."""


class Decryption:
    """Decrypts the files of one bundle by the secret keys of whoever reads it."""

    def __init__(
        self, folder: Path, encryption: Encryption, identities: Identities, shown: str
    ) -> None:
        """`shown`: what messages call the bundle."""
        self._folder, self._encryption, self._identities = folder, encryption, identities
        self._shown = shown

    def path(self, name: str) -> Path:
        """Where a sealed file lies encrypted."""
        return self._folder / encrypted_name(name)

    def read(self, name: str, size: int) -> bytes:
        """A sealed file of `size` bytes. Raises `BundleError`, `NotPlainFile` and `OSError`."""
        held = io.BytesIO()
        self._decrypt(name, size, held.write)
        return held.getvalue()

    def in_memory(self, name: str, size: int) -> MemoryFile:
        """The same, as memory of its own."""
        memory = mmap.mmap(-1, size)
        if DONT_DUMP is not None:
            memory.madvise(DONT_DUMP)
        self._decrypt(name, size, memory.write)
        memory.seek(0)
        return MemoryFile(Path(name).name, memory)

    def digests(self, name: str, size: int, parts: Sequence[Shard]) -> list[str]:
        """SHA-256 of each part, which follow one another, in one pass; nothing is kept."""
        digests = [hashlib.sha256() for _ in parts]
        at, place = 0, 0

        def take(data: bytes) -> None:
            nonlocal at, place
            left = memoryview(data)
            while left:
                part = left[: parts[place].end - at]
                digests[place].update(part)
                at, left = at + len(part), left[len(part) :]
                place += at == parts[place].end and place < len(parts) - 1

        self._decrypt(name, size, take)
        return [digest.hexdigest() for digest in digests]

    def _decrypt(self, name: str, size: int, take: Callable[[bytes], object]) -> None:
        """Pass on the plain bytes of a file, which are `size` if nothing is raised."""
        pyrage = age_library()
        stored = self._encryption.files[encrypted_name(name)]
        with open_plain_file(self.path(name), stored.size) as (file, found):
            if found != stored.size:
                raise NotPlainFile(f"{found} bytes")
            header = file.read(min(found, MAX_HEADER_BYTES))
            if not header.startswith(MAGIC):
                self._changed(name, "that is not encrypted")
            if not self._identities.any:
                self._no_key(header, "no identity")
            for anew in (False, True):
                file.seek(0)
                into = _Bounded(size, take)
                try:
                    pyrage.decrypt_io(file, into, self._keys(anew=anew))
                except pyrage.DecryptError as error:
                    if str(error) != NO_KEY:
                        self._changed(name, "with other bytes than were encrypted")
                    if anew:
                        self._no_key(header, "an identity that opens none of them")
                except ValueError:
                    self._changed(name, "with more bytes than were sealed")
                except OSError as error:
                    if error.errno is not None:  # the disk's
                        raise
                    self._changed(name, "with other bytes than were encrypted")
                else:
                    break
        if into.got != size:
            self._changed(name, f"with {into.got} bytes instead of {size}")

    def _keys(self, *, anew: bool) -> list[Any]:
        try:
            return self._identities.read_anew() if anew else self._identities.keys
        except DeclarationError as error:
            raise BundleError("E_BUNDLE_ENCRYPTED", f"{self._shown}: {error}") from None

    def _changed(self, name: str, how: str) -> NoReturn:
        got, mend = f"'{encrypted_name(name)}' {how}", "copy or encrypt it again"
        raise BundleError("E_BUNDLE_CHANGED", self._shown, got, "the encrypted bytes", mend)

    def _no_key(self, header: bytes, identity: str) -> NoReturn:
        got = f"files encrypted to {', '.join(kinds_of(header)) or 'nobody'}, and {identity}"
        mend = "name the file of a recipient's secret key: --identity FILE, or SEATRIAL_IDENTITY"
        raise BundleError(
            "E_BUNDLE_ENCRYPTED", self._shown, got, "the secret key of a recipient", mend
        )


def kinds_of(header: bytes) -> list[str]:
    """The kinds of an age file's recipients, each once: X25519, ssh-ed25519, ssh-rsa, scrypt."""
    lines = header.partition(b"\n---")[0].split(b"\n")
    words = [line[3:].split(b" ")[0] for line in lines if line.startswith(b"-> ")]
    named = (word.decode("ascii", "replace")[:40] for word in words if b"grease" not in word)
    return list(dict.fromkeys(named))[:MOST_KINDS]
