"""What a bundle needs is known before a graph is opened: at load, and for a Triton."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper
from support.foreign import adopt, parsed
from support.running import run_app
from support.toys import fake_runtimes, toy_bundle, toy_files, toy_manifest

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import write_bundle
from seatrial_contracts.errors import DeclarationError, ModelError
from seatrial_contracts.manifest import Origin
from seatrial_contracts.needs import Needs
from seatrial_export.graphs.needs import needs_of
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.onnx.needs import check_needs
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.triton.releases import RELEASES, check_release, readers

NEW = Needs(ir=13, opsets={"ai.onnx": 27}, onnxruntime="99.1")
TWICE = "g (float[n] x) => (float[n] twice) { twice = Add(x, x) }"


class Row(st.Row):
    x: Annotated[float, st.Number(ge=-9, le=9)]


class Out(st.Answer):
    twice: float


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> st.Bundle:
    rows = [{"x": 1.0}, {"x": -2.0}]
    return adopt(parsed(TWICE), tmp_path_factory.mktemp("adopted"), Row, Out, rows)


def needing(folder: Path, needs: Needs | None, **manifest: Any) -> st.Bundle:
    """A toy whose graph needs this."""
    told = toy_manifest()
    variant = told.variants[0].model_copy(update={"needs": needs})
    told = told.model_copy(update={"variants": (variant,), **manifest})
    return write_bundle(folder, told, toy_files())


def test_a_sealed_graph_says_what_opens_it_and_the_library_reads_the_same(
    adopted: st.Bundle,
) -> None:
    (variant,) = st.open_bundle(adopted.path).manifest.variants
    graph = onnx.load_from_string(adopted.files[variant.graph])
    assert variant.needs is not None
    assert variant.needs.ir == graph.ir_version
    assert variant.needs.opsets == {
        entry.domain or "ai.onnx": entry.version for entry in graph.opset_import
    }
    assert (variant.needs.element_types, variant.needs.onnxruntime) == ((), "1.17")
    assert variant.needs.met_by(ort.__version__)


@pytest.mark.parametrize("name", ["FLOAT16", "BFLOAT16"])
def test_a_narrow_type_within_a_graph_is_named(name: str) -> None:
    narrow = getattr(onnx.TensorProto, name)
    ports = [
        helper.make_tensor_value_info(port, onnx.TensorProto.FLOAT, ["n"]) for port in ("x", "y")
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=narrow),
        helper.make_node("Cast", ["a"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    made = helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:]), ir_version=8)
    assert needs_of(made).element_types == (name.lower(),)
    weight = numpy_helper.from_array(np.zeros(2, np.float16), "w")
    made.graph.initializer.append(weight)
    assert needs_of(made).element_types == tuple(sorted({name.lower(), "float16"}))


def test_a_graph_that_the_installed_onnxruntime_does_not_read_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    bundle = needing(tmp_path, NEW)
    load_engine(bundle, RuntimeOptions())  # run by another runtime, whose business it is not
    with pytest.raises(ModelError) as refused:
        check_needs(bundle, bundle.manifest.variants[0])
    assert refused.value.code == "E_NEEDS"
    assert str(refused.value) == (
        f"bundle toy 1.0.0, variant 'fp32': got onnxruntime {ort.__version__}, "
        "want 99.1 or newer (opset 27, IR 13); mend: pip install 'onnxruntime>=99.1'; "
        "seal it at a lower opset (Pipeline(opset=20))"
    )


def test_an_onnx_graph_that_needs_more_fails_to_load_before_onnxruntime_sees_it(
    adopted: st.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = adopted.manifest.variants[0].model_copy(update={"needs": NEW})
    manifest = adopted.manifest.model_copy(update={"variants": (variant,)})
    bundle = write_bundle(tmp_path, manifest, adopted.files)
    opened: list[Any] = []
    monkeypatch.setattr(ort, "InferenceSession", lambda *given, **_: opened.append(given))
    with pytest.raises(ModelError, match=r"want 99\.1 or newer"):
        load_engine(bundle, RuntimeOptions())
    assert not opened


async def test_readiness_and_the_model_say_what_is_missing(
    adopted: st.Bundle, tmp_path: Path
) -> None:
    variant = adopted.manifest.variants[0].model_copy(update={"needs": NEW})
    manifest = adopted.manifest.model_copy(update={"variants": (variant,)})
    write_bundle(tmp_path, manifest, adopted.files)
    async with run_app(tmp_path) as running:
        ready = await running.client.get("/v2/health/ready")
        assert ready.status_code == 503
        (why,) = ready.json()["not_ready"]
        assert why["code"] == "E_NEEDS"
        assert "want 99.1 or newer (opset 27, IR 13)" in why["reason"]


async def test_the_model_s_own_page_has_what_opens_its_graph(
    adopted: st.Bundle, tmp_path: Path
) -> None:
    write_bundle(tmp_path, adopted.manifest, adopted.files)
    async with run_app(tmp_path) as running:
        told = (await running.client.get("/v1/models/foreign")).json()
        assert '"onnxruntime": "1.17"' in json.dumps(told)


def test_an_adopted_graph_wants_a_release_that_is_safe_with_foreign_graphs(
    tmp_path: Path,
) -> None:
    old = Needs(ir=8, opsets={"ai.onnx": 17}, onnxruntime="1.17")
    bundle = needing(tmp_path, old, origin=Origin(source="adopted"))
    with pytest.raises(ModelError, match=r"got onnxruntime 1\.27\.1, want 1\.28 or newer"):
        check_needs(bundle, bundle.manifest.variants[0], "1.27.1")
    check_needs(bundle, bundle.manifest.variants[0], "1.28.0")
    exported = needing(tmp_path / "exported", old)
    check_needs(exported, exported.manifest.variants[0], "1.27.1")


def test_a_triton_that_does_not_read_a_graph_is_refused_and_one_that_does_is_named(
    tmp_path: Path,
) -> None:
    bundle = needing(tmp_path, Needs(ir=10, opsets={"ai.onnx": 25}, onnxruntime="1.24"))
    with pytest.raises(DeclarationError) as refused:
        check_release(bundle, "26.01")
    assert str(refused.value) == (
        "bundle toy 1.0.0 for Triton 26.01: got onnxruntime 1.23.2, "
        "want 1.24 or newer (opset 25, IR 10); "
        "Triton 26.02 or newer, or seal it at a lower opset (Pipeline(opset=20))"
    )
    check_release(bundle, "26.02")
    assert readers(bundle) == "needs onnxruntime 1.24 or newer: Triton 26.02 or newer"
    with pytest.raises(DeclarationError, match=r"--triton-version: got '23\.05', want one of 24"):
        check_release(bundle, "23.05")
    newest = list(RELEASES)[-1]
    assert f"a Triton newer than {newest}" in readers(needing(tmp_path / "new", NEW))


def test_the_command_refuses_a_triton_that_does_not_read_the_graph_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    bundle = needing(tmp_path, Needs(ir=10, opsets={"ai.onnx": 25}, onnxruntime="1.24"))
    command = ["triton", str(bundle.path), "--out", str(tmp_path / "repo"), "--triton-version"]
    refused = CliRunner().invoke(cli, [*command, "25.01"])
    assert isinstance(refused.exception, DeclarationError)
    assert not (tmp_path / "repo").exists()
    refused = CliRunner().invoke(cli, [*command, "26.07", "--backend", "python"])
    assert "--triton-version: got --backend python" in str(refused.exception)
    done = CliRunner().invoke(cli, [*command, "26.07"])
    assert done.exit_code == 0, done.output
    assert "toy: needs onnxruntime 1.24 or newer: Triton 26.02 or newer" in done.output


def test_inspect_shows_what_opens_each_graph(tmp_path: Path) -> None:
    bundle = needing(tmp_path, NEW)
    done = CliRunner().invoke(cli, ["inspect", str(bundle.path)], env={"COLUMNS": "200"})
    assert "onnxruntime 99.1 (opset 27, IR 13)" in done.output
    done = CliRunner().invoke(cli, ["inspect", str(bundle.path), "--json"])
    (variant,) = json.loads(done.output)["manifest"]["variants"]
    assert variant["needs"]["onnxruntime"] == "99.1"


def test_a_bundle_whose_needs_are_unknown_is_tried_as_it_is(tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path)
    check_needs(bundle, bundle.manifest.variants[0])
    assert readers(bundle) == "nobody read off the graph what it needs: seal it anew"
