"""Real stores on the loopback, and the command line that asks them.

oras, KServe's storage, s3fs, moto and MLflow's server run in environments of their own:
`make clients`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.registries import wait_for
from support.servers import ROOT

ENVIRONMENTS = ROOT / "build" / "clients"
PACKAGES = ":".join(
    str(ROOT / each) for each in ("contracts", "export", "serve", "parity_tests", "cli")
)


def python_of(name: str) -> str:
    """The interpreter of an environment below build/clients."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not (ENVIRONMENTS / name / ".ready").exists():
        pytest.skip(f"the environment of {name} is not here: make clients")
    return str(python)


def seatrial(*words: str, status: int = 0, python: str = sys.executable, **variables: str) -> str:
    """The output of a command, both streams."""
    done = subprocess.run(
        [python, "-m", "seatrial", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "COLUMNS": "200", **variables},
    )
    assert done.returncode == status, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def served_beside(name: str) -> tuple[str, ...]:
    """The program of a server here that finds the packages of an environment behind its own."""
    site = Path(python_of(name)).parents[1] / "lib"
    (packages,) = site.glob("python*/site-packages")
    code = f"import sys; sys.path.append({str(packages)!r}); from seatrial.main import main; main()"
    return sys.executable, "-c", code, "serve"


def run_python(python: str, code: str, variables: dict[str, str]) -> None:
    """Run a line in an environment below build/clients."""
    subprocess.run([python, "-c", code], check=True, timeout=60, env={**os.environ, **variables})


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """A server that speaks S3, with a bucket `models`; the variables that lead to it."""
    python = python_of("moto")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = Path(python).with_name("moto_server")
    with (folder / "moto.log").open("w") as log:
        process = subprocess.Popen(
            [str(server), "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        wait_for(f"{url}/moto-api/")
        yield {
            "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": PACKAGES,
            "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder),
        }  # fmt: skip
    finally:
        process.terminate()
        process.wait(10)
