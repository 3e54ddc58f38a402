"""A bundle as the one layer of an image: `/models/NAME/VERSION`, as an uncompressed tar.

The same bundle gives the same bytes: entries are sorted, of owner 0, without times.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol, Self, cast

from seatrial_contracts.bundle import MANIFEST, Bundle
from seatrial_contracts.bundle_files import CHUNK_BYTES, reading
from seatrial_contracts.errors import BundleError
from seatrial_contracts.manifest import MAX_FILE_BYTES
from seatrial_contracts.plain_file import open_plain_file
from seatrial_serve.stores.received import MEND, ReceivedBundle

Compression = Literal["", "gz"]
MODELS = "models"
"""Where KServe looks for models in an image."""
BLOCK_BYTES = 512
MAX_MEMBERS = 4096
MAX_HEADER_BYTES = 2**16
"""Of an extended header, which tarfile reads as a whole."""
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def layer_root(name: str, version: str) -> str:
    """The folder of a bundle in its layer."""
    return f"{MODELS}/{name}/{version}"


class Layer:
    """The layer of a bundle. Its files are read anew at each pass over it."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._root = bundle, layer_root(bundle.name, bundle.version)
        self._sizes = {name: file.size for name, file in bundle.manifest.files.items()}
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
        size, where = self._sizes[name], f"{self._bundle.shown}, '{name}'"
        with (
            reading("E_BUNDLE_CHANGED", where, "the sealed bytes"),
            open_plain_file(self._bundle.path / name, size) as (file, found),
        ):
            if found != size:
                raise BundleError("E_BUNDLE_CHANGED", where, f"{found} bytes", f"{size} bytes")
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
        yield bytes(-size % BLOCK_BYTES)


def _header(path: str, size: int | None) -> bytes:
    """The header of a file of `size` bytes, or of a folder."""
    info = tarfile.TarInfo(path)
    info.type = tarfile.DIRTYPE if size is None else tarfile.REGTYPE
    info.mode, info.size, info.mtime = 0o755 if size is None else 0o644, size or 0, 0
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


class Readable(Protocol):
    """What gives at most as many bytes as it is asked for, and none at its end."""

    def read(self, size: int, /) -> bytes:
        """Read."""
        ...


class BoundedInfo(tarfile.TarInfo):
    """A header that is refused before more than a little memory is taken for it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header of 512 bytes. Raises `tarfile.ReadError` beside tarfile's own errors."""
        info = super().frombuf(buf, encoding, errors)
        if not 0 <= info.size <= (MAX_HEADER_BYTES if info.type in EXTENDED else MAX_FILE_BYTES):
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        return info


def unpack(
    layer: Readable,
    compression: Compression,
    root: str,
    received: ReceivedBundle,
    most_bytes: int,
) -> None:
    """Write the files below `root` of a layer, which is read once, from its beginning to its end.

    Raises `BundleError` if the layer is no tar, holds a link, a device or anything outside of
    `root`, or more than `most_bytes`; what `layer.read` and `received.write` raise is passed on.
    """
    where, total = received.where, 0
    mode: Literal["r|", "r|gz"] = "r|gz" if compression else "r|"
    above = {str(each) for each in PurePosixPath(root).parents} | {root}
    try:
        with tarfile.open(
            fileobj=cast("Any", layer), mode=mode, bufsize=CHUNK_BYTES, tarinfo=BoundedInfo
        ) as tar:
            for number, member in enumerate(tar):
                inside = member.name.startswith(f"{root}/")
                total += member.size
                if number >= MAX_MEMBERS or total > most_bytes:
                    got = f"more than {MAX_MEMBERS} entries or {most_bytes} bytes in its layer"
                    raise BundleError("E_BUNDLE_CHANGED", where, got, "those of a bundle", MEND)
                if not (inside or (member.isdir() and member.name in above)):
                    got = f"{ascii(member.name)[:64]} in its layer"
                    want = f"files below {root} alone"
                    raise BundleError("E_BUNDLE_EXTRA", where, got, want, MEND)
                if member.isdir():
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse:
                    got = f"{ascii(member.name)[:64]} is a link or no plain file"
                    raise BundleError("E_BUNDLE_LINK", where, got, "plain files alone", MEND)
                file = tar.extractfile(member)
                assert file is not None
                received.write(member.name.removeprefix(f"{root}/"), member.size, file.read)
    except (tarfile.TarError, EOFError, UnicodeError, OverflowError, ValueError) as error:
        got = f"a layer that is no tar ({type(error).__name__})"
        raise BundleError("E_BUNDLE_CHANGED", where, got, "one tar, as pushed", MEND) from error
