"""The sealed files of a bundle on disk that lie there encrypted: plain in memory alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seatrial_contracts.bundle_files import SealedData, SealedFiles
from seatrial_contracts.decrypt import Decryption, MemoryFile
from seatrial_contracts.errors import BundleError
from seatrial_contracts.manifest import SealedFile
from seatrial_contracts.shards import Shard, digests_in_memory


class EncryptedFiles(SealedFiles):
    """`SealedFiles` that are decrypted at each look-up, and compared with the manifest then."""

    def __init__(
        self, folder: Path, sealed: Mapping[str, SealedFile], where: str, by: Decryption
    ) -> None:
        super().__init__(folder, sealed, where)
        self._by = by

    def _path(self, name: str) -> Path:
        return self._by.path(name)

    def _read(self, name: str, size: int) -> bytes:
        return self._by.read(name, size)

    def _digests(self, name: str, size: int, parts: Sequence[Shard]) -> list[str]:
        return self._by.digests(name, size, parts)


class EncryptedData(SealedData):
    """`SealedData` that has no path: whoever would map a file is refused, or takes it in memory."""

    def __init__(
        self, folder: Path, sealed: Mapping[str, SealedFile], where: str, by: Decryption
    ) -> None:
        super().__init__(folder, sealed, where)
        self._by, self._kept = by, dict[str, MemoryFile]()
        """The file that was verified last, until somebody takes it: so it is decrypted once."""

    def __getitem__(self, name: str) -> Path:
        """Raises `BundleError`, and `KeyError` for a name that was not sealed."""
        _ = self._sealed[name]
        raise on_no_disk(self._where, f"a path to '{name}'")

    def in_memory(self, name: str) -> MemoryFile:
        """A file in memory of its own.

        Raises `KeyError` for a name that was not sealed, and `BundleError` where the file is not as
        it was sealed.
        """
        if name not in self._kept:
            self.verify(name)
        return self._kept.pop(name)

    def check_rests(self, name: str) -> None:
        """See `SealedData.check_rests`: nobody else writes into this memory."""

    def let_go(self) -> None:
        """Keep nothing decrypted."""
        self._kept.clear()

    def _path(self, name: str) -> Path:
        return self._by.path(name)

    def _digests(self, name: str, size: int, parts: Sequence[Shard]) -> list[str]:
        self.let_go()
        file = self._by.in_memory(name, size)
        found = digests_in_memory(memoryview(file.memory), parts)
        self._kept[name] = file
        return found


def on_no_disk(where: str, what: str) -> BundleError:
    """The error about something on disk that would hold sealed files of it in plain."""
    got, want = "an encrypted bundle", f"a plain one, since {what} holds its files in plain"
    mend = "take the bundle that seatrial encrypt was given"
    return BundleError("E_BUNDLE_ENCRYPTED", where, got, want, mend)
