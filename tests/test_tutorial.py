"""The tutorial is walked as a reader walks it: each line pasted, each output seen, in one go."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.pages import DOCS, page, run_command
from support.walk import Walk

PAGES = re.findall(r"\| \[\d\. [^]]*\]\((\w[\w-]*\.md)\) \|", page("tutorial/index.md"))
BESIDE = ("how-to/files.md", "how-to/release-gate.md", "how-to/engines.md")
"""Pages whose lines are about the tutorial's bundle and folder."""


@pytest.mark.slow
@pytest.mark.timeout(720)
def test_each_page_of_the_tutorial_works_and_ends_in_what_it_shows(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    walk = Walk(tmp_path, serve, run_command)
    for name in PAGES:
        text = page(f"tutorial/{name}")
        walk.write_code(text)
        walk.paste(text, name)
        assert re.findall(r"^```(text|json)$", text, re.MULTILINE), name
    for name in BESIDE:
        walk.read(name)
    assert "churn 1.0.1" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "notes.md").read_text().startswith("# churn 1.1.0")
    ci = next(
        line.strip()
        for line in page("tutorial/prove.md").splitlines()
        if line.strip().startswith("pytest --seatrial-bundle")
    )
    walk.run(f"{ci} -p no:randomly -q")


def test_the_tutorial_has_six_pages_and_each_leads_to_the_next() -> None:
    assert len(PAGES) == 6
    assert {file.name for file in (DOCS / "tutorial").iterdir()} == {"index.md", *PAGES}
    for name, following in itertools.pairwise(PAGES):
        assert f"]({following})" in page(f"tutorial/{name}").rpartition("Next:")[2]
