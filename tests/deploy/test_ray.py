"""A Serve config and a RayService, judged without Ray; `tests/ray_serve` runs the config."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support.manifests import JUDGES, PLACING, REGISTRY, figures, promising
from support.servers import ROOT

from seatrial_contracts.errors import DeclarationError
from seatrial_ray import policy
from seatrial_ray.arguments import selections_of, settings_of, within
from seatrial_ray.calls import CALLS, SERVICE, add_servicer
from seatrial_ray.load import queue_ratio
from seatrial_ray.policy import CPU, QUEUE, predicted_queue
from seatrial_ray.proxy import middlewares
from seatrial_serve.api import v2_grpc
from seatrial_serve.deploy.files import write_files
from seatrial_serve.deploy.ray import RayService
from seatrial_serve.deploy.scaling import CPU_PERCENT, TARGET
from seatrial_serve.deploy.source import with_address
from seatrial_serve.models.selection import Selection
from seatrial_serve.scheduling.admission import Backlog
from seatrial_serve.settings import Settings

RAY = ROOT / "build/ray/bin/python"
VALIDATE = """
import sys, yaml
from ray.serve.schema import ServeDeploySchema
ServeDeploySchema.model_validate(yaml.safe_load(sys.stdin))
"""


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    """The objects of two models' application, by their files."""
    made = [promising(tmp_path / "b", name=name) for name in ("toy", "other")]
    sources = [with_address(bundle, REGISTRY) for bundle in made]
    service = RayService(sources, [figures(), figures(name="other")], PLACING)
    paths = write_files(tmp_path, service.files(), "Written by a test.")
    return {path.stem: yaml.safe_load(path.read_text()) for path in paths}


def test_the_ray_service_holds_the_serve_config(written: dict[str, Any]) -> None:
    spec = written["rayservice"]["spec"]
    assert yaml.safe_load(spec["serveConfigV2"]) == written["serve"]
    (app,) = written["serve"]["applications"]
    (deployment,) = app["deployments"]
    assert deployment["ray_actor_options"]["num_cpus"] == 2
    assert settings_of(app["args"]).bundles == tuple(app["args"]["bundles"])
    (workers,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    assert int(workers["rayStartParams"]["num-cpus"]) == 2
    scaling = deployment["autoscaling_config"]
    assert workers["maxReplicas"] == scaling["max_replicas"] == PLACING.max_replicas


def test_what_the_serve_config_names_is_there(written: dict[str, Any]) -> None:
    (app,) = written["serve"]["applications"]
    named = [
        app["import_path"],
        app["deployments"][0]["autoscaling_config"]["policy"]["policy_function"],
        *written["serve"]["grpc_options"]["grpc_servicer_functions"],
    ]
    for path in named:
        module, _, name = path.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_rays_own_schema_takes_the_serve_config(written: dict[str, Any]) -> None:
    if not RAY.exists():
        pytest.skip("Ray's environment is not here: make test-ray")
    done = subprocess.run(
        [str(RAY), "-c", VALIDATE],
        input=yaml.safe_dump(written["serve"]),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT / 'serve'}:{ROOT / 'contracts'}", "HOME": "/nowhere"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_pods_of_a_ray_service_are_pods(written: dict[str, Any]) -> None:
    python = JUDGES / "python"
    if not python.exists():
        pytest.skip("kubernetes-validate is not here: make clients")
    cluster = written["rayservice"]["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **group["template"]}
        for group in groups
    ]
    ran = subprocess.run(
        [str(python), str(Path(__file__).parent / "ask_kubernetes.py")],
        input=json.dumps(pods), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(not wrong for wrong in json.loads(ran.stdout).values()), ran.stdout


def test_rays_grpc_proxy_is_told_of_every_call() -> None:
    told: list[Any] = []
    add_servicer(None, SimpleNamespace(add_generic_rpc_handlers=told.extend))
    (handlers,) = told
    service = v2_grpc.InferenceService(
        SimpleNamespace(repository=None, drain=None, access=None),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
    )
    assert SERVICE == v2_grpc.SERVICE
    assert set(CALLS) == service.calls.keys()
    assert set(handlers._method_handlers) == {f"/{SERVICE}/{call}" for call in CALLS}


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({}, 3),
        ({QUEUE: {"a": 0.5, "b": 0.5}, CPU: {"a": 0.1, "b": 0.2}}, 3),
        ({QUEUE: {"a": 1.5, "b": 0.5}, CPU: {"a": 0.1, "b": 0.2}}, 4),
        ({QUEUE: {"a": 0.0, "b": 0.0}, CPU: {"a": 1.7, "b": 1.7}}, 4),
        ({QUEUE: {"a": 0.0, "b": 0.0}, CPU: {"a": 0.0, "b": 0.0}}, 0),
    ],
)
def test_the_policy_follows_what_is_nearest_to_its_target(
    metrics: dict[str, dict[str, float]], wanted: float
) -> None:
    context = SimpleNamespace(
        aggregated_metrics=metrics, target_num_replicas=3, current_num_replicas=2
    )
    assert predicted_queue(context) == (pytest.approx(wanted), {})


def test_the_policys_targets_are_those_of_the_other_scalers() -> None:
    shipped = {QUEUE: float(TARGET), CPU: CPU_PERCENT / 100}
    assert shipped == policy.TARGETS


def test_a_replica_records_its_longest_queue_over_the_objective() -> None:
    def model(own_s: float, waiting: int, objective_s: float) -> Any:
        backlog = Backlog(own_s)
        for _ in range(waiting):
            backlog.enter()
        return SimpleNamespace(backlog=backlog, objective_s=objective_s)

    idle, busy = model(0.6, 0, 1.0), model(0.1, 3, 0.5)
    endless = model(0.1, 3, math.inf)
    assert queue_ratio([], 30.0) == queue_ratio([idle], 30.0) == 0.0
    assert queue_ratio([idle, busy], 30.0) == pytest.approx(0.6)
    assert queue_ratio([endless], 30.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "name", ["http_port", "workers", "threads", "console", "admin", "tls_cert", "cors_origins"]
)
def test_a_setting_that_is_rays_or_would_reach_one_replica_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"args '{name}'"):
        settings_of({"bundles": "somewhere", name: 1})


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(DeclarationError, match="did you mean bundles"):
        settings_of({"bundels": "somewhere"})


def test_a_replica_takes_what_ray_assigned_it() -> None:
    settings = settings_of({"bundles": "somewhere"})
    assert within(settings, {"CPU": 0.5}).threads == 1
    assert within(settings, {"CPU": 3.0}).threads == 3
    assert within(settings, {"CPU": 1.0, "GPU": 0.5}).providers == ("CUDAExecutionProvider",)
    chosen = Settings(bundles=("somewhere",), providers=("CPUExecutionProvider", "X"))
    assert within(chosen, {"CPU": 1.0, "GPU": 1.0}).providers == chosen.providers


def test_a_user_config_selects_labels_and_variants() -> None:
    config = {"labels": {"a": {"stable": "1.0.0"}}, "variants": {"b": {"default": "int8"}}}
    assert selections_of(config) == {
        "a": Selection(labels={"stable": "1.0.0"}),
        "b": Selection(variants={"default": "int8"}),
    }


@pytest.mark.parametrize(
    "config", [{"label": {}}, {"labels": []}, {"labels": {"a": {"stable": "one"}}}]
)
def test_a_user_config_of_another_form_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError):
        selections_of(config)


@pytest.mark.parametrize("answered", [True, False])
async def test_a_request_that_rays_proxy_leaves_unanswered_is_told_to_come_again(
    answered: bool,
) -> None:
    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if answered:
            await send({"type": "http.response.start", "status": 404, "headers": []})

    (middleware,) = middlewares()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"x-request-id", b"mine")]}
    await middleware.cls(proxied)(scope, None, send)
    if answered:
        assert [each["status"] for each in sent] == [404]
        return
    start, body = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"retry-after"]) == (503, b"1")
    assert int(headers[b"content-length"]) == len(body["body"])
    told = json.loads(body["body"])
    assert (told["code"], told["request_id"]) == ("E_NOT_READY", "mine")
