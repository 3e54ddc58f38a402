"""Models whose weights lie outside of their graph, in a file that is mapped: sealed and opened.

The bounds are lowered, so that a small model takes the ways of a large one. Judges are onnx's own
reading of the files, PyTorch, and onnxruntime over the same files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto
from support import outside
from support.foreign import answers
from support.outside import DATA, FOURS, Forty, Four

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import MANIFEST, open_bundle
from seatrial_contracts.canonical import canonical_json, read_json, sha256
from seatrial_contracts.shards import shards_of
from seatrial_export.adopt.foreign import read_onnx
from seatrial_export.graphs import weights
from seatrial_export.quantize.quantize_bundle import quantize_bundle
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants import parse_recipe

PIECEWISE = ("fp16", "int8_weights", "int8_per_token", "int4_weights")


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    outside.lowered(monkeypatch)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, sealed once; tests that change it copy it."""
    with pytest.MonkeyPatch.context() as patch:
        outside.lowered(patch)
        return st.export(outside.pipeline(), tmp_path_factory.mktemp("sealed")).path


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "net" / "1.0.0"))


def adopted(graph: onnx.ModelProto, folder: Path) -> st.Bundle:
    declared: dict[str, Any] = {"name": "foreign", "version": "1.0.0", "golden": FOURS}
    adoption = st.Adoption(graph=graph, inputs=Four, outputs=Forty, **declared)
    return st.adopt_model(adoption, folder)


def test_the_weights_lie_in_one_file_at_whole_pages_as_pytorch_has_them(sealed: Path) -> None:
    graph, model = sealed / "graphs" / "fp32.onnx", outside.pipeline().model
    found = outside.places(graph)
    assert {each["location"] for each in found} == {"fp32.onnx.data"}
    assert all(int(each["offset"]) % 4096 == 0 for each in found)
    assert len(found) == 3
    read = list(outside.weights_of(graph).values())
    for wanted in (model.table.weight, model.first.weight, model.last.weight):
        value = wanted.detach().numpy()
        assert any(np.array_equal(value, each) or np.array_equal(value.T, each) for each in read)
    assert graph.stat().st_size < 6000 < (sealed / DATA).stat().st_size


def test_the_bundle_answers_as_pytorch_does(sealed: Path) -> None:
    model, bundle = outside.pipeline().model, open_bundle(sealed)
    for row, answer in zip(outside.rows(), answers(bundle, outside.rows(), 4), strict=True):
        want = model(torch.tensor([row["ids"]]))[0].detach().numpy()
        np.testing.assert_allclose(answer["scores"], want, rtol=1e-4, atol=1e-6)


def test_onnxruntime_alone_runs_the_sealed_files(sealed: Path) -> None:
    session = onnxruntime.InferenceSession(sealed / "graphs" / "fp32.onnx")
    ids = np.array([outside.rows()[4]["ids"]])
    want = outside.pipeline().model(torch.from_numpy(ids)).detach().numpy()
    np.testing.assert_allclose(session.run(None, {"ids": ids})[0], want, rtol=1e-4, atol=1e-6)


def test_two_exports_have_one_digest_and_leave_nothing_beside_them(
    sealed: Path, tmp_path: Path
) -> None:
    again = st.export(outside.pipeline(), tmp_path)
    assert again.digest == open_bundle(sealed).digest
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    assert [path.name for path in (tmp_path / "net").iterdir()] == ["1.0.0"]


def test_a_few_weights_stay_in_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "OUTSIDE_FROM_BYTES", 2**20)
    bundle = st.export(outside.pipeline(), tmp_path)
    assert not bundle.data
    assert not list(bundle.path.rglob("*.data"))
    assert outside.places(bundle.path / "graphs" / "fp32.onnx") == []


def test_a_gate_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    class Wild(outside.Net):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids).log()

    pipeline = outside.pipeline()
    torch.manual_seed(0)
    object.__setattr__(pipeline, "model", Wild().eval())
    with pytest.raises(st.SeatrialError):
        st.export(pipeline, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_manifest_has_a_digest_of_each_gigabyte(sealed: Path) -> None:
    data = (sealed / DATA).read_bytes()
    file = read_json((sealed / MANIFEST).read_bytes())["files"][DATA]
    assert file["size"] == len(data) > 3 * outside.SHARD_BYTES
    assert file["sha256"] == sha256(data)
    wanted = {
        f"{DATA}:{start}:{min(start + 10_000, len(data))}": sha256(data[start : start + 10_000])
        for start in range(0, len(data), 10_000)
    }
    assert file["shards"] == wanted
    others = read_json((sealed / MANIFEST).read_bytes())["files"]
    assert all("shards" not in each for name, each in others.items() if each["size"] <= 10_000)


def test_a_shard_is_named_as_openssf_model_signing_names_it() -> None:
    assert [shard.name for shard in shards_of("a/b", 25_000)] == [
        "a/b:0:10000",
        "a/b:10000:20000",
        "a/b:20000:25000",
    ]
    assert shards_of("a", 10_000) == ()


# -- variants ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_variants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model with every variant that is made piece by piece, its weights outside and inside."""
    made = {}
    for where, bound in (("outside", 2**9), ("inside", 2**30)):
        with pytest.MonkeyPatch.context() as patch:
            outside.lowered(patch)
            patch.setattr(weights, "OUTSIDE_FROM_BYTES", bound)
            promise = st.Promise(cosine=0.9)
            recipes = [
                parse_recipe(kind).model_copy(update={"promise": promise}) for kind in PIECEWISE
            ]
            made[where] = st.export(
                outside.pipeline(variants=recipes), tmp_path_factory.mktemp(where)
            ).path
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", PIECEWISE)
def test_a_variant_made_piece_by_piece_is_the_one_made_at_once(
    kind: str, with_variants: dict[str, Path]
) -> None:
    paths = {where: path / "graphs" / f"{kind}.onnx" for where, path in with_variants.items()}
    assert paths["outside"].with_suffix(".onnx.data").is_file()
    assert not paths["inside"].with_suffix(".onnx.data").exists()
    ours, theirs = (outside.weights_of(paths[where]) for where in ("outside", "inside"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        np.testing.assert_array_equal(ours[name], value)
    nodes = [onnx.load(path, load_external_data=False).graph.node for path in paths.values()]
    assert list(nodes[0]) == list(nodes[1])


@pytest.mark.slow
def test_the_variants_of_a_large_model_answer_within_their_promise(
    with_variants: dict[str, Path],
) -> None:
    from seatrial_serve.inference.engine import load_engine
    from seatrial_serve.inference.load_gate import pass_load_gate
    from seatrial_serve.runtimes.runtime import RuntimeOptions

    bundle = open_bundle(with_variants["outside"])
    for kind in PIECEWISE:
        assert pass_load_gate(load_engine(bundle, RuntimeOptions(), kind)).trials


@pytest.mark.slow
def test_quantize_adds_variants_to_a_sealed_large_model(sealed: Path, tmp_path: Path) -> None:
    old = open_bundle(sealed)
    promise = st.Promise(cosine=0.9)
    recipe = parse_recipe("int8_weights").model_copy(update={"promise": promise})
    new = quantize_bundle(Subject(old), [recipe], tmp_path, "1.0.1")
    opened = open_bundle(new.path)
    assert set(opened.data) == {DATA, "graphs/int8_weights.onnx.data"}
    assert opened.data[DATA].read_bytes() == (sealed / DATA).read_bytes()
    assert {path.stat().st_nlink for path in opened.data.values()} == {1}
    assert answers(opened, outside.rows())[3]["scores"].shape == (16,)


@pytest.mark.parametrize("kind", ["int8", "int8_dynamic"])
def test_a_variant_that_takes_the_whole_model_in_memory_is_refused(
    kind: str, sealed: Path, tmp_path: Path
) -> None:
    rows = outside.rows(20)
    subject = Subject(open_bundle(sealed), rows)
    subject.batchable = kind == "int8"
    with pytest.raises(st.DeclarationError, match="holds all of them in memory") as said:
        quantize_bundle(subject, [parse_recipe(kind)], tmp_path, "1.0.1")
    assert "int8_per_token" in str(said.value)
    assert not list(tmp_path.iterdir())


# -- adoption ------------------------------------------------------------------------------------


def reference(path: Path) -> np.ndarray:
    x = np.array([row["x"] for row in FOURS], np.float32)
    return onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


@pytest.mark.parametrize("one_file", [True, False])
def test_a_folder_with_weights_beside_its_graph_is_adopted(one_file: bool, tmp_path: Path) -> None:
    path = outside.saved(tmp_path / "model", one_file=one_file)
    bundle = adopted(read_onnx(path), tmp_path / "out")
    assert set(bundle.data) == {DATA}
    got = answers(open_bundle(bundle.path), FOURS, 2)
    np.testing.assert_allclose([each["y"] for each in got], reference(path), rtol=1e-5, atol=1e-4)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["foreign"]


def test_a_large_graph_in_one_file_is_adopted_with_its_weights_outside(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(outside.foreign(), path)
    bundle = adopted(read_onnx(path), tmp_path / "out")
    assert set(bundle.data) == {DATA}
    got = answers(open_bundle(bundle.path), FOURS)
    np.testing.assert_allclose([each["y"] for each in got], reference(path), rtol=1e-5, atol=1e-4)
    own = outside.weights_of(bundle.path / "graphs" / "fp32.onnx")
    kept = {name.removeprefix("_graph."): value for name, value in own.items()}
    for name, value in outside.weights_of(path).items():
        np.testing.assert_array_equal(kept[name], value)


def entry(index: int, **changes: str) -> Callable[[onnx.ModelProto, Path], object]:
    """Change where a weight is said to lie."""

    def change(model: onnx.ModelProto, _: Path) -> None:
        for each in model.graph.initializer[index].external_data:
            each.value = changes.get(each.key, each.value)

    return change


HOSTILE: dict[str, tuple[Callable[[onnx.ModelProto, Path], object], str]] = {
    "a data file that is gone": (lambda _, data: data.unlink(), "is missing, too short"),
    "a short one": (
        lambda _, data: data.write_bytes(data.read_bytes()[:-1]),
        "of 163199 bytes is too short for weights 'bias', at bytes 161600 to 163200",
    ),
    "a link": (
        lambda _, data: (data.rename(data.parent.parent / "x"), data.symlink_to("../x")),
        "outside the model's folder, behind a link",
    ),
    "a folder above": (entry(1, location="../model.onnx.data"), "outside the model's folder"),
    "an absolute path": (entry(1, location="/model.onnx.data"), "outside the model's folder"),
    "an offset past the end": (entry(1, offset="999999"), "is too short for weights 'second'"),
    "an offset below 0": (entry(1, offset="-4096"), "is too short for weights 'second'"),
    "an offset that is no number": (entry(1, offset="x"), "is missing, too short"),
    "another length": (entry(1, length="400"), "weights 'second' have 400 bytes in"),
    "weights that overlap": (entry(1, offset="800"), "within weights 'first', which end at 1600"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_folder_whose_weights_are_not_where_it_says_is_refused(case: str, tmp_path: Path) -> None:
    change, words = HOSTILE[case]
    path = outside.saved(tmp_path / "model")
    model = onnx.load(path, load_external_data=False)
    change(model, path.with_name("model.onnx.data"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(st.GateError, match="external data") as said:
        read_onnx(path)
    assert words in str(said.value)
    assert str(tmp_path) not in str(said.value)


def test_a_graph_loaded_without_its_weights_is_refused(tmp_path: Path) -> None:
    model = onnx.load(outside.saved(tmp_path / "model"), load_external_data=False)
    with pytest.raises(st.GateError, match="weights outside the graph: first, second, bias"):
        adopted(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- opening -------------------------------------------------------------------------------------


def flipped(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_damaged_gigabyte_is_named(copied: Path) -> None:
    flipped(copied / DATA, 25_000)
    with pytest.raises(st.BundleError, match=f"sealed in {DATA}:20000:30000") as said:
        open_bundle(copied)
    assert said.value.code == "E_BUNDLE_CHANGED"


CHANGED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "gone": (lambda data: data.unlink(), "E_BUNDLE_MISSING", f"no file '{DATA}'"),
    "shorter": (
        lambda data: data.write_bytes(data.read_bytes()[:-1]), "E_BUNDLE_CHANGED", "sealed bytes",
    ),
    "longer": (
        lambda data: data.write_bytes(data.read_bytes() + b"1"), "E_BUNDLE_CHANGED", "more than",
    ),
    "a link": (
        lambda data: (data.rename(data.parents[2] / "x"), data.symlink_to(data.parents[2] / "x")),
        "E_BUNDLE_LINK", "is a link",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_a_data_file_that_is_not_as_it_was_sealed_is_refused(case: str, copied: Path) -> None:
    change, code, words = CHANGED[case]
    change(copied / DATA)
    with pytest.raises(st.BundleError, match=words) as said:
        open_bundle(copied)
    assert said.value.code == code


def resealed(folder: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    """Change the graph, and hash it anew: only what it says can give it away."""
    graph = folder / "graphs" / "fp32.onnx"
    model = onnx.load(graph, load_external_data=False)
    change(model)
    data = model.SerializeToString()
    graph.write_bytes(data)
    manifest = read_json((folder / MANIFEST).read_bytes())
    manifest["files"]["graphs/fp32.onnx"] = {"sha256": sha256(data), "size": len(data)}
    (folder / MANIFEST).write_bytes(canonical_json(manifest))


def said_of(**changes: str) -> Callable[[onnx.ModelProto], None]:
    """Change what the last weight outside says of its place."""

    def change(model: onnx.ModelProto) -> None:
        tensor = [each for each in model.graph.initializer if each.external_data][-1]
        kept = {each.key: each.value for each in tensor.external_data}
        del tensor.external_data[:]
        for key, value in (kept | changes).items():
            if value:
                tensor.external_data.add(key=key, value=value)

    return change


def twice(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.external_data)
    tensor.external_data.add(key="location", value="fp32.onnx.data")


OUTSIDE: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "a folder above": (said_of(location="../fp32.onnx.data"), "data outside it"),
    "an absolute path": (said_of(location="/etc/passwd"), "data outside it"),
    "another sealed file": (said_of(location="../contract.json"), "data outside it"),
    "memory of the process": (said_of(location="*/_ORT_MEM_ADDR_/*"), "data outside it"),
    "an offset past the end": (said_of(offset="9999999"), "past the end of a file of"),
    "an offset below 0": (said_of(offset="-1"), "a place in a file that is no number"),
    "a length past the end": (said_of(length="9999999"), "past the end of a file of"),
    "no length": (said_of(length=""), "without a length"),
    "weights that overlap": (said_of(offset="4096"), "which overlap weights"),
    "a place given twice": (twice, "says twice where it lies"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_graph_whose_weights_are_not_its_own_is_refused(case: str, copied: Path) -> None:
    change, words = OUTSIDE[case]
    resealed(copied, change)
    with pytest.raises(st.BundleError, match=r"graph 'graphs/fp32\.onnx'") as said:
        open_bundle(copied)
    assert words in str(said.value)
    assert said.value.code == "E_BUNDLE_GRAPH"


def test_a_manifest_without_the_data_file_is_refused(copied: Path) -> None:
    (copied / DATA).unlink()
    manifest = read_json((copied / MANIFEST).read_bytes())
    del manifest["files"][DATA]
    (copied / MANIFEST).write_bytes(canonical_json(manifest))
    with pytest.raises(st.BundleError, match=f"no '{DATA}' in the manifest") as said:
        open_bundle(copied)
    assert said.value.code == "E_BUNDLE_MISSING"


@pytest.mark.parametrize("change", ["", "other"])
def test_a_manifest_without_a_digest_of_each_gigabyte_is_refused(change: str, copied: Path) -> None:
    manifest = read_json((copied / MANIFEST).read_bytes())
    shards = manifest["files"][DATA]["shards"]
    value = shards.pop(f"{DATA}:0:10000")
    if change:
        shards[f"{DATA}:0:{change}"] = value
    (copied / MANIFEST).write_bytes(canonical_json(manifest))
    with pytest.raises(st.BundleError, match="without a digest of each of its gigabytes"):
        open_bundle(copied)


def test_a_data_file_that_changes_after_it_was_opened_is_verified_again(copied: Path) -> None:
    bundle = open_bundle(copied)
    assert bundle.data[DATA] == copied / DATA
    flipped(copied / DATA, 3)
    with pytest.raises(st.BundleError, match=f"sealed in {DATA}:0:10000"):
        answers(bundle, outside.rows(1))


def test_a_data_file_is_hashed_once_for_opening_and_loading(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seatrial_contracts import bundle_files

    hashed: list[str] = []
    inner = bundle_files.digests

    def counted(path: Path, *rest: Any) -> list[str]:
        hashed.append(path.name)
        return inner(path, *rest)

    monkeypatch.setattr(bundle_files, "digests", counted)
    answers(open_bundle(copied), outside.rows(1))
    assert hashed.count("fp32.onnx.data") == 1


def test_types_of_few_bits_and_texts_survive_the_way_into_a_data_file(tmp_path: Path) -> None:
    import ml_dtypes
    from onnx import helper, numpy_helper

    chance = np.random.default_rng(0)
    values = {
        "int4": chance.integers(-8, 8, (50, 33)).astype(ml_dtypes.int4),
        "half": chance.normal(size=(40, 30)).astype(np.float16),
        "brain": chance.normal(size=(40, 30)).astype(ml_dtypes.bfloat16),
        "flag": chance.integers(0, 2, 2000).astype(bool),
        "long": chance.integers(-9, 9, (9, 99)),
    }
    tensors = [numpy_helper.from_array(value, name) for name, value in values.items()]
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [999], np.arange(999.0).tolist())
    words = helper.make_tensor("words", TensorProto.STRING, [400], [b"a word of it"] * 400)
    graph = helper.make_graph([], "g", [], [], [*tensors, typed, words])
    model = weights.stored(helper.make_model(graph), lambda: tmp_path / "w.data")
    data, folder = weights.sealed_form(model)
    (tmp_path / "w.onnx").write_bytes(data)
    assert folder == tmp_path
    read = outside.weights_of(tmp_path / "w.onnx")
    for name, value in {**values, "typed": np.arange(999, dtype=np.float32)}.items():
        np.testing.assert_array_equal(read[name], value)
        own = next(each for each in model.graph.initializer if each.name == name)
        assert weights.is_outside(own)
        np.testing.assert_array_equal(weights.array_of(own), value)
    assert read["words"].tolist() == ["a word of it"] * 400
    whole = weights.brought_inside(model)
    assert not weights.outside_of(whole)
    for tensor in whole.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), read[tensor.name])


# -- the command line ----------------------------------------------------------------------------


def test_inspect_counts_the_weights_and_names_their_file(sealed: Path) -> None:
    said = CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["inspect", str(sealed)])
    assert said.exit_code == 0, said.output
    size = sum(path.stat().st_size for path in (sealed / "graphs").iterdir()) / 1e6
    assert f"{size:.2f}" in said.output
    assert DATA in said.output
    assert f"in {len(list(sealed.rglob('*.*'))) - 2} sealed files" in said.output


@pytest.mark.slow
def test_predict_and_diff_work_on_a_large_model(sealed: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = outside.pipeline()
    object.__setattr__(other, "version", "1.1.0")
    object.__setattr__(other, "model", outside.Net().eval())
    newer = st.export(other, tmp_path).path
    said = CliRunner().invoke(cli, ["diff", str(sealed), str(newer)])
    assert "golden rows are answered by both" in said.output
    row = '{"ids": [1, 2, 3]}'
    said = CliRunner().invoke(cli, ["predict", str(sealed), row])
    assert said.exit_code == 0, said.output
    assert "scores" in said.output
