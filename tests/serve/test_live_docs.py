"""The lines of docs/how-to/live.md, pasted in their order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pages import CHURN, code_of, page, run_command

pytestmark = pytest.mark.slow
SERVE, REQUESTS, REPLAY = (
    block.strip().splitlines()
    for block in re.findall(r"```console\n(.*?)```", page("how-to/live.md"), re.DOTALL)
)


def run(line: str, cwd: Path, status: int = 0) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_lines_of_the_page_work(
    tmp_path: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = code_of(page(CHURN))
    # The objective makes every answer late.
    promised = code.replace("golden=rows,", "golden=rows, objective=st.Objective(p99_s=1e-6),")
    assert promised != code
    (tmp_path / "churn.py").write_text(promised)
    run_command("seatrial export churn.py:pipeline --out bundles", tmp_path)
    monkeypatch.chdir(tmp_path)
    _, command, bundles, *flags = shlex.split(SERVE[0])
    assert command == "serve"
    server = serve(Path(bundles), *flags)
    assert server.wait_until_loaded()[0] == 200
    metrics = server.metrics_url.removesuffix("/metrics")
    predicted, told, again, scraped = (
        run(
            line.replace("http://127.0.0.1:8000", server.url).replace(
                "http://127.0.0.1:8002", metrics
            ),
            tmp_path,
        )
        for line in REQUESTS
    )
    label = json.loads(predicted)["predictions"][0]["stays"]["label"]
    assert json.loads(told) == {
        "model_version": "1.0.0",
        "right": int(label == "stays"),
        "wrong": int(label != "stays"),
    }
    assert sum(json.loads(again)[outcome] for outcome in ("right", "wrong")) == 1
    assert 'seatrial_feedback_accuracy{model="churn",version="1.0.0"}' in scraped
    assert "seatrial_log_lines_dropped_total 0.0" in scraped
    assert server.stop() == 0
    (late,) = [line for line in map(json.loads, server.log) if line.get("request_id") == "visit-7"]
    assert (late["slow"], late["code"], late["model"]) == (True, "ok", "churn")
    assert {"front_s", "queue_s", "run_s", "encode_s", "total_s"} <= set(late)
    said = run(REPLAY[0], tmp_path, status=1)
    assert "the failure recurs" in said
    assert "request visit-7, in a batch of 1 rows" in said
