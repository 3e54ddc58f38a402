"""Which variant a version is served as.

The message about a variant that was proven on a machine of another kind is tested too.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.toys import answer, fake_runtimes, toy_bundle, toy_files, toy_manifest

import seatrial as st
from seatrial_contracts.bundle import Bundle, write_bundle
from seatrial_contracts.manifest import Variant
from seatrial_contracts.receipt import Machine, Receipt, Trial
from seatrial_serve.inference import load_gate
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.scan import folder_homes, found_model
from seatrial_serve.models.selection import read_selection
from seatrial_serve.runtimes.runtime import RuntimeOptions

VNNI = Machine(
    processor="one", cores=1, instruction_sets=("avx2", "avx512_vnni"), system="Linux", python="3"
)
OLD = VNNI.model_copy(update={"instruction_sets": ("avx2",)})


def only_entry(folder: Path) -> Entry:
    return found_model(folder_homes(folder)[0], "latest", None).entries[0]


@pytest.mark.parametrize(
    ("said", "variant"),
    [
        (None, None), ({}, None), ({"default": "int8"}, "int8"),
        ({"default": "int8", "1.0.0": "fp32"}, "fp32"), ({"1.0.0": "int8"}, "int8"),
        ({"2.0.0": "int8"}, None),
    ],
)  # fmt: skip
def test_a_version_is_served_as_the_variant_its_model_s_file_says(
    said: dict[str, str] | None, variant: str | None, tmp_path: Path
) -> None:
    toy_bundle(tmp_path)
    if said is not None:
        (tmp_path / "toy" / "variants.json").write_text(json.dumps(said))
    assert only_entry(tmp_path).variant == variant
    assert only_entry(tmp_path / "toy" / "1.0.0").variant == variant


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"stable": "int8"}', '{"default": 8}', '{"default": "../x"}', '{"1.0": "int8"}'],
)
def test_a_file_of_variants_that_is_none_is_refused_whole(text: str, tmp_path: Path) -> None:
    (tmp_path / "variants.json").write_text(text)
    with pytest.raises(
        st.DeclarationError, match=r"variants.json of .*want an object of versions and variants"
    ):
        read_selection(tmp_path)


def test_another_variant_wanted_is_another_entry_so_that_a_reload_loads_it(tmp_path: Path) -> None:
    toy_bundle(tmp_path)
    before = only_entry(tmp_path)
    (tmp_path / "toy" / "variants.json").write_text('{"default": "int8"}')
    assert only_entry(tmp_path).stamp != before.stamp


def int8_bundle(folder: Path, machine: Machine) -> Bundle:
    """A toy whose second variant was proven on `machine`."""
    manifest = toy_manifest()
    int8 = Variant(name="int8", format="fake", graph="graphs/toy.fake", recipe="int8")
    bundle = write_bundle(
        folder, manifest.model_copy(update={"variants": (*manifest.variants, int8)}), toy_files()
    )
    trial = Trial(
        runner="onnxruntime", variant="int8", rows=9, worst_error=0.0, allowed=0.0, passed=True
    )
    Receipt(
        schema=1,
        digest=bundle.digest,
        name="toy",
        version="1.0.0",
        made_at="2026-01-01T00:00:00Z",
        machine=machine,
        trials=(trial,),
    ).write(bundle.path)
    return bundle


@pytest.mark.parametrize(("machine", "says"), [(VNNI, True), (OLD, False)])
def test_answers_that_are_wrong_here_are_told_with_what_this_machine_lacks(
    machine: Machine, says: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(
        monkeypatch, lambda feeds: {**answer(feeds), "twice": np.float32(feeds["x"] * 2.5)}
    )
    monkeypatch.setattr(load_gate, "this_machine", lambda _: OLD)
    engine = load_engine(int8_bundle(tmp_path, machine), RuntimeOptions(), "int8")
    with pytest.raises(st.ModelError, match="golden rows at batch size 1") as refused:
        load_gate.pass_load_gate(engine)
    assert (
        "variant 'int8' was proven with avx512_vnni, which this machine has not"
        in str(refused.value)
    ) == says


def test_golden_rows_that_pass_decide_whatever_the_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_runtimes(monkeypatch)
    monkeypatch.setattr(load_gate, "this_machine", lambda _: OLD)
    load_gate.pass_load_gate(load_engine(int8_bundle(tmp_path, VNNI), RuntimeOptions(), "int8"))
    assert (
        "avx512_vnni, which this machine has not; its golden rows pass here all the same"
        in caplog.text
    )
    caplog.clear()
    load_gate.pass_load_gate(load_engine(int8_bundle(tmp_path, VNNI), RuntimeOptions(), "fp32"))
    assert not caplog.text


def test_a_receipt_that_cannot_be_read_keeps_no_model_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_runtimes(monkeypatch)
    bundle = int8_bundle(tmp_path, VNNI)
    (bundle.path / "receipts" / "other.json").write_text("{}")
    load_gate.pass_load_gate(load_engine(bundle, RuntimeOptions(), "int8"))
    assert "a receipt beside it cannot be read" in caplog.text
