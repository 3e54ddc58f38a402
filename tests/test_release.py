"""How seatrial is installed: from a clone until there is a release, which a tag makes."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from support.pages import page
from support.servers import ROOT

RELEASE = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
BY_NAME = re.compile(r"pip install[^\n`]*?[\s'\"](seatrial(?:\[[\w,]+\])?)(?=['\"\s=<>~]|$)")
"""An installation by the name alone, which an index would answer."""
EXTRAS = re.compile(r"pip install[^\n]*?'(?:/seatrial|\.)\[([\w,]+)\]'")
SOURCES = [
    file
    for pattern in ("*.py", "*.md", "*.js", "*.html", "*.j2", "*.sh", "*.yml", "*.yaml")
    for folder in ("action", "cli", "contracts", "deploy", "docs", "examples", "export",
                   "parity_tests", "serve", "tools")
    for file in (ROOT / folder).rglob(pattern)
]  # fmt: skip
SOURCES += [*ROOT.glob("*.md"), ROOT / "Makefile"]


def test_nobody_is_told_to_install_a_name_that_is_not_ours() -> None:
    assert BY_NAME.search("run: pip install 'seatrial[text]'")
    assert BY_NAME.search("pip install seatrial")
    assert not BY_NAME.search("in the clone of seatrial, run: pip install '.[text]'")
    told = [
        f"{file.relative_to(ROOT)}: {found[0]}"
        for file in SOURCES
        for found in BY_NAME.finditer(file.read_text("utf-8"))
    ]
    assert not told


def test_every_extra_that_is_named_is_one() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        known = set(tomllib.load(file)["project"]["optional-dependencies"])
    named = {
        extra
        for file in SOURCES
        for found in EXTRAS.findall(file.read_text("utf-8"))
        for extra in found.split(",")
    }
    assert len(named) > 10
    assert named <= known


def test_a_release_publishes_what_was_tested_and_built_without_a_secret() -> None:
    jobs = RELEASE["jobs"]
    assert RELEASE["permissions"] == {"contents": "read"}
    assert jobs["publish"]["needs"] == ["test", "build"]
    assert jobs["publish"]["permissions"] == {"attestations": "write", "id-token": "write"}
    assert "secrets" not in str(RELEASE)
    uses = [step["uses"].partition("@")[0] for step in jobs["publish"]["steps"]]
    assert uses == [
        "actions/download-artifact",
        "actions/download-artifact",
        "actions/attest-build-provenance",
        "pypa/gh-action-pypi-publish",
    ]
    said = page("release.md")
    assert f"environment `{jobs['publish']['environment']}`" in said
    assert "workflow `release.yml`" in said


def test_an_sbom_lies_beside_the_wheel_of_a_release() -> None:
    (written,) = re.findall(r"\$\(DIST\)/(\S+\.cdx\.json)", (ROOT / "Makefile").read_text())
    jobs = RELEASE["jobs"]
    kept = {
        step["with"]["name"]: step["with"]["path"].split()
        for step in jobs["build"]["steps"]
        if "upload-artifact" in step.get("uses", "")
    }
    assert kept == {"dist": ["dist/*.whl", "dist/*.tar.gz"], "sbom": [f"dist/{written}"]}
    [attested] = [
        step["with"]["subject-path"].split()
        for step in jobs["publish"]["steps"]
        if "attest" in step["uses"]
    ]
    assert attested == ["dist/*", "sbom/*"]
    assert jobs["release"]["needs"] == "publish"
    assert jobs["release"]["permissions"] == {"contents": "write"}
    *fetched, released = jobs["release"]["steps"]
    assert [step["with"] for step in fetched] == [
        {"name": name, "path": "files/"} for name in ("dist", "sbom")
    ]
    assert 'gh release create "$TAG" files/* --verify-tag' in released["run"]


@pytest.mark.parametrize(("tag", "passes"), [("v0.1.0", True), ("v9.9.9", False)])
def test_a_tag_that_is_not_the_version_is_refused(tag: str, passes: bool, tmp_path: Path) -> None:
    project = re.sub(r'^version = ".*"$', 'version = "0.1.0"',
                     (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)  # fmt: skip
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "CHANGELOG.md").write_text("## 0.1.0 - 2026-01-01\n")
    [check] = [step["run"] for step in RELEASE["jobs"]["build"]["steps"] if "TAG" in str(step)]
    done = subprocess.run(
        ["bash", "-e", "-c", check], cwd=tmp_path, env={"TAG": tag, "PATH": "/usr/bin:/bin"},
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode == 0) == passes
