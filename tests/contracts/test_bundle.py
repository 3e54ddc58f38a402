"""Bundles: the same bytes from the same values, whole or not there.

A bundle is refused if a single bit is not as it was sealed.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import shutil
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from onnx import TensorProto, helper, numpy_helper
from support import changed_bundles
from support.embedded import embedding_bundle
from support.properties import drawing
from support.toys import Toy, Twice, toy_bundle, toy_files, toy_golden, toy_manifest

import seatrial as st
from seatrial_contracts import bundle as bundle_module
from seatrial_contracts.bundle import MANIFEST, open_bundle, write_bundle
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.golden import Golden, wire_row
from seatrial_contracts.manifest import Manifest, SealedFile, Variant, check_path
from seatrial_contracts.receipt import Receipt, Trial, now, this_machine


def test_what_was_written_is_what_is_opened(tmp_path: Path) -> None:
    written = toy_bundle(tmp_path)
    opened = open_bundle(written.path)
    assert opened.digest == written.digest
    assert dict(opened.files) == written.files
    assert opened.contract == st.contract_from_rows(Toy, Twice)
    for mine, theirs in zip(opened.golden.answers, toy_golden().answers, strict=True):
        assert all(
            (mine[name] == theirs[name]).all() and mine[name].dtype == theirs[name].dtype
            for name in theirs
        )


def test_two_folders_get_the_same_bytes(tmp_path: Path) -> None:
    one, two = toy_bundle(tmp_path / "one"), toy_bundle(tmp_path / "two")
    assert one.digest == two.digest
    assert {f.name: f.read_bytes() for f in one.path.rglob("*") if f.is_file()} == {
        f.name: f.read_bytes() for f in two.path.rglob("*") if f.is_file()
    }


@given(some.lists(some.floats(-100, 100, width=32), min_size=1, max_size=8), some.integers(1, 5000))
@drawing(30)
def test_any_golden_set_survives_a_bundle(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], max_rows: int
) -> None:
    golden = toy_golden([{"x": value, "word": "a"} for value in values])
    folder = tmp_path_factory.mktemp("bundles")
    opened = open_bundle(
        toy_bundle(folder, golden=golden, limits=st.Limits(max_rows=max_rows)).path
    )
    assert [answer["twice"].item() for answer in opened.golden.answers] == [
        np.float32(value * 2).item() for value in values
    ]
    assert opened.contract.limits.max_rows == max_rows


def flip(folder: Path, name: str, place: int = 5) -> None:
    data = bytearray((folder / name).read_bytes())
    data[place % len(data)] ^= 1
    (folder / name).write_bytes(bytes(data))


def link(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes((folder / "profile.json").read_bytes())
    (folder / "profile.json").unlink()
    (folder / "profile.json").symlink_to(outside)


def rewrite_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    import json

    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    (folder / MANIFEST).write_bytes(canonical_json(manifest))


def escape(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite_manifest(
        folder, lambda m: m["files"].update({name: m["files"].pop("profile.json")})
    )


def resealed_bytes(folder: Path, name: str, data: bytes) -> None:
    """Other bytes, hashed anew: only their meaning can give them away."""
    (folder / name).write_bytes(data)
    sealed = {"sha256": sha256(data), "size": len(data)}
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({name: sealed}))


def resealed(folder: Path, name: str, change: Callable[[dict], None]) -> None:
    import json

    value = json.loads((folder / name).read_bytes())
    change(value)
    resealed_bytes(folder, name, canonical_json(value))


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit in the graph": (lambda f: flip(f, "graphs/toy.fake"), "E_BUNDLE_CHANGED"),
    "a flipped bit in the contract": (lambda f: flip(f, "contract.json"), "E_BUNDLE_CHANGED"),
    "a flipped bit in a golden row": (lambda f: flip(f, "golden/rows.jsonl"), "E_BUNDLE_CHANGED"),
    "a longer file": (lambda f: (f / "graphs/toy.fake").write_bytes(b"twice "), "E_BUNDLE_CHANGED"),
    "a shorter file": (lambda f: (f / "graphs/toy.fake").write_bytes(b"twic"), "E_BUNDLE_CHANGED"),
    "a file that is gone": (lambda f: (f / "graphs/toy.fake").unlink(), "E_BUNDLE_MISSING"),
    "a file more": (lambda f: (f / "graphs/weights.bin").write_bytes(b"x"), "E_BUNDLE_EXTRA"),
    "a hidden file more": (lambda f: (f / ".hidden").write_bytes(b"x"), "E_BUNDLE_EXTRA"),
    "a link in place of a file": (link, "E_BUNDLE_LINK"),
    "a link to a folder": (lambda f: (f / "more").symlink_to(f.parent), "E_BUNDLE_LINK"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "E_BUNDLE_LINK"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "E_BUNDLE_MISSING"),
    "a manifest that is no JSON": (lambda f: (f / MANIFEST).write_bytes(b"{"), "E_BUNDLE_MANIFEST"),
    "a manifest in another spelling": (
        lambda f: (f / MANIFEST).write_bytes((f / MANIFEST).read_bytes() + b" "),
        "E_BUNDLE_MANIFEST",
    ),
    "a pipe in the manifest's place": (
        lambda f: ((f / MANIFEST).unlink(), os.mkfifo(f / MANIFEST)),
        "E_BUNDLE_MANIFEST",
    ),
    "a claimed size beyond any file": (
        lambda f: rewrite_manifest(
            f, lambda m: m["files"]["graphs/toy.fake"].update({"size": 2**62})
        ),
        "E_BUNDLE_MANIFEST",
    ),
    "another claimed size": (
        lambda f: rewrite_manifest(
            f, lambda m: m["files"]["graphs/toy.fake"].update({"size": 2**29})
        ),
        "E_BUNDLE_CHANGED",
    ),
    "an opset of -1": (
        lambda f: rewrite_manifest(
            f,
            lambda m: m["variants"][0].update(
                {"needs": {"ir": 10, "opsets": {"ai.onnx": -1}, "onnxruntime": "1.17"}}
            ),
        ),
        "E_BUNDLE_MANIFEST",
    ),
    "two variants of one name": (
        lambda f: rewrite_manifest(f, lambda m: m["variants"].append(m["variants"][0])),
        "E_BUNDLE_MANIFEST",
    ),
    "a promise of 1e300": (
        lambda f: rewrite_manifest(
            f,
            lambda m: m["variants"][0].update(
                {"promise": st.Promise().model_dump() | {"max_error": 1e300}}
            ),
        ),
        "E_BUNDLE_MANIFEST",
    ),
    "a contract that allows 2**62 rows": (
        lambda f: resealed(f, "contract.json", lambda c: c["limits"].update({"max_rows": 2**62})),
        "E_BUNDLE_CONTRACT",
    ),
    "a contract with a tolerance of 1e300": (
        lambda f: resealed(
            f, "contract.json", lambda c: c["tolerance"].update({"relative": 1e300})
        ),
        "E_BUNDLE_CONTRACT",
    ),
    "a contract with one name twice": (
        lambda f: resealed(f, "contract.json", lambda c: c["inputs"][0].update({"name": "word"})),
        "E_BUNDLE_CONTRACT",
    ),
    "a contract with an output's kind as input": (
        lambda f: resealed(
            f,
            "contract.json",
            lambda c: c["inputs"][0].update({"kind": {"kind": "label", "classes": ["a", "b"]}}),
        ),
        "E_BUNDLE_CONTRACT",
    ),
    "a contract of lists in lists": (
        lambda f: resealed_bytes(f, "contract.json", b"[" * 100_000),
        "E_BUNDLE_CONTRACT",
    ),
    "a profile of another field": (
        lambda f: resealed(
            f, "profile.json", lambda p: p["inputs"].update({"y": p["inputs"]["x"]})
        ),
        "E_BUNDLE_PROFILE",
    ),
    "a golden row that is no JSON": (
        lambda f: resealed_bytes(f, "golden/rows.jsonl", b"{\n"),
        "E_BUNDLE_GOLDEN",
    ),
    "a golden answer of 5,000 digits": (
        lambda f: resealed_bytes(f, "golden/answers.jsonl", b'{"twice":' + b"1" * 5000 + b"}\n"),
        "E_BUNDLE_GOLDEN",
    ),
    "a golden answer of another shape": (
        lambda f: resealed_bytes(f, "golden/answers.jsonl", b'{"twice":1,"pair":[1,2,3]}\n' * 9),
        "E_BUNDLE_GOLDEN",
    ),
    "a golden answer of words": (
        lambda f: resealed_bytes(f, "golden/answers.jsonl", b'{"twice":"1","pair":[1,2]}\n' * 9),
        "E_BUNDLE_GOLDEN",
    ),
    "a refusal without its code": (
        lambda f: resealed_bytes(f, "golden/refusals.jsonl", b'{"row":{}}\n'),
        "E_BUNDLE_GOLDEN",
    ),
    "a huge manifest": (lambda f: (f / MANIFEST).write_bytes(b" " * 2**21), "E_BUNDLE_MANIFEST"),
    "an unknown key": (
        lambda f: rewrite_manifest(f, lambda m: m.update({"run": "me"})),
        "E_BUNDLE_MANIFEST",
    ),
    "another schema": (
        lambda f: rewrite_manifest(f, lambda m: m.update({"schema": 2})),
        "E_BUNDLE_MANIFEST",
    ),
    "an absolute name": (escape("/etc/passwd"), "E_BUNDLE_MANIFEST"),
    "a name that leaves the folder": (escape("../profile.json"), "E_BUNDLE_MANIFEST"),
    "a name that leaves it inside": (escape("graphs/../../profile.json"), "E_BUNDLE_MANIFEST"),
    "a graph that is not sealed": (
        lambda f: rewrite_manifest(f, lambda m: m["variants"][0].update({"graph": "graphs/other"})),
        "E_BUNDLE_MISSING",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_bundle_that_is_not_as_sealed_is_refused(case: str, tmp_path: Path) -> None:
    folder = toy_bundle(tmp_path / "bundles").path
    tamper, code = TAMPERED[case]
    tamper(folder)
    with pytest.raises(st.BundleError) as refused:
        open_bundle(folder)
    assert refused.value.code == code
    assert str(tmp_path) not in str(refused.value)


def test_a_file_that_may_not_be_read_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, original = toy_bundle(tmp_path).path, os.open

    def denied(path: str, *options: Any, **more: Any) -> int:
        if str(path).endswith("toy.fake"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return original(path, *options, **more)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(
        st.BundleError, match=r"bundle toy 1.0.0, 'graphs/toy.fake': got Permission denied"
    ) as refused:
        open_bundle(folder)
    assert refused.value.code == "E_BUNDLE_UNREADABLE"
    assert str(tmp_path) not in str(refused.value)


def test_a_file_that_changes_after_it_was_opened_is_not_handed_out(tmp_path: Path) -> None:
    sealed = open_bundle(toy_bundle(tmp_path).path)
    assert sealed.files["graphs/toy.fake"] == b"twice"
    (sealed.path / "graphs/toy.fake").write_bytes(b"thric")
    with pytest.raises(st.BundleError, match="other bytes than were sealed") as refused:
        _ = sealed.files["graphs/toy.fake"]
    assert refused.value.code == "E_BUNDLE_CHANGED"
    shutil.rmtree(sealed.path)
    with pytest.raises(st.BundleError, match="no such file") as refused:
        _ = sealed.files["graphs/toy.fake"]
    assert refused.value.code == "E_BUNDLE_MISSING"


def test_bundles_of_one_contract_share_it_as_long_as_one_is_there(tmp_path: Path) -> None:
    limits = st.Limits(max_rows=1717)  # which no other test has
    paths = [toy_bundle(tmp_path, name=name, limits=limits).path for name in ("one", "two")]
    other = toy_bundle(tmp_path, name="other").path
    one, two = map(open_bundle, paths)
    assert one.contract is two.contract
    assert open_bundle(other).contract is not one.contract
    row = weakref.ref(one.contract.row_model)
    digest = one.manifest.files["contract.json"].sha256
    del one, two
    gc.collect()
    assert digest not in bundle_module.CONTRACTS
    assert row() is None


def test_contracts_with_files_beside_them_are_their_bundles_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        embedding_bundle(tmp_path, monkeypatch, name=name)
    one, two = (open_bundle(tmp_path / name / "1.0.0").contract for name in ("one", "two"))
    assert one == two
    assert one is not two


class Loaded:
    """What loads the first variant, whose graph may be kept elsewhere as it runs."""

    def __init__(self, *, runs: bool = False) -> None:
        self._runs = runs

    def graph(self, manifest: Manifest) -> str:
        return manifest.variants[0].graph

    def runs(self, graph: SealedFile) -> bool:
        assert graph.size
        return self._runs


def test_a_graph_that_is_kept_as_it_runs_is_verified_without_being_held(tmp_path: Path) -> None:
    name = "graphs/fp32.onnx"
    variant = Variant(name="fp32", format="onnx", graph=name)
    manifest = toy_manifest().model_copy(update={"variants": (variant,)})
    large = numpy_helper.from_array(np.zeros(2**24, np.float32), "w")
    graph = helper.make_graph([], "large", [], [], [large])
    weights = helper.make_model(graph).SerializeToString()
    folder = write_bundle(tmp_path, manifest, toy_files() | {name: weights}).path
    tracemalloc.start()
    try:
        sealed = open_bundle(folder, loads=Loaded(runs=True))
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()
    (folder / name).write_bytes(weights[:-1] + b"x")
    with pytest.raises(st.BundleError, match="other bytes than were sealed"):
        open_bundle(folder, loads=Loaded(runs=True))
    with pytest.raises(st.BundleError, match="other bytes than were sealed"):
        sealed.graph(name)


def test_a_graph_that_was_not_looked_at_is_before_it_is_given(tmp_path: Path) -> None:
    name, far = "graphs/fp32.onnx", numpy_helper.from_array(np.zeros(3, np.float32), "w")
    far.data_location = TensorProto.EXTERNAL
    far.external_data.add(key="location", value="elsewhere")
    graph = helper.make_graph([], "far", [], [], [far])
    outside = helper.make_model(graph).SerializeToString()
    variant = Variant(name="fp32", format="onnx", graph=name)
    manifest = toy_manifest().model_copy(update={"variants": (variant,)})
    folder = write_bundle(tmp_path, manifest, toy_files() | {name: b"\x08\x0a"}).path
    sealed = open_bundle(folder, loads=Loaded(runs=True))
    assert sealed.graph(name) == b"\x08\x0a"
    files = {**{each: sealed.files[each] for each in sealed.files}, name: outside}
    with pytest.raises(st.BundleError, match="data outside it: 'elsewhere'"):
        replace(sealed, files=files).graph(name)


def test_a_graph_that_is_loaded_next_is_read_once_and_kept_no_longer(tmp_path: Path) -> None:
    data, name = b"\x08\x0a", "graphs/fp32.onnx"
    variant = Variant(name="fp32", format="onnx", graph=name)
    manifest = toy_manifest().model_copy(update={"variants": (variant,)})
    folder = write_bundle(tmp_path, manifest, toy_files() | {name: data}).path

    def refused(sealed: st.Bundle) -> None:
        with pytest.raises(st.BundleError, match="other bytes than were sealed"):
            _ = sealed.files[name]

    for looks in (1, 0):
        sealed = open_bundle(folder, loads=Loaded())
        (folder / name).write_bytes(data[::-1])  # which nobody is given
        for _ in range(looks):
            assert sealed.files[name] == data
        sealed.let_go()
        refused(sealed)
        (folder / name).write_bytes(data)
    sealed = open_bundle(folder)
    (folder / name).write_bytes(data[::-1])
    refused(sealed)


def test_no_sealed_file_stays_in_memory(tmp_path: Path) -> None:
    folder = write_bundle(
        tmp_path, toy_manifest(), toy_files() | {"graphs/other.bin": bytes(2**25)}
    ).path
    tracemalloc.start()
    sealed = open_bundle(folder)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**23
    assert held < 2**21
    assert sealed.size_bytes > 2**25


@pytest.mark.parametrize(
    "promised",
    [
        {"accuracy": 0.9},
        {"accuracy_drop": 0.1},
        {"absolute_error": 1.0},
        {"calibration_error": 0.1},
    ],
)
def test_a_promise_that_no_sealed_row_shows_is_refused(
    tmp_path: Path, promised: dict[str, float]
) -> None:
    folder = changed_bundles.seal(tmp_path).path
    for name in ("golden/truth.jsonl", "heldout/truth.jsonl"):
        open_bundle(folder)
        (folder / name).unlink()
        rewrite_manifest(folder, lambda manifest, name=name: manifest["files"].pop(name))
    rewrite_manifest(
        folder,
        lambda manifest: manifest["variants"][1].update(
            {"promise": st.Promise(**promised).model_dump()}
        ),
    )
    with pytest.raises(st.BundleError, match="no sealed row that shows it") as refused:
        open_bundle(folder)
    assert refused.value.code == "E_BUNDLE_PROMISE"


def test_every_flipped_bit_of_every_sealed_file_is_noticed(tmp_path: Path) -> None:
    folder = toy_bundle(tmp_path).path
    chance = random.Random(0)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        for place in chance.sample(range(len(whole) * 8), min(24, len(whole) * 8)):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << place % 8
            file.write_bytes(bytes(damaged))
            # A changed manifest is another bundle, unless it contradicts the files.
            if file.name == MANIFEST:
                with contextlib.suppress(st.BundleError):
                    assert open_bundle(folder).digest != toy_bundle(tmp_path / "again").digest
            else:
                with pytest.raises(st.BundleError):
                    open_bundle(folder)
        file.write_bytes(whole)
    open_bundle(folder)


def test_a_sealed_bundle_never_changes(tmp_path: Path) -> None:
    first = toy_bundle(tmp_path)
    assert toy_bundle(tmp_path).digest == first.digest
    with pytest.raises(st.BundleError, match="raise the version") as refused:
        toy_bundle(tmp_path, limits=st.Limits(max_rows=7))
    assert refused.value.code == "E_BUNDLE_EXISTS"
    assert open_bundle(first.path).digest == first.digest


def test_a_bundle_is_replaced_when_that_is_asked_for_or_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy_bundle(tmp_path)
    other = toy_files(limits=st.Limits(max_rows=7))
    original = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if Path(target) == first.path and path.parent == first.path.parent:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path, target)

    with (
        monkeypatch.context() as failing,
        pytest.raises(st.BundleError, match="Input/output error"),
    ):
        failing.setattr(Path, "rename", fails)
        write_bundle(tmp_path, toy_manifest(), other, replace=True)
    assert open_bundle(first.path).digest == first.digest
    assert list(first.path.parent.iterdir()) == [first.path]
    second = write_bundle(tmp_path, toy_manifest(), other, replace=True)
    assert open_bundle(first.path).digest == second.digest != first.digest
    assert list(first.path.parent.iterdir()) == [first.path]


def test_a_full_disk_at_any_write_leaves_no_bundle_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = bundle_module.write_synced
    for failing in range(len(toy_files()) + 1):
        written: list[Path] = []

        def write(
            path: Path, data: bytes, written: list[Path] = written, failing: int = failing
        ) -> None:
            written.append(path)
            original(path, data if len(written) <= failing else data[: len(data) // 2])
            if len(written) > failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(bundle_module, "write_synced", write)
        with pytest.raises(st.BundleError, match="No space left on device") as refused:
            toy_bundle(tmp_path)
        assert refused.value.code == "E_BUNDLE_WRITE"
        assert list((tmp_path / "toy").iterdir()) == []
    monkeypatch.undo()
    toy_bundle(tmp_path)


def test_a_crash_before_the_rename_leaves_the_old_bundle_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = toy_bundle(tmp_path)
    monkeypatch.setattr(
        Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "crash"))
    )
    with pytest.raises(st.BundleError):
        toy_bundle(tmp_path, version="2.0.0")
    assert open_bundle(old.path).digest == old.digest
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["1.0.0"]


def test_golden_rows_without_answers_are_refused(tmp_path: Path) -> None:
    files = toy_files()
    files["golden/answers.jsonl"] = (
        b"\n".join(files["golden/answers.jsonl"].splitlines()[:-1]) + b"\n"
    )
    with pytest.raises(st.BundleError, match="9 rows and 8 answers"):
        write_bundle(tmp_path, toy_manifest(), files)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../b",
        "/a",
        "a//b",
        "",
        ".",
        "..",
        "a/./b",
        "a\\b",
        "a/b/c/d/e",
        "a\x00b",
        "a/.hidden",
    ],
)
def test_file_names_that_could_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="relative"):
        check_path(name)


def receipt(digest: str, made_at: str) -> Receipt:
    trial = Trial(
        runner="onnxruntime", variant="fp32", rows=3, worst_error=0.0, allowed=1.0, passed=True
    )
    return Receipt(
        schema=1,
        digest=digest,
        name="toy",
        version="1.0.0",
        made_at=made_at,
        machine=this_machine({}),
        trials=(trial,),
    )


def test_receipts_lie_beside_the_bundle_and_only_its_own_are_read(tmp_path: Path) -> None:
    sealed = toy_bundle(tmp_path)
    for digest in (sealed.digest, "0" * 64):
        receipt(digest, now()).write(sealed.path)
    (found,) = open_bundle(sealed.path).receipts()
    assert found.digest == sealed.digest
    assert found.passed


def test_receipts_come_oldest_first_within_a_second_too(tmp_path: Path) -> None:
    sealed = toy_bundle(tmp_path)
    made = [f"2026-11-24T10:00:00.{millisecond:03}Z" for millisecond in range(9)]
    for made_at in reversed(made):
        receipt(sealed.digest, made_at).write(sealed.path)
    assert [found.made_at for found in sealed.receipts()] == made
    assert len(now()) == len(made[0])


def test_a_row_on_the_wire_is_plain_json() -> None:
    assert wire_row(
        {"image": b"\x00\xff", "grid": np.ones((1, 2), np.float32), "n": np.int64(3)}
    ) == {
        "image": "AP8=",
        "grid": [[1.0, 1.0]],
        "n": 3,
    }
    assert wire_row(Toy(x=1.0, word="a")) == {"x": 1.0, "word": "a"}
    assert wire_row("not a row") == "not a row"


def test_a_manifest_is_canonical_whatever_the_order_of_its_files(tmp_path: Path) -> None:
    files = toy_files()
    backwards = dict(reversed(files.items()))
    assert (
        write_bundle(tmp_path / "a", toy_manifest(), files).digest
        == write_bundle(tmp_path / "b", toy_manifest(), backwards).digest
    )
    assert isinstance(Golden.from_files(files, st.contract_from_rows(Toy, Twice)), Golden)
    assert (
        Manifest.model_validate_json((tmp_path / "a/toy/1.0.0" / MANIFEST).read_bytes()).name
        == "toy"
    )
    shutil.rmtree(tmp_path / "a")
