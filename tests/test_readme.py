"""Every line that a reader can paste from the README works, in its order.

The lines are the model of one's own, the commands, the requests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CODE = re.search(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS, REQUESTS, TENSORS, SCORING, CHANGES, RELEASE, WATCHING, ENGINES = (
    block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
)

REPORTED = re.findall(
    r"```console\n(seatrial parity.*?)```",
    (ROOT / "docs/how-to/release-gate.md").read_text("utf-8"),
    re.DOTALL,
)[0].splitlines()
"""The report's commands of the release gate's page."""


def run(line: str, cwd: Path, check: bool = True, within_s: float = 240) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "100",
    }
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert not check or done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(720)
def test_the_model_of_ones_own_is_sealed_tried_asked_and_served(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    assert CODE is not None
    (tmp_path / "churn.py").write_text(CODE[1])
    *commands, last = COMMANDS
    assert last == "seatrial serve bundles"
    said = [run(line, tmp_path) for line in commands]
    assert "sealed bundles/churn/1.0.0" in said[0]
    assert "one of 'free', 'team', 'business'" in said[1].replace("\n", " ") or "'free'" in said[1]
    assert said[2].count("yes") == 2
    assert json.loads(said[3])[0]["stays"]["label"] in ("stays", "leaves")
    server = serve(tmp_path / "bundles")
    assert server.wait_until_loaded()[0] == 200
    metrics = server.metrics_url.removesuffix("/metrics")
    answers = [
        run(
            line.replace("http://127.0.0.1:8000", server.url).replace(
                "http://127.0.0.1:8002", metrics
            ),
            tmp_path,
        )
        for line in REQUESTS
    ]
    assert json.loads(answers[0])["predictions"][0]["stays"]["label"] in ("stays", "leaves")
    refused = json.loads(answers[1])
    assert refused["code"] == "E_CATEGORY"
    shown = [json.loads(line) for line in re.findall(r"^\{.*\}$", README, re.MULTILINE)]
    assert shown[0].keys() == json.loads(answers[0]).keys()
    assert shown[1] | {"request_id": ""} == refused | {"request_id": ""}
    partial = json.loads(answers[2])
    assert [row is None for row in partial["predictions"]] == [False, True]
    assert [(error["row"], error["code"]) for error in partial["errors"]] == [(1, "E_CATEGORY")]
    assert json.loads(answers[3])["ready"] is True
    assert (
        'seatrial_requests_total{code="E_CATEGORY",model="churn",version="1.0.0"} 1.0' in answers[4]
    )
    assert (
        'seatrial_row_errors_total{code="E_CATEGORY",model="churn",version="1.0.0"} 1.0'
        in answers[4]
    )
    assert "http v1" in answers[5]
    assert answers[5].count("yes") == 4
    said = [run(line, tmp_path) for line in SCORING]
    assert "scored 2 rows, 1 of them refused" in said[1]
    assert (tmp_path / "answers.csv").read_text().splitlines()[1].startswith("0,leaves,")
    told = json.loads((tmp_path / "refused.jsonl").read_text())
    assert (told["row"], told["code"], told["given"]["plan"]) == (1, "E_CATEGORY", "gold")
    (tmp_path / "next.py").write_text(CODE[1].replace('"1.0.0"', '"1.1.0"'))
    run("seatrial export next.py:pipeline --out bundles --since bundles/churn/1.0.0", tmp_path)
    assert "the contracts are equal" in run(CHANGES[0], tmp_path)
    assert (tmp_path / "notes.md").read_text().startswith("# churn 1.1.0")
    said_v2 = [
        json.loads(run(line.replace("http://127.0.0.1:8000", server.url), tmp_path))
        for line in TENSORS
    ]
    assert said_v2[0]["properties"]["stays.classes"] == "stays,leaves"
    assert said_v2[1]["outputs"][0]["shape"] == [2, 2]
    said = [run(line, tmp_path) for line in REPORTED]
    assert said[1].startswith("churn 1.0.0 passed; report")  # with the receipt of the export itself
    said = [run(line, tmp_path) for line in RELEASE]
    assert "values compared, none departs" in said[0]
    assert "100 rows" in said[1]
    assert "churn/1.2.0" in said[2]
    assert "churn 1.2.0" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.md").exists()
    assert "wrote monitoring/rules/churn.rules.yaml" in run(WATCHING[0], tmp_path)
    said = [run(line, tmp_path) for line in ENGINES]
    assert "wrote churn, churn_front, churn_graph to repo" in said[0]
    assert said[2].count("yes") == 2
    ci = next(
        line.strip()
        for line in README.splitlines()
        if line.strip().startswith("pytest --seatrial-bundle")
    )
    run(f"{ci} -p no:randomly -q", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(720)
def test_the_demo_runs_its_own_lines(tmp_path: Path) -> None:
    # The demo takes a minute, or two on a slow machine.
    demo = f"{sys.executable} examples/demo.py --once --out {tmp_path}"
    said = run(demo, ROOT, within_s=600)
    assert said.count("http v1") == 4
    assert "NO" not in said.split("Paste these")[0]
    assert '"label":"Gentoo"' in said
    assert '"label":"7"' in said
    assert '"embedding":[' in said
    assert '"code":"E_RANGE"' in said


def test_what_the_readme_says_of_targets_and_files_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", README):
        assert f"\n{target}:" in makefile, target
    for link in re.findall(r"\]\(([A-Za-z/.]+)\)", README):
        assert (ROOT / link).exists(), link
