"""A program that finds a folder at a path of the root, as containers have it, without a container.

It runs in a mount namespace of its own: nothing of this machine changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ENTER = """
set -e
folder=$1; at=$2; shift 2
top=/$(echo "$at" | cut -d/ -f2)
kept=$(mktemp -d)
mount --rbind "$top" "$kept"
mount -t tmpfs tmpfs "$top"
for each in "$kept"/*; do
  [ -d "$each" ] || continue
  mkdir "$top/${each##*/}"
  mount --rbind "$each" "$top/${each##*/}"
done
umount --lazy "$kept"
rmdir "$kept"
mkdir -p "$at"
mount --bind "$folder" "$at"
mount -o remount,bind,ro "$at"
exec "$@"
"""
"""The folders that lie beside it stay where they are: Python may be one of them."""


@cache
def namespace() -> tuple[str, ...]:
    """What gives a program a mount namespace here; empty if nothing does."""
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    entered = ("unshare", *as_root, "--mount")
    if shutil.which("unshare") is None:
        return ()
    done = subprocess.run([*entered, "true"], capture_output=True, check=False)
    return entered if done.returncode == 0 else ()


def with_folder(folder: Path, at: str, *program: str) -> list[str]:
    """`program` with `folder` at the path `at`, read-only. Skips where no namespace is to be had.

    The first folder of `at` has to exist.
    """
    if not namespace():
        pytest.skip("no mount namespace: this needs root, or namespaces of users")
    return [*namespace(), "sh", "-c", ENTER, "enter", str(folder.resolve()), at, *program]
