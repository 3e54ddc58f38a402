"""Measuring for real: a server in a process of its own, on the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.manifests import REGISTRY
from support.toys import toy_bundle

from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.errors import ModelError
from seatrial_serve.deploy.measure import children, measure, requests_of
from seatrial_serve.deploy.measured import MEASURED, read_measured

pytestmark = pytest.mark.slow


def test_a_bundle_is_measured_written_and_not_measured_again(
    examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEATRIAL_HTTP_PORT", "none of the server's business")
    path = examples / "penguins" / "1.0.0"
    line = [
        "deploy", "kubernetes", str(path), "--out", str(tmp_path), "--cores", "1",
        "--image", "registry.example/seatrial:0.1.0", "--registry", REGISTRY,
    ]  # fmt: skip
    first = CliRunner().invoke(cli, line)
    assert first.exit_code == 0, first.output
    assert "penguins 1.0.0, measured: ready after" in first.output
    assert f"first: seatrial push {path} {REGISTRY}/penguins:1.0.0" in first.output
    found = read_measured(tmp_path / "penguins")
    assert found is not None
    assert found.digest == open_bundle(path).digest
    assert found.cores == 1
    assert found.resident_bytes > 50_000_000
    assert 0 < found.slowest_answer_s < found.start_s * 100
    assert found.cache_bytes > 1000  # the graph and the receipt
    kept = (tmp_path / "penguins" / MEASURED).read_bytes()
    again = CliRunner().invoke(cli, [*line, "--max-replicas", "40"])
    assert "penguins 1.0.0, kept: ready after" in again.output
    assert (tmp_path / "penguins" / MEASURED).read_bytes() == kept
    assert "maxReplicas: 40" in (tmp_path / "penguins/components/hpa/hpa.yaml").read_text()


def test_a_bundle_whose_graph_does_not_open_is_not_deployed_and_says_why(
    tmp_path: Path,
) -> None:
    bundle = toy_bundle(tmp_path)  # its graph is none that onnxruntime opens
    with pytest.raises(ModelError, match="toy"):
        measure(bundle, 1)


def test_bodies_hold_every_golden_row_and_stay_within_the_contract(examples: Path) -> None:
    for name in ("penguins", "digits", "photos"):
        bundle = open_bundle(examples / name / "1.0.0")
        rows, bodies = requests_of(bundle, 1024)
        assert rows * len(bodies) >= len(bundle.golden.rows)
        assert max(map(len, bodies)) <= bundle.contract.max_body_bytes
        assert rows <= bundle.contract.limits.max_rows


def test_a_process_that_the_server_starts_counts() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
        child.communicate(b"\n")
