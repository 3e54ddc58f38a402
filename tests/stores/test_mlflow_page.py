"""The lines of docs/how-to/mlflow.md, beside MLflow's real server, which then goes away."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.pages import page
from support.real_mlflow import mlflow_server
from support.servers import fetch

from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle, write_bundle
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:mlflow.*")]
PAGE = page("how-to/mlflow.md")
BLOCKS = re.split(r"(?=```(?:console|python)\n)", PAGE)[1:]
URL = "http://127.0.0.1:5001"


def test_the_page_has_each_flavour_form_tag_and_module() -> None:
    pytest.importorskip("mlflow", reason="MLflow's library is not here: make setup")
    from seatrial_export.adopt.mlflow_model import BUNDLE, FILES
    from seatrial_serve.mlflow import push
    from seatrial_serve.stores.address import SERVERS
    from seatrial_serve.stores.in_mlflow import BUNDLE_FOLDER, SETTINGS

    for name in (*FILES, push.NAME, push.VERSION, push.DIGEST, push.SIGNATURE, push.LOADER):
        assert f"`{name}`" in PAGE
    assert push.LOADER == BUNDLE
    assert f"`{BUNDLE_FOLDER}`" in PAGE
    assert all(name in PAGE for name in SERVERS)
    assert SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "30"
    assert SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


@pytest.mark.timeout(480)
def test_the_lines_of_the_page_work_and_the_server_outlives_mlflow(
    tmp_path: Path, churn: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(churn, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mlflow").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    module: dict[str, Any] = {}
    server = None
    with mlflow_server(tmp_path / "mlflow") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        for block in BLOCKS:
            kind, text = re.match(r"```(\w+)\n(.*?)```", block, re.DOTALL).groups()  # type: ignore[union-attr]
            if kind == "python":
                exec(compile(text, PAGE[:8], "exec"), module)
                continue
            for line in text.replace(URL, url).strip().splitlines():
                program, *words = shlex.split(line.replace("--poll-s 30", "--poll-s 1"))
                if program == "export":
                    monkeypatch.setenv(*words[0].split("=", 1))
                elif words[0] == "serve":
                    server = serve(*words[1:])
                    assert server.wait_until_loaded()[0] == 200
                else:
                    seatrial(*words)
        assert server is not None
        check_golden(server.url, "1.0.0")
        one = open_bundle(Path("bundles/churn/1.0.0"))
        manifest = one.manifest.model_copy(update={"version": "1.1.0"})
        write_bundle(Path("bundles"), manifest, dict(one.files))
        seatrial("push", "bundles/churn/1.1.0", "mlflow:models:/churn@stable")
        served = f"{server.url}/v2/models/churn"
        within(30, lambda: json.loads(fetch(served)[1])["versions"] == ["1.1.0"])
    within(60, lambda: ready(server.url)["from_cache"])
    check_golden(server.url, "1.1.0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    again = serve("mlflow:models:/churn@stable")
    assert again.wait_until_loaded()[0] == 200
    assert "Connection refused" in ready(again.url)["from_cache"][0]["reason"]
    check_golden(again.url, "1.1.0")


def seatrial(*words: str) -> None:
    """Run a command in this process."""
    ran = CliRunner().invoke(cli, words)
    assert ran.exit_code == 0, f"{words}\n{ran.output}{ran.exception}"


def ready(url: str) -> dict[str, Any]:
    return dict(json.loads(fetch(f"{url}/v2/health/ready")[1]))


def check_golden(url: str, version: str) -> None:
    """The golden rows of the sealed bundle pass through what is served."""
    bundle = open_bundle(Path("bundles/churn") / version)
    assert try_bundle(TrialRequest(bundle, url=url), only=["http v1"]).passed


def within(limit_s: float, holds: Callable[[], Any]) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)
