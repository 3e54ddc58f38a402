"""Clients of other projects, each in an environment below build/clients: `make clients`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals.sealed import seal

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / "build/clients"


@pytest.fixture(scope="module")
def asked_by(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]
) -> Callable[[str], dict[str, Any]]:
    """Run `ask_NAME.py` in the environment NAME against a server; return its output.

    The server has the bundles of the refusals; `sentences` is the model of requests that name none.
    """
    running: list[Any] = []

    def ask(name: str) -> dict[str, Any]:
        python = ENVIRONMENTS / name / "bin/python"
        if not python.exists():
            pytest.skip(f"the environment of {name} is not here: make clients")
        if not running:
            folder = tmp_path_factory.mktemp("clients")
            seal(folder)
            running.append(serve(folder, "--default-model", "sentences"))
            assert running[0].wait_until_loaded()[0] == 200
        command = [str(python), str(HERE / f"ask_{name}.py"), running[0].url, running[0].grpc]
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env={}
        )
        assert ran.returncode == 0, ran.stderr
        said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return said

    return ask
