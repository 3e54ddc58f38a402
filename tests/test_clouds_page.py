"""The commands of docs/clouds.md work as they stand, and its table is what the code does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from seatrial_serve.containers import CONTAINERS

PAGE = (Path(__file__).resolve().parent.parent / "docs/clouds.md").read_text("utf-8")
CURLS, KSERVE = (
    block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
)


def test_every_cloud_stands_in_the_table() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(CONTAINERS)


@pytest.mark.slow
def test_the_commands_are_answered(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(examples / "penguins" / "1.0.0")
    assert server.wait_until_loaded()[0] == 200
    answers = []
    for line in CURLS:
        asked = line.replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run(
            ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        answers += [json.loads(done.stdout)] if done.stdout else []
    json_answer, csv_answer = answers
    assert json_answer == csv_answer
    assert json_answer["predictions"][0]["species"]["label"] == "Gentoo"


@pytest.mark.slow
def test_the_container_is_served_as_kserve_starts_it(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    mounted = tmp_path / "mnt" / "models"
    mounted.parent.mkdir()
    shutil.copytree(examples / "penguins" / "1.0.0", mounted)
    (line,) = KSERVE
    words = line.split()
    assert words[:3] == ["seatrial", "serve", "/mnt/models"]
    assert words[5:] == ["--host", "0.0.0.0", "--http-port", "8080", "--grpc-port", "9000"]
    server = serve(mounted, *words[3:5])
    assert server.wait_until_loaded()[0] == 200
    row = json.loads(re.findall(r"-d '(.*?)'", CURLS[0])[0])["dataframe_split"]
    body = {"instances": [dict(zip(row["columns"], row["data"][0], strict=True))]}
    reply = httpx.post(f"{server.url}/v1/models/churn:predict", json=body)
    assert reply.json()["predictions"][0]["species"]["label"] == "Gentoo"
    assert httpx.get(f"{server.url}/v2/models").json() == {"models": ["churn"]}
