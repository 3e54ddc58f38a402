"""The image that `make image` built: its server on free ports of the loopback.

The server runs as its own user, over its own root file system, read-only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("IMAGE_FOLDER", ROOT / "build" / "image"))
there = (BUILT / "storage").is_dir() and shutil.which("buildah") is not None and os.geteuid() == 0
needs_image = pytest.mark.skipif(
    not there, reason="no image here: make image builds one, as root, with buildah and debootstrap"
)
ENTER = """
set -e
root=$1; bundles=$2; user=$3; shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for folder in proc dev sys; do mount --rbind /$folder "$root/$folder"; done
mount -t tmpfs tmpfs "$root/tmp"
[ -z "$bundles" ] || {
  mount --bind "$bundles" "$root/bundles"
  mount -o remount,bind,ro "$root/bundles"
}
exec chroot --userspec="$user" "$root" /usr/bin/env -i "$@"
"""
"""What a container engine does for `--read-only --user --volume`.

It runs with this machine's network, in a mount namespace of its own.
"""


class RealImage:
    """An image's root file system, and what it says of how it is run. Use `open_image`."""

    def __init__(self, root: Path, config: Mapping[str, Any], size_bytes: int) -> None:
        self.root, self.config, self.size_bytes = root, config, size_bytes

    def program(self, bundles: Path | None, *command: str, **environment: str) -> list[str]:
        """A command inside, in the image's own environment."""
        variables = [
            *self.config["Env"],
            *(f"{name}={value}" for name, value in environment.items()),
        ]
        inside = "" if bundles is None else str(bundles.resolve())
        return [
            "unshare",
            "--mount",
            "sh",
            "-c",
            ENTER,
            "enter",
            str(self.root),
            inside,
            self.config["User"],
            *variables,
            *command,
        ]

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        return subprocess.run(
            self.program(None, *command, **environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def server(self, bundles: Path) -> list[str]:
        """Its entry point, with `bundles` at /bundles, read-only."""
        return self.program(bundles, *self.config["Entrypoint"])


@contextmanager
def open_image(target: str = "cpu") -> Iterator[RealImage]:
    """The built image, mounted."""

    def buildah(*arguments: str) -> str:
        storage = [
            "--storage-driver",
            "vfs",
            "--root",
            str(BUILT / "storage"),
            "--runroot",
            str(BUILT / "run"),
        ]
        done = subprocess.run(
            ["buildah", *storage, *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    name = f"localhost/seatrial:{target}"
    config = json.loads(buildah("inspect", "--type", "image", name))["Docker"]["config"]
    container = buildah("from", "--pull-never", name)
    try:
        root = Path(buildah("mount", container))
        size = sum(
            path.lstat().st_size
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
        yield RealImage(root, config, size)
    finally:
        buildah("rm", container)
