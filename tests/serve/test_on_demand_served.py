"""Loading on demand over real sockets: the direct way, gRPC, watch, and memory given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
from support.conformance import seal
from support.servers import Server
from tritonclient.utils import InferenceServerException

from seatrial_contracts.bundle import open_bundle, write_bundle

pytestmark = pytest.mark.slow
NAMES = [f"model{number}" for number in range(6)]


def seal_as(folder: Path, names: list[str], version: str = "1.0.0") -> None:
    """The same bundle under several names."""
    seal(folder)
    sealed = open_bundle(folder / "conformance" / "1.0.0")
    for name in names:
        manifest = sealed.manifest.model_copy(update={"name": name, "version": version})
        write_bundle(folder, manifest, {file: sealed.files[file] for file in sealed.files})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("many")
    seal_as(made, NAMES)
    return made


@pytest.fixture(scope="module")
def row(folder: Path) -> dict[str, Any]:
    example: dict[str, Any] = open_bundle(folder / "model0" / "1.0.0").contract.example_row()
    return example


def test_a_crowd_over_connections_of_its_own_waits_for_one_load(
    folder: Path, row: dict[str, Any], serve: Callable[..., Server]
) -> None:
    server = serve(folder, "--load", "on-demand")
    body = json.dumps({"instances": [row]})
    typed = {"Content-Type": "application/json"}

    def ask(number: int) -> int:
        url = f"{server.url}/v1/models/{NAMES[number % 2]}:predict"
        return httpx.post(url, content=body, headers=typed, timeout=60).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(32))) == {200}
    metrics = httpx.get(server.metrics_url).text
    for name in NAMES[:2]:
        assert f'seatrial_demand_loads_total{{model="{name}",version="1.0.0"}} 1.0' in metrics
    assert "seatrial_demand_models_held 2.0" in metrics
    loaded = [line for line in server.log if "passed its load gate" in line]
    assert len(loaded) == 2


def test_a_client_over_grpc_finds_a_cold_model(folder: Path, serve: Callable[..., Server]) -> None:
    server = serve(folder, "--load", "on-demand")
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    assert client.is_model_ready("model3")
    metadata = client.get_model_metadata("model3", as_json=True)
    assert "in_float32" in {each["name"] for each in metadata["inputs"]}
    inputs = []
    for each in metadata["inputs"]:
        values = np.ones((1, 2), np.float32)
        if each["name"] == "in_word":
            values = np.array([[b"a"]], object)
        elif each["name"] != "in_float32":
            values = np.ones((1, 2), tritonclient.grpc.triton_to_np_dtype(each["datatype"]))
        sent = tritonclient.grpc.InferInput(each["name"], values.shape, each["datatype"])
        sent.set_data_from_numpy(values)
        inputs.append(sent)
    answer = client.infer("model3", inputs)
    assert answer.as_numpy("out_float32").tolist() == [[1.0, 1.0]]
    with pytest.raises(InferenceServerException, match="unknown"):
        client.infer("model99", inputs)


def test_only_what_fits_is_held_and_every_model_answers_in_turn(
    folder: Path, row: dict[str, Any], serve: Callable[..., Server]
) -> None:
    server = serve(folder, "--load", "on-demand", "--model-memory-bytes", str(5 * 2**20))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(2):
            for name in NAMES:
                said = client.post(f"/v1/models/{name}:predict", json={"instances": [row]})
                assert said.status_code == 200, said.text
        listed = client.get("/v1/models").json()["models"]
    metrics = httpx.get(server.metrics_url).text
    held, limit = (
        float(next(line for line in metrics.splitlines() if line.startswith(f"{name} ")).split()[1])
        for name in ("seatrial_demand_held_bytes", "seatrial_demand_limit_bytes")
    )
    assert 0 < held <= limit == 5 * 2**20
    ready = [each["name"] for each in listed if each["versions"][0]["state"] == "READY"]
    evictions = sum(
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("seatrial_demand_evictions_total{")
    )
    loads = sum(
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("seatrial_demand_loads_total{")
    )
    assert loads - evictions == len(ready)
