"""Credentials for registries, from where the tools of containers keep them."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

log = logging.getLogger("seatrial.stores")
DOCKER_HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
"""Docker Hub's name in config.json."""
IDENTITY_TOKEN = "<token>"  # noqa: S105  (the protocol's word, and no secret)
"""The name that a helper gives for a token in place of a password."""
HELPER = re.compile(r"[A-Za-z0-9._-]{1,64}")
HELPER_S = 30.0
MAX_FILE_BYTES = 2**20


@dataclass(frozen=True)
class Credentials:
    """A name with its secret, which no text of this object shows."""

    name: str
    secret: str = field(repr=False)

    @property
    def is_token(self) -> bool:
        """Is the secret a refresh token, and no password?"""
        return self.name == IDENTITY_TOKEN


def find_credentials(host: str, repository: str) -> Credentials | None:
    """The credentials for a repository of a registry; None where no file has any.

    The first file counts that has an entry for it: that of `REGISTRY_AUTH_FILE`, else Docker's
    config.json (`DOCKER_CONFIG`), else Podman's auth.json. An entry may be a helper's name, which
    is then asked. Raises `DeclarationError` for a file that is not such a file.
    """
    for path in config_files():
        config = read_config(path)
        for key in keys_of(host, repository):
            if found := credentials_of(config, key):
                return found
        if isinstance(store := config.get("credsStore"), str):
            found = ask_helper(store, HUB_KEY if host == DOCKER_HUB else host)
            if found is not None:
                return found
    return None


def config_files() -> Iterator[Path]:
    """Where credentials may lie, in order."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return
    yield Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"


def keys_of(host: str, repository: str) -> Iterator[str]:
    """Names of an entry, the most exact one first (containers-auth.json(5))."""
    parts = f"{host}/{repository}".split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])
    yield f"https://{host}"
    if host == DOCKER_HUB:
        yield HUB_KEY


def read_config(path: Path) -> Mapping[str, Any]:
    """The object in a file, empty where there is no such file. Raises `DeclarationError`."""
    where, want = f"registry credentials '{path.name}'", "a JSON object, as docker login writes it"
    try:
        found = json.loads(read_plain_file(path, MAX_FILE_BYTES, follow_links=True))
    except FileNotFoundError:
        return {}
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), want) from None
    except OSError as error:
        raise DeclarationError(where, error.strerror or "an unreadable file", want) from None
    except (ValueError, RecursionError):
        raise DeclarationError(where, "no JSON", want) from None
    if not isinstance(found, dict):
        raise DeclarationError(where, "something else", want)
    return found


def credentials_of(config: Mapping[str, Any], key: str) -> Credentials | None:
    """The credentials of an entry, or of the helper that is named for it."""
    helper = _object(config, "credHelpers").get(key)
    if isinstance(helper, str):
        return ask_helper(helper, key)
    entry = _object(config, "auths").get(key)
    if not isinstance(entry, dict):
        return None
    if isinstance(token := entry.get("identitytoken"), str) and token:
        return Credentials(IDENTITY_TOKEN, token)
    return from_basic(entry["auth"]) if isinstance(entry.get("auth"), str) else None


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def from_basic(text: str) -> Credentials | None:
    """Credentials from `name:secret` in base64; None for anything else."""
    try:
        name, colon, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return None
    return Credentials(name, secret.rstrip("\0")) if colon else None


def ask_helper(helper: str, key: str) -> Credentials | None:
    """What a program `docker-credential-HELPER` knows of a registry; None where it knows nothing.

    Its protocol: https://github.com/docker/docker-credential-helpers.
    """
    if not HELPER.fullmatch(helper):
        return None
    try:
        ran = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=key.encode(),
            capture_output=True,
            timeout=HELPER_S,
            check=False,
        )
        said = json.loads(ran.stdout) if ran.returncode == 0 else {}
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        log.warning("docker-credential-%s gave nothing: %s", helper, type(error).__name__)
        return None
    if not isinstance(said, dict):
        return None
    name, secret = said.get("Username"), said.get("Secret")
    return Credentials(name, secret) if isinstance(name, str) and isinstance(secret, str) else None
