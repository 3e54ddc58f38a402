"""A bundle as the one layer of an image: `/models/NAME/VERSION`, as an uncompressed tar.

The same bundle gives the same bytes: entries are sorted, of owner 0, without times.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Protocol

from seatrial_contracts.bundle import MANIFEST, Bundle
from seatrial_contracts.bundle_files import reading
from seatrial_contracts.errors import BundleError
from seatrial_contracts.plain_file import open_plain_file
from seatrial_serve.stores.received import CHUNK_BYTES, MEND, ReceivedBundle

MODELS = "models"
"""Where KServe looks for models in an image."""
BLOCK_BYTES = 512
MAX_MEMBERS = 4096
MAX_HEADER_BYTES = 2**16
"""Of an extended header, which is read as a whole."""
RECORD = re.compile(rb"[0-9]+ (path|size)=([^\n]+)\n")


def layer_root(name: str, version: str) -> str:
    """The folder of a bundle in its layer."""
    return f"{MODELS}/{name}/{version}"


class Layer:
    """The layer of a bundle. Its files are read anew at each pass over it."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._root = bundle, layer_root(bundle.name, bundle.version)
        self._sizes = {name: file.size for name, file in bundle.stored.items()}
        self._sizes[MANIFEST] = len(bundle.manifest.to_json())

    def __len__(self) -> int:
        """Bytes of the tar."""
        return self._digest_and_size[1]

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of the tar, which is also its diff id."""
        return self._digest_and_size[0]

    def __iter__(self) -> Iterator[bytes]:
        """The tar in pieces. Raises `BundleError` if a file is no longer as it was sealed."""
        paths = {f"{self._root}/{name}": name for name in self._sizes}
        folders = {str(each) for path in paths for each in PurePosixPath(path).parents} - {"."}
        for path in sorted({*paths, *folders}):
            yield _header(path, self._sizes[paths[path]] if path in paths else None)
            if path in paths:
                yield from self._file(paths[path])
        yield bytes(2 * BLOCK_BYTES)

    @cached_property
    def _digest_and_size(self) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        for piece in self:
            digest.update(piece)
            size += len(piece)
        return f"sha256:{digest.hexdigest()}", size

    def _file(self, name: str) -> Iterator[bytes]:
        yield from sealed_pieces(self._bundle, name, self._sizes[name])
        yield bytes(-self._sizes[name] % BLOCK_BYTES)


def sealed_pieces(bundle: Bundle, name: str, size: int) -> Iterator[bytes]:
    """A file of a bundle on disk, in pieces. Raises `BundleError` unless it has `size` bytes."""
    where = f"{bundle.shown}, '{name}'"
    with (
        reading("E_BUNDLE_CHANGED", where, "the sealed bytes"),
        open_plain_file(bundle.path / name, size) as (file, found),
    ):
        if found != size:
            raise BundleError("E_BUNDLE_CHANGED", where, f"{found} bytes", f"{size} bytes")
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _header(path: str, size: int | None) -> bytes:
    """The header of a file of `size` bytes, or of a folder."""
    info = tarfile.TarInfo(path)
    info.type = tarfile.DIRTYPE if size is None else tarfile.REGTYPE
    info.mode, info.size, info.mtime = 0o755 if size is None else 0o644, size or 0, 0
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


class Readable(Protocol):
    """What gives at most as many bytes as it is asked for, and at least one."""

    def read(self, size: int, /) -> bytes:
        """Read."""
        ...


def unpack(layer: Readable, size: int, root: str, received: ReceivedBundle) -> None:
    """Write the files below `root` of a layer of `size` bytes, which is read once, to its end.

    The layer's own digest is not taken: the manifest in it has the digest that is wanted, and names
    that of every file. Raises `BundleError` if the layer is no tar, or holds a link, a device or
    anything outside of `root`; what `layer.read` and `received.write` raise is passed on.
    """
    entries = LayerReader(layer, size, received.where)
    above = {str(each) for each in PurePosixPath(root).parents} | {root}
    for number, (name, info) in enumerate(entries):
        inside = name.startswith(f"{root}/")
        if number >= MAX_MEMBERS:
            got = f"more than {MAX_MEMBERS} entries in its layer"
            raise BundleError("E_BUNDLE_CHANGED", received.where, got, "those of a bundle", MEND)
        if not (inside or (info.isdir() and name in above)):
            got, want = f"{ascii(name)[:64]} in its layer", f"files below {root} alone"
            raise BundleError("E_BUNDLE_EXTRA", received.where, got, want, MEND)
        if info.isdir():
            continue
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            got = f"{ascii(name)[:64]} is a link or no plain file"
            raise BundleError("E_BUNDLE_LINK", received.where, got, "plain files alone", MEND)
        received.write(name.removeprefix(f"{root}/"), info.size, entries.read)


class LayerReader:
    """The entries of a tar as it arrives; whoever is given one reads its bytes before the next.

    tarfile's own streams copy each byte four times; its headers are read here by tarfile.
    """

    def __init__(self, layer: Readable, size: int, where: str) -> None:
        self._layer, self._left, self._where = layer, size, where
        self._unread = 0
        """Bytes of the entry that was given last."""

    def __iter__(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        """Names and headers. Raises `BundleError` for what is no tar."""
        told: dict[str, str] = {}
        while (block := self._exactly(BLOCK_BYTES)) != bytes(BLOCK_BYTES):
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
            except (tarfile.TarError, UnicodeError) as error:
                raise self._no_tar(type(error).__name__) from error
            if info.type == tarfile.XHDTYPE:
                told = self._told_of(info)
                continue
            info.size = int(told.get("size", info.size))
            self._unread = info.size if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else 0
            if not 0 <= self._unread <= self._left:
                raise self._no_tar(f"an entry of {info.size} bytes")
            yield told.get("path", info.name).rstrip("/"), info
            told = {}
            self._exactly(self._unread, -info.size % BLOCK_BYTES if info.isreg() else 0)
        while self._left:
            self._exactly(min(self._left, CHUNK_BYTES))

    def read(self, size: int) -> bytes:
        """At most `size` bytes of the entry that was given last."""
        data = self._layer.read(min(size, self._unread))
        self._unread -= len(data)
        self._left -= len(data)
        return data

    def _told_of(self, info: tarfile.TarInfo) -> dict[str, str]:
        """Path and size in an extended header, which are all that `Layer` writes there (pax(1))."""
        if not 0 < info.size <= MAX_HEADER_BYTES:
            raise self._no_tar(f"a header of {info.size} bytes")
        data = self._exactly(info.size, -info.size % BLOCK_BYTES)
        if RECORD.sub(b"", data):
            raise self._no_tar("a header of something else than a path or size")
        try:
            told = {key.decode(): value.decode() for key, value in RECORD.findall(data)}
        except UnicodeDecodeError:
            raise self._no_tar("a path that is no UTF-8") from None
        if not told.get("size", "0").isdecimal():
            raise self._no_tar("a size that is no number")
        return told

    def _exactly(self, size: int, padding: int = 0) -> bytes:
        """So many bytes, and those after them that fill a block."""
        if size + padding > self._left:
            raise self._no_tar("its end too early")
        data = bytearray()
        while len(data) < size + padding:
            data += self._layer.read(size + padding - len(data))
        self._left -= size + padding
        return bytes(data[:size])

    def _no_tar(self, got: str) -> BundleError:
        got = f"a layer that is no tar ({got})"
        return BundleError("E_BUNDLE_CHANGED", self._where, got, "one tar, as pushed", MEND)
