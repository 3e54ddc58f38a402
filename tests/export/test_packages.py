"""Model packages of onnxruntime, judged by onnxruntime's own reader and by its sessions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from support.foreign import adopt, answers, parsed

import seatrial as st
from seatrial.main import cli
from seatrial_export.graphs import weights
from seatrial_export.packages import read_package, restore, write_package

TWICE = "g (float[n, 2] x) => (float[n, 2] y) { y = Add(x, x) }"
ROWS = [{"x": [1.0, -2.0]}, {"x": [0.5, 3.0]}, {"x": [0.0, 0.25]}]
CONTRACT = """
import numpy as np
import seatrial as st


class Pair(st.Row):
    x: st.Tensor[np.float32, 2]


class Out(st.Answer):
    y: st.Tensor[np.float32, 2]
"""


class Pair(st.Row):
    x: st.Tensor[np.float32, 2]


class Out(st.Answer):
    y: st.Tensor[np.float32, 2]


def sealed(folder: Path) -> st.Bundle:
    return adopt(TWICE, folder, Pair, Out, ROWS)


def session_of(package: Path, component: str = "model") -> Any:
    """What onnxruntime selects on this machine's processor."""
    context = ort.ModelPackageContext(str(package))
    options = ort.ModelPackageOptions(ort.SessionOptions())
    return context.select_component(component, options).create_session()


def test_onnxruntime_opens_what_is_written_and_answers_alike(tmp_path: Path) -> None:
    bundle = sealed(tmp_path / "bundles")
    package = write_package(bundle, tmp_path / "twice.ortpackage")
    context = ort.ModelPackageContext(str(package))
    assert context.get_component_names() == ["model"]
    assert context.get_variant_names("model") == ["fp32"]
    rows = np.array([row["x"] for row in ROWS], np.float32)
    got = session_of(package).run(["y"], {"x": rows})[0]
    np.testing.assert_array_equal(got, [answer["y"] for answer in answers(bundle, ROWS)])
    manifest = json.loads((package / "manifest.json").read_bytes())
    assert manifest["schema_version"] == "1.0"
    assert manifest["components"] == {"model": "models/model"}
    component = json.loads((package / "models/model/component.json").read_bytes())
    assert component["variants"]["fp32"]["executor_info"]["ort"]["model_file"] == "fp32.onnx"
    (asset,) = (package / "shared_assets").iterdir()
    assert asset.name == ort.ModelPackage.compute_directory_hash(str(asset)).replace(":", "-")


def test_a_bundle_comes_back_to_the_byte(tmp_path: Path) -> None:
    bundle = sealed(tmp_path / "bundles")
    package = write_package(bundle, tmp_path / "twice.ortpackage")
    back = restore(package, tmp_path / "back")
    assert back.digest == bundle.digest
    assert {name: back.files[name] for name in back.files} == {
        name: bundle.files[name] for name in bundle.files
    }
    assert restore(package, tmp_path / "back").digest == bundle.digest, "once more"
    assert [each.name for each in (tmp_path / "back").iterdir()] == ["foreign"]


def test_weights_outside_of_a_graph_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "OUTSIDE_FROM_BYTES", 1)
    text = "g (float[n, 2] x) => (float[n, 2] y) { h = MatMul(x, a)  y = MatMul(h, b) }"
    model, draw = parsed(text), np.random.default_rng(0)
    a, b = (draw.standard_normal(size).astype(np.float32) for size in ((2, 4096), (4096, 2)))
    for name, array in (("a", a), ("b", b)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    bundle = adopt(model, tmp_path / "bundles", Pair, Out, ROWS)
    assert [*bundle.data] == ["graphs/fp32.onnx.data"]
    package = write_package(bundle, tmp_path / "w.ortpackage")
    rows = np.array([row["x"] for row in ROWS], np.float32)
    got = session_of(package).run(["y"], {"x": rows})[0]
    np.testing.assert_allclose(got, rows @ a @ b, rtol=1e-4, atol=1e-3)
    assert restore(package, tmp_path / "back").digest == bundle.digest


def test_a_changed_byte_or_a_folder_there_already_is_refused(tmp_path: Path) -> None:
    bundle = sealed(tmp_path / "bundles")
    package = write_package(bundle, tmp_path / "twice.ortpackage")
    with pytest.raises(st.DeclarationError, match="a folder of that name"):
        write_package(bundle, package)
    with pytest.raises(st.DeclarationError, match=r"NAME\.ortpackage"):
        write_package(bundle, tmp_path / "twice")
    graph = package / "models/model/fp32/fp32.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"Add", b"Sub"))
    with pytest.raises(st.BundleError):
        restore(package, tmp_path / "back")
    assert not list((tmp_path / "back").iterdir())
    shutil.rmtree(package / "shared_assets")
    with pytest.raises(st.DeclarationError, match="no shared asset of its bundle"):
        restore(package, tmp_path / "back")


def foreign(folder: Path, variants: dict[str, Any], components: int = 1) -> Path:
    """A package as Olive writes one, without anything of ours."""
    root = folder / "other.ortpackage"
    names = ["decoder", "vision"][:components]
    for name in names:
        for variant in variants:
            place = root / "models" / name / variant
            place.mkdir(parents=True)
            text = f'<ir_version: 8, opset_import: ["": 17]> {TWICE}'
            onnx.save(onnx.parser.parse_model(text), place / "net.onnx")
        body = {"component_name": name, "variants": variants}
        (root / "models" / name / "component.json").write_text(json.dumps(body))
    manifest = {
        "schema_version": "1.0",
        "package_name": "two words",
        "components": {name: f"models/{name}" for name in names},
        "additional_metadata": {"producer": {"tool": "olive-ai"}},
    }
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def variant(provider: str | None, **info: Any) -> dict[str, Any]:
    named = {"ep": provider} if provider else {}
    return {**named, "executor_info": {"ort": {"model_file": "net.onnx", **info}}}


def test_a_package_of_others_is_adopted_by_its_variant_for_the_processor(tmp_path: Path) -> None:
    both = {"gpu": variant("CUDAExecutionProvider"), "cpu": variant("CPUExecutionProvider")}
    package = foreign(tmp_path, both)
    ort.ModelPackageContext(str(package))
    assert read_package(package).graph == (package / "models/decoder/cpu/net.onnx").resolve()
    (tmp_path / "rows.py").write_text(CONTRACT)
    (tmp_path / "golden.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        arguments = ["--contract", "rows.py:Pair", "--golden", "golden.jsonl"]
        done = CliRunner().invoke(cli, ["adopt", "other.ortpackage", *arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
    bundle = st.open_bundle(tmp_path / "bundles" / "two-words" / "1.0.0")
    assert answers(bundle, ROWS)[0]["y"].tolist() == [2.0, -4.0]


@pytest.mark.parametrize(
    ("variants", "components", "words"),
    [
        ({"npu": variant("QNNExecutionProvider")}, 1, "variants for QNNExecutionProvider"),
        ({"cpu": variant("CPUExecutionProvider")}, 2, "2 components (decoder, vision)"),
        ({"cpu": {"ep": "CPUExecutionProvider"}}, 1, "without a model file"),
        (
            {"cpu": variant("CPUExecutionProvider", model_file="none.onnx")},
            1,
            "without a model file",
        ),
        (
            {
                "cpu": variant(
                    "CPUExecutionProvider",
                    session_options={
                        "session.model_external_initializers_file_folder_path": "weights"
                    },
                )
            },
            1,
            "whose weights lie in another folder",
        ),
    ],
)
def test_a_package_without_a_model_for_us_is_refused_by_its_cause(
    variants: dict[str, Any], components: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(st.DeclarationError) as said:
        read_package(foreign(tmp_path, variants, components))
    assert words in str(said.value)


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(st.DeclarationError, match="no folder"):
        read_package(tmp_path / "none.ortpackage")
    (tmp_path / "a.ortpackage").mkdir()
    with pytest.raises(st.DeclarationError, match="does not open"):
        read_package(tmp_path / "a.ortpackage")
    package = foreign(tmp_path, {"cpu": variant("CPUExecutionProvider")})
    manifest = json.loads((package / "manifest.json").read_bytes())
    manifest["components"] = {"model": "../../elsewhere"}
    (package / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(st.DeclarationError, match="does not open"):
        read_package(package)


def test_the_command_writes_a_package_and_gives_the_bundle_back(tmp_path: Path) -> None:
    bundle = sealed(tmp_path / "bundles")
    package = str(tmp_path / "twice.ortpackage")
    done = CliRunner().invoke(cli, ["ortpackage", str(bundle.path), "--out", package])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, ["adopt", package, "--out", str(tmp_path / "back")])
    assert done.exit_code == 0, done.output + str(done.exception)
    assert bundle.digest in done.output
