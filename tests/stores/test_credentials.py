"""Credentials of registries, from where docker, podman and their helpers keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.stores.credentials import Credentials, find_credentials

MINE, YOURS = "bWU6bWluZQ==", "eW91OnlvdXJz"
HELPER = """#!/bin/sh
read -r asked
[ "$1" = get ] && [ "$asked" = helped.io ] || { echo "credentials not found"; exit 1; }
echo '{"ServerURL": "helped.io", "Username": "helped", "Secret": "s3cret"}'
"""


def docker(tmp_path: Path, config: Any) -> None:
    (tmp_path / "docker").mkdir(exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / "docker" / "config.json").write_text(text)


@pytest.mark.parametrize(
    ("config", "host", "found"),
    [
        ({"auths": {"r.io": {"auth": MINE}}}, "r.io", Credentials("me", "mine")),
        ({"auths": {"https://r.io": {"auth": MINE}}}, "r.io", Credentials("me", "mine")),
        ({"auths": {"r.io": {"auth": MINE}}}, "other.io", None),
        ({"auths": {"r.io/team": {"auth": YOURS}, "r.io": {"auth": MINE}}}, "r.io",
         Credentials("you", "yours")),
        ({"auths": {"https://index.docker.io/v1/": {"auth": MINE}}}, "docker.io",
         Credentials("me", "mine")),
        ({"auths": {"r.io": {"identitytoken": "abc"}}}, "r.io", Credentials("<token>", "abc")),
        ({"auths": {"r.io": {"auth": "!"}}}, "r.io", None),
        ({"auths": []}, "r.io", None),
        ({}, "r.io", None),
    ],
)  # fmt: skip
def test_an_entry_of_config_json_is_found(
    config: Any, host: str, found: Credentials | None, tmp_path: Path
) -> None:
    docker(tmp_path, config)
    assert find_credentials(host, "team/toy") == found


@pytest.mark.parametrize("config", [{"credsStore": "mine"}, {"credHelpers": {"helped.io": "mine"}}])
def test_helpers_are_asked(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    docker(tmp_path, config)
    assert find_credentials("helped.io", "toy") == Credentials("helped", "s3cret")
    assert find_credentials("other.io", "toy") is None


@pytest.mark.parametrize("helper", ["not-installed", "../../bin/sh"])
def test_a_helper_that_is_not_there_gives_nothing(helper: str, tmp_path: Path) -> None:
    docker(tmp_path, {"credsStore": helper})
    assert find_credentials("r.io", "toy") is None


def test_podmans_files_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "containers").mkdir()
    auths = json.dumps({"auths": {"r.io": {"auth": MINE}}})
    (tmp_path / "containers" / "auth.json").write_text(auths)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert find_credentials("r.io", "toy") == Credentials("me", "mine")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "other.json"))
    assert find_credentials("r.io", "toy") is None
    (tmp_path / "other.json").write_text(auths.replace(MINE, YOURS))
    assert find_credentials("r.io", "toy") == Credentials("you", "yours")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_file_that_is_none_is_refused_by_its_name_alone(text: str, tmp_path: Path) -> None:
    docker(tmp_path, text)
    with pytest.raises(DeclarationError, match=r"'config\.json'"):
        find_credentials("r.io", "toy")


def test_a_secret_is_in_no_text() -> None:
    assert "mine" not in repr(Credentials("me", "mine"))
