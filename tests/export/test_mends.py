"""Mends that work when they are followed to the letter: what is refused, and what then seals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.svm import SVC
from support.foreign import adopt, answers, findings
from support.hub_folders import change, make_folder
from torch import Tensor, nn

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.kinds.kind import Array

CHANCE = np.random.default_rng(0)
TABLE = CHANCE.normal(size=(400, 4)).astype(np.float32)
ROWS: list[dict[str, Any]] = [{"x": row.tolist()} for row in TABLE[:120]]
FRESH = {"fresh process": "a test hands the pipeline over"}


class Row(st.Row):
    x: st.Tensor[np.float32, 4]


class Level(st.Answer):
    level: Annotated[str, st.Label("0", "1")]


class Levels(st.Answer):
    level: Annotated[list[str], st.Labels("0", "1")]


class Amount(st.Answer):
    amount: float


def sealed(
    folder: Path, inputs: Any, outputs: Any, model: nn.Module, golden: Any, **options: Any
) -> st.Bundle:
    made = st.Pipeline(
        name="mended", version="1.0.0", inputs=inputs, outputs=outputs, model=model.eval(),
        golden=golden, waive=FRESH, **options,
    )  # fmt: skip
    return st.export(made, folder)


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, ["adopt", *map(str, words)])


@pytest.mark.slow
def test_a_forest_of_twenty_trees_has_probabilities_though_float32_rounds_one_below_zero(
    tmp_path: Path,
) -> None:
    from skl2onnx import to_onnx

    forest = RandomForestClassifier(20, max_depth=3, random_state=0).fit(TABLE, TABLE[:, 0] > 0)
    graph = to_onnx(forest, TABLE[:1], options={"zipmap": False})
    assert isinstance(graph, onnx.ModelProto)
    made = answers(adopt(graph, tmp_path, Row, Level, ROWS), ROWS)
    scores = np.stack([each["level"] for each in made])
    assert -1e-6 < scores.min() < 0, "the forest of this test rounds so"
    assert np.allclose(scores, forest.predict_proba(TABLE[:120]), atol=1e-6)


@pytest.mark.slow
def test_the_kernel_classifier_that_stands_for_a_gaussian_process_is_sealed(tmp_path: Path) -> None:
    truth = (TABLE[:, 0] > 0).astype(int)

    def adopted(model: Any) -> st.Bundle:
        adoption = st.Adoption.of_estimator(
            model.fit(TABLE[:80], truth[:80]), name="kernel", version="1.0.0", inputs=Row,
            outputs=Level, golden=ROWS[:4],
        )  # fmt: skip
        return st.adopt_model(adoption, tmp_path)

    with pytest.raises(st.SeatrialError, match=r"com\.microsoft\.Solve") as said:
        adopted(GaussianProcessClassifier())
    assert "CalibratedClassifierCV(SVC())" in str(said.value)
    bundle = adopted(CalibratedClassifierCV(SVC()))
    assert len(answers(st.open_bundle(bundle.path), ROWS[:2])) == 2


class Mixing(nn.Module):
    """A row's answer is its share of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(0)[:, 0]


CONTRACT = """
import numpy as np
import seatrial as st


class Row(st.Row):
    x: st.Tensor[np.float32, 4]


class Amount(st.Answer):
    amount: float
"""


def program_of(folder: Path, model: nn.Module) -> list[str]:
    """The words of a command that adopts it as a saved program."""
    program = torch.export.export(
        model.eval(), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    torch.export.save(program, folder / "model.pt2")
    (folder / "rows.py").write_text(CONTRACT, "utf-8")
    (folder / "rows.json").write_text(json.dumps(ROWS[:4]), "utf-8")
    return [
        str(folder / "model.pt2"), "--contract", f"{folder / 'rows.py'}:Row", "--golden",
        str(folder / "rows.json"), "--out", str(folder / "out"),
    ]  # fmt: skip


@pytest.mark.slow
def test_rows_that_meet_are_sealed_alone_by_the_option_that_the_message_names(
    tmp_path: Path,
) -> None:
    words = program_of(tmp_path, Mixing())
    said = str(command(*words).exception)
    assert "depends on the other rows of its batch" in said
    assert "say batchable=False in the pipeline (seatrial adopt: --rows-alone" in said
    done = command(*words, "--rows-alone")
    assert done.exit_code == 0, done.output
    assert not st.open_bundle(tmp_path / "out" / "model" / "1.0.0").manifest.batchable


@pytest.mark.slow
def test_a_whole_module_in_a_pickle_is_called_so_and_its_mend_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = program_of(tmp_path, nn.Flatten(0))[1:]
    whole, weights = tmp_path / "whole.pt", tmp_path / "weights.pt"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    torch.save(model, whole)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, weights)
    said = str(command(whole, *words).exception)
    assert "a whole module of torch.save, in a pickle" in said
    assert "model=torch.load(PATH, weights_only=False)" in said
    assert "weights without a model" in str(command(weights, *words).exception)
    monkeypatch.chdir(tmp_path)
    loaded = torch.load("whole.pt", weights_only=False)
    made = answers(sealed(tmp_path / "bundles", Row, Amount, loaded, ROWS[:4]), ROWS[:1])
    assert np.allclose(made[0]["amount"], model(torch.tensor([ROWS[0]["x"]])).item(), atol=1e-6)


def test_a_folder_without_its_prefix_is_told_the_prefix(tmp_path: Path) -> None:
    words = program_of(tmp_path, nn.Flatten(0))[1:]
    said = str(command(tmp_path, *words).exception)
    assert f"got a folder, want a file; seatrial adopt hf:{tmp_path} reads" in said
    assert f"seatrial adopt hf:{tmp_path} reads" in str(command(tmp_path).exception)


@pytest.mark.slow
def test_a_folder_that_writes_texts_is_told_of_engines_made_for_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "writer")
    change(folder, "config.json", architectures=["GPT2LMHeadModel"])
    said = str(command(f"hf:{folder}").exception)
    assert "architecture GPT2LMHeadModel" in said
    assert "docs/how-to/engines.md" in said
    engines = Path(__file__).parents[2] / "docs/how-to/engines.md"
    assert "open-ended generation are for [other engines]" in engines.read_text("utf-8")


@pytest.mark.parametrize(
    "name", ["Mask2FormerForUniversalSegmentation", "OneFormerForUniversalSegmentation"]
)
@pytest.mark.slow
def test_folders_of_queries_that_no_task_knows_are_refused_by_name(
    name: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "masks")
    change(folder, "config.json", architectures=[name])
    said = str(command(f"hf:{folder}").exception)
    assert f"architecture {name}, want one that a task is known for" in said
    assert "st.Segments, whose model answers logits of classes and of masks" in said
    assert "st.Detections(masks=(height, width)) for things that have boxes" in said


@pytest.mark.slow
def test_an_answer_with_a_side_of_one_too_many_is_sealed_by_either_mend(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    with pytest.raises(st.DeclarationError) as said:
        sealed(tmp_path, Row, Amount, model, ROWS[:4])
    assert "return amount[..., 0] in forward" in str(said.value)
    assert "model=nn.Sequential(model, nn.Flatten(0))" in str(said.value)

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            amount = self.model(x)
            return amount[..., 0]

    for place, mended in enumerate((Cut(), nn.Sequential(model, nn.Flatten(0)))):
        bundle = sealed(tmp_path / str(place), Row, Amount, mended, ROWS[:4])
        want = model(torch.tensor([ROWS[0]["x"]])).item()
        assert np.allclose(answers(bundle, ROWS[:1])[0]["amount"], want, atol=1e-6)


class Paths(st.Row):
    x: Annotated[np.ndarray, st.Tensor(dims=((1, 12), 3), pad=0)]


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.head = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 1)

    def last(self, x: Tensor, lengths: Tensor) -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(
            x, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        made: Tensor = self.gru(rows)[1][-1]
        return made

    def forward(self, x: Tensor, x_mask: Tensor) -> Tensor:
        made: Tensor = self.head(self.last(x, x_mask.sum(1)))[:, 0]
        return made


class Gathered(Packed):
    """As the mend has it."""

    def last(self, x: Tensor, lengths: Tensor) -> Tensor:
        out, _ = self.gru(x)
        return out.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, out.shape[2]))[:, 0]


class Fixed(Packed):
    """Packs by lengths that are no values of the rows."""

    def forward(self, x: Tensor, x_mask: Tensor) -> Tensor:
        made: Tensor = self.head(self.last(x, torch.full((x.shape[0],), x.shape[1])))[:, 0]
        return made


@pytest.mark.slow
def test_packed_sequences_are_named_and_the_mend_answers_as_they_do(tmp_path: Path) -> None:
    paths: list[dict[str, Any]] = [
        {"x": CHANCE.normal(size=(length, 3)).astype(np.float32).tolist()}
        for length in (1, 5, 12, 5, 2)
    ]
    for model in (Packed(), Fixed()):
        options = {} if type(model) is Packed else {"batchable": False}
        with pytest.raises(
            st.SeatrialError, match="a packed sequence, which is not traced"
        ) as said:
            sealed(tmp_path / "none", Paths, Amount, model, paths, **options)
        mend = str(said.value)
        assert (
            "last = out.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, out.shape[2]))" in mend
        )
    bundle, packed = sealed(tmp_path / "made", Paths, Amount, Gathered(), paths), Packed()
    for row, made in zip(paths, answers(bundle, paths, len(paths)), strict=True):
        x = torch.tensor([row["x"]])
        with torch.no_grad():
            want: Array = packed(x, torch.ones(x.shape[:2], dtype=torch.bool)).numpy()
        assert np.allclose(made["amount"], want, atol=1e-5)


@pytest.mark.slow
def test_logits_of_a_label_are_sealed_with_a_finding_whose_mend_takes_it_away(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    found = findings(sealed(tmp_path / "logits", Row, Level, model, ROWS[:8]))
    assert "output 'level', golden row 0: got the scores" in found
    assert "want numbers from 0 to 1, together 1: clients get them as they are" in found
    assert "level.softmax(-1) in forward" in found
    mended = nn.Sequential(model, nn.Softmax(-1))
    assert "scores" not in findings(sealed(tmp_path / "mended", Row, Level, mended, ROWS[:8]))


@pytest.mark.slow
def test_logits_of_several_labels_are_refused_and_the_mend_seals(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    with pytest.raises(
        st.SeatrialError, match=r"got the scores .*, want numbers from 0 to 1\n"
    ) as said:
        sealed(tmp_path, Row, Levels, model, ROWS[:8])
    assert "level.sigmoid() in forward" in str(said.value)
    sealed(tmp_path, Row, Levels, nn.Sequential(model, nn.Sigmoid()), ROWS[:8])
