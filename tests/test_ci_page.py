"""The release gate in CI: the script, GitHub's action, GitLab's template, and docs/how-to/ci.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner
from support.pages import churn_shell, page
from support.servers import ROOT

from seatrial.main import cli

ACTION, PAGE = ROOT / "action", page("how-to/ci.md")
GITHUB, GITLAB, HOOKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
LINES = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines()
ALONE, WRITTEN, CHECKED = LINES


def inputs() -> dict[str, Any]:
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    return dict(action["inputs"])


def judged(schema: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What check-jsonschema says of a file, by a schema that others keep."""
    (folder / "judged.yml").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}",
         str(folder / "judged.yml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("github-actions", (ACTION / "action.yml").read_text()),
        ("github-workflows", GITHUB),
        ("gitlab-ci", (ACTION / "gitlab.yml").read_text()),
        ("gitlab-ci", GITLAB),
    ],
    ids=["action", "workflow", "template", "job"],
)
def test_each_file_is_one_that_its_ci_can_read(schema: str, text: str, tmp_path: Path) -> None:
    done = judged(schema, text, tmp_path)
    assert done.returncode == 0, done.stdout
    wrong = re.sub(r"^( *)(steps|script|runs|variables):", r"\1stepz:", text, flags=re.MULTILINE)
    if schema.startswith("github"):
        assert judged(schema, wrong, tmp_path).returncode == 1


def test_the_page_names_inputs_variables_and_hooks_that_there_are() -> None:
    (job,) = yaml.safe_load(GITHUB)["jobs"].values()
    given = job["steps"][-1]["with"]
    assert given.keys() <= inputs().keys()
    others = re.search(r"Its other inputs \((.*?)\)", PAGE, re.DOTALL)
    assert others is not None
    named = {*given, "comment", *re.findall(r"`([\w-]+)`", others[1])}
    assert named == inputs().keys()
    template = yaml.safe_load((ACTION / "gitlab.yml").read_text())[".seatrial-release-gate"]
    variables = yaml.safe_load(GITLAB)["release-gate"]["variables"]
    assert variables.keys() - {"PIPELINE"} <= template["variables"].keys()
    (hook,) = yaml.safe_load(HOOKS)["repos"][0]["hooks"]
    (there,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == there["id"]
    assert there["entry"] == "seatrial contract"


def test_the_action_gives_the_script_every_input() -> None:
    steps = yaml.safe_load((ACTION / "action.yml").read_text())["runs"]["steps"]
    (gate,) = (step for step in steps if step.get("id") == "gate")
    script = (ACTION / "release-gate.sh").read_text()
    asked = set(re.findall(r"\$\{?([A-Z_]+)", script)) - {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"}
    assert asked == gate["env"].keys() - {"GATE"}
    for step in steps:  # values are variables: none is pasted into a shell
        assert "${{" not in step.get("run", "")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_script_seals_tries_compares_and_reports(tmp_path: Path) -> None:
    run = churn_shell(tmp_path)
    shutil.copytree(ACTION, tmp_path / "seatrial/action")
    first = run(f"{ALONE} 2>&1")
    reports = tmp_path / "reports"
    assert json.loads((reports / "sealed.json").read_text())["path"] == "bundles/churn/1.0.0"
    assert ET.parse(reports / "parity.xml").getroot().tag in ("testsuite", "testsuites")
    assert "churn 1.0.0" in (reports / "comment.md").read_text(), first
    assert (reports / "report.html").stat().st_size > 10_000

    model = (tmp_path / "churn.py").read_text()
    assert 'version="1.0.0"' in model

    def gate(text: str, **variables: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "churn.py").write_text(text)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        told = {"GITHUB_OUTPUT": str(tmp_path / "output"),
                "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}  # fmt: skip
        return subprocess.run(
            ["bash", "seatrial/action/release-gate.sh"], cwd=tmp_path, text=True,
            capture_output=True, timeout=400, check=False,
            env=os.environ | told | variables
            | {"PATH": path, "PIPELINE": "churn.py:pipeline", "SINCE": "bundles/churn/1.0.0"},
        )  # fmt: skip

    same = gate(model.replace('version="1.0.0"', 'version="1.0.1"'), MOST_FLIPS="0")
    assert same.returncode == 0, same.stdout + same.stderr
    assert (tmp_path / "output").read_text() == "bundle=bundles/churn/1.0.1\n"
    summary = (tmp_path / "summary").read_text()
    assert "churn 1.0.1" in summary
    assert "Breaking changes" in summary
    moved = gate(model.replace('version="1.0.0"', 'version="1.0.2"').replace(
        "manual_seed(0)", "manual_seed(1)"), MOST_MOVE="0")  # fmt: skip
    assert moved.returncode == 1
    assert "--most-move: got " in moved.stderr
    assert "--most-move: got " in (reports / "comment.md").read_text()
    narrow = model.replace('version="1.0.0"', 'version="1.0.3"').replace('"business"', '"firm"')
    broken = gate(narrow)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert "'business'" in (reports / "comment.md").read_text()


@pytest.mark.slow
def test_a_contract_is_written_and_compared(tmp_path: Path) -> None:
    run = churn_shell(tmp_path)
    assert run(WRITTEN) == "wrote contract.json\n"
    assert run(CHECKED) == ""
    file = tmp_path / "contract.json"
    file.write_text(file.read_text().replace('"team"', '"teams"'))
    target = f"{tmp_path / 'churn.py'}:pipeline"
    done = CliRunner().invoke(cli, ["contract", target, "--check", str(file)])
    assert done.exit_code == 1
    assert "breaking: input 'plan'" in done.stdout
    mend = done.stderr.partition("run: ")[2].strip()
    assert CliRunner().invoke(cli, mend.split()[1:]).exit_code == 0
    assert CliRunner().invoke(cli, ["contract", target, "--check", str(file)]).exit_code == 0
    for text in ("", "{}", "[" * 1000):
        file.write_text(text)
        refused = CliRunner().invoke(cli, ["contract", target, "--check", str(file)])
        assert "got no contract" in str(refused.exception)
