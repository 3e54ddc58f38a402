"""The console names who signed a version, and who signed what a receipt is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from support.browsers import NEEDED, Opened
from support.encrypted import seal
from support.servers import Server
from support.signers import make_key

import seatrial as st
from seatrial_serve.trust.keys import fingerprint, public_key_of
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

pytestmark = [pytest.mark.slow, NEEDED]
NAME = "<b>lab</b> & co"
"""What the policy calls the signer."""


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_the_console_names_the_signer(
    tmp_path: Path, serve: Callable[..., Server], opened: Opened
) -> None:
    keys = make_key(tmp_path / "keys")
    policy = tmp_path / "keys" / "policy.toml"
    policy.write_text(f'[[signer]]\nname = "{NAME}"\nkey = "{keys.public.name}"\n')
    bundle = seal(tmp_path / "bundles")
    sign_bundle(bundle.path, read_signing_key(keys.private))
    st.parity(bundle.path, require_signature=policy, runners=("onnxruntime",))
    server = serve(tmp_path / "bundles", "--require-signature", str(policy))
    assert server.wait_until_loaded()[0] == 200
    page = opened(server.url, "net")
    identity = fingerprint(public_key_of(keys.public.read_bytes(), "a test"))
    digest, signed = digests(page)
    assert digest == f"sha256:{bundle.digest}"
    assert signed == f"signed by {NAME} (key {identity})"
    claimed = page.locator(".receipt caption").first.text_content()
    assert claimed.endswith(f"unsigned, of a bundle signed by {NAME}")
    assert not Axe().run(page).response["violations"]


def digests(page: Any) -> list[str]:
    """What stands below a model's name."""
    page.locator(".head .digest").first.wait_for()
    found: list[str] = page.locator(".head .digest").all_text_contents()
    return found
