"""Bundles of stores in the user's cache, by digest: whole ones, verified, within a bound."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seatrial_contracts.bundle import MANIFEST, MAX_MANIFEST_BYTES, parse_manifest
from seatrial_contracts.canonical import sha256
from seatrial_contracts.encryption import read_encryption, stored_files
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.process.private_cache import (
    WITHOUT_LOCKS,
    NotPrivate,
    cache_folder,
    check_private,
    make_private,
)
from seatrial_serve.stores.store import Offer, key_of

log = logging.getLogger("seatrial.stores")
DAMAGED = ("E_BUNDLE_CHANGED", "E_BUNDLE_MISSING", "E_BUNDLE_EXTRA", "E_BUNDLE_LINK")
"""What a bundle that was whole when it was fetched can show on a disk that lost or gained bytes."""
FULL = (errno.ENOSPC, errno.EDQUOT)
DEFAULT_BYTES = 20 * 2**30
VARIABLE = "SEATRIAL_BUNDLE_CACHE_BYTES"
"""The setting of `seatrial serve` by that name, which the other commands follow too."""


class KeptBundle:
    """A bundle in the cache, which is not removed for want of room as long as this object lives.

    The lock is one of the folder itself, shared; it ends with the process at the latest.
    """

    def __init__(self, path: Path, key: str, handle: int) -> None:
        self.path, self.key = path, key
        weakref.finalize(self, os.close, handle)

    @property
    def there(self) -> bool:
        """Does it still lie in the cache?"""
        return (self.path / MANIFEST).is_file()

    def discard(self) -> None:
        """Remove it: what lies there is not what was fetched. The next look fetches it anew."""
        remove(self.path.parent.parent)


class BundleCache:
    """A folder of bundles, <key>/<name>/<version>, that processes of this user share.

    A bundle appears by one rename, once every byte of it was compared with its manifest. Nothing is
    synced to disk: what a crash left of it is found, and removed, when it is looked for.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES, folder: Path | None = None) -> None:
        """`max_bytes`: how much may lie there; bundles in use stay even beyond it."""
        self._folder, self._max_bytes = folder or cache_folder("bundles"), max_bytes

    def find(self, key: str, name: str, version: str) -> KeptBundle | None:
        """A bundle that is there, with its manifest and all files in their sizes; else None.

        `key`: see `Offer.key`.
        Raises `DeclarationError` if others may write to the cache.
        """
        place = self._folder / key
        try:
            handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return None
        kept = KeptBundle(place / name / version, key, handle)
        try:
            check_private(self._folder.lstat(), f"cache folder {self._folder}")
            check_private(os.fstat(handle), f"cache folder {place}")
            fcntl.flock(handle, fcntl.LOCK_SH)
            if not same_file(handle, place):  # removed while this process waited for the lock
                return None
            if not is_whole(kept.path, key):
                log.warning("bundle %s %s in the cache is damaged, and removed", name, version)
                kept.discard()
                return None
        except NotPrivate as error:
            raise unusable(self._folder, str(error)) from None
        except OSError as error:
            if error.errno in WITHOUT_LOCKS:
                raise unusable(self._folder, "a file system without locks") from None
            return None
        with suppress(OSError):  # of a cache that is only read, nothing is removed either
            os.utime(handle)
        return kept

    def keep(self, offer: Offer, fetch: Callable[[Path], object]) -> KeptBundle:
        """The bundle of an offer: from the cache, else by `fetch`, which fills an empty folder.

        One process fetches, others wait for it. What `fetch` raises is passed on, and nothing of it
        stays. A cache that cannot be written gives what it holds. Raises `DeclarationError` if it
        cannot be used, and `BundleError` if the disk is full.
        """
        kept = self.find(offer.key, offer.name, offer.version)
        if kept is not None:
            return kept
        try:
            make_private(self._folder)
            with locked(self._folder / f".{offer.key}.lock"):
                kept = self.find(offer.key, offer.name, offer.version)
                if kept is None:
                    self.make_room(offer.size)
                    self._fetch(offer, fetch)
                    kept = self.find(offer.key, offer.name, offer.version)
        except NotPrivate as error:
            raise unusable(self._folder, str(error)) from None
        except OSError as error:
            if error.errno in FULL:
                raise self._no_room(offer, error) from error
            got = "a file system without locks" if error.errno in WITHOUT_LOCKS else error.strerror
            raise unusable(self._folder, got or "an error") from error
        if kept is None:
            raise unusable(self._folder, f"bundle {offer.name} {offer.version} removed again")
        return kept

    def _fetch(self, offer: Offer, fetch: Callable[[Path], object]) -> None:
        part = self._folder / f".{offer.key}.part"
        shutil.rmtree(part, ignore_errors=True)  # what a process left that was ended
        bundle = part / offer.name / offer.version
        try:
            bundle.mkdir(parents=True, mode=0o700)
            fetch(bundle)
            part.rename(self._folder / offer.key)
        except OSError as error:
            raise self._no_room(offer, error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _no_room(self, offer: Offer, error: OSError) -> BundleError:
        where = f"cache folder {self._folder}, bundle {offer.name} {offer.version}"
        got, want = error.strerror or "an error", f"room for {offer.size} bytes, and free inodes"
        return BundleError("E_BUNDLE_WRITE", where, got, want)

    def make_room(self, size: int) -> None:
        """Remove the bundles that nobody used for longest, until `size` more bytes fit.

        Bundles in use stay. Raises `OSError`.
        """
        self._remove_leftovers()
        found = [each for each in self._folder.iterdir() if not each.name.startswith(".")]
        sizes = {place: size_of(place) for place in sorted(found, key=last_used)}
        free = self._max_bytes - sum(sizes.values())
        for place, taken in sizes.items():
            if free >= size:
                return
            if remove_unless_used(place):
                log.info("removed bundle %s from the cache, for room", place.name[:16])
                free += taken

    def _remove_leftovers(self) -> None:
        """Remove what processes left that were ended while they fetched."""
        for part in [*self._folder.glob(".*.part"), *self._folder.glob(".*.gone")]:
            lock = self._folder / f".{part.name.split('.')[1]}.lock"
            with suppress(BlockingIOError), locked(lock, wait=False):
                shutil.rmtree(part, ignore_errors=True)
        for lock in self._folder.glob(".*.lock"):
            if not (self._folder / lock.name.split(".")[1]).exists():
                with suppress(BlockingIOError), locked(lock, wait=False):
                    lock.unlink(missing_ok=True)


def cache_from_environment() -> BundleCache:
    """The cache within the bound of the environment. Raises `DeclarationError` for a bad bound."""
    text = os.environ.get(VARIABLE, str(DEFAULT_BYTES))
    if not text.isdecimal():
        raise DeclarationError(f"environment variable '{VARIABLE}'", repr(text[:60]), "bytes")
    return BundleCache(int(text))


def unusable(folder: Path, got: str) -> DeclarationError:
    """The error about a cache that cannot be used."""
    want = "a folder of this user's own, on a disk of this machine"
    return DeclarationError(
        f"cache folder {folder}", got, want, "XDG_CACHE_HOME names the one above it"
    )


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock between processes, by a file that stays. Raises `BlockingIOError` and `OSError`.

    `wait`: until whoever holds it lets go, or ends.
    """
    held = False
    while not held:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = same_file(handle, path)  # else it was removed while this process waited
            if held:
                yield
        finally:
            os.close(handle)


def same_file(handle: int, path: Path) -> bool:
    """Does a path still name what was opened?"""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def is_whole(bundle: Path, key: str) -> bool:
    """Has a folder the manifest and record of this key, and each of its files in its size?

    Their bytes are compared when the bundle is opened.
    """
    try:
        data = read_plain_file(bundle / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = parse_manifest(data)
        encryption = read_encryption(bundle, manifest)
        record = "" if encryption is None else encryption.record.sha256
        if key_of(sha256(data), record) != key:
            return False
        for name, sealed in stored_files(manifest, encryption).items():
            status = (bundle / name).lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != sealed.size:
                return False
    except (OSError, NotPlainFile, ValueError, BundleError):
        return False
    return True


def last_used(place: Path) -> float:
    """When a bundle was looked for the last time."""
    try:
        return place.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def size_of(place: Path) -> int:
    """Bytes of the files below a folder; what vanishes meanwhile is left out."""
    total = 0
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_size
    return total


def remove_unless_used(place: Path) -> bool:
    """Remove a bundle that no process has; return whether it is gone."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # in use, or on a file system that cannot tell
        return False
    else:
        remove(place)
        return True
    finally:
        os.close(handle)


def remove(place: Path) -> None:
    """Remove a folder, which is gone under its name at once."""
    gone = place.with_name(f".{place.name}.{os.getpid()}.gone")
    with suppress(OSError):
        place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
