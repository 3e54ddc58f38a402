"""Manifests in tests: bundles with figures, kits of them, and those who judge manifests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from seatrial_contracts.bundle import CONTRACT, Bundle, write_bundle
from seatrial_serve.deploy.files import write_files
from seatrial_serve.deploy.kserve import InferenceService, serving_runtime
from seatrial_serve.deploy.kubernetes import kit_files
from seatrial_serve.deploy.measured import Measured
from seatrial_serve.deploy.placing import Placing
from seatrial_serve.deploy.source import Source, with_address, written_by
from support.servers import OURS, ROOT
from support.toys import toy_files, toy_manifest

JUDGES = ROOT / "build/clients/kubernetes/bin"
SCHEMAS = ROOT.parent / "shared/schemas/kserve"
KSERVE_FOLDER = "/mnt/models"
REGISTRY = "oci://registry.example/models"
PLACING = Placing("registry.example/seatrial:0.1.0", "models", 2, 10, "monitoring")
FIGURES = {
    "schema": 1, "name": "toy", "version": "1.0.0", "digest": "0" * 64,
    "made_at": "2026-11-29T05:00:00.000Z", "processor": "a processor", "cores": 2, "start_s": 7.0,
    "resident_bytes": 180_000_000, "cache_bytes": 1_000_000, "bundle_bytes": 2_000_000,
    "request_rows": 64, "requests": 40, "slowest_answer_s": 0.25,
}  # fmt: skip


def figures(**other: Any) -> Measured:
    """Figures as they might have been measured."""
    return Measured(**FIGURES | other)


def promising(
    folder: Path, *, p99_s: float | None = 0.05, version: str = "1.0.0", name: str = "toy"
) -> Bundle:
    """A toy with an objective, unless there is to be none."""
    files = toy_files()
    contract = json.loads(files[CONTRACT]) | {"objective": {"p99_s": p99_s}}
    files |= {CONTRACT: json.dumps(contract).encode()}
    return write_bundle(folder, toy_manifest(name, version), files)


def sourced(folder: Path, **of: Any) -> Source:
    """A toy with its address in a registry."""
    return with_address(promising(folder, **of), REGISTRY)


def write_kit(source: Source, folder: Path, measured: Measured, placing: Placing = PLACING) -> Path:
    """The kit of a model."""
    files = kit_files(source, measured, placing)
    write_files(folder, files, written_by("kubernetes", source.bundle))
    return folder


def kserve_entry(bundle: Bundle, name: str) -> tuple[list[str], list[str]]:
    """Flags and program of a server as KServe starts it, for an InferenceService of this name.

    The folder stands before the flags, in place of /mnt/models.
    """
    source = with_address(bundle, "oci://r.example/m")
    found = objects(InferenceService(source, figures(), PLACING).file().text(""))
    model = of_kind(found, "InferenceService")["spec"]["predictor"]["model"]
    (container,) = serving_runtime("a/b:1")["spec"]["containers"]
    path, *flags = [each.replace("{{.Name}}", name) for each in container["args"]]
    assert path == KSERVE_FOLDER
    # `Server` listens on free ports of the loopback, in place of these
    replaced = {"--host=0.0.0.0", "--http-port=8080", "--grpc-port=9000", "--metrics-port=8002"}
    assert replaced <= set(flags)
    environment = [f"{each['name']}={each['value']}" for each in model["env"]]
    return [flag for flag in flags if flag not in replaced], ["env", *environment, *OURS]


def image_variables() -> dict[str, str]:
    """What the Dockerfile sets for the server, but for paths of programs and caches."""
    (line, *_) = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    found = dict(each.split("=", 1) for each in line.split())
    return {name: value for name, value in found.items() if not name.startswith(("PATH", "XDG_"))}


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a file of YAML."""
    return [each for each in yaml.safe_load_all(text) if each is not None]


def of_kind(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of its kind."""
    (one,) = (each for each in found if each["kind"] == kind)
    return one


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What kubectl makes of a folder with a kustomization."""
    own = JUDGES / "kubectl"
    program = str(own) if own.exists() else shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not here: make clients")
    done = subprocess.run(
        [program, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return objects(done.stdout)


def with_components(kit: Path, *names: str) -> Path:
    """An overlay of the base with these components."""
    overlay = kit / "overlays" / "-".join(("own", *names))
    overlay.mkdir()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "namespace": "models", "resources": ["../../base"],
        "components": [f"../../components/{name}" for name in names],
    }  # fmt: skip
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return overlay


def variables(container: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a container."""
    return {each["name"]: each["value"] for each in container["env"]}


def crd(name: str) -> dict[str, Any]:
    """The JSON schema of KServe's objects, which takes no field that it does not know."""
    path = SCHEMAS / f"{name}.yaml"
    if not path.exists():
        pytest.skip("shared/schemas/kserve is not beside this checkout")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    version = yaml.load(path.read_text("utf-8"), loader)["spec"]["versions"][0]
    schema: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    return schema


def strict(schema: Any) -> Any:
    """An OpenAPI schema of Kubernetes as a JSON schema: unknown fields fail, `x-` words count."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        found.pop("anyOf", None)
        found["type"] = ["integer", "string"]
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") is True
        whole = schema["properties"].keys() >= {"apiVersion", "kind", "metadata"}
        if whole:
            found["properties"]["metadata"] = {"type": "object"}
        found.setdefault("additionalProperties", open_ended)
    return found


def faults(found: Mapping[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Where an object is not of a schema."""
    for error in jsonschema.Draft202012Validator(schema).iter_errors(found):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
