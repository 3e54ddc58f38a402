"""Pin what the image installs, by hash: `make lock`.

`constraints.txt` holds the versions; hashes are those of every file of a version.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("oci", "oidc", "age", "text", "image", "audio")
EXTRAS = {"cpu": ("serve", *SHARED), "gpu": ("gpu", *SHARED)}
OLDEST_PYTHON = "3.11"


def lock(target: str) -> None:
    """Write `deploy/image/<target>.txt`: an extra's packages, or what builds wheel and SBOMs."""
    extras = [flag for extra in EXTRAS.get(target, ()) for flag in ("--extra", extra)]
    source, given = ("pyproject.toml", None) if extras else ("-", "hatchling\ncyclonedx-bom\n")
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        source,
        *extras,
        "--constraint",
        "constraints.txt",
        "--generate-hashes",
        "--universal",
        "--python-version",
        OLDEST_PYTHON,
        "--no-annotate",
        "--quiet",
        "--custom-compile-command",
        "make lock",
        "--output-file",
        f"deploy/image/{target}.txt",
    ]
    subprocess.run(command, input=given, text=True, check=True, cwd=ROOT)


if __name__ == "__main__":
    lock(sys.argv[1])
