"""`--fastest BUDGET`: the fastest variant that keeps the budget becomes the default, or fp32 stays.

Speeds are given here: what is tried is the choice, and that whatever is chosen is proven.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from support.tokens import FILE

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.host_stage import collate
from seatrial_export.quantize import fastest
from seatrial_export.quantize.fastest import Candidate, Fastest
from seatrial_export.variants import parse_recipe
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

Given = Callable[[Mapping[str, float]], None]


@pytest.fixture
def pipeline(tmp_path: Path) -> st.Pipeline:
    (tmp_path / "model.py").write_text(FILE.replace("VARIANTS", ""))
    return st.load_pipeline(f"{tmp_path / 'model.py'}:pipeline")


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Let each kind of variant be so many times as fast as fp32."""

    def give(found: Mapping[str, float]) -> None:
        monkeypatch.setattr(
            fastest, "candidates",
            lambda _subject, budget, _taken, _progress: [
                Candidate(parse_recipe(kind).model_copy(update={"promise": budget}), speed)
                for kind, speed in found.items()
            ],
        )  # fmt: skip
        monkeypatch.setattr(fastest, "speed_of", lambda made: found[made.variant.name])

    return give


def sealed(pipeline: st.Pipeline, folder: Path, budget: str) -> tuple[st.Bundle, str]:
    """The bundle, opened, and the line that the receipt keeps."""
    bundle = st.export(pipeline, folder, fastest=st.Promise.parse(budget))
    (receipt,) = bundle.receipts()
    assert receipt.choice is not None
    return st.open_bundle(bundle.path), receipt.choice.told


def names(bundle: st.Bundle) -> list[str]:
    return [variant.name for variant in bundle.manifest.variants]


@pytest.mark.slow
def test_the_fastest_that_keeps_the_budget_is_the_default_and_answers_as_its_own_graph(
    pipeline: st.Pipeline, tmp_path: Path, speeds: Given
) -> None:
    speeds({"int8_weights": 1.5, "int8_per_token": 2.5, "fp16": 0.8})
    bundle, told = sealed(pipeline, tmp_path, "cosine>=0.9, agreement>=0.8")
    assert names(bundle) == ["int8_per_token", "fp32"]
    assert told.startswith("int8_per_token, 2.5x, cosine ")
    engine = load_engine(bundle, RuntimeOptions())
    assert engine.variant == "int8_per_token"
    row = bundle.golden.rows[0]
    session = ort.InferenceSession(bundle.files["graphs/int8_per_token.onnx"])
    feeds = collate(engine.specs, [engine.encode(bundle.contract.validate_row(row))])
    (want,) = session.run(None, feeds)
    (got,) = engine.answer([row])
    np.testing.assert_allclose(next(iter(got.values())), want[0], rtol=1e-6)


@pytest.mark.slow
def test_a_faster_variant_that_misses_the_budget_gives_way_to_a_slower_one_that_keeps_it(
    pipeline: st.Pipeline, tmp_path: Path, speeds: Given
) -> None:
    speeds({"int4_weights": 3.0, "int8_weights": 2.0})
    bundle, told = sealed(pipeline, tmp_path, "max_error<=0.002")
    assert names(bundle) == ["int8_weights", "fp32"]
    assert told.startswith("int8_weights, 2.0x, max_error 0.0")


@pytest.mark.slow
def test_if_no_whole_variant_keeps_the_budget_the_search_keeps_nodes_in_fp32(
    pipeline: st.Pipeline, tmp_path: Path, speeds: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    speeds({"int4_weights": 2.0})
    bundle, told = sealed(pipeline, tmp_path, "max_error<=0.004")
    assert names(bundle) == ["int4_weights", "fp32"]
    assert "keep=" in bundle.manifest.variants[0].recipe
    assert told.startswith("int4_weights, 2.0x, max_error 0.00")
    assert len(bundle.receipts()[0].searches) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "budget", "told"),
    [
        ({"int8_weights": 1.01}, "cosine>=0.5", "no variant is 1.03 times as fast"),
        ({}, "cosine>=0.5", "no variant is 1.03 times as fast"),
        ({"int8_weights": 2.0}, "max_error<=0", "int8_weights, 2.0x: max_error: got"),
    ],
)
def test_where_nothing_is_faster_or_near_enough_fp32_stays_the_default_and_says_why(
    found: Mapping[str, float], budget: str, told: str, pipeline: st.Pipeline, tmp_path: Path,
    speeds: Given, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    speeds(found)
    bundle, line = sealed(pipeline, tmp_path, budget)
    assert names(bundle) == ["fp32"]
    assert line.startswith(f"fp32 stays the default: {told}")


@pytest.mark.slow
def test_candidates_are_those_that_the_graph_can_have_each_timed_beside_fp32(
    pipeline: st.Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def timed(_models: Any, _row: Any, rows: int, _budget_s: float) -> list[float]:
        asked.append(rows)
        return [2.0, 1.0]

    monkeypatch.setattr(fastest, "best_seconds", timed)
    found: list[Candidate] = []

    def keep(subject: Any, budget: st.Promise, taken: frozenset[str], progress: Any) -> Fastest:
        found.extend(fastest.candidates(subject, budget, taken, progress))
        return fastest.stays(budget, "only looked at")

    monkeypatch.setattr("seatrial_export.seal.choose_fastest", keep)
    sealed(pipeline, tmp_path, "cosine>=0.9")
    kinds = {candidate.recipe.KIND for candidate in found}
    assert kinds == {"fp16", "int8", "int8_weights", "int4_weights", "int8_per_token"}
    assert {round(candidate.speed, 9) for candidate in found} == {2.0}
    assert asked == [1, 8, 32] * len(kinds)


@pytest.mark.parametrize(
    ("changes", "budget", "says"),
    [
        ({"variants": ["fp16"]}, "cosine>=0.9", "--fastest: got variants of the pipeline too"),
        ({}, "recall@10>=0.9", "promise of recall@10: got nothing that shows it"),
    ],
)
def test_a_budget_that_cannot_be_kept_by_choice_is_refused_before_the_gate(
    changes: dict[str, Any], budget: str, says: str, pipeline: st.Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(st.DeclarationError, match=says.replace("[", r"\[")):
        st.export(replace(pipeline, **changes), out, fastest=st.Promise.parse(budget))
    assert not out.exists()


@pytest.mark.slow
def test_the_command_line_says_in_one_line_what_was_gained_and_what_it_cost(
    pipeline: st.Pipeline, tmp_path: Path, speeds: Given
) -> None:
    speeds({"int8_weights": 1.5})
    target, out = f"{tmp_path / 'model.py'}:pipeline", str(tmp_path / "out")
    command = ["export", target, "--out", out, "--fastest", "cosine>=0.9"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("fastest: ")]
    assert line.startswith("fastest: int8_weights, 1.5x, cosine ")
    done = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "again"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["fastest"] == line.removeprefix("fastest: ")
    refused = CliRunner().invoke(cli, [*command[:-1], "quick"])
    assert isinstance(refused.exception, st.DeclarationError)
    refused = CliRunner().invoke(
        cli, ["adopt", "hf:folder", "--write", "p.py", "--fastest", "cosine>=0.9"]
    )
    assert "--fastest: got --write, which seals nothing" in str(refused.exception)
