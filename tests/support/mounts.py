"""A program that finds folders at paths of the root, as containers have them, without a container.

It runs in a mount namespace of its own, under a root of links to this machine's: nothing here
changes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

NEW_ROOT = Path("/srv")
"""A folder that nobody here needs: in the namespace, the new root is mounted over it."""


@cache
def namespace() -> tuple[str, ...]:
    """What gives a program a mount namespace here; empty if nothing does."""
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    entered = ("unshare", *as_root, "--mount")
    if shutil.which("unshare") is None or not NEW_ROOT.is_dir():
        return ()
    done = subprocess.run(
        [*entered, "mount", "-t", "tmpfs", "tmpfs", str(NEW_ROOT)],
        capture_output=True, check=False,
    )  # fmt: skip
    return entered if done.returncode == 0 else ()


def with_folders(folders: Mapping[str, Path], *program: str) -> list[str]:
    """`program` with folders at paths, read-only. Skips where no namespace is to be had."""
    if not namespace():
        pytest.skip("no mount namespace: this needs root, or namespaces of users")
    own = {PurePosixPath(path) for path in folders}
    lines = ["set -e", f"mount -t tmpfs tmpfs {NEW_ROOT}", *linked(Path("/"), own)]
    for path, folder in folders.items():
        at, source = quoted(under(path)), quoted(folder.resolve())
        lines += [
            f"mkdir -p {at}", f"mount --bind {source} {at}", f"mount -o remount,bind,ro {at}",
        ]  # fmt: skip
    lines.append(f'exec chroot {NEW_ROOT} /usr/bin/env --chdir="$PWD" "$@"')
    return [*namespace(), "sh", "-c", "\n".join(lines), "enter", *program]


def linked(folder: Path, own: Iterable[PurePosixPath]) -> Iterator[str]:
    """Commands that let the new root have what is in a folder, but for the paths of `own`."""
    for entry in sorted(folder.iterdir()):
        if entry == NEW_ROOT or entry in own:
            continue
        at = quoted(under(entry))
        if entry.is_symlink():
            yield f"ln -s {quoted(entry.readlink())} {at}"
        elif entry.is_dir() and any(entry in path.parents for path in own):
            yield f"mkdir {at}"
            yield from linked(entry, own)
        elif entry.is_dir():
            yield f"mkdir {at}; mount --rbind {quoted(entry)} {at}"
        elif entry.is_file():
            yield f": > {at}; mount --bind {quoted(entry)} {at}"


def under(path: str | Path) -> Path:
    """Where a path of the root is before the new root is entered."""
    return NEW_ROOT / str(path).lstrip("/")


def quoted(path: Path) -> str:
    """A path for a shell."""
    return shlex.quote(str(path))
