"""The lines of docs/how-to/keys.md, pasted in their order, and the names that the page has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.keyed import key_of
from support.pages import churn_shell, page
from support.waiting import until

from seatrial_serve.access import access
from seatrial_serve.access.caller import Scope
from seatrial_serve.access.keys_file import parse_keys
from seatrial_serve.access.paths import PROBES
from seatrial_serve.process.codes import Cause, Code

PAGE = page("how-to/keys.md")
MADE, ASKED = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
(TABLES,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_each_scope_code_and_bound() -> None:
    scopes = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert scopes == [str(scope) for scope in Scope]
    codes = {code for code in Code if code.cause is Cause.ACCESS} | {Code.RATE}
    assert codes < set(re.findall(r"`(E_[A-Z]+)`", PAGE))
    for path in PROBES:
        assert f"`{path}`" in PAGE
    assert f"more than {access.MOST_WAITING} keys wait" in PAGE
    assert f"or {access.MOST_OF_CLIENT} of one address" in PAGE
    assert access.LOOK_S <= 0.5  # "within a second"


def test_the_tables_of_the_page_are_read() -> None:
    found = parse_keys(TABLES, Path("keys.toml"))
    assert found.certificates[0].name == "dns:checkout.internal"
    assert found.oidc is not None
    assert found.oidc.grants[0].models == ("churn", "fraud-*")


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_lines_of_the_page_work(
    tmp_path: Path, churn: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = churn_shell(tmp_path, churn)
    *made, last = MADE.strip().splitlines()
    said = [run(line) for line in made]
    assert "checkout" in said[-1]
    words = shlex.split(last)
    assert words[:3] == ["seatrial", "serve", "bundles"]
    key_of(tmp_path / "keys.toml", "test", "infer")
    server = serve(tmp_path / words[2], *words[3:])
    until(lambda: server.wait_until_loaded()[0] == 200)  # why it is not is not told
    for line in ASKED.strip().splitlines():
        line = line.replace("localhost:8000", server.url.removeprefix("http://"))
        line = line.replace("localhost:8002/metrics", server.metrics_url.removeprefix("http://"))
        said.append(run(line))
    assert '"name":"churn"' in said[-4]
    assert said[-4] == said[-3]
    assert "seatrial_requests_total" in said[-2]
    assert said[-1].startswith("revoked ")
