"""Two variants of a model answer one row side by side, served as the page about variants says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import browsers
from support.browsers import Opened
from support.pages import commands_of, page, run_line
from support.waiting import until

pytestmark = [pytest.mark.slow, browsers.NEEDED]


def test_two_variants_answer_one_row_side_by_side(
    churn: Path, serve: Callable[..., Any], opened: Opened, tmp_path: Path
) -> None:
    section = page("how-to/variants.md").partition("### Two side by side")[2]
    *makes, serves = commands_of(section.partition("\n## ")[0])
    shutil.copytree(churn / "bundles", tmp_path / "bundles")
    for line in makes:
        run_line(line, tmp_path)
    program, *flags = serves.removeprefix("seatrial serve ").split()
    server = serve(tmp_path / program, *flags)
    assert server.wait_until_loaded()[0] == 200

    def variants() -> dict[str, str | None]:
        (listed,) = httpx.get(f"{server.url}/v1/models").json()["models"]
        return {each["version"]: each.get("variant") for each in listed["versions"]}

    until(lambda: all(variants().values()))  # the model is ready by one of them
    told = variants()
    assert told == {"1.0.1": "fp16", "1.0.0": "fp32"}
    shown = opened(server.url, "churn")
    beside = shown.get_by_label("Beside it, version")
    assert beside.locator("option").all_text_contents() == ["none", "1.0.0, fp32"]
    beside.select_option("1.0.0")
    shown.get_by_role("button", name="Predict").click()
    moved = shown.locator(".difference")
    moved.wait_for()
    versions = shown.locator(".answers .answer").get_by_text(re.compile("^Version "))
    assert versions.all_text_contents() == ["Version 1.0.1, fp16", "Version 1.0.0, fp32"]
    row = httpx.get(f"{server.url}/v1/models/churn").json()["example"]
    scores = [
        httpx.post(
            f"{server.url}/v1/models/churn/versions/{version}:predict", json={"instances": [row]}
        ).json()["predictions"]
        for version in told
    ]
    assert scores[0] != scores[1]
    assert "largest move" in str(moved.text_content())
