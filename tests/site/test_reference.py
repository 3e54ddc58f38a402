"""The parts of the docs that are made from the code, and pages that must hold all of the code's."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pages import DOCS, page

import seatrial as st
from seatrial.main import COMMANDS
from seatrial_contracts.kinds import kinds
from seatrial_serve.metrics import names
from seatrial_serve.process.codes import Code
from seatrial_serve.settings import Settings

ROOT = DOCS.parent
PACKAGES = ("contracts", "export", "serve", "parity_tests", "cli")
CODE = re.compile(r"E_[A-Z][A-Z0-9_]*[A-Z0-9]")
PREFIXES = {"E_RUNTIME"}
"""What codes begin with, where a piece of ours looks for a group of them."""
TROUBLES = page("troubleshooting.md")


@pytest.fixture(scope="module")
def parts() -> dict[str, str]:
    """Each generated part by its name."""
    made: dict[str, str] = runpy.run_path(str(ROOT / "tools/site/reference.py"))["parts"]()
    return made


def test_every_setting_stands_there_with_its_variable(parts: dict[str, str]) -> None:
    for name in Settings.model_fields:
        assert f"## {name}\n" in parts["settings"]
        assert f"`SEATRIAL_{name.upper()}`" in parts["settings"]


def test_every_command_stands_there_with_its_help(parts: dict[str, str]) -> None:
    for name in COMMANDS:
        assert f"Usage: seatrial {name} " in parts["commands"]


def family(series: str) -> str:
    """The family that a series belongs to."""
    return re.sub(r"_(total|bucket|count|sum)$", "", series)


def test_every_metric_stands_there(parts: dict[str, str]) -> None:
    series = filter(re.compile(r"seatrial_\w+").fullmatch, map(str, vars(names).values()))
    listed = set(re.findall(r"^\| `(\w+)` \|", parts["metrics"], re.MULTILINE))
    assert {family(name) for name in listed} == {family(name) for name in series}
    more = page("reference/metrics.md").partition("| of | more |")[2]
    assert set(re.findall(r"`(seatrial_\w+)`", more)) <= listed


def test_every_code_every_kind_and_every_name_stands_there(parts: dict[str, str]) -> None:
    for code in Code:
        assert (
            f"[`{code}`](../troubleshooting.md#{code.lower()}) | {code.status} |" in parts["codes"]
        )
    for kind in kinds():
        assert f"### {kind}\n" in parts["field_kinds"]
    for name in st.__all__:
        assert f"heading: st.{name}\n" in parts["python"]
    assert '"schema"' in parts["manifest"]
    assert '"inputs"' in parts["contract"]


def test_every_generated_part_has_one_page(parts: dict[str, str]) -> None:
    marks = [
        mark
        for file in DOCS.glob("**/*.md")
        for mark in re.findall(
            r"^<!-- generated: (\w+) -->$", file.read_text("utf-8"), re.MULTILINE
        )
    ]
    assert sorted(marks) == sorted(parts)


def codes_of(file: Path) -> Iterator[str]:
    """The codes that a file of ours names."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and CODE.fullmatch(str(node.value)):
            yield str(node.value)


def test_troubleshooting_says_of_every_code_what_it_means_and_what_to_do() -> None:
    ours = {
        code
        for package in PACKAGES
        for file in (ROOT / package).glob("**/*.py")
        for code in codes_of(file)
    } - PREFIXES
    assert ours >= {str(code) for code in Code}
    told = re.findall(
        r"^### (E_\w+)\n\n(.+?)\n\n\*\*Do:\*\* (.+?)\n", TROUBLES, re.MULTILINE | re.DOTALL
    )
    assert {code for code, _, _ in told} == ours
    assert len(told) == len(ours)


def test_every_page_stands_in_the_navigation_once() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r"(\S+\.md)$", navigation, re.MULTILINE)
    pages = {file.relative_to(DOCS).as_posix() for file in DOCS.glob("**/*.md")}
    assert len(listed) == len(set(listed))
    assert {each for each in pages if not each.startswith("decisions/")} <= set(listed)
