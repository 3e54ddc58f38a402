"""The files of a bundle on disk: read with bounds, and verified whenever they are read.

Files with the weights of graphs are verified once, a gigabyte at a time, and mapped by whoever runs
the graph. Every failure to read a file is a `BundleError`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, DeclarationError, ModelError
from seatrial_contracts.graph_references import MalformedGraph
from seatrial_contracts.manifest import DATA_SUFFIX, SealedFile
from seatrial_contracts.plain_file import NotPlainFile, open_plain_file, read_plain_file
from seatrial_contracts.shards import Shard, digests, shards_of

MAX_TEXT_CHARS = 200
"""Of another library's finding, in a message."""
UNFIT = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What values of the wrong type, size or depth raise, wherever they are first used."""


@contextmanager
def reading(code: str, where: str, want: str, mend: str | None = None) -> Iterator[None]:
    """Turn every failure within, while a bundle is read, into a `BundleError` with this code.

    A `BundleError` stays as it is. Files that cannot be opened have codes of their own:
    E_BUNDLE_MISSING where there is none, E_BUNDLE_UNREADABLE else.
    """
    try:
        yield
    except FileNotFoundError:
        raise BundleError("E_BUNDLE_MISSING", where, "no such file", want, mend) from None
    except OSError as error:
        mend = "let the user that reads it open its folders and files"
        raise BundleError(
            "E_BUNDLE_UNREADABLE", where, error.strerror or "an error", want, mend
        ) from None
    except ValidationError as error:
        raise BundleError(code, where, described(error), want, mend) from None
    except (NotPlainFile, MalformedGraph, DeclarationError, ModelError) as error:
        raise BundleError(code, where, str(error)[:MAX_TEXT_CHARS], want, mend) from None
    except UNFIT as error:
        raise BundleError(code, where, "what this seatrial cannot read", want, mend) from error


def described(error: ValidationError) -> str:
    """The first finding of a validation, its place before it, without the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))[:80]
    return f"{place!r}: {first['msg']}"[:MAX_TEXT_CHARS]


class _Files:
    """Some of the sealed files of a folder, by name."""

    def __init__(self, folder: Path, sealed: Mapping[str, SealedFile], where: str) -> None:
        """`where` names the bundle in messages."""
        self._folder, self._sealed, self._where = folder, sealed, where

    def __iter__(self) -> Iterator[str]:
        return iter(self._sealed)

    def __len__(self) -> int:
        return len(self._sealed)

    def __contains__(self, name: object) -> bool:
        return name in self._sealed

    def verify(self, name: str) -> None:
        """Verify a file, with some chunks of it in memory at a time.

        Raises `BundleError` where the file is not as it was sealed, with the names of the gigabytes
        that are not.
        """
        sealed = self._sealed[name]
        parts = shards_of(name, sealed.size) or (Shard(name, 0, sealed.size),)
        with self._reading(name):
            found = self._digests(name, sealed.size, parts)
        wanted = sealed.shards or {name: sealed.sha256}
        changed = [
            part.name
            for part, digest in zip(parts, found, strict=True)
            if digest != wanted[part.name]
        ]
        if changed:
            self._changed(name, "" if changed == [name] else f" in {', '.join(changed[:3])}")

    def _path(self, name: str) -> Path:
        """Where a file lies."""
        return self._folder / name

    def _digests(self, name: str, size: int, parts: Sequence[Shard]) -> list[str]:
        """SHA-256 of each part of a file of `size` bytes. Raises `NotPlainFile` and `OSError`."""
        with open_plain_file(self._path(name), size) as (_, found):
            pass
        if found != size:
            raise NotPlainFile(f"{found} bytes")
        return digests(self._path(name), size, parts)

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        with reading(
            "E_BUNDLE_CHANGED",
            f"{self._where}, '{name}'",
            f"the {self._sealed[name].size} sealed bytes",
            "copy or export it again",
        ):
            yield

    def _changed(self, name: str, where: str = "") -> NoReturn:
        got, mend = f"'{name}' with other bytes than were sealed{where}", "copy or export it again"
        raise BundleError("E_BUNDLE_CHANGED", self._where, got, "the sealed bytes", mend)


class SealedFiles(_Files, Mapping[str, bytes]):
    """The sealed files of a folder but for weights of graphs, by name.

    No file is in memory, but for one that was kept: each look-up reads its file, and gives it only
    as it was sealed.
    """

    def __init__(self, folder: Path, sealed: Mapping[str, SealedFile], where: str) -> None:
        super().__init__(folder, sealed, where)
        self._kept = dict[str, bytes]()

    def keep(self, name: str, data: bytes) -> None:
        """Keep what a look-up gave for the next one: the file is read and hashed once for both."""
        self._kept[name] = data

    def is_kept(self, name: str) -> bool:
        """Is the file kept for the next look-up?"""
        return name in self._kept

    def let_go(self) -> None:
        """Keep nothing."""
        self._kept.clear()

    def __getitem__(self, name: str) -> bytes:
        """Read a file, and verify it.

        Raises `KeyError` for a name that was not sealed, and `BundleError` where the file is not as
        it was sealed.
        """
        sealed = self._sealed[name]
        kept = self._kept.pop(name, None)
        if kept is not None:
            return kept
        with self._reading(name):
            data = self._read(name, sealed.size)
        if (len(data), sha256(data)) != (sealed.size, sealed.sha256):
            self._changed(name)
        return data

    def _read(self, name: str, size: int) -> bytes:
        """The bytes of a file of `size` bytes. Raises `NotPlainFile` and `OSError`."""
        return read_plain_file(self._path(name), size)


class SealedData(_Files, Mapping[str, Path]):
    """The files with weights of graphs, by name: where each lies, once it was verified."""

    def __init__(self, folder: Path, sealed: Mapping[str, SealedFile], where: str) -> None:
        super().__init__(folder, sealed, where)
        self._seen: dict[str, tuple[int, ...]] = {}

    def __getitem__(self, name: str) -> Path:
        """The path of a file, which is verified if it was not before or has changed since.

        Raises `KeyError` for a name that was not sealed, and `BundleError` where the file is not as
        it was sealed.
        """
        self.verify_once(name)
        return self._path(name)

    def verify_once(self, name: str) -> None:
        """Verify a file if it was not before, or has changed since. Raises as `verify` does."""
        if self._stamp(name) != self._seen.get(name):
            self.verify(name)

    def verify(self, name: str) -> None:
        """See `_Files.verify`."""
        stamp = self._stamp(name)
        super().verify(name)
        self._seen[name] = stamp

    def check_rests(self, name: str) -> None:
        """Raise `BundleError` for a file that was written to or replaced since it was verified."""
        if self._stamp(name) != self._seen.get(name):
            got, want = f"'{name}' changed while it was loaded", "a bundle that rests"
            raise BundleError("E_BUNDLE_CHANGED", self._where, got, want)

    def _stamp(self, name: str) -> tuple[int, ...]:
        """What differs once a file was written to or replaced. Raises `KeyError`.

        Whoever may write a file can set the time of its last change, but not that of its status.
        """
        with self._reading(name):
            status = self._path(name).stat(follow_symlinks=False)
        times = status.st_mtime_ns, status.st_ctime_ns
        return status.st_dev, status.st_ino, status.st_size, *times


def sealed_apart(
    sealed: Mapping[str, SealedFile],
) -> tuple[dict[str, SealedFile], dict[str, SealedFile]]:
    """The files that are read, and those with weights of graphs, which are mapped."""
    weights = {name: file for name, file in sealed.items() if name.endswith(DATA_SUFFIX)}
    return {name: file for name, file in sealed.items() if name not in weights}, weights


def sealed_bytes(name: str, data: bytes) -> SealedFile:
    """What a manifest says of a file that is not written yet."""
    shards = {
        shard.name: sha256(memoryview(data)[shard.start : shard.end])
        for shard in shards_of(name, len(data))
    }
    return SealedFile(sha256=sha256(data), size=len(data), shards=shards)


def sealed_data(name: str, path: Path) -> SealedFile:
    """What a manifest says of a file on disk. Raises `NotPlainFile` and `OSError`."""
    size = path.stat().st_size
    shards = shards_of(name, size)
    whole, *each = digests(path, size, [Shard(name, 0, size), *shards])
    names = (shard.name for shard in shards)
    return SealedFile(sha256=whole, size=size, shards=dict(zip(names, each, strict=True)))


def copy_data(source: Path, target: Path) -> None:
    """Copy a file of weights, and wait until it is on disk. Raises `OSError`.

    It is no link: onnx reads no file that has two names.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    _sync(target)


def move_data(source: Path, target: Path) -> None:
    """Move a file of weights, and wait until it is on disk. Raises `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    _sync(target)


def _sync(path: Path) -> None:
    with path.open("rb") as placed:
        os.fsync(placed.fileno())
