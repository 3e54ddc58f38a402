"""Finding bundles: the models of folders and of the cache, and the versions to be served."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from seatrial_contracts.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Bundle,
    Loads,
    open_bundle,
    read_manifest,
)
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, DeclarationError, ModelError
from seatrial_contracts.identities import Identities
from seatrial_contracts.manifest import NAME, VERSION, Manifest, version_key
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.selection import Selection, read_selection
from seatrial_serve.stores.cache import DAMAGED, KeptBundle

NOTHING = Selection()
SETTLED_S = 2.0
"""A file's times tell of every change to it once it is older than their steps."""


@dataclass(frozen=True)
class Home:
    """Where one model's versions lie, and how its operator's selection is read."""

    name: str
    path: Path
    """The folder of its selection, or of its first version."""
    paths: Mapping[str, Path]
    """Version -> the bundle's folder."""
    read_selection: Callable[[], Selection]
    """Raises `DeclarationError` where there is one that cannot be read."""
    named: frozenset[str] = frozenset()
    """Versions whose own address was given: they are served whatever else is there."""
    holds: Mapping[str, object] = field(default_factory=dict)
    """Version -> what keeps its bundle in the cache as long as it is referred to."""
    sealed_as: str = ""
    """The name that its bundles were sealed with; empty: `name`."""

    def joined(self, other: Home) -> Home:
        """Both of one model. The first selection that selects anything counts.

        Raises `DeclarationError` if both have a version, and not the same bundle.
        """
        for version in self.paths.keys() & other.paths.keys():
            if stamp_of(self.paths[version]) != stamp_of(other.paths[version]):
                got = "two different bundles at two addresses"
                raise DeclarationError(f"model '{self.name}' {version}", got, "one of them")
        return Home(
            self.name,
            self.path,
            {**other.paths, **self.paths},
            lambda: first_selection(self.read_selection, other.read_selection),
            self.named | other.named,
            {**other.holds, **self.holds},
        )


def first_selection(*reads: Callable[[], Selection]) -> Selection:
    """The first of several selections that selects anything. Raises `DeclarationError`."""
    return next((found for found in (read() for read in reads) if found != NOTHING), NOTHING)


@dataclass(frozen=True)
class FoundModel:
    """One model of the folder: its operator's selection, and its versions to be served.

    The highest version comes first.
    """

    name: str
    home: Path
    """The folder of its selection and its versions."""
    selection: Selection
    entries: tuple[Entry, ...]
    """Nobody has loaded them."""
    unreadable: str = ""
    """Why the selection could not be read.

    `selection` is then the last one that could be read, or empty.
    """


def folder_homes(folder: Path) -> list[Home]:
    """The homes of the models below `folder`, or of the one bundle that `folder` itself is.

    A model lies in <name>/<version>/manifest.json. Raises `DeclarationError` if there is no bundle.
    """
    make = "make one: seatrial export file.py:pipeline --out bundles"
    if not is_folder(folder):
        raise DeclarationError(
            f"bundles folder '{folder}'", "no such folder", "a folder of bundles", make
        )
    if os.path.lexists(folder / MANIFEST):
        name, version = sealed_name(folder)
        beside = folder.resolve().parent
        return [folder_home(name, beside, {version: folder}, frozenset({version}))]
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*")):
        name, version = path.parent.name, path.name
        if NAME.fullmatch(name) and VERSION.fullmatch(version) and is_folder(path):
            found.setdefault(name, {})[version] = path
    if not found:
        raise DeclarationError(
            f"bundles folder '{folder}'", "no bundle in it", "<name>/<version>/manifest.json", make
        )
    return [folder_home(name, folder / name, paths) for name, paths in found.items()]


def sealed_name(folder: Path) -> tuple[str, str]:
    """Name and version of the bundle that a folder is.

    The folder says them, as it was sealed, else the manifest: an orchestrator mounts a bundle where
    it likes. Raises `DeclarationError`.
    """
    place = folder.resolve()
    if NAME.fullmatch(place.parent.name) and VERSION.fullmatch(place.name):
        return place.parent.name, place.name
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        raise DeclarationError(
            f"bundles folder '{folder}'", str(error), "a bundle, or a folder of bundles"
        ) from error
    return manifest.name, manifest.version


def folder_home(
    name: str, path: Path, paths: Mapping[str, Path], named: frozenset[str] = frozenset()
) -> Home:
    """A home whose selection lies in its folder."""
    return Home(name, path, paths, lambda: read_selection(path), named)


def found_model(
    home: Home, versions: str, known: Selection | None, served_as: str | None = None
) -> FoundModel:
    """Return a model from its home, with the versions to be served.

    `served_as`: what clients call it, where that is not the name that it was sealed with.
    """
    name = served_as or home.name
    selection, unreadable = known or NOTHING, ""
    try:
        selection = home.read_selection()
    except DeclarationError as error:
        unreadable = str(error)
    chosen = home.named | chosen_versions(home.paths, selection, versions)
    entries = [
        found_entry(
            name,
            home.sealed_as or home.name,
            version,
            home.paths[version],
            selection.variant(version),
            "" if known else unreadable,
            home.holds.get(version),
        )
        for version in sorted(chosen, key=version_key, reverse=True)
    ]
    return FoundModel(name, home.path, selection, tuple(entries), unreadable)


def chosen_versions(there: Iterable[str], selection: Selection, versions: str) -> set[str]:
    """The versions of a folder that are served: all, or the highest and those with a label."""
    found = set(there)
    if versions == "all" or not found:
        return found
    return {max(found, key=version_key), *(found & set(selection.labels.values()))}


def found_entry(
    name: str,
    sealed_as: str,
    version: str,
    path: Path,
    variant: str | None,
    unselected: str,
    hold: object = None,
) -> Entry:
    """The entry of a bundle's folder that nobody has loaded."""
    stamp = f"{stamp_of(path)} {variant or ''} {unselected}"
    return Entry(name, version, path, stamp, variant, unselected, sealed_as=sealed_as, hold=hold)


def is_folder(path: Path) -> bool:
    """Is it one that this process may look into?"""
    try:
        return path.is_dir()
    except OSError:  # the folder above it may not be passed through
        return False


def stamp_of(bundle: Path) -> str:
    """Return the sha256 of a bundle's manifest, which names every byte of it.

    It is empty if the manifest cannot be read. A manifest that has not changed for a while is read
    once: a look at ten thousand bundles then costs as many looks at their files' times.
    """
    path = bundle / MANIFEST
    try:
        status = path.lstat()
        if time.time() - max(status.st_mtime, status.st_ctime) < SETTLED_S:
            return read_stamp(path)
        return settled_stamp(
            path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )
    except (OSError, NotPlainFile):
        return ""


def read_stamp(manifest: Path) -> str:
    """The sha256 of a manifest. Raises `OSError` and `NotPlainFile`."""
    return sha256(read_plain_file(manifest, MAX_MANIFEST_BYTES))


@lru_cache(maxsize=2**16)
def settled_stamp(manifest: Path, *_status: int) -> str:
    """The same of a manifest with this inode, size and times."""
    return read_stamp(manifest)


def open_entry(
    entry: Entry,
    identities: Identities | None = None,
    loads: Loads | None = None,
    digest: str | None = None,
) -> Bundle:
    """The verified bundle of an entry.

    `identities`, `loads` and `digest`: see `open_bundle`. Raises `BundleError`, also where folder
    and manifest disagree about name or version, and `ModelError` where nobody knows what is
    selected of it.
    """
    if entry.unselected:
        raise ModelError("E_SELECTION", entry.unselected)
    bundle = open_held(entry, identities, loads, digest)
    check_names(entry, bundle.name, bundle.version)
    return bundle


def entry_manifest(entry: Entry) -> Manifest:
    """The manifest of an entry, of which nothing else is read.

    Raises `BundleError`, also where it is another one than that which was found, or of another
    bundle than its folder says; and `ModelError` where nobody knows what is selected of it.
    """
    if entry.unselected:
        raise ModelError("E_SELECTION", entry.unselected)
    manifest = read_manifest(entry.path)
    if manifest.digest != entry.digest:
        got = "another manifest than the one that was found"
        raise BundleError("E_BUNDLE_CHANGED", f"bundle {entry.name} {entry.version}", got,
                          "a bundle that rests")  # fmt: skip
    check_names(entry, manifest.name, manifest.version)
    return manifest


def check_names(entry: Entry, name: str, version: str) -> None:
    """Raise `BundleError` where a bundle has another name or version than its folder says."""
    sealed_as = entry.sealed_as or entry.name
    if (name, version) != (sealed_as, entry.version):
        where, got = f"folder {sealed_as}/{entry.version}", f"bundle {name} {version}"
        raise BundleError("E_BUNDLE_NAME", where, got, "a folder named as the bundle")


def open_held(
    entry: Entry,
    identities: Identities | None = None,
    loads: Loads | None = None,
    digest: str | None = None,
) -> Bundle:
    """The verified bundle of an entry. In the cache, one that its disk damaged is removed.

    The next look at its store fetches it anew. Raises `BundleError`.
    """
    try:
        return open_bundle(entry.path, identities, loads, digest)
    except BundleError as error:
        if isinstance(entry.hold, KeptBundle) and error.code in DAMAGED:
            entry.hold.discard()
        raise
