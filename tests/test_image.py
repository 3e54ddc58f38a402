"""The built image: small, without what a server does not need, not root.

It runs over a read-only root, and answers as training did.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from support.real_image import RealImage, needs_image, open_image

ROOT = Path(__file__).resolve().parent.parent
INSIDE = Path("/bundles")
LARGEST_BYTES = 300 * 2**20
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_image]


@pytest.fixture(scope="module")
def image() -> Iterator[RealImage]:
    with open_image() as opened:
        yield opened


@pytest.fixture(scope="module")
def contained(image: RealImage, examples: Path, serve: Callable[..., Any]) -> Iterator[Any]:
    examples.chmod(0o755)  # pytest makes its folders for its own user alone
    server = serve(INSIDE, "--host", "127.0.0.1", program=image.server(examples))
    status, said = server.wait_until_loaded()
    assert status == 200, said
    yield server
    server.stop()


@pytest.mark.parametrize("name", ["penguins", "digits", "sentences", "photos"])
def test_its_golden_rows_pass_over_http_and_grpc(
    contained: Any, examples: Path, tmp_path: Path, name: str
) -> None:
    command = [
        sys.executable,
        "-m",
        "seatrial",
        "parity",
        str(examples / name / "1.0.0"),
        "--url",
        contained.url,
        "--grpc",
        contained.grpc,
        "--runner",
        "http v1",
        "--runner",
        "v2 binary",
        "--runner",
        "grpc",
        "--junit",
        str(tmp_path / "junit.xml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("http v1") >= 1


def test_its_health_check_knows_a_server_that_answers_from_one_that_does_not(
    image: RealImage, contained: Any
) -> None:
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    port = contained.url.rsplit(":", 1)[1]
    assert image.run(*command, SEATRIAL_HTTP_PORT=port).returncode == 0
    assert image.run(*command, SEATRIAL_HTTP_PORT="1").returncode != 0


def test_it_has_a_folder_for_the_record_of_versions(image: RealImage) -> None:
    assert "XDG_STATE_HOME=/state" in image.config["Env"]
    status = (image.root / "state").stat()
    assert (status.st_uid, status.st_gid) == (10001, 10001)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "/bundles"),
        ({"SEATRIAL_CONTAINER": "sagemaker"}, "/opt/ml/model"),
        ({"SEATRIAL_CONTAINER": "vertex", "AIP_STORAGE_URI": "gs://b/m"}, "gs://b/m"),
        ({"SEATRIAL_CONTAINER": "azureml", "AZUREML_MODEL_DIR": "/var/m"}, "/var/m"),
        ({"SEATRIAL_CONTAINER": "cloudrun"}, "/bundles"),
    ],
)
def test_a_clouds_folder_takes_the_place_of_its_own(
    image: RealImage, variables: dict[str, str], folder: str
) -> None:
    asked = "from seatrial_serve.settings import load_settings; s = load_settings(); "
    done = image.run("python", "-c", f"{asked}print(s.host, *s.bundles)", **variables)
    assert done.stdout == f"0.0.0.0 {folder}\n", done.stdout + done.stderr


def test_it_lists_what_is_in_it(image: RealImage) -> None:
    done = image.run("cat", "/opt/seatrial/sbom.cdx.json")
    assert done.returncode == 0, done.stderr
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(done.stdout) is None
    listed = {each["name"] for each in json.loads(done.stdout)["components"]}
    assert {"onnxruntime", "pyrage", "tokenizers"} <= listed
    assert not listed & {"huggingface-hub", "hf-xet", "cyclonedx-bom"}


def test_nobody_in_it_is_root_and_nothing_of_it_can_be_written(image: RealImage) -> None:
    assert image.config["User"] == "10001:10001"
    done = image.run(
        "python", "-c", "import os; print(os.getuid(), os.getgid()); open('/cache/new', 'w')"
    )
    assert done.stdout == "10001 10001\n"
    assert "Read-only file system: '/cache/new'" in done.stderr, (
        "its own folder, and it may not write there either"
    )


@pytest.mark.parametrize(
    "module",
    ["torch", "onnx", "pip", "setuptools", "seatrial_export", "seatrial_parity", "huggingface_hub"],
)
def test_it_holds_no_training_no_installer_and_no_trial(image: RealImage, module: str) -> None:
    done = image.run("python", "-c", f"import importlib.util as u; print(u.find_spec('{module}'))")
    assert done.stdout == "None\n", done.stdout + done.stderr


def test_it_holds_no_compiler_and_is_small(image: RealImage) -> None:
    for name in ("cc", "gcc", "c++", "g++", "clang", "ld", "make"):
        assert image.run("sh", "-c", f"command -v {name}").returncode != 0, name
    ours = sum(
        path.lstat().st_size
        for path in (image.root / "opt" / "seatrial").rglob("*")
        if not path.is_symlink()
    )
    print(
        f"\nimage: {image.size_bytes / 2**20:.0f} MB, "
        f"of which seatrial and its packages {ours / 2**20:.0f} MB"
    )
    assert ours < LARGEST_BYTES


def test_a_server_in_it_drains_at_sigterm(
    image: RealImage, examples: Path, serve: Callable[..., Any]
) -> None:
    examples.chmod(0o755)
    server = serve(
        INSIDE, "--host", "127.0.0.1", "--drain-window-s", "0", program=image.server(examples)
    )
    assert server.stop() == 0
    assert "told to stop: draining for 0 s" in "".join(server.log)
