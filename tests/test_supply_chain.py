"""What is shipped is listed (CycloneDX), and its known faults are looked up, without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.version import Version
from support.servers import ROOT

sys.path.insert(0, str(ROOT / "tools"))
from advisories import LOCKS, findings, pins_of, read_advisories

IMAGE = ROOT / "deploy" / "image"
TOOL = Path(sys.executable).with_name("cyclonedx-py")
ADVISORIES = read_advisories()


def sbom(out: Path, kind: str, of: Path) -> bytes:
    """What `sbom.sh` writes, as the Makefile and the image's build call it."""
    command = ["sh", IMAGE / "sbom.sh", TOOL, out, kind, of]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out.read_bytes()


def parts_of(data: bytes) -> dict[str, str]:
    """Package -> version, of a valid SBOM."""
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    assert fault is None
    said = json.loads(data)
    assert said["metadata"]["component"]["name"] == "seatrial"
    assert "serialNumber" not in said
    assert "timestamp" not in said["metadata"]
    return {each["name"]: each["version"] for each in said["components"]}


@pytest.mark.slow
def test_the_sbom_beside_the_wheel_lists_what_is_locked_alike_each_time(tmp_path: Path) -> None:
    lock = IMAGE / "cpu.txt"
    first, again = (sbom(tmp_path / name, "requirements", lock) for name in ("first", "again"))
    assert first == again
    assert parts_of(first) == pins_of(lock)
    hashes = [each["externalReferences"] for each in json.loads(first)["components"]]
    assert all(each[0]["hashes"] for each in hashes)


@pytest.mark.slow
def test_the_sbom_in_the_image_lists_what_is_installed(tmp_path: Path) -> None:
    venv.create(tmp_path / "seatrial", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "seatrial" / "lib").glob("python*/site-packages")
    wanted = ("click", "pyrage")
    for name in wanted:
        folder = Path(str(distribution(name)._path))
        shutil.copytree(folder, packages / folder.name)
    python = tmp_path / "seatrial" / "bin" / "python3"
    written = sbom(tmp_path / "sbom", "environment", python)
    assert parts_of(written) == {name: distribution(name).version for name in wanted}


def test_the_images_build_writes_an_sbom_by_a_pinned_tool() -> None:
    script = (IMAGE / "install.sh").read_text()
    last = script.strip().splitlines()[-1]
    assert last == (
        "sh deploy/image/sbom.sh /build/bin/cyclonedx-py /opt/seatrial/sbom.cdx.json "
        "environment /opt/seatrial/bin/python3"
    )
    assert "cyclonedx-bom" in pins_of(IMAGE / "build.txt")
    dockerfile = (ROOT / "Dockerfile").read_text()
    for target in ("cpu", "gpu"):
        assert f"RUN sh deploy/image/install.sh {target}" in dockerfile
        assert f"COPY --from={target}-packages /opt/seatrial /opt/seatrial" in dockerfile
    assert dockerfile.index("COPY pyproject.toml") < dockerfile.index("install.sh cpu")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_no_locked_version_is_within_a_known_vulnerability(lock: Path) -> None:
    pins = pins_of(lock)
    assert pins
    assert not list(findings(ADVISORIES, pins))


def test_an_affected_version_is_found() -> None:
    (ranges,) = (each for each in ADVISORIES if each.id == "CVE-2025-62727")
    (line,) = findings([ranges], {"starlette": "0.49.0", "urllib3": "2.8.0"})
    assert line.startswith("starlette 0.49.0: CVE-2025-62727")
    assert "take 0.49.1" in line
    assert list(findings(ADVISORIES, {"protobuf": "5.29.5"}))
    assert not list(findings(ADVISORIES, {"protobuf": "5.29.6"}))
    assert not list(findings([ranges], {"starlette": "0.49.1"}))
    assert list(findings(ADVISORIES, {"pillow": "12.1.0rc1"})), "pre-releases too"


def test_the_list_is_about_packages_that_are_locked() -> None:
    locked = {name for lock in LOCKS for name in pins_of(lock)}
    assert {each.package for each in ADVISORIES} <= locked
    assert len({each.id for each in ADVISORIES}) == len(ADVISORIES)
    for each in ADVISORIES:
        assert not each.affects(each.fixed), each.id
        assert Version(each.fixed)
