"""Containers as the manifests start them: with their own folders, on their own ports."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.containers import started
from support.embedded import seal_embedding
from support.fixed_ports import fixed_ports
from support.keyed import key_of
from support.manifests import (
    KSERVE_FOLDER,
    PLACING,
    REGISTRY,
    figures,
    image_variables,
    objects,
    of_kind,
    rendered,
    variables,
    with_components,
    write_kit,
)
from support.mounts import with_folders
from support.servers import OURS

from seatrial_contracts.bundle import Bundle
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.deploy.kserve import InferenceService, serving_runtime
from seatrial_serve.deploy.source import with_address
from seatrial_serve.settings import load_settings

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return seal_embedding(tmp_path / "sealed")


def mounted(bundle: Bundle, folder: Path) -> Path:
    """What the layer of a pushed bundle holds: /models, with it in it."""
    shutil.copytree(bundle.path, folder / "models" / bundle.name / bundle.version)
    return folder


def pod_of(found: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, int]]:
    """The container of a rendered kit, and the number of each of its ports."""
    (container,) = of_kind(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container, {port["name"]: port["containerPort"] for port in container["ports"]}


@pytest.mark.slow
def test_a_pod_with_an_image_volume_and_keys_answers_on_each_port_of_its_manifest(
    bundle: Bundle, tmp_path: Path
) -> None:
    kit = write_kit(with_address(bundle, REGISTRY), tmp_path / "kit", figures(name=bundle.name))
    found = rendered(with_components(kit, "image-volume", "prometheus", "keda", "keys"))
    container, ports = pod_of(found)
    (tmp_path / "keys").mkdir()
    file = tmp_path / "keys" / "keys.toml"
    (tmp_path / "key").write_text(key_of(file, "trial", "infer", "read"))
    scrape = key_of(file, "prometheus", "metrics")
    folders = {"bundle": mounted(bundle, tmp_path / "image"), "keys": file.parent}
    at = {each["mountPath"]: folders[each["name"]] for each in container["volumeMounts"]
          if each["name"] in folders}  # fmt: skip
    assert len(at) == 2
    program = with_folders(at, *OURS)
    said = image_variables() | variables(container) | {"SEATRIAL_HOST": "127.0.0.1"}
    ready = f"http://127.0.0.1:{ports['http']}{container['readinessProbe']['httpGet']['path']}"
    with fixed_ports(*ports.values()), started(program, said, ready):
        url, grpc = f"http://127.0.0.1:{ports['http']}", f"127.0.0.1:{ports['grpc']}"
        asked = TrialRequest(bundle, url=url, grpc=grpc, key_file=tmp_path / "key")
        receipt = try_bundle(asked, ["http v1", "grpc"])
        assert receipt.passed, [trial.finding for trial in receipt.trials]
        assert httpx.get(f"{url}/v2").status_code == 401
        (endpoint,) = of_kind(found, "ServiceMonitor")["spec"]["endpoints"]
        metrics = f"http://127.0.0.1:{ports[endpoint['port']]}{endpoint['path']}"
        assert httpx.get(metrics).status_code == 401
        scraped = httpx.get(metrics, headers={"Authorization": f"Bearer {scrape}"})
        assert scraped.status_code == 200


def test_the_variables_of_each_overlay_are_settings_with_these_values(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = write_kit(with_address(bundle, REGISTRY), tmp_path / "kit", figures(name=bundle.name))
    for name, value in image_variables().items():
        monkeypatch.setenv(name, value)
    for overlay, providers in (
        ("cpu", ("CPUExecutionProvider",)), ("gpu", ("CUDAExecutionProvider",)),
    ):  # fmt: skip
        container, ports = pod_of(rendered(kit / "overlays" / overlay))
        with monkeypatch.context() as patch:
            for name, value in variables(container).items():
                patch.setenv(name, value)
            settings = load_settings()
        assert settings.providers == providers
        assert settings.bundles == ("/bundles/models",)
        own = {"http": settings.http_port, "grpc": settings.grpc_port,
               "metrics": settings.metrics_port}  # fmt: skip
        assert own == ports
        settings.check_exposure()


@pytest.mark.slow
def test_kserves_container_finds_the_bundle_at_mnt_models_and_answers_on_its_ports(
    bundle: Bundle, tmp_path: Path
) -> None:
    (container,) = serving_runtime("a/b:1")["spec"]["containers"]
    service = InferenceService(with_address(bundle, REGISTRY), figures(), PLACING)
    model = of_kind(objects(service.file().text("")), "InferenceService")["spec"]["predictor"]
    flags = [each.replace("{{.Name}}", "adelie") for each in container["args"]]
    image = mounted(bundle, tmp_path / "image")
    # the runtime's image says no more than its variables; the last --host counts
    program = with_folders({KSERVE_FOLDER: image / "models"}, *OURS, *flags, "--host", "127.0.0.1")
    said = image_variables() | variables(model["model"])
    http, grpc, metrics = (port["containerPort"] for port in container["ports"])
    ready = f"http://127.0.0.1:{http}{container['readinessProbe']['httpGet']['path']}"
    with fixed_ports(http, grpc, metrics), started(program, said, ready):
        asked = TrialRequest(
            bundle, url=f"http://127.0.0.1:{http}", grpc=f"127.0.0.1:{grpc}", model="adelie"
        )
        receipt = try_bundle(asked, ["http v1", "v2 json", "v2 binary", "grpc"])
        assert receipt.passed, [trial.finding for trial in receipt.trials]
        assert 'model="adelie"' in httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
