"""`seatrial quantize` and `variants=[...]`: a new sealed version with proven graphs.

The bytes are the same each time; or there is one message and no version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from support import foreign
from support.tokens import FILE

import seatrial as st
from seatrial.commands.quantize import command
from seatrial_contracts.promise import Promise
from seatrial_export.quantize.journal import Journal
from seatrial_export.quantize.quantize_bundle import quantize_bundle
from seatrial_export.quantize.search import BudgetSearch, growing
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants import parse_recipe
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.runtimes.runtime import RuntimeOptions

ALL = ("fp16", "int8", "int8_weights", "int4_weights", "int8_per_token")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pipeline's file and its bundle, fp32 alone."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "model.py").write_text(FILE.replace("VARIANTS", ""))
    st.export(st.load_pipeline(f"{folder / 'model.py'}:pipeline"), folder)
    return folder


def quantize(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [str(folder / "tokens" / "1.0.0"), *arguments])


def versions(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("tokens/*"))


@pytest.mark.slow
def test_every_variant_is_proven_sealed_as_a_new_version_and_passes_the_load_gate(
    sealed: Path, tmp_path: Path
) -> None:
    before = st.open_bundle(sealed / "tokens" / "1.0.0").digest
    arguments = [item for variant in ALL for item in ("--variant", variant)]
    done = quantize(
        sealed,
        *arguments,
        "--pipeline",
        f"{sealed / 'model.py'}:pipeline",
        "--out",
        str(tmp_path),
        "--json",
    )
    assert done.exit_code == 0, done.output
    receipt = json.loads(done.stdout)
    bundle = st.open_bundle(tmp_path / "tokens" / "1.0.1")
    assert [variant.name for variant in bundle.manifest.variants] == ["fp32", *ALL]
    assert st.open_bundle(sealed / "tokens" / "1.0.0").digest == before
    assert versions(sealed) == ["1.0.0"]
    assert receipt["digest"] == bundle.digest
    for name in ("fp32", *ALL):
        first, *rest = [trial for trial in receipt["trials"] if trial["variant"] == name]
        assert first["passed"]
        assert first["measures"]["agreement"] >= 0.9
        assert set(first["cost"]["speed"]) == {"1", "8", "32"}
        assert first["cost"]["peak_memory_bytes"] > 0
        assert first["cost"]["size_bytes"] == len(bundle.files[bundle.manifest.variant(name).graph])
        assert [trial["runner"] for trial in rest].count("independence") == 1
        held_out = next(trial for trial in rest if trial["held_out"])
        assert held_out["measures"]["accuracy"] is not None
        assert set(held_out["slices"]) == {"long", "short"}
        pass_load_gate(load_engine(bundle, RuntimeOptions(), name))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_pipeline_with_variants_seals_the_same_digest_in_two_processes(tmp_path: Path) -> None:
    variants = [
        "int8",
        "int8_weights",
        "int4_weights",
        "fp16:keep=node_linear_2",
        st.Int8PerToken(keep=("node_linear_2",)),
    ]
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "model.py").write_text(
            FILE.replace("VARIANTS", f"variants={list(map(str, variants))!r}")
        )
    run = subprocess.run(
        [sys.executable, "-m", "seatrial", "export", "model.py:pipeline", "--out", "out", "--json"],
        cwd=there,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    pipeline = st.load_pipeline(f"{here / 'model.py'}:pipeline")
    assert (
        st.export(replace(pipeline, variants=variants), here).digest
        == json.loads(run.stdout)["digest"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variant", "int8", "--rows", "few.jsonl"],
         "variant 'int8': got 3 calibration rows, want at least 16"),
        (["--variant", "int8", "--rows", "bad.jsonl"], "calibration row 1: input 'x'"),
        (["--variant", "int8", "--rows", "odd.jsonl"], "line 1: got no JSON object"),
        (["--variant", "int8_dynamic"], "makes a row's answer depend on its mates"),
        (["--variant", "fp32"], "variant 'fp32': got an unknown name"),
        (["--variant", "int8_per_token", "--version", "2"], "want three numbers such as 1.2.0"),
        (["--budget", "cosine>=1.5"], "a number that cosine can have"),
        (["--budget", "absolute_error<=1"], "promise of absolute_error"),
        (["--promise", "cosine>=0.9", "--budget", "cosine>=0.9"], "--promise: got --budget too"),
        (["--variant", "int8_per_token", "--promise", "max_error<=0.000001"], "max_error: got"),
        (["--variant", "int8_per_token", "--promise", "absolute_error<=1"],
         "promise of absolute_error"),
        (["--plot", "x.png"], "--plot: got no --budget"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_message_and_nothing_is_written(
    arguments: list[str], words: str, sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = json.dumps({"x": [[0.5] * 32]})
    (tmp_path / "few.jsonl").write_text(f"{row}\n" * 3)
    (tmp_path / "bad.jsonl").write_text(f'{row}\n{{"x": 7}}\n' + f"{row}\n" * 20)
    (tmp_path / "odd.jsonl").write_text("{")
    refused = quantize(sealed, *arguments, "--out", str(tmp_path / "out"))
    assert isinstance(refused.exception, st.SeatrialError)
    assert words in str(refused.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_variant_that_misses_its_promise_is_not_sealed(sealed: Path, tmp_path: Path) -> None:
    subject = Subject(st.open_bundle(sealed / "tokens" / "1.0.0"))
    strict = st.Int4Weights(promise=Promise(max_error=1e-6))
    from seatrial_export.quantize.quantize_bundle import quantize_bundle

    with pytest.raises(
        st.GateError,
        match=r"variant 'int4_weights', golden rows at batch size 1: max_error: got ",
    ):
        quantize_bundle(subject, [strict], tmp_path / "out", "1.0.1")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_budget_keeps_as_few_nodes_as_hold_it_and_draws_the_curve(
    sealed: Path, tmp_path: Path
) -> None:
    done = quantize(
        sealed,
        "--variant",
        "int4_weights",
        "--budget",
        "max_error<=0.005",
        "--out",
        str(tmp_path),
        "--plot",
        str(tmp_path / "curve.png"),
        "--version",
        "1.1.0",
    )
    assert done.exit_code == 0, done.output
    assert "chosen: " in done.output
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    bundle = st.open_bundle(tmp_path / "tokens" / "1.1.0")
    (search,) = bundle.receipts()[0].searches
    assert search.chosen is not None
    chosen = search.points[search.chosen]
    assert chosen.met
    assert chosen.keep
    assert not next(point.met for point in search.points if not point.keep)
    variant = bundle.manifest.variant("int4_weights")
    assert variant.promise is not None
    assert variant.promise.max_error == 0.005
    assert str(parse_recipe(variant.recipe)) == variant.recipe
    assert parse_recipe(variant.recipe).keep == chosen.keep


@pytest.mark.slow
def test_a_budget_that_none_holds_is_said_with_the_nearest_and_nothing_is_sealed(
    sealed: Path, tmp_path: Path
) -> None:
    done = quantize(sealed, "--budget", "max_error<=0.00000001", "--out", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "nearest: 2 of 3 nodes in fp32" in done.output
    assert "nothing was sealed: no candidate holds the budget" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_where_it_was(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject(st.open_bundle(sealed / "tokens" / "1.0.0"))
    made: list[int] = []
    from seatrial_export.quantize import search as module

    inner = module.make_graph

    def counted(*arguments: object) -> onnx.ModelProto:
        made.append(1)
        if len(made) == 4:
            raise KeyboardInterrupt
        return inner(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "make_graph", counted)

    def search() -> BudgetSearch:
        return BudgetSearch(
            subject,
            parse_recipe("int8_per_token"),
            Promise(cosine=0.9),
            journal=Journal("key", tmp_path),
        )

    with pytest.raises(KeyboardInterrupt):
        search().run()
    with (tmp_path / "key.jsonl").open("ab") as file:
        file.write(b'{"keep": [')  # as one that was stopped while it wrote
    first = search().run()
    # 3 nodes alone, 3 candidates; the one that was stopped is made again.
    assert len(made) == 1 + 3 + 3
    assert search().run() == first
    assert len(made) == 7


def test_the_counts_of_a_search_grow_and_leave_one_node_to_quantise() -> None:
    assert growing(36) == [0, 1, 2, 3, 4, 6, 9, 13, 19, 28, 35]
    assert growing(1) == [0]
    assert np.all(np.diff(growing(500)) > 0)


@pytest.mark.parametrize("opset", [9, 11, 12, 13])
def test_static_int8_is_made_of_graphs_of_old_opsets_too(opset: int, tmp_path: Path) -> None:
    weights = ", ".join(f"{(place % 7 - 3) / 4}" for place in range(32))
    model = (
        f"g (float[n, 4] x) => (float[n, 8] y) <float[4, 8] w = {{{weights}}}> "
        "{ h = MatMul(x, w) y = Relu(h) }"
    )

    class Row(st.Row):
        x: st.Tensor[np.float32, 4]

    class Out(st.Answer):
        y: st.Tensor[np.float32, 8]

    rng = np.random.default_rng(0)
    rows = [{"x": rng.standard_normal(4).astype(np.float32).tolist()} for _ in range(32)]
    old = foreign.adopt(foreign.parsed(model, opset), tmp_path, Row, Out, rows)
    made = quantize_bundle(Subject(old), [parse_recipe("int8")], tmp_path, "1.0.1")
    assert [variant.name for variant in made.manifest.variants] == ["fp32", "int8"]
