"""The commands of docs/how-to/clouds.md work as they stand, and its table is what the code does."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seatrial_serve.containers import CONTAINERS

PAGE = (Path(__file__).resolve().parent.parent / "docs/how-to/clouds.md").read_text("utf-8")
(BLOCK,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
CURLS = BLOCK.strip().splitlines()


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
