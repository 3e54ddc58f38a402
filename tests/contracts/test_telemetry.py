"""onnxruntime tells nobody of a process that imports seatrial."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seatrial_contracts.telemetry import VARIABLE

TOLD = "import sys, onnxruntime; assert 'seatrial_contracts' in sys.modules"


@pytest.mark.parametrize(
    "module",
    ["seatrial_serve.runtimes.onnx.session", "seatrial_export.graphs.session", "seatrial.main"],
)
def test_onnxruntime_keeps_no_id_of_the_machine(module: str, tmp_path: Path) -> None:
    # It also stays off in CI, by CI's variables: without any of them it shows what a user gets.
    given = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }  # fmt: skip
    program = [sys.executable, "-c", f"import {module}; {TOLD}"]
    subprocess.run(program, env=given, check=True, timeout=60)
    assert list(tmp_path.rglob("deviceid")) == []


def test_whoever_sets_the_variable_is_heard() -> None:
    program = f"import os, seatrial_contracts; print(os.environ[{VARIABLE!r}])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {VARIABLE: "0"}, check=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "0"
