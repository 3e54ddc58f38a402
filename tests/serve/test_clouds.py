"""A server as each cloud starts our image, asked what the cloud's documents show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.containers import started
from support.embedded import seal_embedding, vector_of
from support.fixed_ports import fixed_ports
from support.manifests import image_variables
from support.mounts import with_folders
from support.ports import free_ports
from support.servers import OURS

from seatrial_serve.settings import load_settings

pytestmark = pytest.mark.timeout(120)
TEXTS = ["a ship", "two boats"]
INSTANCES = {"instances": [{"text": text} for text in TEXTS]}
CSV = "text\na ship\ntwo boats\n"


@pytest.fixture
def as_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's variables."""
    for name, value in image_variables().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("as_image")
def test_the_image_listens_everywhere_and_serves_its_folder() -> None:
    settings = load_settings()
    assert (settings.host, settings.bundles) == ("0.0.0.0", ("/bundles",))
    assert not settings.insecure
    assert settings.grpc


@pytest.mark.usefixtures("as_image")
@pytest.mark.parametrize(
    ("container", "variables", "folder"),
    [
        ("sagemaker", {}, "/opt/ml/model"),
        ("sagemaker", {"SAGEMAKER_MULTI_MODEL": "true"}, "/opt/ml/models"),
        ("vertex", {"AIP_STORAGE_URI": "gs://caip-tenant/model"}, "gs://caip-tenant/model"),
        ("vertex", {}, "/bundles"),
        ("azureml", {"AZUREML_MODEL_DIR": "/var/azureml-app/m/1"}, "/var/azureml-app/m/1"),
        ("azureml", {}, "/bundles"),
        ("cloudrun", {}, "/bundles"),
    ],
)
def test_a_clouds_folder_takes_the_place_of_the_images_and_a_users_that_of_both(
    monkeypatch: pytest.MonkeyPatch, container: str, variables: dict[str, str], folder: str
) -> None:
    for name, value in (variables | {"SEATRIAL_CONTAINER": container}).items():
        monkeypatch.setenv(name, value)
    assert load_settings().bundles == (folder,)
    monkeypatch.delenv("SEATRIAL_CONTAINER")
    assert load_settings(container=container).bundles == (folder,)
    monkeypatch.setenv("SEATRIAL_BUNDLES", "oci://registry.example/models/churn:stable")
    assert load_settings(container=container).bundles == (
        "oci://registry.example/models/churn:stable",
    )


def test_the_word_that_sagemaker_runs_every_image_with_is_no_folder() -> None:
    assert load_settings(container="sagemaker", bundles=("serve",)).bundles == ("/opt/ml/model",)
    assert load_settings(container="sagemaker", bundles=("./serve",)).bundles == ("./serve",)
    assert load_settings(container="cloudrun", bundles=("serve",)).bundles == ("serve",)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle, as users upload it."""
    return seal_embedding(tmp_path_factory.mktemp("sealed")).path


@contextmanager
def healthy(
    program: list[str], variables: dict[str, str], port: int, health: str
) -> Iterator[httpx.Client]:
    """A client of a server that a cloud starts, once it is healthy.

    It listens on the loopback alone, and its metrics on no port that others of this run want.
    """
    ours = {"SEATRIAL_HOST": "127.0.0.1", "SEATRIAL_METRICS_PORT": "0"}
    base = f"http://127.0.0.1:{port}"
    with (
        started(program, image_variables() | ours | variables, base + health),
        httpx.Client(base_url=base) as client,
    ):
        yield client


def right(reply: httpx.Response) -> bool:
    """Are these the answers to the texts?"""
    assert reply.status_code == 200, reply.text
    predictions: list[Any] = reply.json()["predictions"]
    return [each["vector"] for each in predictions] == [
        pytest.approx(vector_of(text).tolist(), abs=1e-6) for text in TEXTS
    ]


@pytest.mark.slow
def test_sagemaker_runs_the_image_with_serve_and_posts_invocations(sealed: Path) -> None:
    (port,) = free_ports(1)
    program = with_folders({"/opt/ml/model": sealed}, *OURS, "serve")
    variables = {"SEATRIAL_CONTAINER": "sagemaker", "SAGEMAKER_BIND_TO_PORT": str(port)}
    with healthy(program, variables, port, "/ping") as client:
        assert right(client.post("/invocations", json=INSTANCES))
        csv = {"content-type": "text/csv", "x-amzn-sagemaker-custom-attributes": "trace=1"}
        assert right(client.post("/invocations", content=CSV, headers=csv))


@pytest.mark.slow
def test_sagemaker_loads_asks_and_unloads_models_of_a_multi_model_endpoint(
    sealed: Path, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    shutil.copytree(sealed, tmp_path / "models" / "a1b2" / "model")
    program = with_folders({"/opt/ml/models": tmp_path / "models"}, *OURS, "serve")
    variables = {
        "SEATRIAL_CONTAINER": "sagemaker", "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MULTI_MODEL": "true",
    }  # fmt: skip
    with healthy(program, variables, port, "/ping") as client:
        told = {"model_name": "a1b2", "url": "/opt/ml/models/a1b2/model"}
        assert client.post("/models", json=told).status_code == 200
        assert len(client.get("/models").json()["models"]) == 1
        target = {"X-Amzn-SageMaker-Target-Model": "sentences.tar.gz"}
        assert right(client.post("/models/a1b2/invoke", json=INSTANCES, headers=target))
        assert client.delete("/models/a1b2").status_code == 200


@pytest.mark.slow
def test_vertex_asks_at_the_routes_that_it_names(sealed: Path) -> None:
    (port,) = free_ports(1)
    at = "/v1/endpoints/123/deployedModels/456"
    variables = {
        "AIP_HTTP_PORT": str(port), "AIP_HEALTH_ROUTE": at, "AIP_PREDICT_ROUTE": f"{at}:predict",
        "AIP_STORAGE_URI": sealed.as_uri(), "AIP_MODE": "PREDICTION",
    }  # fmt: skip
    with healthy([*OURS, "--container", "vertex"], variables, port, at) as client:
        assert right(client.post(f"{at}:predict", json={**INSTANCES, "parameters": {}}))


@pytest.mark.slow
def test_azure_posts_to_score_on_port_5001(sealed: Path) -> None:
    variables = {"AZUREML_MODEL_DIR": str(sealed)}
    program = [*OURS, "--container", "azureml"]
    with fixed_ports(5001), healthy(program, variables, 5001, "/ping") as client:
        assert right(client.post("/score", json=INSTANCES))


@pytest.mark.slow
def test_cloud_run_names_a_port(sealed: Path) -> None:
    (port,) = free_ports(1)
    variables = {"PORT": str(port), "K_SERVICE": "texts"}
    program = with_folders({"/bundles": sealed}, *OURS, "--container", "cloudrun")
    with healthy(program, variables, port, "/v2/health/ready") as client:
        (name,) = client.get("/v2/models").json()["models"]
        assert right(client.post(f"/v1/models/{name}:predict", json=INSTANCES))
