"""The lines of docs/how-to/stores.md, pasted in their order, and the names that the page has."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pages import page
from support.registries import debian_registry

from seatrial_serve.settings import Settings
from seatrial_serve.stores.address import EXTRA_OF
from seatrial_serve.stores.artifact import BUNDLE_DIGEST, CONTRACT_DIGEST, MODEL, TITLE
from seatrial_serve.stores.cache import DEFAULT_BYTES, VARIABLE

PAGE = page("how-to/stores.md")
(BLOCK,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
PORT = "127.0.0.1:5000"


def test_the_page_has_each_scheme_annotation_and_setting() -> None:
    for scheme in EXTRA_OF.keys() - {"http"}:
        assert f"`{scheme}://" in PAGE
        assert f"the extra `{EXTRA_OF[scheme]}`" in PAGE
    for name in (BUNDLE_DIGEST, CONTRACT_DIGEST, MODEL, TITLE, VARIABLE):
        assert f"`{name}`" in PAGE
    assert {"poll_s", "bundle_cache_bytes"} <= Settings.model_fields.keys()
    assert f"{DEFAULT_BYTES // 2**30} GiB" in PAGE


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_the_lines_of_the_page_work(
    tmp_path: Path, churn: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(churn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with debian_registry(tmp_path) as host:
        *lines, last = BLOCK.strip().replace(PORT, host).splitlines()
        for line in lines:
            done = subprocess.run(
                ["bash", "-c", line],
                env=environment, capture_output=True, text=True, timeout=240, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert (tmp_path / "pulled" / "churn" / "1.0.0" / "manifest.json").exists()
        _, command, address, *flags = shlex.split(last)
        assert command == "serve"
        server = serve(address, *flags)
        status, body = server.wait_until_loaded()
        assert status == 200, body
