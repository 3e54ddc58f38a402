"""A kit's chart renders, by helm itself, what kubectl renders of the kit."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import (
    JUDGES,
    figures,
    objects,
    rendered,
    sourced,
    with_components,
    write_kit,
)

from seatrial_serve.deploy.helm import MERGED_BY, STAND_IN, VALUES, changed

HELM = str(JUDGES / "helm") if (JUDGES / "helm").exists() else shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not here: make clients")
pytestmark = pytest.mark.slow


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return write_kit(sourced(tmp_path / "bundles"), tmp_path / "kit", figures())


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, *words], capture_output=True, text=True, check=False)


def template(kit: Path, *words: str) -> list[dict[str, Any]]:
    done = helm("template", "any", str(kit / "chart"), "--namespace", "models", *words)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def alike(found: list[dict[str, Any]]) -> dict[str, str]:
    """Objects by their kinds, without the order of lists whose items have names."""

    def sorted_lists(value: Any, field: str = "") -> Any:
        if isinstance(value, dict):
            return {name: sorted_lists(each, name) for name, each in value.items()}
        if isinstance(value, list):
            key = MERGED_BY.get(field)
            items = sorted(value, key=lambda each: each[key]) if key else value
            return [sorted_lists(each) for each in items]
        return value

    for each in found:
        each["metadata"].pop("namespace", None)  # helm's own --namespace
    return {each["kind"]: json.dumps(sorted_lists(each), sort_keys=True) for each in found}


@needs_helm
@pytest.mark.parametrize(
    ("words", "folder", "components"),
    [
        ([], "overlays/cpu", None),
        (["gpu=true"], "overlays/gpu", None),
        (["scaler=none", "imageVolume=false", "prometheus=false"], "base", None),
        (["scaler=hpa", "imageVolume=false", "prometheus=false", "gpu=true"], "", ("hpa", "gpu")),
        (
            ["scaler=none", "imageVolume=false", "keys=true", "gpu=true"],
            "",
            ("prometheus", "gpu", "keys"),
        ),
    ],
    ids=["cpu", "gpu", "base", "hpa on a card", "keys"],
)
def test_the_chart_is_the_kit(
    words: list[str], folder: str, components: tuple[str, ...] | None, kit: Path
) -> None:
    set_ = [part for word in words for part in ("--set", word)]
    made = alike(template(kit, *set_))
    there = alike(rendered(with_components(kit, *components) if components else kit / folder))
    assert made.keys() == there.keys()
    for kind, text in there.items():
        assert made[kind] == text


@needs_helm
def test_values_take_the_place_of_what_the_kit_was_written_with(kit: Path) -> None:
    values = {
        "image": {"repository": "r.example/s", "tag": "9"}, "minReplicas": 3, "maxReplicas": 30,
        "monitoringNamespace": "watch",
    }  # fmt: skip
    (kit / "values.yaml").write_text(yaml.safe_dump(values))
    more = ["--namespace", "elsewhere", "--values", str(kit / "values.yaml")]
    done = helm("template", "any", str(kit / "chart"), *more)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "image: r.example/s:9\n" in text
    assert "minReplicaCount: 3\n" in text
    assert "maxReplicaCount: 30\n" in text
    assert 'namespace="elsewhere", model="toy"' in text
    assert "http://prometheus-operated.watch:9090" in text
    assert "toy.elsewhere.svc.cluster.local" in text
    assert not re.search(r"seatrial-chart-|100000\d", text)
    assert "{{ $labels.version }}" in text  # which is Prometheus' own


@needs_helm
def test_the_chart_is_clean_and_takes_no_value_that_it_does_not_know(kit: Path) -> None:
    done = helm("lint", "--strict", str(kit / "chart"))
    assert done.returncode == 0, done.stdout
    for wrong in ("replicas=2", "minReplicas=1", "scaler=both", "gpu=yes", "image.tag="):
        done = helm("template", "any", str(kit / "chart"), "--set", wrong)
        assert done.returncode == 1, wrong
        assert "don't meet the specifications of the schema" in done.stderr


def test_each_stand_in_is_replaced_and_values_are_those_of_the_schema(kit: Path) -> None:
    text = "".join(path.read_text() for path in (kit / "chart").rglob("*") if path.is_file())
    for stand_in, value in VALUES.items():
        assert stand_in not in text
        assert value in text
    schema = json.loads((kit / "chart/values.schema.json").read_text())
    values = yaml.safe_load((kit / "chart/values.yaml").read_text())
    assert values.keys() == schema["properties"].keys() - {"global"} == set(schema["required"])
    assert STAND_IN.min_replicas != STAND_IN.max_replicas


def test_a_patch_merges_deletes_and_replaces() -> None:
    whole = {"env": [{"name": "a", "value": "1"}, {"name": "b"}], "egress": [1], "kept": True}
    change = {"env": [{"name": "b", "$patch": "delete"}, {"name": "c"}], "egress": []}
    assert changed(whole, change) == {
        "env": [{"name": "a", "value": "1"}, {"name": "c"}], "egress": [], "kept": True,
    }  # fmt: skip
