"""Fuzzing finds what no golden row shows, shrinks it, and describes it readably.

It is the same for one seed.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.toys import Feeds, answer, fake_runtimes, toy_bundle
from torch import Tensor, nn

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.answer_changes import Answered
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.kinds.image import draw
from seatrial_parity.fuzz.case import Case
from seatrial_parity.fuzz.disagreement import Disagreement, described
from seatrial_parity.fuzz.fuzz import Fuzz
from seatrial_parity.fuzz.side import Side, Training
from seatrial_parity.runners.onnx import OnnxRunner

Answers = Callable[[Feeds], dict[str, Any]]


class Twin:
    """The training side of the toy: its own arithmetic, the bundle's contract."""

    def __init__(self, bundle: Bundle) -> None:
        self._contract = bundle.contract

    def answer(self, row: Any) -> Answered:
        try:
            known = self._contract.validate_row(row)
        except Refusal as refusal:
            return refusal.code
        return {
            "twice": np.float32(known["x"] * 2),
            "pair": np.array([known["x"], known["word"] == "a"], np.float32),
        }

    def cause(self, row: Any) -> str:
        return ""


def fuzz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Answers = answer, **options: Any
) -> tuple[Fuzz, Disagreement | None]:
    """A fuzz of the toy, whose graph is `function`."""
    fake_runtimes(monkeypatch, function)
    bundle = toy_bundle(tmp_path)
    with OnnxRunner(bundle) as runner:
        sides = [Side(bundle, runner, bundle.contract.tolerance)]
        made = Fuzz(bundle, Twin(bundle), sides, **{"rows": 100, **options})  # type: ignore[arg-type]
        return made, made.run()


def test_nothing_is_found_where_both_sides_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, found = fuzz(tmp_path, monkeypatch)
    assert found is None
    assert made.drawn == 100
    assert made.counts["answered"] > 60
    assert any(what.startswith("refused alike with ") for what in made.counts)
    assert made.summary.startswith("100 rows: ")


def wrong_beyond(feeds: Feeds) -> dict[str, Any]:
    """Off by one in a corner: the word "a" and x of 17 or more."""
    corner = (feeds["word"] == "a") & (feeds["x"] >= 17)
    return {**answer(feeds), "twice": feeds["x"] * 2 + corner.astype(np.float32)}


def test_a_corner_is_found_shrunk_and_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, found = fuzz(tmp_path, monkeypatch, wrong_beyond)
    assert found is not None
    assert (found.row, found.together) == ({"x": 17.0, "word": "a"}, 1)
    assert "output 'twice': got 35, want 34" in found.finding
    again, found_again = fuzz(tmp_path, monkeypatch, wrong_beyond)
    assert found_again == found
    assert again.counts == made.counts


def wrong_at_a_neighbour(feeds: Feeds) -> dict[str, Any]:
    """Off by one at the float32 below the upper bound of x, and nowhere else."""
    at = feeds["x"] == np.nextafter(np.float32(100), np.float32(0))
    return {**answer(feeds), "twice": feeds["x"] * 2 + at.astype(np.float32)}


@pytest.mark.parametrize("seed", range(3))
def test_a_fault_at_the_neighbour_of_a_bound_is_found_among_the_first_rows(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, found = fuzz(tmp_path, monkeypatch, wrong_at_a_neighbour, seed=seed)
    assert found is not None
    assert found.row["x"] == np.nextafter(np.float32(100), np.float32(0))
    assert made.drawn < 20


def leaning(feeds: Feeds) -> dict[str, Any]:
    """A row's answer moves with its mates'."""
    return {**answer(feeds), "twice": feeds["x"] * 2 + (feeds["x"].max() - feeds["x"])}


def test_a_row_that_leans_on_its_mates_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = fuzz(tmp_path, monkeypatch, leaning)
    assert found is not None
    assert found.together == 2
    lines = "\n".join(found.lines(toy_bundle(tmp_path).contract))
    assert "among 1 others" in lines
    assert "with row 1:" in lines


def test_time_that_is_up_ends_drawing_and_shrinking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    made, found = fuzz(tmp_path, monkeypatch, clock=lambda: float(next(ticks)), within_s=20.5)
    assert (found, made.drawn) == (None, 20)
    assert "20 rows, then time was up" in made.summary
    ticks = itertools.count()
    _, found = fuzz(
        tmp_path, monkeypatch, wrong_beyond, clock=lambda: float(next(ticks)), within_s=60.5
    )
    assert found is not None, "what was found before goes on to be a finding"


@pytest.mark.parametrize(
    ("want", "got", "words"),
    [
        ("E_RANGE", "E_RANGE", ""), ("E_MODEL", "E_MODEL_INPUT", ""),
        ("E_MODEL", "E_QUARANTINED", ""),
        ("E_RANGE", "E_TYPE", "refused with E_TYPE, by the training code with E_RANGE"),
        ("E_RANGE", {"twice": np.float32(1)},
         "answered, by the training code refused with E_RANGE"),
        ({"twice": np.float32(1)}, "E_TYPE", "refused with E_TYPE, by the training code answered"),
    ],
)  # fmt: skip
def test_refusals_must_be_alike(want: Answered, got: Answered, words: str, tmp_path: Path) -> None:
    bundle = toy_bundle(tmp_path)
    side = Side(bundle, OnnxRunner(bundle), bundle.contract.tolerance)
    assert side.difference({}, want, got) == words


class Everything(st.Row):
    picture: Annotated[bytes, st.Image(formats=("JPEG", "PNG"))]
    words: Literal["a", "b"] | None
    grid: st.Tensor[np.float32, 3, 4]
    note: Annotated[str, st.Category("x", unknown="bucket", max_chars=1000)]


class Value(st.Answer):
    value: float


def test_a_row_is_shown_by_what_it_is_and_kept_whole(tmp_path: Path) -> None:
    import base64

    picture = base64.b64encode(draw(7, 5, (1, 2, 3), "JPEG", "L", 6)).decode()
    row = {"picture": picture, "grid": np.arange(12.0).reshape(3, 4).tolist(), "note": "é" * 300}
    shown = list(described(st.contract_from_rows(Everything, Value), row))
    assert shown[0].startswith("  picture: JPEG of 7 x 5 pixels, mode L, EXIF orientation 6, ")
    assert shown[1] == "  grid: float64 numbers of shape [3, 4], 0 to 11"
    assert shown[2].endswith("... (300 characters)")
    assert shown[3] == "  words: left out"
    found = Disagreement(Case(row), "onnxruntime fp32", row, 1, "another answer")
    bundle, file = toy_bundle(tmp_path), tmp_path / "made" / "fuzz.json"
    found.save(file, bundle, "seatrial parity ...")
    assert json.loads(file.read_text())["row"] == row


def test_what_is_kept_is_read_back_once_and_a_refused_row_is_not_kept(tmp_path: Path) -> None:
    file, row = tmp_path / "kept.jsonl", {"x": 1.0, "word": "a"}
    assert st.read_rows(file) == []
    for words in ("kept 1 rows", "kept 0 rows"):
        assert words in Disagreement(Case(row), "who", row, 1, "why").keep(file)
    assert "kept 1 rows" in Disagreement(
        Case(row, ({"x": 2.0, "word": "b"},)), "who", row, 2, "why"
    ).keep(file)
    assert "refused=[st.Refused(row, 'E_RANGE')]" in Disagreement(
        Case(row), "who", row, 1, "why", "E_RANGE"
    ).keep(file)
    assert st.read_rows(file) == [row, {"x": 2.0, "word": "b"}]
    file.write_text('{"x": 1}\nnonsense\n')
    with pytest.raises(st.DeclarationError, match="line 2"):
        st.read_rows(file)


class Cut(nn.Module):
    """The middle 8 x 8 pixels; `late` starts a pixel later where the height is odd."""

    def __init__(self, late: int) -> None:
        super().__init__()
        self.late = late

    def forward(self, image: Tensor) -> Tensor:
        top, left = (image.shape[0] - 8 + self.late) // 2, (image.shape[1] - 8) // 2
        return image[top : top + 8, left : left + 8].permute(2, 0, 1).to(torch.float32) / 255


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(192, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(image.flatten(1))[:, 0]


class Picture(st.Row):
    image: Annotated[bytes, st.Image(formats=("PNG", "JPEG"), min_side_px=10)]


def pictures(late: int = 0, kept: Sequence[dict[str, Any]] = ()) -> st.Pipeline:
    """Golden rows of even sizes alone."""
    torch.manual_seed(0)
    golden = [
        {"image": draw(width, height, (width, height, 9), "PNG")}
        for width, height in ((20, 30), (10, 10), (64, 24))
    ]
    return st.Pipeline(
        name="pictures",
        version="1.0.0",
        inputs=Picture,
        outputs=Value,
        model=Flat().eval(),
        prepare=Cut(late).eval(),
        golden=[*golden, *kept],
    )


class Cells(st.Row):
    first: Annotated[float | None, st.Number(ge=0, le=10)]
    second: Annotated[float | None, st.Number(ge=0, le=10)]
    town: Annotated[str, st.Category("Oslo", "Rome", unknown="bucket")]


class Imputed(nn.Module):
    def __init__(self, second: float) -> None:
        super().__init__()
        self.second, self.town = second, nn.Embedding(3, 1)

    def forward(self, first: Tensor, second: Tensor, town: Tensor) -> Tensor:
        return first.nan_to_num(0.0) + second.nan_to_num(self.second) + self.town(town)[:, 0]


def cells(second: float = 1.0) -> st.Pipeline:
    """No golden row misses its second cell."""
    torch.manual_seed(0)
    golden = [
        {"first": None, "second": 2.0, "town": "Oslo"},
        {"first": 3.0, "second": 4.0, "town": "Bonn"},
    ]
    return st.Pipeline(
        name="cells",
        version="1.0.0",
        inputs=Cells,
        outputs=Value,
        model=Imputed(second).eval(),
        golden=golden,
    )


def written(folder: Path, call: str) -> str:
    """A pipeline file that calls a function of this one."""
    file = folder / "made.py"
    file.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import seatrial as st, test_fuzz\npipeline = lambda: {call}\n"
    )
    return f"{file}:pipeline"


def ask(bundle: Bundle, target: str, *flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        cli, ["parity", str(bundle.path), "--pipeline", target, "--fuzz", "100", *flags]
    )
    return done.exit_code, done.output


class Odds(st.Row):
    share: Annotated[float, st.Number(ge=0, le=1)]
    stop: Annotated[str, st.Category("A", "B", "C")]


class LogOdds(nn.Module):
    """Log odds, infinite at 0 and 1, which the contract takes.

    The last of the stops has no row in its table.
    """

    def __init__(self, stops: int, least: float) -> None:
        super().__init__()
        self.stops, self.least = nn.Embedding(stops, 1), least

    def forward(self, share: Tensor, stop: Tensor) -> Tensor:
        return torch.logit(share, self.least or None) + self.stops(stop)[:, 0]


def odds(stops: int = 3, least: float = 0.0) -> st.Pipeline:
    torch.manual_seed(0)
    golden = [{"share": 0.25, "stop": "A"}, {"share": 0.75, "stop": "B"}]
    model = LogOdds(stops, least).eval()
    return st.Pipeline(
        name="odds", version="1.0.0", inputs=Odds, outputs=Value, model=model, golden=golden
    )


@pytest.mark.parametrize(
    ("stops", "least", "words"),
    [
        (3, 0.0, "output 'value', row 0: the model answered NaN or an infinity"),
        (2, 1e-3, "the model raised IndexError: index out of range in self"),
        (3, 1e-3, ""),
    ],
)
def test_a_row_that_the_contract_takes_and_the_model_cannot_answer_is_a_finding_though_both_sides_fail_alike(  # noqa: E501  (a test's name is a sentence)
    stops: int, least: float, words: str, tmp_path: Path
) -> None:
    pipeline = odds(stops, least)
    training = Training(pipeline)

    class Alike(Side):
        """A bundle that answers and fails exactly as the training code does."""

        name = "alike"

        def __init__(self) -> None: ...

        def answers(self, rows: list[Any]) -> list[Answered]:
            return [training.answer(row) for row in rows]

        def difference(self, row: Any, want: Answered, got: Answered) -> str:
            return "" if want is got else "another answer"

    rows = Golden(tuple(pipeline.golden), tuple(pipeline.answer(pipeline.golden)))
    bundle = SimpleNamespace(
        contract=pipeline.contract,
        golden=rows,
        manifest=SimpleNamespace(batchable=True),
        make_front=lambda: pipeline.front,
    )
    found = Fuzz(bundle, training, [Alike()], rows=100).run()  # type: ignore[arg-type]
    assert (found is None) == (not words)
    if found is not None:
        first, mend, *_ = found.lines(pipeline.contract)
        assert first.startswith(f"training code: the contract takes the row, but {words}")
        assert mend == "  mend: narrow the contract so that it refuses such rows, or mend the model"
        assert found.row["share"] in (0, 1) if "NaN" in words else found.row["stop"] == "C"
        assert "not kept: nothing can answer the row" in found.keep(tmp_path / "kept.jsonl")


def test_golden_rows_that_both_sides_answer_with_nan_fail_the_trial() -> None:
    contract = st.contract_from_rows(Odds, Value)
    golden = Golden(
        ({"share": 0.5, "stop": "A"},) * 2, ({"value": np.float32(1)}, {"value": np.float32("nan")})
    )
    for promise in (None, st.Promise(cosine=0.5)):
        assert judge(contract, promise, golden, golden.answers).finding == (
            "sample 1, output 'value': the model answered NaN or an infinity, want finite numbers"
        )


@pytest.mark.slow
def test_the_command_says_what_the_model_cannot_answer_and_exits_with_1(tmp_path: Path) -> None:
    bundle = st.export(odds(), tmp_path)
    code, said = ask(bundle, written(tmp_path, "test_fuzz.odds()"), "--out", str(tmp_path / "out"))
    assert code == 1
    assert (
        "the contract takes the row, but output 'value', row 0: "
        "the model answered NaN or an infinity"
    ) in said
    assert json.loads((tmp_path / "out" / "fuzz.json").read_text())["row"]["share"] in (0, 1)


@pytest.mark.slow
def test_an_off_by_one_at_odd_sizes_is_found_and_kept(tmp_path: Path) -> None:
    bundle = st.export(pictures(), tmp_path)
    out, kept = tmp_path / "out", tmp_path / "kept.jsonl"
    assert ask(bundle, written(tmp_path, "test_fuzz.pictures()"), "--out", str(out))[0] == 0
    planted = written(tmp_path, "test_fuzz.pictures(1)")
    done = CliRunner().invoke(
        cli, ["parity", str(bundle.path), "--pipeline", planted, "--junit", str(tmp_path / "x.xml")]
    )
    assert done.exit_code == 0, "golden rows do not show it"
    code, said = ask(bundle, planted, "--out", str(out), "--keep", str(kept))
    assert code == 1, said
    assert re.search(
        r"PNG of (10 x 11 pixels, mode RGB|11 x 10 pixels, mode RGB, EXIF orientation 6)", said
    ), said
    assert len(st.read_rows(kept)) == 1
    assert json.loads((out / "fuzz.json").read_text())["row"] == st.read_rows(kept)[0]
    sealed = st.export(pictures(kept=st.read_rows(kept)), tmp_path / "next")
    planted = written(tmp_path, f"test_fuzz.pictures(1, st.read_rows({str(kept)!r}))")
    done = CliRunner().invoke(
        cli, ["parity", str(sealed.path), "--pipeline", planted, "--junit", str(tmp_path / "x.xml")]
    )
    assert done.exit_code == 1, "now they do"


@pytest.mark.slow
def test_a_difference_at_missing_values_alone_is_found(tmp_path: Path) -> None:
    bundle = st.export(cells(), tmp_path)
    assert ask(bundle, written(tmp_path, "test_fuzz.cells()"), "--out", str(tmp_path))[0] == 0
    code, said = ask(bundle, written(tmp_path, "test_fuzz.cells(1.5)"), "--out", str(tmp_path))
    assert code == 1
    assert "second: left out" in said or "second: None" in said
    assert "  town: 'Oslo'" in said
