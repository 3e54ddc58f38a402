"""Kits of Kubernetes, judged by kubectl, kubernetes-validate, TypeScript types and promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from click.testing import CliRunner
from support.encrypted import make_identity
from support.manifests import (
    JUDGES,
    PLACING,
    REGISTRY,
    figures,
    objects,
    of_kind,
    promising,
    rendered,
    sourced,
    variables,
    with_components,
    write_kit,
)
from support.pages import run_line
from support.registries import small_registry
from support.servers import EXAMPLES, ROOT

from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.identities import COMMAND_VARIABLE, FILE_VARIABLE
from seatrial_serve.deploy.kubernetes import EXTERNAL_METRIC
from seatrial_serve.deploy.measured import read_measured, write_measured
from seatrial_serve.deploy.placing import Placing
from seatrial_serve.deploy.source import object_name, open_source, with_address
from seatrial_serve.monitor.figures import Windows
from seatrial_serve.monitor.rules import rule_file
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.in_registry import push_to_registry

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TYPES = JUDGES.parent / "node_modules"
MODELS = {
    "ScaledObject": "keda/keda.sh/v1alpha1",
    "ServiceMonitor": "prometheus-operator/monitoring.coreos.com/v1",
    "PodMonitor": "prometheus-operator/monitoring.coreos.com/v1",
    "PrometheusRule": "prometheus-operator/monitoring.coreos.com/v1",
}
"""Kind -> its package, group and version below @kubernetes-models."""
TSC = (
    "--strict", "--noEmit", "--skipLibCheck",
    "--module", "nodenext", "--moduleResolution", "nodenext",
)  # fmt: skip


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return write_kit(sourced(tmp_path / "bundles"), tmp_path / "kit", figures())


def container(found: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = of_kind(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(one)


@pytest.mark.slow
def test_kubectl_renders_the_base_the_overlays_and_components_alone_and_together(kit: Path) -> None:
    base = {each["kind"] for each in rendered(kit / "base")}
    assert base == {
        "ServiceAccount", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget",
    }  # fmt: skip
    for overlay in ("cpu", "gpu"):
        found = rendered(kit / "overlays" / overlay)
        more = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
        assert {each["kind"] for each in found} == base | more
        assert {each["metadata"]["namespace"] for each in found} == {"models"}
    names = [path.name for path in (kit / "components").iterdir()]
    assert sorted(names) == ["gpu", "hpa", "image-volume", "keda", "keys", "prometheus"]
    for scaler in ("hpa", "keda"):  # either scales
        others = sorted({*names} - {"hpa", "keda", "keys"})
        assert rendered(with_components(kit, *others, scaler, "keys"))
    for name in names:
        assert rendered(with_components(kit, name))


def test_a_pod_has_no_privilege_and_writes_to_folders_of_its_own_alone(kit: Path) -> None:
    for folder in ("base", "overlays/cpu", "overlays/gpu"):
        found = rendered(kit / folder)
        pod, one = of_kind(found, "Deployment")["spec"]["template"]["spec"], container(found)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        security = one["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is security["privileged"] is False
        written = {each["mountPath"] for each in one["volumeMounts"] if not each.get("readOnly")}
        assert written == {"/tmp", "/cache"}
        volumes = {each["name"] for each in pod["volumes"]}
        assert {each["name"] for each in one["volumeMounts"]} == volumes


def test_no_replica_goes_before_its_successor_is_ready(kit: Path) -> None:
    found = rendered(kit / "overlays/cpu")
    deployment, budget = (of_kind(found, kind) for kind in ("Deployment", "PodDisruptionBudget"))
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for kind in ("PodDisruptionBudget", "ServiceMonitor"):
        assert of_kind(found, kind)["spec"]["selector"]["matchLabels"].items() <= labels
    assert of_kind(found, "Service")["spec"]["selector"].items() <= labels
    probe = container(found)["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 10 * figures().start_s
    settings = variables(container(found))
    patience = sum(float(settings[f"SEATRIAL_{each}_S"]) for each in ("DRAIN_WINDOW", "GRACE"))
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert patience < grace <= patience + 10


def test_an_image_volume_takes_the_place_of_the_pull_and_of_every_way_out(kit: Path) -> None:
    pulled, mounted = rendered(kit / "base"), rendered(kit / "overlays/cpu")
    address = variables(container(pulled))["SEATRIAL_BUNDLES"]
    assert DIGEST.search(address)
    settings = variables(container(mounted))
    assert settings["SEATRIAL_BUNDLES"] == "/bundles/models"
    assert "DOCKER_CONFIG" not in settings
    volumes = of_kind(mounted, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (image,) = (each["image"] for each in volumes if "image" in each)
    assert f"oci://{image['reference']}" == address
    assert not any("secret" in each for each in volumes)
    egress = {
        "pulled": [[53, 53], [443]],
        "mounted": [],
    }
    for name, found in (("pulled", pulled), ("mounted", mounted)):
        rules = of_kind(found, "NetworkPolicy")["spec"].get("egress") or []
        assert [[port["port"] for port in rule["ports"]] for rule in rules] == egress[name]
        assert "Egress" in of_kind(found, "NetworkPolicy")["spec"]["policyTypes"]


def test_keys_are_mounted_and_prometheus_has_one_of_its_own(kit: Path) -> None:
    found = rendered(with_components(kit, "image-volume", "prometheus", "keys"))
    file = variables(container(found))["SEATRIAL_API_KEYS"]
    (mount,) = (each for each in container(found)["volumeMounts"] if each["name"] == "keys")
    assert file.startswith(f"{mount['mountPath']}/")
    volumes = of_kind(found, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (secret,) = (each["secret"] for each in volumes if each["name"] == "keys")
    assert secret["items"] == [{"key": "keys.toml", "path": Path(file).name}]
    (endpoint,) = of_kind(found, "ServiceMonitor")["spec"]["endpoints"]
    named = {"name": secret["secretName"], "key": "scrape"}
    assert endpoint["authorization"] == {"credentials": named}
    assert "SEATRIAL_API_KEYS" not in variables(container(rendered(kit / "overlays/cpu")))


def test_whoever_scales_says_how_many_replicas_there_are(kit: Path) -> None:
    assert of_kind(rendered(kit / "base"), "Deployment")["spec"]["replicas"] == 2
    speeds = []
    for name, kind in (("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        found = rendered(with_components(kit, name))
        assert "replicas" not in of_kind(found, "Deployment")["spec"]
        spec = of_kind(found, kind)["spec"]
        limits = {spec[each] for each in spec if re.fullmatch(r"m(in|ax)Replica(s|Count)", each)}
        assert limits == {2, 10}
        advanced = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", spec)
        speeds.append(advanced["behavior"])
    assert speeds[0] == speeds[1]


def test_a_card_is_asked_for_and_the_image_for_cards_is_taken(kit: Path) -> None:
    one = container(rendered(kit / "overlays/gpu"))
    assert one["image"] == "registry.example/seatrial-gpu:0.1.0"
    assert one["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert variables(one)["SEATRIAL_PROVIDERS"] == "CUDAExecutionProvider"


def test_without_an_objective_processor_time_alone_scales(tmp_path: Path) -> None:
    source = sourced(tmp_path / "bundles", p99_s=None)
    kit = write_kit(source, tmp_path / "kit", figures())
    text = (kit / "components/keda/scaledobject.yaml").read_text()
    assert [each["type"] for each in objects(text)[0]["spec"]["triggers"]] == ["cpu"]
    assert "no objective" in text
    (hpa,) = objects((kit / "components/hpa/hpa.yaml").read_text())
    assert [each["type"] for each in hpa["spec"]["metrics"]] == ["Resource"]


def test_the_rules_are_those_of_seatrial_monitor(kit: Path, tmp_path: Path) -> None:
    (rule,) = objects((kit / "components/prometheus/prometheusrule.yaml").read_text())
    assert rule["spec"] == rule_file(sourced(tmp_path / "again").bundle, Windows())


def test_the_query_of_the_trigger_is_promql_about_this_namespace_and_model(kit: Path) -> None:
    (scaled,) = objects((kit / "components/keda/scaledobject.yaml").read_text())
    trigger = scaled["spec"]["triggers"][0]
    assert trigger["metricType"] == "Value"
    assert "metricName" not in trigger["metadata"]
    query = trigger["metadata"]["query"]
    promql_parser.parse(query)
    assert query.count('{namespace="models", model="toy"}') == 2
    (hpa,) = objects((kit / "components/hpa/hpa.yaml").read_text())
    metric = hpa["spec"]["metrics"][0]["external"]["metric"]
    assert metric["name"] == EXTERNAL_METRIC
    assert metric["selector"]["matchLabels"] == {"namespace": "models", "model": "toy"}


@pytest.mark.slow
def test_every_object_is_valid_by_the_three_newest_versions_of_kubernetes(kit: Path) -> None:
    python = JUDGES / "python"
    if not python.exists():
        pytest.skip("kubernetes-validate is not here: make clients")
    folders = [
        kit / "base",
        kit / "overlays/cpu",
        kit / "overlays/gpu",
        with_components(kit, "hpa"),
    ]
    found = [each for folder in folders for each in rendered(folder) if each["kind"] not in MODELS]
    (policy,) = objects((kit / "base/pdb.yaml").read_text())
    policy["spec"]["minAvailableReplicas"] = 1

    def judged(some: list[dict[str, Any]]) -> dict[str, list[str]]:
        done = subprocess.run(
            [str(python), str(Path(__file__).parent / "ask_kubernetes.py")],
            input=json.dumps(some), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said: dict[str, list[str]] = json.loads(done.stdout)
        return said

    said = judged(found)
    assert list(said) == ["1.35", "1.36", "1.37"]
    assert not any(said.values()), said
    assert all(len(each) == 1 for each in judged([policy]).values())


@pytest.mark.slow
@pytest.mark.skipif(not TYPES.exists(), reason="the types are not here: make clients")
def test_the_objects_of_operators_are_of_their_types(kit: Path, tmp_path: Path) -> None:
    from seatrial_serve.deploy.kserve import InferenceService

    file = InferenceService(sourced(tmp_path / "again"), figures(), PLACING).file()
    found = [*rendered(kit / "overlays/cpu"), *objects(file.text(""))]
    for kind, module in MODELS.items():
        name = f"@kubernetes-models/{module}/{kind}"
        one = of_kind(found, kind)
        wrong = one | {"spec": one["spec"] | {"interval": "15s"}}
        for file_name, value in ((kind, one), (f"{kind}.wrong", wrong)):
            text = f'import type {{ I{kind} }} from "{name}";\n'
            text += f"export const it: I{kind} = {json.dumps(value)};\n"
            (tmp_path / f"{file_name}.ts").write_text(text)
    (tmp_path / "node_modules").symlink_to(TYPES)
    done = subprocess.run(
        ["node_modules/.bin/tsc", *TSC, *(file.name for file in sorted(tmp_path.glob("*.ts")))],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    lines = [line.split("(")[0] for line in done.stdout.splitlines() if "error" in line]
    assert lines == sorted(f"{kind}.wrong.ts" for kind in MODELS), done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_rules(kit: Path, tmp_path: Path) -> None:
    (rule,) = objects((kit / "components/prometheus/prometheusrule.yaml").read_text())
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_line_of_deploy_writes_the_committed_kits_anew(examples: Path, tmp_path: Path) -> None:
    text, committed = (ROOT / "deploy/README.md").read_text(), ROOT / "deploy/kubernetes"
    (line,) = re.findall(r"^    (seatrial deploy kubernetes .*)$", text, re.MULTILINE)
    (tmp_path / "bundles").symlink_to(examples)
    kits = tmp_path / "deploy/kubernetes"
    for name in EXAMPLES:
        bundle = open_bundle(examples / name / "1.0.0")
        measured = read_measured(committed / name)
        assert measured is not None
        assert (measured.name, measured.version) == (name, bundle.version)
        # a digest is of the commit that sealed it, too
        write_measured(kits / name, measured.model_copy(update={"digest": bundle.digest}))
    said = run_line(line, tmp_path)
    for name in EXAMPLES:
        assert f"{name} 1.0.0, kept: " in said
        for file in (kits / name).rglob("*.yaml"):
            made, there = (
                DIGEST.sub("sha256:", path.read_text())
                for path in (file, committed / file.relative_to(kits))
            )
            assert made == there, f"deploy/README.md says how {file.name} is written anew"
        kept = {path.relative_to(committed / name) for path in (committed / name).rglob("*.yaml")}
        assert kept == {path.relative_to(kits / name) for path in (kits / name).rglob("*.yaml")}


def test_an_encrypted_bundle_is_deployed_with_the_key_that_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (FILE_VARIABLE, COMMAND_VARIABLE):
        monkeypatch.setenv(variable, "")  # which --identity sets
        monkeypatch.delenv(variable)
    key = make_identity(tmp_path / "serving.key")
    plain = promising(tmp_path / "plain")
    encrypted = encrypt_bundle(plain, [key.to], tmp_path / "encrypted")
    write_measured(tmp_path / "kits/toy", figures(digest=plain.digest))
    asked = [
        "deploy", "kubernetes", str(encrypted), "--out", str(tmp_path / "kits"), "--image",
        "a/b:1", "--registry", REGISTRY,
    ]  # fmt: skip
    refused = CliRunner().invoke(cli, asked)
    assert "--identity FILE" in str(refused.exception)
    done = CliRunner().invoke(cli, [*asked, "--identity", str(key.file)])
    assert done.exit_code == 0, done.output
    assert "toy 1.0.0, kept: " in done.output


def test_a_bundle_in_a_registry_is_pinned_by_the_digest_that_its_tag_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    bundle = promising(tmp_path / "bundles")
    with small_registry() as registry:
        address = InRegistry(registry.host, "models/toy", "stable", None)
        pushed = push_to_registry(bundle, address).index.digest
        for text in (address.shown, address.pinned(pushed).shown):
            source = open_source(text, None)
            assert source.pinned == address.pinned(pushed)
            assert (source.bundle.digest, source.push_to) == (bundle.digest, "")
        here = with_address(bundle, f"oci://{registry.host}/models")
    assert here.pinned == source.pinned  # known before it is pushed
    assert here.push_to == f"oci://{registry.host}/models/toy:1.0.0"


def test_a_model_has_a_name_that_kubernetes_takes_or_is_refused() -> None:
    assert object_name("My_model.v2") == "my-model-v2"
    for name in ("2fast", "x" * 41, "a-"):
        with pytest.raises(DeclarationError, match="as an object of Kubernetes"):
            object_name(name)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"min_replicas": 11}, "--min-replicas and --max-replicas"),
        ({"namespace": "Models"}, "--namespace"),
        ({"monitoring_namespace": "a.b"}, "--monitoring-namespace"),
        ({"image": "registry.example/seatrial"}, "--image"),
        ({"image": "https://registry.example/seatrial:1"}, "--image"),
    ],
)
def test_options_that_cannot_be_are_refused(other: dict[str, Any], said: str) -> None:
    options: dict[str, Any] = {
        "image": "a/b:1", "namespace": "models", "min_replicas": 2, "max_replicas": 10,
        "monitoring_namespace": "monitoring",
    }  # fmt: skip
    with pytest.raises(DeclarationError, match=said):
        Placing(**options | other)


def test_bundles_that_replicas_cannot_reach_are_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    path = str(promising(tmp_path / "bundles").path)
    other = str(promising(tmp_path / "others", version="1.1.0").path)
    fixed = ["deploy", "kubernetes", "--out", str(tmp_path / "out"), "--image", "a/b:1"]
    for more, said in (
        ([path], "--registry oci://HOST/PATH"),
        (["s3://bucket/toy/1.0.0"], "an object store"),
        ([path, "--registry", "registry.example/models"], "want oci://HOST/PATH"),
        ([path, other, "--registry", REGISTRY], "objects 'toy'"),
        ([path, "--registry", REGISTRY, "--namespace", "A"], "--namespace"),
    ):
        done = CliRunner().invoke(cli, [*fixed, *more])
        assert done.exit_code == 1
        assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
