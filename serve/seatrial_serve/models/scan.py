"""Finding bundles in a folder of models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seatrial_contracts.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, open_bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, DeclarationError, ModelError
from seatrial_contracts.manifest import NAME, VERSION
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.selection import Selection, read_selection

NOTHING = Selection()


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


def find_models(
    folder: Path, versions: str, known: Mapping[str, Selection] | None = None
) -> list[FoundModel]:
    """Return the models below `folder`, or the one bundle that `folder` itself is.

    A model lies in <name>/<version>/manifest.json.

    "latest" keeps the highest version of each, and those with a label. `known` has the selections
    that stand in for those that cannot be read. Raises `DeclarationError` if there is no bundle.
    """
    known, make = known or {}, "make one: seatrial export file.py:pipeline --out bundles"
    if not is_folder(folder):
        raise DeclarationError(
            f"bundles folder '{folder}'", "no such folder", "a folder of bundles", make
        )
    if os.path.lexists(folder / MANIFEST):
        place = folder.resolve()
        if not (NAME.fullmatch(place.parent.name) and VERSION.fullmatch(place.name)):
            want = "a bundle's own folder, <name>/<version>, as it was sealed"
            raise DeclarationError(
                f"bundles folder '{folder}'", "a manifest.json in a folder of another name", want
            )
        return [
            found_model(place.parent, {place.name: folder}, "all", known.get(place.parent.name))
        ]
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*")):
        name, version = path.parent.name, path.name
        if NAME.fullmatch(name) and VERSION.fullmatch(version) and is_folder(path):
            found.setdefault(name, {})[version] = path
    if not found:
        raise DeclarationError(
            f"bundles folder '{folder}'", "no bundle in it", "<name>/<version>/manifest.json", make
        )
    return [
        found_model(folder / name, paths, versions, known.get(name))
        for name, paths in found.items()
    ]


def found_model(
    home: Path, paths: Mapping[str, Path], versions: str, known: Selection | None
) -> FoundModel:
    """Return a model from two folders.

    Its selection stands beside the versions in the one; the other are its versions' own.
    """
    selection, unreadable = known or NOTHING, ""
    try:
        selection = read_selection(home)
    except DeclarationError as error:
        unreadable = str(error)
    highest = sorted(paths, key=version_key, reverse=True)
    labelled = set(selection.labels.values())
    entries = [
        found_entry(
            home.name,
            version,
            paths[version],
            selection.variant(version),
            "" if known else unreadable,
        )
        for version in highest
        if versions == "all" or version == highest[0] or version in labelled
    ]
    return FoundModel(home.name, home, selection, tuple(entries), unreadable)


def found_entry(name: str, version: str, path: Path, variant: str | None, unselected: str) -> Entry:
    """The entry of a bundle's folder that nobody has loaded."""
    return Entry(
        name, version, path, f"{stamp_of(path)} {variant or ''} {unselected}", variant, unselected
    )


def is_folder(path: Path) -> bool:
    """Is it one that this process may look into?"""
    try:
        return path.is_dir()
    except OSError:  # the folder above it may not be passed through
        return False


def stamp_of(bundle: Path) -> str:
    """Return the sha256 of a bundle's manifest, which names every byte of it.

    It is empty if the manifest cannot be read.
    """
    try:
        return sha256(read_plain_file(bundle / MANIFEST, MAX_MANIFEST_BYTES))
    except (OSError, NotPlainFile):
        return ""


def version_key(version: str) -> tuple[int, ...]:
    """Versions in the order of their numbers."""
    return tuple(int(part) for part in version.split("."))


def open_entry(entry: Entry) -> Bundle:
    """The verified bundle of an entry.

    Raises `BundleError`, also where folder and manifest disagree about name or version, and
    `ModelError` where nobody knows what is selected of it.
    """
    if entry.unselected:
        raise ModelError("E_SELECTION", entry.unselected)
    bundle = open_bundle(entry.path)
    if (bundle.name, bundle.version) != (entry.name, entry.version):
        raise BundleError(
            "E_BUNDLE_NAME",
            f"folder {entry.name}/{entry.version}",
            f"bundle {bundle.name} {bundle.version}",
            "a folder named as the bundle",
        )
    return bundle
