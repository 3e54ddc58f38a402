"""The files of a bundle on disk: read with bounds, and verified whenever they are read.

Every failure to read one is a `BundleError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, DeclarationError, ModelError
from seatrial_contracts.graph_references import MalformedGraph
from seatrial_contracts.manifest import SealedFile
from seatrial_contracts.plain_file import NotPlainFile, open_plain_file, read_plain_file

CHUNK_BYTES = 2**20
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


class SealedFiles(Mapping[str, bytes]):
    """The sealed files of a folder, by name.

    No file is kept in memory: each look-up reads its file, and gives it only as it was sealed.
    """

    def __init__(self, folder: Path, sealed: Mapping[str, SealedFile], where: str) -> None:
        """`where` names the bundle in messages."""
        self._folder, self._sealed, self._where = folder, sealed, where

    def __getitem__(self, name: str) -> bytes:
        """Read a file, and verify it.

        Raises `KeyError` for a name that was not sealed, and `BundleError` where the file is not as
        it was sealed.
        """
        sealed = self._sealed[name]
        with self._reading(name):
            data = read_plain_file(self._folder / name, sealed.size)
        self._check(name, len(data), sha256(data))
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._sealed)

    def __len__(self) -> int:
        return len(self._sealed)

    def __contains__(self, name: object) -> bool:
        return name in self._sealed

    def verify(self, name: str) -> None:
        """Verify a file, with one chunk of it in memory at a time.

        Raises `BundleError` where the file is not as it was sealed.
        """
        digest, size = hashlib.sha256(), 0
        with (
            self._reading(name),
            open_plain_file(self._folder / name, self._sealed[name].size) as (file, _),
        ):
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        self._check(name, size, digest.hexdigest())

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        with reading(
            "E_BUNDLE_CHANGED",
            f"{self._where}, '{name}'",
            "the sealed bytes",
            "copy or export it again",
        ):
            yield

    def _check(self, name: str, size: int, digest: str) -> None:
        sealed = self._sealed[name]
        if (size, digest) != (sealed.size, sealed.sha256):
            got, mend = f"'{name}' with other bytes than were sealed", "copy or export it again"
            raise BundleError("E_BUNDLE_CHANGED", self._where, got, "the sealed bytes", mend)
