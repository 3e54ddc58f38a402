"""KServe's objects, judged by its own schemas."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.manifests import (
    PLACING,
    REGISTRY,
    crd,
    faults,
    figures,
    objects,
    of_kind,
    promising,
    sourced,
)

from seatrial.main import cli
from seatrial_serve.deploy.kserve import Canary, InferenceService, serving_runtime
from seatrial_serve.deploy.source import with_address


@pytest.fixture
def service(tmp_path: Path) -> list[dict[str, Any]]:
    """A model with a canary."""
    next_one = with_address(promising(tmp_path / "next", version="1.1.0"), REGISTRY)
    canary = Canary(next_one, figures(version="1.1.0", slowest_answer_s=3.5), 10)
    file = InferenceService(sourced(tmp_path / "bundles"), figures(), PLACING, [canary]).file()
    return objects(file.text("by a test"))


@pytest.mark.slow
def test_the_runtime_is_of_its_schema_and_a_field_that_is_none_is_not() -> None:
    schema = crd("clusterservingruntimes")
    runtime = serving_runtime("registry.example/seatrial:0.1.0")
    assert not list(faults(runtime, schema))
    wrong = deepcopy(runtime)
    wrong["spec"]["containers"][0]["startupprobe"] = {}
    wrong["spec"]["supportedModelFormats"][0]["priority"] = 0
    assert len(list(faults(wrong, schema))) == 2


@pytest.mark.slow
def test_the_service_is_of_its_schema_with_its_canary(service: list[dict[str, Any]]) -> None:
    schema = crd("inferenceservices")
    found = of_kind(service, "InferenceService")
    assert not list(faults(found, schema))
    wrong = deepcopy(found)
    wrong["spec"]["canary"][0]["trafficPercent"] = 101
    wrong["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]["metric"]["name"] = "x"
    assert len(list(faults(wrong, schema))) == 2


def test_the_canary_is_another_version_with_figures_and_a_query_of_its_own(
    service: list[dict[str, Any]],
) -> None:
    spec = of_kind(service, "InferenceService")["spec"]
    stable, (canary,) = spec["predictor"], spec["canary"]
    assert canary["trafficPercent"] == 10
    assert (canary["predictor"]["name"], "name" in stable) == ("v1-1-0", False)
    assert stable["model"]["storageUri"] != canary["predictor"]["model"]["storageUri"]
    for predictor, version, grace in ((stable, "1.0.0", 41), (canary["predictor"], "1.1.0", 44)):
        assert predictor["terminationGracePeriodSeconds"] == grace
        metric, cpu = predictor["autoScaling"]["metrics"]
        assert cpu["type"] == "Resource"
        query = metric["external"]["metric"]["query"]
        assert query.count(f'namespace="models", model="toy", version="{version}"') == 2


def test_what_is_deprecated_is_not_written(service: list[dict[str, Any]]) -> None:
    found = of_kind(service, "InferenceService")
    assert found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    predictor = found["spec"]["predictor"]
    assert not {"scaleMetric", "scaleTarget", "canaryTrafficPercent", "logger", "batcher"} & set(
        predictor
    )
    assert predictor["model"]["storageUri"].startswith("oci+native://registry.example/models/toy@")


def test_pods_of_both_versions_are_kept_and_scraped(service: list[dict[str, Any]]) -> None:
    labels = {"serving.kserve.io/inferenceservice": "toy"}
    budget, monitor = (of_kind(service, kind) for kind in ("PodDisruptionBudget", "PodMonitor"))
    assert labels.items() <= budget["spec"]["selector"]["matchLabels"].items()
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    (container,) = serving_runtime("a:1")["spec"]["containers"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}


def test_without_an_objective_processor_time_scales(tmp_path: Path) -> None:
    source = sourced(tmp_path, p99_s=None)
    found = objects(InferenceService(source, figures(), PLACING).file().text(""))
    spec = of_kind(found, "InferenceService")["spec"]
    assert [each["type"] for each in spec["predictor"]["autoScaling"]["metrics"]] == ["Resource"]
    assert "canary" not in spec


def test_a_canary_is_another_version_of_the_one_bundle(tmp_path: Path) -> None:
    one, other, stranger = (
        str(promising(tmp_path / place, name=name).path)
        for place, name in (("a", "toy"), ("b", "toy"), ("c", "other"))
    )
    fixed = [
        "deploy", "kserve", "--out", str(tmp_path / "out"), "--image", "a/b:1",
        "--registry", REGISTRY,
    ]  # fmt: skip
    for more, said in (
        ([one, "--canary", other], "want another version of toy"),
        ([one, "--canary", stranger], "want another version of toy"),
        ([one, stranger, "--canary", other], "got 2 bundles, want one"),
    ):
        done = CliRunner().invoke(cli, [*fixed, *more])
        assert done.exit_code == 1
        assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
