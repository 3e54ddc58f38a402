"""The patches of the pages for signatures, keys, encryption and an audit log: they have effect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.encrypted import make_identity
from support.keyed import bearer, key_of
from support.manifests import (
    PLACING,
    crd,
    faults,
    figures,
    objects,
    of_kind,
    sourced,
    variables,
    write_kit,
)
from support.pages import page
from support.running import run_app
from support.signers import make_key
from support.toys import ROWS, fake_runtimes, toy_bundle

from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_serve.deploy.helm import changed
from seatrial_serve.deploy.kserve import InferenceService, serving_runtime
from seatrial_serve.process.syslog import read_target
from seatrial_serve.settings import PREFIX, Settings
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

POLICY = '[[signer]]\nname = "release"\nkey = "release.pub.pem"\n'


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fake_runtimes(monkeypatch)


def block_of(name: str, heading: str) -> Any:
    """The YAML below a heading of a page."""
    section = page(f"how-to/{name}").partition(f"## {heading}")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    return yaml.safe_load(block)


def options_of(container: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str]:
    """The settings that variables name, but those that the kit has; each file must be mounted."""
    mounts = [each["mountPath"] for each in container["volumeMounts"]]
    found = {}
    for name, value in named.items():
        setting = name.removeprefix(PREFIX).lower()
        if not name.startswith(PREFIX) or setting not in Settings.model_fields:
            continue
        if value.startswith("/"):
            assert any(value.startswith(f"{mount}/") for mount in mounts), name
        found[setting] = value
    return found


def check_volumes(pod: Mapping[str, Any], container: Mapping[str, Any]) -> None:
    """Each mount has its volume, and each volume its mount."""
    names = [each["name"] for each in pod["volumes"]]
    mounted = [each["name"] for each in container["volumeMounts"]]
    assert len(set(names)) == len(names)
    assert set(mounted) == set(names)


async def test_a_server_of_a_patched_deployment_serves_what_is_signed_and_encrypted(
    tmp_path: Path,
) -> None:
    kit = write_kit(sourced(tmp_path / "b"), tmp_path / "kit", figures())
    deployment = of_kind(objects((kit / "base/deployment.yaml").read_text()), "Deployment")
    patch = block_of("kubernetes.md", "Signatures, encryption, an audit log")
    pod = changed(deployment, patch)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    check_volumes(pod, container)
    named = variables(container)
    assert named["XDG_STATE_HOME"] in [each["mountPath"] for each in container["volumeMounts"]]
    (patched,) = patch["spec"]["template"]["spec"]["containers"]
    options = options_of(container, variables(patched))
    read_target(options.pop("audit_log"))
    keys = make_key(tmp_path / "etc/seatrial/trust")
    (tmp_path / "etc/seatrial/trust/policy.toml").write_text(POLICY)
    secret = make_identity(tmp_path / "etc/seatrial/identity/identity.txt")
    plain = toy_bundle(tmp_path / "plain")
    sign_bundle(plain.path, read_signing_key(keys.private))
    encrypt_bundle(plain, [secret.to], tmp_path / "bundles")
    here = {name: tmp_path / value.lstrip("/") for name, value in options.items()}
    async with run_app(tmp_path / "bundles", **here) as running:
        assert (await running.ask(ROWS[:1])).status_code == 200
        told = (await running.client.get("/v1/models/toy")).json()
        assert told["versions"][0]["signed_by"]["signer"] == "release"


async def test_the_fields_of_an_inference_service_have_effect_beside_the_runtime(
    tmp_path: Path,
) -> None:
    patch = block_of("kserve.md", "Keys, signatures, encryption, an audit log")
    made = patch["spec"]["predictor"]
    runtime = serving_runtime("registry.example/seatrial:0.1.0")["spec"]
    (container,) = runtime["containers"]
    merged = {
        **container,
        "volumeMounts": [*container["volumeMounts"], *made["model"]["volumeMounts"]],
    }
    check_volumes({"volumes": [*runtime["volumes"], *made["volumes"]]}, merged)
    options = options_of(merged, variables(made["model"]))
    flags = {each.partition("=")[0].removeprefix("--").replace("-", "_")
             for each in container["args"][1:]}  # fmt: skip
    assert not flags & options.keys()  # a flag would win
    read_target(options.pop("audit_log"))
    key = key_of(tmp_path / "keys.toml", "app", "infer")
    secret = make_identity(tmp_path / "identity.txt")
    encrypt_bundle(toy_bundle(tmp_path / "plain"), [secret.to], tmp_path / "bundles")
    here = {name: tmp_path / Path(value).name for name, value in options.items()}
    async with run_app(tmp_path / "bundles", insecure=True, **here) as running:
        assert (await running.ask(ROWS[:1])).status_code == 401
        assert (await running.ask(ROWS[:1], headers=bearer(key))).status_code == 200


@pytest.mark.slow
def test_the_fields_of_an_inference_service_are_of_its_schema(tmp_path: Path) -> None:
    schema = crd("inferenceservices")
    file = InferenceService(sourced(tmp_path / "bundles"), figures(), PLACING).file()
    found = of_kind(objects(file.text("by a test")), "InferenceService")
    patch = block_of("kserve.md", "Keys, signatures, encryption, an audit log")
    assert not list(faults(changed(found, patch), schema))
    patch["spec"]["predictor"]["model"]["volumeMounts"][0]["path"] = "/x"
    assert list(faults(changed(found, patch), schema))
