"""What `deploy/` holds, judged by the schemas and tools of those who will read it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from support.servers import EXAMPLES, ROOT

from seatrial_contracts.bundle import open_bundle
from seatrial_serve.monitor.figures import Windows
from seatrial_serve.monitor.write import write_monitoring

DEPLOY = ROOT / "deploy"
# JSON holds the values of an enum, where TypeScript wants its names.
TYPED = """import type { Dashboard } from "@grafana/schema";
type Json<T> = T extends string ? (string extends T ? string : `${T}`)
  : T extends (infer U)[] ? Json<U>[]
  : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
export const dashboard: Json<Dashboard> = """
SCHEMA = ("typescript@5.9.3", "@grafana/schema@11.6.0")
TSC = (
    "--strict",
    "--noEmit",
    "--skipLibCheck",
    "--module",
    "nodenext",
    "--moduleResolution",
    "nodenext",
    "--target",
    "es2022",
)


def run(*command: str, cwd: Path = DEPLOY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100
    )


def test_compose_follows_the_compose_specification_and_listens_on_the_loopback_alone() -> None:
    done = run(
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "compose.yaml",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_every_service_has_bounds_of_memory_processes_and_cores() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert re.fullmatch(r"(\$\{\w+:-)?\d+[mg]\}?", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 512, name
        assert re.fullmatch(r"(\$\{\w+:-)?\d+\}?", str(service["cpus"])), name


DOCKER = """#!/bin/sh
test "$1 $2 $3" = "buildx imagetools inspect" || exit 3
test "$4" = "$MISSING" && { echo "not found" >&2; exit 1; }
printf 'sha256:%s\\n' "$(printf %s "$4" | sha256sum | cut -d ' ' -f 1)"
"""
"""A docker that answers for every image but one."""


def test_images_are_pinned_by_the_digests_that_their_registry_has(tmp_path: Path) -> None:
    for name in ("compose.yaml", "pin.py"):
        shutil.copy(DEPLOY / name, tmp_path)
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    asked = [service["image"] for service in services.values() if "image" in service]
    asked.append(services["seatrial"]["build"]["args"]["BASE"])
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MISSING": "grafana/grafana:11.6.0"}
    done = subprocess.run(
        [sys.executable, tmp_path / "pin.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, (tmp_path / ".env").exists()) == (1, False)
    assert (
        "grafana/grafana:11.6.0: no digest from docker; nothing is written: not found"
        in done.stderr
    )
    subprocess.run(
        [sys.executable, tmp_path / "pin.py"],
        env=environment | {"MISSING": ""},
        capture_output=True,
        check=True,
    )
    pinned = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines()[1:])
    for reference in asked:
        name, image = re.fullmatch(r"\$\{(\w+):-([^@]+)@sha256:[0-9a-f]{64}\}", reference).groups()  # type: ignore[union-attr]
        assert pinned.pop(name) == f"{image}@sha256:{sha256(image.encode()).hexdigest()}"
    assert pinned == {}


def test_the_dockerfile_and_compose_start_from_the_same_digest() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    base = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert re.search(r"@sha256:[0-9a-f]{64}$", base[1])
    assert services["seatrial"]["build"]["args"]["BASE"] == f"${{PYTHON_IMAGE:-{base[1]}}}"


def test_every_file_that_compose_mounts_is_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    mounted = [
        volume.split(":")[0] for service in services for volume in service.get("volumes", ())
    ]
    paths = [DEPLOY / path for path in mounted if path.startswith("./")]
    assert len(paths) == 5
    assert all(path.exists() for path in paths)


@pytest.mark.skipif(
    shutil.which("amtool") is None,
    reason="amtool is not installed: apt-get install prometheus-alertmanager",
)
def test_amtool_takes_the_configuration_and_routes_pages_to_whoever_is_woken() -> None:
    assert run("amtool", "check-config", "alertmanager.yaml").returncode == 0
    for severity, receiver in (("page", "pages"), ("ticket", "tickets")):
        found = run(
            "amtool",
            "config",
            "routes",
            "test",
            "--config.file=alertmanager.yaml",
            f"severity={severity}",
        )
        assert found.stdout.strip() == receiver


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)
def test_promtool_takes_the_configuration_and_the_committed_rules_with_their_tests(
    tmp_path: Path,
) -> None:
    shutil.copytree(DEPLOY / "monitoring/rules", tmp_path / "rules")
    shutil.copy(DEPLOY / "prometheus.yaml", tmp_path)
    assert run("promtool", "check", "config", "prometheus.yaml", cwd=tmp_path).returncode == 0
    tests = sorted(file.name for file in (tmp_path / "rules").glob("*.test.yaml"))
    assert tests == sorted(f"{name}.test.yaml" for name in EXAMPLES)
    done = run("promtool", "test", "rules", *tests, cwd=tmp_path / "rules")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_committed_files_are_what_the_examples_give(examples: Path, tmp_path: Path) -> None:
    write_monitoring(
        [open_bundle(examples / name / "1.0.0") for name in EXAMPLES], tmp_path, Windows()
    )
    for file in tmp_path.rglob("*.*"):
        committed = DEPLOY / "monitoring" / file.relative_to(tmp_path)
        assert file.read_text() == committed.read_text(), (
            f"seatrial monitor bundles/*/1.0.0 writes {committed} anew"
        )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_dashboards_are_of_grafanas_own_types(tmp_path: Path) -> None:
    installed = run(
        "npm",
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        *SCHEMA,
        cwd=tmp_path,
    )
    assert installed.returncode == 0, installed.stderr
    for file in sorted((DEPLOY / "monitoring/dashboards").glob("*.json")):
        (tmp_path / f"{file.stem}.ts").write_text(TYPED + file.read_text() + ";\n")
    board = json.loads((DEPLOY / "monitoring/dashboards/penguins.json").read_text())
    (tmp_path / "broken.ts").write_text(TYPED + json.dumps(board | {"graphTooltip": 7}) + ";\n")
    found = run(
        str(tmp_path / "node_modules/.bin/tsc"),
        *TSC,
        *(file.name for file in tmp_path.glob("*.ts")),
        cwd=tmp_path,
    )
    assert [line.split("(")[0] for line in found.stdout.splitlines()] == ["broken.ts"], found.stdout
