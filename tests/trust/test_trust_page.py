"""The lines of docs/how-to/trust.md, pasted in their order, and the names that the page has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pages import churn_shell, page
from support.servers import ROOT
from support.signers import make_certificate, make_key

from seatrial_serve.metrics import names
from seatrial_serve.settings import Settings
from seatrial_serve.trust.policy import read_policy
from seatrial_serve.trust.statement import SIGNATURE_FILE

PAGE = page("how-to/trust.md")
FIRST, RECEIPTS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
(POLICY,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_each_code_setting_and_place() -> None:
    codes = set(re.findall(r"`(E_[A-Z]+)`", PAGE))
    source = "".join(
        path.read_text() for path in (ROOT / "serve/seatrial_serve/trust").glob("*.py")
    )
    assert codes == set(re.findall(r'"(E_(?:UNSIGNED|SIGN[A-Z]+|ROLLBACK))"', source))
    assert {"require_signature", "allow_rollback"} <= Settings.model_fields.keys()
    for name in (SIGNATURE_FILE, names.BUNDLE_INFO):
        assert f"`{name}`" in PAGE


def test_the_policy_of_the_page_is_one(tmp_path: Path) -> None:
    make_key(tmp_path)
    (tmp_path / "release.pub.pem").rename(tmp_path / "release.pem")
    make_certificate(tmp_path / "ca").authority.rename(tmp_path / "ca.pem")
    (tmp_path / "policy.toml").write_text(POLICY)
    signers = read_policy(tmp_path / "policy.toml").signer
    assert [signer.name for signer in signers] == ["release", "build servers", "our workflow"]
    assert signers[0].models == ("churn", "fraud-*")


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_lines_of_the_page_work(
    tmp_path: Path, churn: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = churn_shell(tmp_path, churn)
    *first, last = FIRST.strip().splitlines()
    lines = (
        *first,
        "seatrial inspect bundles/churn/1.0.0",
        *RECEIPTS.strip().splitlines(),
    )
    said = "".join(map(run, lines))
    assert "signed by release, key " in said
    assert "which was not verified" in " ".join(said.split())
    assert said.count(".json: signed by release") == 2
    _, command, *rest = shlex.split(last)
    assert command == "serve"
    server = serve(*rest)
    status, text = server.wait_until_loaded()
    assert status == 200, text
