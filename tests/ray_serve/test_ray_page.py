"""What docs/how-to/ray.md says is run: Ray's own `serve run`, and `seatrial deploy ray`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support.ports import free_ports
from support.real_ray import PACKAGES, PYTHON
from support.servers import ROOT

from seatrial.main import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAGE = (ROOT / "docs/how-to/ray.md").read_text("utf-8")
(CONFIG,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
CONSOLE = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines()
SECONDS = 180


def test_serve_run_answers_as_the_page_says(examples: Path) -> None:
    if not PYTHON.exists():
        pytest.skip("Ray's environment is not here: make test-ray")
    install, export, run, ask, _ = CONSOLE
    assert install.startswith("pip install")
    http, grpc, dashboard = free_ports(3)
    config = yaml.safe_load(CONFIG)
    config["http_options"]["port"], config["grpc_options"]["port"] = http, grpc
    with tempfile.TemporaryDirectory(prefix="r") as scratch:
        folder = Path(scratch)
        (folder / "bundles").mkdir()
        (folder / "bundles/penguins").symlink_to(examples / "penguins")
        (folder / "ray.yaml").write_text(yaml.safe_dump(config))
        environment = {
            "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
            "HOME": scratch,
            "PYTHONPATH": os.pathsep.join(PACKAGES),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": scratch,
            "RAY_DASHBOARD_PORT": str(dashboard),
            **dict([export.removeprefix("export ").split("=")]),
        }
        with (folder / "log").open("w") as log:
            serving = subprocess.Popen(
                ["env", "--default-signal=INT", *run.split()],  # a job in the background ignores it
                cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                assert "true" in answered(ask.replace(":8000", f":{http}"), folder / "log")
                shown = answered(f"curl -s http://127.0.0.1:{http}/v1/models/penguins", folder)
                assert json.loads(shown)["labels"] == {"stable": "1.0.0"}
            finally:
                serving.send_signal(signal.SIGINT)
                serving.wait(90)


def answered(command: str, log: Path) -> str:
    """What the command prints once it prints JSON."""
    end = time.monotonic() + SECONDS
    while True:
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        if done.stdout.startswith("{"):
            return done.stdout
        assert time.monotonic() < end, (done.stdout, log.is_file() and log.read_text()[-3000:])
        time.sleep(1)


def test_the_deploy_command_writes_what_the_page_says(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles/penguins").symlink_to(examples / "penguins")
    monkeypatch.chdir(tmp_path)
    (command,) = (line for line in CONSOLE if line.startswith("seatrial deploy ray"))
    done = CliRunner().invoke(cli, command.split()[1:])
    assert done.exit_code == 0, done.output
    named = re.findall(r"^\| `(\w+\.yaml)` \|", PAGE, re.MULTILINE)
    assert set(named) == {path.name for path in Path("ray").glob("*.yaml")}
    assert "first: seatrial push" in done.output
