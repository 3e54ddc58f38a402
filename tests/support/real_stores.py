"""Real stores on the loopback, and the command line that asks them.

oras, KServe's storage, fsspec's stores, the servers that speak them and MLflow's run in
environments of their own: `make clients`.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from support.ports import free_ports, reaches
from support.servers import ROOT
from support.waiting import until

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


class ObjectStore(NamedTuple):
    """A server that speaks the protocol of an object store, and holds a bucket `models`."""

    address: str
    """Of the bucket."""
    variables: dict[str, str]
    """By which libraries find the server."""
    wrong: dict[str, str] | None
    """The same with credentials that it refuses; None where it asks for none."""

    def seatrial(self, *words: str, status: int = 0) -> str:
        """The output of a command in the environment that has the stores' libraries."""
        python = python_of("object_stores")
        return seatrial(*words, status=status, python=python, **self.variables)


@contextmanager
def object_store(scheme: str, folder: Path) -> Iterator[ObjectStore]:
    """Start the server of `s3`, `gs` or `az`."""
    python = python_of("object_stores")
    (port,) = free_ports(1)
    command, variables, wrong, make = OBJECT_STORES[scheme](f"http://127.0.0.1:{port}", port)
    own = {
        "PYTHONPATH": PACKAGES, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder),
    }  # fmt: skip
    with (folder / "store.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: reaches(port))
        if make:
            run_python(python, make, variables)
        both = None if wrong is None else {**own, **variables, **wrong}
        yield ObjectStore(f"{scheme}://models", {**own, **variables}, both)
    finally:
        process.terminate()
        process.wait(10)


Told = tuple[list[str], dict[str, str], dict[str, str] | None, str]
"""A server's command, the variables that lead to it, wrong ones, and what makes the bucket."""


def moto(url: str, port: int) -> Told:
    server = Path(python_of("store_servers")).with_name("moto_server")
    variables = {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    wrong = {"AWS_SECRET_ACCESS_KEY": "", "AWS_ACCESS_KEY_ID": ""}
    make = "import s3fs; s3fs.S3FileSystem().mkdir('models')"
    return [str(server), "-H", "127.0.0.1", "-p", str(port)], variables, wrong, make


def gcs_emulator(url: str, port: int) -> Told:
    server = Path(python_of("store_servers")).with_name("gcp-storage-emulator")
    command = [str(server), "start", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--in-memory", "--default-bucket", "models"]
    return command, {"STORAGE_EMULATOR_HOST": url}, None, ""


def azurite(url: str, port: int) -> Told:
    home = ENVIRONMENTS / "azurite"
    if not (home / ".ready").exists():
        pytest.skip("azurite is not here: make clients, where npm is")
    command = [
        str(home / "node_modules" / ".bin" / "azurite-blob"), "--blobHost", "127.0.0.1",
        "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck",
        "--disableTelemetry",
    ]  # fmt: skip
    account = "devstoreaccount1"
    key = base64.b64encode(b"a key of this test").decode()
    other = base64.b64encode(b"another key").decode()

    def leading(key: str) -> dict[str, str]:
        said = f"AccountName={account};AccountKey={key};BlobEndpoint={url}/{account};"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{said}"}

    make = (
        "import adlfs, os; given = os.environ['AZURE_STORAGE_CONNECTION_STRING']; "
        "adlfs.AzureBlobFileSystem(connection_string=given).mkdir('models')"
    )
    command = ["env", f"AZURITE_ACCOUNTS={account}:{key}", *command]
    return command, leading(key), leading(other), make


OBJECT_STORES: dict[str, Callable[[str, int], Told]] = {
    "s3": moto, "gs": gcs_emulator, "az": azurite,
}  # fmt: skip
"""Scheme -> the server that speaks it."""
