"""MLflow on the loopback: its database alone, or its real server in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.ports import free_ports
from support.real_stores import python_of
from support.registries import wait_for

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""A server that starts no workers of its own beside the web server."""


@contextmanager
def mlflow_database(folder: Path) -> Iterator[str]:
    """An MLflow without a server: a database, and artifacts beside it; MLFLOW_TRACKING_URI."""
    for module in ("mlflow", "sqlalchemy"):
        pytest.importorskip(module, reason="MLflow and its database are not here: make setup")
    with pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        patch.chdir(folder)  # artifacts go below the folder that makes the database
        from mlflow import MlflowClient

        MlflowClient().search_experiments()
        yield uri


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """MLflow's real server, which also hands out the artifacts; its URL.

    It has no login. Whoever asks it sets MLFLOW_TRACKING_URI.
    """
    pytest.importorskip("mlflow", reason="MLflow's library is not here: make setup")
    python = python_of("mlflow")
    (port,) = free_ports(1)
    command = [
        python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    place = {"HOME": str(folder), "PATH": os.environ["PATH"], **QUIET}
    with (folder / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=place, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", 120)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)  # the server and the workers that it started
        process.wait(20)
