"""Where a bundle will lie: its version, and whether it may go there. Settled before the gate."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.manifest import check_version, version_key
from seatrial_export.declaration import ModelDeclaration

NEXT = "next"
Declared = TypeVar("Declared", bound=ModelDeclaration)


def placed(declared: Declared, out: Path, version: str | None, *, force: bool) -> Declared:
    """The declaration with the version that its bundle gets in `out`.

    `version` None is the declared one. "next" is the patch after the highest in `out`, and the
    declared one where there is none. Raises `DeclarationError` for a version that is none, and what
    `check_place` raises.
    """
    settled = settled_version(out, declared.name, version, declared.version, force=force)
    return declared if settled == declared.version else replace(declared, version=settled)


def settled_version(out: Path, name: str, wanted: str | None, default: str, *, force: bool) -> str:
    """The version that a bundle of this name gets in `out`; `placed` says which, and raises."""
    highest = highest_version(out / name) if wanted == NEXT else None
    if highest is not None:
        wanted = next_patch(highest)
    version = default if wanted in (None, NEXT) else checked_version(wanted)
    check_place(out, name, version, force=force)
    return version


def check_place(out: Path, name: str, version: str, *, force: bool) -> None:
    """Check that a bundle can be written as `out`/name/version.

    Raises `BundleError` with E_BUNDLE_WRITE for a folder that cannot be written, and, unless
    `force`, with E_BUNDLE_EXISTS for a version that is there.
    """
    target = out / name / version
    if not force and (target.exists() or target.is_symlink()):
        raise BundleError(
            "E_BUNDLE_EXISTS",
            f"bundle {name} {version} in '{out}'",
            "there already",
            "another version",
            "--version next takes the next patch; --force runs the gate again and replaces what "
            "is there, where it differs",
        )
    parent = next(path for path in target.parents if path.exists())
    try:
        Path(tempfile.mkdtemp(prefix=".seatrial.", dir=parent)).rmdir()
    except OSError as error:
        raise BundleError(
            "E_BUNDLE_WRITE",
            f"bundle {name} {version} in '{out}'",
            f"'{parent}': {error.strerror or 'an error'}",
            "a folder that may be written",
            "--out FOLDER names another",
        ) from None


def highest_version(folder: Path) -> str | None:
    """The highest version in the folder of a model; None where it holds none."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return max(filter(is_version, names), key=version_key, default=None)


def is_version(text: str) -> bool:
    """Is this what a version's folder can be called?"""
    try:
        check_version(text)
    except ValueError:
        return False
    return True


def checked_version(text: str) -> str:
    """A version that was asked for. Raises `DeclarationError`."""
    if not is_version(text):
        want = f"three numbers such as 1.2.0, or {NEXT}"
        raise DeclarationError("--version", repr(text)[:60], want)
    return text


def next_patch(version: str) -> str:
    """The patch after a version: 1.2.0 -> 1.2.1."""
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"
