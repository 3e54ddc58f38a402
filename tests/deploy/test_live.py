"""Servers that are started as the manifests start them, and asked all that the manifests name."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from support.manifests import figures, kserve_entry, objects, variables, write_kit
from support.real_prometheus import INSTALLED, WHY, RealPrometheus
from support.registries import small_registry
from support.servers import OURS, ROOT, Server

from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.element_types import DTYPES
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.runners.runner import Answers, RawRows, TrialRequest
from seatrial_parity.runners.tensor_runner import Served, TensorRunner, refusal_from
from seatrial_parity.runners.tensors import Tensors
from seatrial_parity.trial import try_bundle, try_runner
from seatrial_serve.deploy.kserve import serving_runtime
from seatrial_serve.deploy.source import with_address
from seatrial_serve.stores.address import InRegistry, read_address
from seatrial_serve.stores.in_registry import push_to_registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
CLIENT = ROOT / "build/clients/kserve/bin/python"
NAME = re.compile(r"\bseatrial_[a-z0-9_]+")
WORDS = re.compile(r'"(?:\\.|[^"])*"')


def probes(container: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each kind of probe -> what it gets."""
    kinds = ("startupProbe", "readinessProbe", "livenessProbe")
    return {kind: container[kind]["httpGet"] for kind in kinds if kind in container}


def answered(server: Server, container: Mapping[str, Any], ports: set[Any]) -> None:
    """Ask each probe's path, as the kubelet does: by an IP address."""
    for kind, asked in probes(container).items():
        assert asked["port"] in ports, kind
        assert httpx.get(f"{server.url}{asked['path']}").status_code == 200, kind


def families(server: Server) -> set[str]:
    """The names of the server's metrics, with those of a histogram's series."""
    text = httpx.get(server.metrics_url).text
    found = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    parts = [f"{name}_{part}" for name, kind in found if kind == "histogram"
             for part in ("bucket", "count", "sum")]  # fmt: skip
    return {name for name, _ in found} | set(parts)


def queries(found: list[dict[str, Any]]) -> Iterator[str]:
    """The PromQL of scalers and rules, without the words in it."""
    for each in found:
        text = json.dumps(each["spec"])
        for query in re.findall(r'"(?:query|expr)": ("(?:\\.|[^"])*")', text):
            yield WORDS.sub("", json.loads(query))


@pytest.fixture(scope="module")
def kit(
    examples: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Iterator[tuple[Path, Server]]:
    """A kit whose server gets its bundle from a registry that wants a login."""
    folder = tmp_path_factory.mktemp("kit")
    bundle = open_bundle(examples / "sentences" / "1.0.0")
    with small_registry() as registry:
        registry.login = "robot:secret"
        (folder / "login").mkdir()
        auth = base64.b64encode(b"robot:secret").decode()
        config = {"auths": {registry.host: {"auth": auth}}}
        (folder / "login" / "config.json").write_text(json.dumps(config))
        source = with_address(bundle, f"oci://{registry.host}/models")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_CONFIG", str(folder / "login"))
            to = read_address(source.push_to)
            assert isinstance(to, InRegistry)
            push_to_registry(bundle, to)
        write_kit(source, folder / "kit", figures(name="sentences"))
        (one,) = deployment(folder / "kit")["containers"]
        settings = variables(one) | {"DOCKER_CONFIG": str(folder / "login")}
        cache = {"XDG_CACHE_HOME": str(folder / "cache")}
        program = ["env", *(f"{name}={value}" for name, value in (settings | cache).items())]
        bundles = settings["SEATRIAL_BUNDLES"]
        yield folder / "kit", serve(bundles, program=[*program, *OURS])


def deployment(kit: Path) -> dict[str, Any]:
    """The pod of a kit."""
    (found,) = objects((kit / "base/deployment.yaml").read_text())
    return dict(found["spec"]["template"]["spec"])


def test_a_replica_pulls_its_bundle_by_the_digest_and_answers_every_probe(
    kit: tuple[Path, Server],
) -> None:
    folder, server = kit
    status, body = server.wait_until_loaded()
    assert status == 200, body
    (container,) = deployment(folder)["containers"]
    answered(server, container, {port["name"] for port in container["ports"]})
    told = httpx.get(f"{server.url}/v1/models/sentences").json()
    source = told["versions"][0]["source"]["address"]
    assert source == variables(container)["SEATRIAL_BUNDLES"]
    (found,) = objects((folder / "base/deployment.yaml").read_text())
    annotations = found["spec"]["template"]["metadata"]["annotations"]
    assert annotations["seatrial.bundle.digest"] == f"sha256:{told['versions'][0]['digest']}"


def test_a_replica_answers_to_each_name_of_its_service_and_to_no_other(
    kit: tuple[Path, Server],
) -> None:
    folder, server = kit
    port = urlsplit(server.url).port
    (container,) = deployment(folder)["containers"]
    hosts = variables(container)["SEATRIAL_ALLOWED_HOSTS"].split(",")
    (service,) = objects((folder / "base/service.yaml").read_text())
    assert hosts[0] == service["metadata"]["name"]
    statuses = [
        httpx.get(f"{server.url}/v2", headers={"Host": f"{host}:{port}"}).status_code
        for host in (*hosts, "elsewhere.example")
    ]
    assert statuses == [200] * len(hosts) + [421]


def test_every_metric_of_queries_and_rules_is_one_that_the_server_has(
    kit: tuple[Path, Server],
) -> None:
    folder, server = kit
    server.wait_until_loaded()
    files = [*(folder / "components/keda").glob("s*.yaml"),
             *(folder / "components/prometheus").glob("p*.yaml")]  # fmt: skip
    found = [each for file in files for each in objects(file.read_text())]
    asked = {name for query in queries(found) for name in NAME.findall(query)}
    assert len(asked) > 10
    assert asked <= families(server), asked - families(server)
    (monitor,) = objects((folder / "components/prometheus/servicemonitor.yaml").read_text())
    (endpoint,) = monitor["spec"]["endpoints"]
    assert urlsplit(server.metrics_url).path == endpoint["path"]
    (service,) = objects((folder / "base/service.yaml").read_text())
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.skipif(not INSTALLED, reason=WHY)
def test_by_the_query_that_scales_an_idle_replica_has_no_load(
    kit: tuple[Path, Server], tmp_path: Path
) -> None:
    folder, server = kit
    server.wait_until_loaded()
    (scaled,) = objects((folder / "components/keda/scaledobject.yaml").read_text())
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    here = query.replace('namespace="models", ', "")  # which Prometheus' operator adds
    with RealPrometheus(tmp_path / "prometheus", [server.metrics_url]) as prometheus:
        (found,) = prometheus.until(lambda: prometheus.query(here))
    assert float(found["value"][1]) == 0


@pytest.fixture(scope="module")
def kserve(
    examples: Path, tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]
) -> Server:
    """A server as KServe starts it: a folder with the image's /models, and the name filled in."""
    folder = tmp_path_factory.mktemp("kserve")
    mounted = folder / "mnt" / "models"
    shutil.copytree(examples / "penguins", mounted / "penguins")
    flags, program = kserve_entry(open_bundle(examples / "penguins" / "1.0.0"), "adelie")
    server = serve(mounted, *flags, program=program)
    status, body = server.wait_until_loaded()
    assert status == 200, body
    return server


def test_kserves_probes_are_answered_and_the_model_has_the_services_name(kserve: Server) -> None:
    (container,) = serving_runtime("a/b:1")["spec"]["containers"]
    answered(kserve, container, {port["containerPort"] for port in container["ports"]})
    assert httpx.get(f"{kserve.url}/v2/models").json() == {"models": ["adelie"]}
    gateway = {"Host": "adelie-models.example.com"}
    assert httpx.get(f"{kserve.url}/v2/models/adelie/ready", headers=gateway).status_code == 200


def test_the_series_that_kserve_scales_by_have_the_services_name_and_version(
    kserve: Server, examples: Path
) -> None:
    text = httpx.get(kserve.metrics_url).text
    for name in ("seatrial_predicted_queue_seconds", "seatrial_objective_seconds"):
        assert re.search(rf'^{name}{{model="adelie",version="1.0.0"}} ', text, re.MULTILINE)


def test_parity_asks_it_by_the_services_name(kserve: Server, examples: Path) -> None:
    bundle = open_bundle(examples / "penguins" / "1.0.0")
    asked = TrialRequest(bundle, url=kserve.url, grpc=kserve.grpc, model="adelie")
    receipt = try_bundle(asked, ["http v1", "v2 json", "v2 binary", "grpc"])
    assert {trial.runner for trial in receipt.trials} >= {"http v1", "v2 json", "v2 binary", "grpc"}
    assert receipt.passed, [trial.finding for trial in receipt.trials]


class Clients:
    """KServe's clients, in a process of their own environment."""

    def __init__(self, server: Server) -> None:
        asking = Path(__file__).parent / "ask_kserve_rows.py"
        command = [str(CLIENT), str(asking), server.url, server.grpc, "adelie"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, way: str, **asked: Any) -> Any:
        """What came of one request."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"way": way, **asked}) + "\n")
        stdin.flush()
        said = json.loads(stdout.readline())
        if isinstance(said, dict) and "says" in said:
            raise refusal_from(said["says"], said["code"])
        return said

    def close(self) -> None:
        """End."""
        self._process.communicate()


class TensorsByKServe(TensorRunner):
    """V2 by KServe's clients."""

    def __init__(self, bundle: Bundle, clients: Clients, way: str) -> None:
        super().__init__(bundle)
        self.name, self._clients = way, clients

    def served(self) -> Served:
        return Served(self._bundle.digest)

    def close(self) -> None:
        pass

    def ask(self, tensors: Tensors) -> dict[str, Array]:
        inputs = [
            {
                "name": name,
                "datatype": datatype,
                "shape": array.shape,
                "data": [v.decode() if isinstance(v, bytes) else v for v in array.ravel().tolist()],
            }
            for name, (datatype, array) in tensors.items()
        ]
        made = self._clients.ask(self.name, inputs=inputs)
        return {
            name: np.array(
                each["data"], object if each["datatype"] == "BYTES" else DTYPES[each["datatype"]]
            ).reshape(each["shape"])
            for name, each in made.items()
        }


class RowsByKServe(TensorsByKServe):
    """V1 by KServe's client."""

    def run(self, rows: RawRows, batch_rows: int) -> Answers:
        answers: Answers = []
        for start in range(0, len(rows), batch_rows):
            some = list(rows[start : start + batch_rows])
            predictions = self._clients.ask("v1", instances=some)["predictions"]
            answers += [self._contract.recover(each) for each in predictions]
        return answers

    def refusal_code(self, row: Any) -> str | None:
        try:
            self._clients.ask("v1", instances=[row])
        except Refusal as refused:
            return refused.code
        return None


@pytest.fixture(scope="module")
def clients(kserve: Server) -> Iterator[Clients]:
    if not CLIENT.exists():
        pytest.skip("the environment of kserve is not here: make clients")
    asking = Clients(kserve)
    try:
        yield asking
    finally:
        asking.close()


@pytest.mark.parametrize("way", ["v1", "v2 json", "v2 binary", "grpc"])
def test_golden_rows_are_answered_rightly_by_kserves_own_clients(
    way: str, clients: Clients, examples: Path
) -> None:
    bundle = open_bundle(examples / "penguins" / "1.0.0")
    assert clients.ask("ready") == [True, True]
    kind = RowsByKServe if way == "v1" else TensorsByKServe
    with kind(bundle, clients, way) as runner:
        trials = list(try_runner(bundle, runner))
    assert trials
    assert sum(trial.rows for trial in trials) >= len(bundle.golden.rows)
    assert sum(trial.refusals for trial in trials) > 0
    assert [trial.finding for trial in trials] == [""] * len(trials)
