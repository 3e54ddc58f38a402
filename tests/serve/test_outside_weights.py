"""Models whose weights lie outside of their graph: mapped by a server, let go of, and in Triton.

The bound from which weights lie outside is lowered, so that a small model takes the ways of a large
one. Judges are the kernel's list of mapped files, PyTorch, onnx, onnxruntime and Triton.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from support import encrypted, outside
from support.outside import DATA
from support.real_triton import RealTriton, needs_triton
from support.servers import Server
from support.waiting import until
from tritonclient.grpc import model_config_pb2 as pb

import seatrial as st
from seatrial_contracts.bundle import write_bundle
from seatrial_contracts.manifest import Variant
from seatrial_export.graphs import weights
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> st.Bundle:
    return exported(outside.pipeline(), tmp_path_factory.mktemp("bundles"))


def exported(pipeline: st.Pipeline, folder: Path) -> st.Bundle:
    """Sealed with the real size of shards, since servers of their own read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "OUTSIDE_FROM_BYTES", 2**12)
        patch.setattr(weights, "LEAST_BYTES", 2**9)
        return st.open_bundle(st.export(pipeline, folder).path)


def other_weights(folder: Path, version: str = "1.0.0") -> st.Bundle:
    """The same graph with other weights."""
    pipeline = outside.pipeline()
    torch.manual_seed(1)
    object.__setattr__(pipeline, "model", outside.Net().eval())
    object.__setattr__(pipeline, "version", version)
    return exported(pipeline, folder)


def want(row: dict[str, Any]) -> np.ndarray:
    return outside.pipeline().model(torch.tensor([row["ids"]]))[0].detach().numpy()


def test_the_runtime_maps_the_sealed_file_itself(bundle: st.Bundle) -> None:
    engine = load_engine(bundle, RuntimeOptions())
    assert str(bundle.path / DATA) in Path("/proc/self/maps").read_text("utf-8")
    assert pass_load_gate(engine).trials
    engine.close()


def test_a_cached_graph_is_made_aside_and_answers_alike(bundle: st.Bundle, tmp_path: Path) -> None:
    cached = RuntimeOptions(cache=tmp_path / "graphs")
    for _ in range(2):
        engine = load_engine(bundle, cached)
        (kept,) = (tmp_path / "graphs").iterdir()
        assert str(kept / "weights") in Path("/proc/self/maps").read_text("utf-8")
        for row, answer in zip(outside.rows(), engine.answer(outside.rows()), strict=True):
            np.testing.assert_allclose(answer["scores"], want(row), rtol=1e-4, atol=1e-6)
        engine.close()


def test_bundles_of_one_graph_and_other_weights_have_cached_graphs_of_their_own(
    bundle: st.Bundle, tmp_path: Path
) -> None:
    sealed = other_weights(tmp_path / "other")
    cached, row = RuntimeOptions(cache=tmp_path / "graphs"), outside.rows()[:1]
    one, two = (load_engine(each, cached).answer(row)[0] for each in (bundle, sealed))
    assert not np.allclose(one["scores"], two["scores"])
    assert len(list((tmp_path / "graphs").iterdir())) == 2


def test_graphs_of_a_bundle_that_are_alike_but_for_their_weights_are_kept_apart(
    tmp_path: Path,
) -> None:
    names, matrices = ("one", "two"), [encrypted.weights_of(64, seed) for seed in range(2)]
    sealed = st.open_bundle(encrypted.seal(tmp_path / "sealed").path)
    files, data = dict(sealed.files), dict[str, Path]()
    graph = files.pop(encrypted.GRAPH)
    for name, matrix in zip(names, matrices, strict=True):
        files[f"{name}/model.onnx"], place = graph, tmp_path / name
        matrix.tofile(place)
        data[f"{name}/model.onnx.data"] = place
    variants = tuple(
        Variant(name=each, format="onnx", graph=f"{each}/model.onnx") for each in names
    )
    manifest = sealed.manifest.model_copy(update={"variants": variants})
    path = write_bundle(tmp_path / "bundles", manifest, files, data).path
    cached, row = RuntimeOptions(cache=tmp_path / "graphs"), {"x": np.eye(64, dtype="f4")[0]}
    for _ in range(2):
        for name, matrix in zip(names, matrices, strict=True):
            engine = load_engine(st.open_bundle(path), cached, name)
            np.testing.assert_array_equal(engine.answer([row])[0]["y"], matrix[0])
            engine.close()


@pytest.fixture
def server(bundle: st.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_bundle(tmp_path / "bundles", bundle.manifest, bundle.files, bundle.data)
    running = Server(tmp_path / "bundles")
    yield running
    running.stop()


def predicted(server: Server, version: str) -> np.ndarray:
    body = json.dumps({"instances": [outside.rows()[4]]}).encode()
    request = urllib.request.Request(f"{server.url}/v1/models/net:predict", body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as reply:
        said = json.load(reply)
    assert said["model_version"] == version
    return np.array(said["predictions"][0]["scores"], np.float32)


def mapped(server: Server) -> set[str]:
    """The cached graphs whose weights the server maps; a sealed file, it has no reason to."""
    text = Path(f"/proc/{server.process.pid}/maps").read_text("utf-8")
    assert DATA not in text
    lines = [line for line in text.splitlines() if line.endswith("/weights")]
    return {line.split("/graphs/")[1].split("/")[0] for line in lines}


@pytest.mark.slow
def test_a_server_maps_a_version_swaps_it_and_lets_it_go(
    bundle: st.Bundle, server: Server, tmp_path: Path
) -> None:
    assert server.wait_until_loaded()[0] == 200
    row = outside.rows()[4]
    np.testing.assert_allclose(predicted(server, "1.0.0"), want(row), rtol=1e-4, atol=1e-6)
    (old,) = mapped(server)
    new = other_weights(tmp_path / "other", version="1.1.0")
    write_bundle(tmp_path / "bundles", new.manifest, new.files, new.data)
    os.kill(server.process.pid, signal.SIGHUP)
    until(lambda: len(mapped(server) - {old}) == 1 and old not in mapped(server))
    assert not np.allclose(predicted(server, "1.1.0"), want(row))


@pytest.mark.slow
def test_a_restart_with_a_kept_receipt_replays_one_row_of_a_large_model(
    bundle: st.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kept in (False, True):
        server = Server(bundle.path.parents[1])
        try:
            assert server.wait_until_loaded()[0] == 200
            assert any("by a kept receipt" in line for line in server.log) is kept
            assert predicted(server, "1.0.0").shape == (16,)
        finally:
            server.stop()


@pytest.mark.slow
def test_a_damaged_new_version_is_not_served_and_the_old_one_goes_on(
    bundle: st.Bundle, server: Server, tmp_path: Path
) -> None:
    assert server.wait_until_loaded()[0] == 200
    manifest = bundle.manifest.model_copy(update={"version": "1.1.0"})
    new = write_bundle(tmp_path / "bundles", manifest, bundle.files, bundle.data)
    data = bytearray((new.path / DATA).read_bytes())
    data[5] ^= 1
    (new.path / DATA).write_bytes(data)
    os.kill(server.process.pid, signal.SIGHUP)
    until(lambda: any("with other bytes than were sealed" in line for line in server.log))
    assert predicted(server, "1.0.0").shape == (16,)


@pytest.mark.slow
def test_every_runner_of_the_parity_suite_answers_as_was_sealed(
    bundle: st.Bundle, server: Server
) -> None:
    assert server.wait_until_loaded()[0] == 200
    asked = TrialRequest(bundle, url=server.url, grpc=server.grpc)
    receipt = try_bundle(asked, ["onnxruntime", "http v1", "v2 binary", "grpc"])
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    assert len({trial.runner for trial in receipt.trials}) == 4


def test_triton_gets_a_folder_with_the_graph_and_its_weights(
    bundle: st.Bundle, tmp_path: Path
) -> None:
    write_repository([bundle], tmp_path / "repo", Placing())
    home = tmp_path / "repo" / "net_graph"
    config = text_format.Parse((home / "config.pbtxt").read_text("utf-8"), pb.ModelConfig())
    folder = home / "1000000" / config.default_model_filename
    assert sorted(path.name for path in folder.iterdir()) == ["fp32.onnx.data", "model.onnx"]
    assert outside.weights_of(folder / "model.onnx").keys()
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    row = outside.rows()[4]
    got = session.run(None, {"ids": np.array([row["ids"]])})[0][0]
    np.testing.assert_allclose(got, want(row), rtol=1e-4, atol=1e-6)


@needs_triton
@pytest.mark.slow
def test_a_large_model_answers_in_real_triton(bundle: st.Bundle, tmp_path: Path) -> None:
    write_repository([bundle], tmp_path / "repo", Placing(backend="python"))
    with RealTriton(tmp_path / "repo", tmp_path / "triton.log") as triton:
        asked = TrialRequest(bundle, triton=triton.url, triton_grpc=triton.grpc)
        receipt = try_bundle(asked, ["triton http", "triton grpc"])
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    assert receipt.trials
