"""Pin the images that `compose.yaml` and the Dockerfile start from, by digest: `make pin`.

Run it where docker reaches the images' registries.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
IMAGE = re.compile(r"\$\{(\w+_IMAGE):-([^}@]+)(?:@sha256:[0-9a-f]{64})?\}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def images(compose: str) -> dict[str, str]:
    """Variable -> image and tag, as `compose.yaml` has them.

    A variable stands there as ${PYTHON_IMAGE:-python:3.13-slim@sha256:...}.
    """
    return dict(IMAGE.findall(compose))


def digest_of(image: str) -> str:
    """The digest of an image's index, which holds every platform.

    docker reads it from the image's registry. The program ends where there is none.
    """
    command = [
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        image,
        "--format",
        "{{.Manifest.Digest}}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    digest = done.stdout.strip()
    if done.returncode or not DIGEST.fullmatch(digest):
        sys.exit(f"{image}: no digest from docker; nothing is written: {done.stderr.strip()}")
    return digest


def pin() -> None:
    """Write `.env` beside `compose.yaml`.

    Every image stands there by tag, for people, and by digest, which counts.
    """
    found = {
        name: f"{image}@{digest_of(image)}"
        for name, image in images((DEPLOY / "compose.yaml").read_text()).items()
    }
    lines = [f"{name}={image}" for name, image in sorted(found.items())]
    (DEPLOY / ".env").write_text("\n".join(["# Written by `make pin`.", *lines, ""]))
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    pin()
