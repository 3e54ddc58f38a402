"""Install this clone into the environment that runs this file, and show what is done meanwhile.

    .venv/bin/python tools/install.py '.[dev]' constraints.txt

uv installs in a third of pip's time, but reads none of pip's configuration. So pip's own account of
it (`pip config list`) is handed to uv. If it holds a setting that changes what is installed and
that uv has no word for, or if uv fails, pip installs.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping

PIP = (sys.executable, "-m", "pip")
PYPI = "https://pypi.org/simple"
"""The index of whose configuration names none."""
FLAGS = {
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}
"""Setting of pip, whose values stand apart -> the flag of uv for each of them."""
AS_PIP = ("--index-strategy", "unsafe-best-match")
"""The best version of all indexes, as pip has it, not that of the first one that has any."""
INDEXES = ("index-url", "extra-index-url")
VARIABLES = {
    "cert": ("SSL_CERT_FILE",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY"),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "default-timeout": ("UV_HTTP_TIMEOUT",),
}
"""Setting of pip -> variables of the environment that say the same to uv."""
ALIKE = frozenset(
    {
        "break-system-packages", "cache-dir", "config-file", "disable-pip-version-check",
        "keyring-provider",
        "no-cache-dir", "no-color", "no-input", "no-warn-script-location", "progress-bar", "quiet",
        "require-virtualenv", "retries", "root-user-action", "verbose", "yes",
    }
)  # fmt: skip
"""Settings of pip that do not change what is installed."""


def main(what: str, constraints: str) -> int:
    """Install `what`, and return the exit code of whatever installed it."""
    settings = pip_settings()
    unknown = unknown_to_uv(settings)
    wanted = ("--constraint", constraints, "--editable", what)
    if unknown:
        print(f"pip installs: uv has no word for {', '.join(unknown)} of its configuration")
    elif subprocess.run([*PIP, "install", "-q", "uv", "-c", constraints], check=False).returncode:
        print("pip installs: it found no uv")
    else:
        flags, variables = uv_settings(settings)
        print("uv installs, and then compiles some 20,000 files to bytecode, about a minute",
              flush=True)  # fmt: skip
        how = ("pip", "install", "--compile-bytecode")
        command = [sys.executable, "-m", "uv", *how, *flags, *wanted]
        if subprocess.run(command, check=False, env=os.environ | variables).returncode == 0:
            return 0
        print("pip installs, since uv failed: it takes some minutes")
    return subprocess.run([*PIP, "install", *wanted], check=False).returncode


def pip_settings() -> dict[str, str]:
    """Name -> value of pip's configuration, as its files and the environment have it."""
    told = subprocess.run([*PIP, "config", "list"], check=True, capture_output=True, text=True)
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in told.stdout.splitlines():
        key, _, value = line.partition("=")
        part, _, name = key.rpartition(".")
        if part in found:
            found[part][name] = str(ast.literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def unknown_to_uv(settings: Mapping[str, str]) -> list[str]:
    """The settings that change what is installed, and that uv has no word for."""
    return sorted(settings.keys() - FLAGS.keys() - VARIABLES.keys() - ALIKE - {*INDEXES})


def uv_settings(settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The same for uv: flags, and variables of the environment."""
    # Of one version uv takes the file of the first index that has it, however well others' fit:
    # the main index has all of them, and extra ones may have a few.
    main = settings.get("index-url", PYPI)
    indexes = [main, *settings.get("extra-index-url", "").split()]
    flags, variables = [*AS_PIP, "--default-index", main], dict[str, str]()
    if len(indexes) > 1:
        flags += [part for each in indexes for part in ("--index", each)]
    for name, value in settings.items():
        if name in FLAGS:
            flags += [part for each in value.split() for part in (FLAGS[name], each)]
        for variable in VARIABLES.get(name, ()):
            variables[variable] = value
    return flags, variables


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
