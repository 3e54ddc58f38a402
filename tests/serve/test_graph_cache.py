"""The cache of optimised graphs: whole or absent, private, never in the way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.made import bundle_of

import seatrial as st
from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.bundle_files import SealedFiles
from seatrial_contracts.errors import BundleError
from seatrial_contracts.golden import Golden
from seatrial_serve.engines.loader import LoadedGraph
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.process import private_cache
from seatrial_serve.process.private_cache import UNUSED_S, cache_folder
from seatrial_serve.runtimes import onnx as onnx_runtime
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.graph_cache import find_or_make
from seatrial_serve.runtimes.runtime import RuntimeOptions

WIDTH = 600
ROW = {"x": np.arange(WIDTH, dtype=np.float32)[None] / WIDTH}


def graph(seed: int = 0) -> bytes:
    """Two dense layers of 1.4 MB each."""
    rng = np.random.default_rng(seed)
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), name)
        for name in ("w", "v")
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["h"]),
        onnx.helper.make_node("Relu", ["h"], ["r"]),
        onnx.helper.make_node("MatMul", ["r", "v"], ["y"]),
    ]
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", WIDTH])
        for name in "xy"
    )
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [x], [y], weights),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )
    model.ir_version = 10
    return model.SerializeToString()


def answer(options: RuntimeOptions, seed: int = 0) -> np.ndarray:
    return runtimes()["onnx"](graph(seed), options).run(ROW)["y"]


def test_a_cached_graph_answers_bit_for_bit_as_the_sealed_one_and_its_weights_are_mapped(
    tmp_path: Path,
) -> None:
    want = answer(RuntimeOptions())
    made, again = (
        answer(RuntimeOptions(cache=tmp_path / "c")),
        answer(RuntimeOptions(cache=tmp_path / "c")),
    )
    assert (made == want).all()
    assert (again == want).all()
    (kept,) = (tmp_path / "c").iterdir()
    runtime = runtimes()["onnx"](graph(), RuntimeOptions(cache=tmp_path / "c"))
    assert f"{kept}/weights" in Path("/proc/self/maps").read_text()
    assert (runtime.run(ROW)["y"] == want).all()


def test_other_graphs_have_other_places(tmp_path: Path) -> None:
    one, two = (answer(RuntimeOptions(cache=tmp_path / "c"), seed) for seed in (0, 1))
    assert len(list((tmp_path / "c").iterdir())) == 2
    assert not np.allclose(one, two)
    assert (answer(RuntimeOptions(cache=tmp_path / "c"), 1) == two).all()


def test_another_processor_has_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(RuntimeOptions(cache=tmp_path))
    monkeypatch.setattr(onnx_runtime, "_machine", lambda: "another")
    answer(RuntimeOptions(cache=tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


class Given(st.Row):
    x: st.Tensor[np.float32, WIDTH]


class Answered(st.Answer):
    y: st.Tensor[np.float32, WIDTH]


def sealed(folder: Path) -> Path:
    """The bundle of such a graph."""
    want = answer(RuntimeOptions())[0]
    golden = Golden(({"x": ROW["x"][0].tolist()},), ({"y": want},))
    contract = st.contract_from_rows(Given, Answered)
    return bundle_of(folder, contract, golden, ("onnx", graph()), {}, "dense").path


def served(path: Path, options: RuntimeOptions) -> np.ndarray:
    """What a server answers from the bundle, opened as it opens one."""
    engine = load_engine(opened_to_load(path, options), options)
    (found,) = engine.answer([{"x": ROW["x"][0].tolist()}])
    engine.close()
    return found["y"]


def opened_to_load(path: Path, options: RuntimeOptions) -> Bundle:
    return open_bundle(path, loads=LoadedGraph(None, options))


def test_a_server_reads_a_sealed_graph_only_where_none_is_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, path = RuntimeOptions(cache=tmp_path / "c"), sealed(tmp_path / "bundles")
    read: list[str] = []
    whole = SealedFiles._read

    def reading(files: SealedFiles, name: str, size: int) -> bytes:
        read.append(name)
        return whole(files, name, size)

    monkeypatch.setattr(SealedFiles, "_read", reading)
    want = answer(RuntimeOptions())[0]
    assert (served(path, options) == want).all()
    assert read.count("graphs/fp32.onnx") == 1, "for the check and the session together"
    assert (served(path, options) == want).all()
    assert read.count("graphs/fp32.onnx") == 1
    (path / "graphs" / "fp32.onnx").write_bytes(graph(1))
    with pytest.raises(BundleError, match="other bytes than were sealed"):
        served(path, options)


@pytest.mark.parametrize("fault", ["damaged", "gone", "of others"])
def test_what_is_kept_and_cannot_be_used_is_read_and_checked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    options, path = RuntimeOptions(cache=tmp_path / "c"), sealed(tmp_path / "bundles")
    want = served(path, options)
    opened = opened_to_load(path, options)
    (kept,) = (tmp_path / "c").iterdir()
    if fault == "damaged":
        (kept / "graph.onnx").write_bytes(b"no graph at all")
    elif fault == "gone":
        shutil.rmtree(kept)
    else:
        (tmp_path / "c").chmod(0o777)
    checked: list[str] = []
    check = Bundle._checked_graph

    def checking(bundle: Bundle, name: str) -> bytes:
        checked.append(name)
        return check(bundle, name)

    monkeypatch.setattr(Bundle, "_checked_graph", checking)
    engine = load_engine(opened, options)
    (found,) = engine.answer([{"x": ROW["x"][0].tolist()}])
    assert (found["y"] == want).all()
    assert checked == ["graphs/fp32.onnx"]


def test_a_cached_graph_that_names_another_file_than_its_weights_is_made_anew(
    tmp_path: Path,
) -> None:
    want = answer(RuntimeOptions(cache=tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    graph = onnx.load(kept / "graph.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../elsewhere"
    (kept / "weights").rename(tmp_path / "elsewhere")
    (kept / "graph.onnx").write_bytes(graph.SerializeToString())
    assert (answer(RuntimeOptions(cache=tmp_path / "c")) == want).all()
    assert not kept.exists()


@pytest.mark.parametrize("damage", [b"", b"no graph at all"])
def test_a_damaged_one_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    want = answer(RuntimeOptions(cache=tmp_path))
    (kept,) = tmp_path.iterdir()
    (kept / "graph.onnx").write_bytes(damage)
    assert (answer(RuntimeOptions(cache=tmp_path)) == want).all()
    assert not kept.exists()
    assert (answer(RuntimeOptions(cache=tmp_path)) == want).all()
    assert kept.exists()


def test_a_folder_that_others_may_write_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o777)
    answer(RuntimeOptions(cache=tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert "chmod go-w" in caplog.text


def test_no_folder_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert answer(RuntimeOptions(cache=tmp_path / "file")).shape == (1, WIDTH)


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("a")
        raise OSError(28, "No space left on device")

    assert find_or_make(tmp_path / "c", "key", make) is None
    assert list((tmp_path / "c").iterdir()) == []


def test_what_nobody_used_for_a_month_goes(tmp_path: Path) -> None:
    for key in ("old", "used"):
        find_or_make(tmp_path, key, lambda folder: (folder / "graph").touch())
        os.utime(tmp_path / key, (0, private_cache.time.time() - UNUSED_S - 60))
    assert find_or_make(tmp_path, "used", lambda _: None) == tmp_path / "used"
    find_or_make(tmp_path, "new", lambda folder: (folder / "graph").touch())
    assert {path.name for path in tmp_path.iterdir()} == {"used", "new"}


def test_the_cache_lies_where_the_users_caches_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("graphs") == tmp_path / "seatrial" / "graphs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("graphs") == tmp_path / ".cache" / "seatrial" / "graphs"
