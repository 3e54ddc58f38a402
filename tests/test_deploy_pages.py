"""The lines of kubernetes.md and kserve.md in docs/how-to, and what they name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support.manifests import JUDGES, objects, of_kind
from support.pages import page
from support.registries import small_registry

from seatrial.main import cli
from seatrial_contracts.bundle import open_bundle, write_bundle
from seatrial_serve.deploy.kserve import serving_runtime
from seatrial_serve.deploy.kubernetes import EXTERNAL_METRIC
from seatrial_serve.deploy.measured import read_measured, write_measured
from seatrial_serve.deploy.scaling import queue_ratio
from seatrial_serve.settings import Settings

KUBERNETES, KSERVE = page("how-to/kubernetes.md"), page("how-to/kserve.md")
PORT = "127.0.0.1:5000"


def blocks(text: str) -> list[list[str]]:
    return [
        block.strip().splitlines() for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_lines_of_both_pages_work(examples: Path, tmp_path: Path) -> None:
    bundle = open_bundle(examples / "penguins" / "1.0.0")
    shutil.copytree(examples / "penguins", tmp_path / "bundles" / "penguins")
    next_one = bundle.manifest.model_copy(update={"version": "1.1.0"})
    write_bundle(tmp_path / "bundles", next_one, bundle.files)
    path = f"{JUDGES}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    (kubernetes,), (kserve, _) = blocks(KUBERNETES), blocks(KSERVE)

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line.replace(PORT, registry.host)], cwd=tmp_path,
            env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    with small_registry() as registry:
        pushed, said = (run(line) for line in kubernetes[:2])
        (digest,) = re.findall(r"sha256:[0-9a-f]{64}", pushed.splitlines()[1])
        assert "penguins 1.0.0, measured: " in said
        assert "next: kubectl apply -k kits/penguins/overlays/cpu" in said
        if shutil.which("kubectl", path=path):
            found = objects(run(kubernetes[2]))
            (volume, *_) = of_kind(found, "Deployment")["spec"]["template"]["spec"]["volumes"]
            reference = volume["image"]["reference"]
            assert reference == f"{registry.host}/models/penguins@{digest}"
        figures = read_measured(tmp_path / "kits/penguins")
        assert figures is not None
        write_measured(tmp_path / "kserve/penguins", figures)  # it is measured once
        other = {"version": "1.1.0", "digest": next_one.digest}
        write_measured(tmp_path / "kserve/penguins/canary", figures.model_copy(update=other))
        said = [run(line) for line in kserve][-1]
        assert "penguins 1.0.0, kept: " in said
        assert "penguins 1.1.0, kept: " in said
        applied = re.search(r"`(kubectl apply -f kserve/.*)`", KSERVE)
        assert applied is not None
        assert f"next: {applied[1]}" in said.splitlines()
        text = (tmp_path / "kserve/penguins/inferenceservice.yaml").read_text()
        (canary,) = of_kind(objects(text), "InferenceService")["spec"]["canary"]
        assert (canary["predictor"]["name"], canary["trafficPercent"]) == ("v1-1-0", 10)


def test_the_metrics_adapter_is_told_the_query_that_keda_has() -> None:
    block, _ = re.findall(r"```yaml\n(.*?)```", KUBERNETES, re.DOTALL)
    (rule,) = yaml.safe_load(block)["rules"]["external"]
    assert rule["name"] == {"as": EXTERNAL_METRIC}
    labels = {"namespace": "models", "model": "toy"}
    matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    assert rule["metricsQuery"].replace("<<.LabelMatchers>>", matchers) == queue_ratio(**labels)
    assert f"({rule['seriesQuery']}{{" in queue_ratio(**labels)


def test_the_line_of_the_container_is_what_the_runtime_says() -> None:
    _, (line,) = blocks(KSERVE)
    _, _, folder, *flags = shlex.split(line)
    flags.remove("--insecure")  # which has no value
    (container,) = serving_runtime("a/b:1")["spec"]["containers"]
    pairs = dict(zip(flags[::2], flags[1::2], strict=True))
    told = {each.partition("=")[0]: each.partition("=")[2] for each in container["args"][1:]}
    told["--model-name"] = told["--model-name"].replace("{{.Name}}", "penguins")
    assert folder == container["args"][0]
    assert "--insecure" in told
    assert pairs.items() <= told.items()
    for flag in told:
        assert flag.removeprefix("--").replace("-", "_") in Settings.model_fields


@pytest.mark.parametrize("text", [KUBERNETES, KSERVE], ids=["kubernetes", "kserve"])
def test_every_flag_and_variable_of_a_page_is_one(text: str) -> None:
    deploy = cli.get_command(None, "deploy")  # type: ignore[arg-type]  # it needs no context
    options = {
        option
        for target in ("kubernetes", "kserve")
        for parameter in deploy.get_command(None, target).params  # type: ignore[union-attr, arg-type]
        for option in parameter.opts
    }
    parity = cli.get_command(None, "parity")  # type: ignore[arg-type]  # as above
    assert parity is not None
    options |= {option for parameter in parity.params for option in parameter.opts}
    served = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    ours = re.sub(r"`(helm|kubectl) [^`]*`", "", text)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) <= options | served
    names = set(re.findall(r"SEATRIAL_([A-Z_]+)", text))
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


def test_the_values_of_the_page_are_those_of_the_chart() -> None:
    committed = Path(__file__).parents[1] / "deploy/kubernetes/penguins/chart/values.yaml"
    section = KUBERNETES.partition("## Helm")[2].partition("\n## ")[0]
    named = {
        name.partition(".")[0]
        for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", row)
    }
    assert named == yaml.safe_load(committed.read_text()).keys()


def test_the_components_of_the_page_are_those_that_are_written() -> None:
    committed = Path(__file__).parents[1] / "deploy/kubernetes/penguins/components"
    named = set(re.findall(r"^\| `components/([a-z-]+)` \|", KUBERNETES, re.MULTILINE))
    assert named == {path.name for path in committed.iterdir()}
    told = CliRunner().invoke(cli, ["deploy", "kubernetes", "--help"]).output
    (listed,) = re.findall(r"taken or left: ([a-z,\s-]+)\.", told)
    assert {*re.split(r",\s+", listed)} == named
