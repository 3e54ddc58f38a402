"""An opened bundle: what it shows of itself, and its predictions, judged by pandas and numpy."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel
from support.animals import ROWS, Animal, answer
from support.toys import fake_runtimes, toy_bundle

import seatrial as st
from seatrial_contracts.bundle_files import SealedFiles
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_serve.inference import predictor


def frame(rows: list[dict[str, Any]] = ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, index=[f"r{place}" for place in range(len(rows))])


def test_its_text_is_short_and_reads_no_file(
    animals: st.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(*_: object) -> None:
        raise AssertionError("a file is read")

    monkeypatch.setattr(SealedFiles, "__getitem__", no_file)
    text = repr(animals)
    assert len(text) < 200
    assert all(part in text for part in ("animals", "1.0.0", "fp32", animals.digest[:12]))


class Tables(HTMLParser):
    """The texts of a page's cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_a_notebook_shows_contract_variants_and_receipt_escaped(animals: st.Bundle) -> None:
    page = Tables(animals._repr_html_())
    assert {"island", "mass", "year", "size", "species", "fp32", "label"} <= {*page.cells}
    assert any("from 0 to 100 <b>kg</b>" in cell for cell in page.cells), "a unit is text"
    assert page.tags.count("b") == 1, "the name alone is bold"
    for sort in ("contract", "variants"):
        assert sort in page.cells


@pytest.mark.parametrize("row", [ROWS[0], Animal(**ROWS[0])])
def test_a_row_gives_the_answer_of_a_row(animals: st.Bundle, row: Any) -> None:
    assert animals.predict(row) == {
        "size": 1.5, "species": {"label": "small", "scores": {"small": 0.95, "<b>large</b>": 0.05}}
    }  # fmt: skip


def test_a_model_of_the_users_own_is_a_row(animals: st.Bundle) -> None:
    class Mine(BaseModel):
        island: str
        mass: float
        year: int

    assert animals.predict(Mine(island="Dream", mass=2, year=2003))["size"] == 2.01


def test_rows_give_rows_and_a_frame_gives_the_frame_that_json_normalize_makes(
    animals: st.Bundle,
) -> None:
    rows = animals.predict(ROWS)
    assert [row["size"] for row in rows] == [1.5, 0.01, 60.26]
    found = animals.predict(frame())
    assert list(found.index) == ["r0", "r1", "r2"]
    want = pd.json_normalize(rows).set_index(found.index)
    found["species.label"] = found["species.label"].astype(want["species.label"].dtype)
    pd.testing.assert_frame_equal(found, want, check_dtype=False, rtol=1e-6)


def test_a_frame_of_polars_gives_one_of_polars(animals: st.Bundle) -> None:
    found = animals.predict(pl.DataFrame(ROWS))
    assert isinstance(found, pl.DataFrame)
    assert found["species.label"].to_list() == ["small", "small", "<b>large</b>"]
    assert found["size"].to_list() == pytest.approx([1.5, 0.01, 60.26])


@pytest.mark.parametrize("data", [ROWS, frame(), pl.DataFrame(ROWS)])
def test_arrays_and_other_forms_come_where_they_are_asked_for(
    animals: st.Bundle, data: Any
) -> None:
    feeds = {
        "island": np.array(["Biscoe", "Dream", "Dream"], object),
        "mass": np.float32([1.5, np.nan, 60.25]),
    }
    arrays, want = animals.predict(data, to="arrays"), answer(feeds)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "size": np.float32, "species": np.float32
    }  # fmt: skip
    for name, array in want.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert animals.predict(data, to="rows") == animals.predict(ROWS)
    assert len(animals.predict(data, to="frame")) == 3
    with pytest.raises(st.Refusal, match="'rows', 'frame' or 'arrays'"):
        animals.predict(data, to="numpy")  # type: ignore[arg-type]


def test_files_are_read_by_their_names(animals: st.Bundle, tmp_path: Path) -> None:
    want = animals.predict(ROWS)
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "row.json").write_text(json.dumps(ROWS[0]))
    frame().to_csv(tmp_path / "rows.csv", index=False)
    assert animals.predict(tmp_path / "rows.jsonl") == want
    assert animals.predict(tmp_path / "rows.json") == want
    assert animals.predict(tmp_path / "row.json") == want[0]
    found = animals.predict(tmp_path / "rows.csv")
    assert found["size"].tolist() == pytest.approx([1.5, 0.01, 60.26])
    assert animals.predict(tmp_path / "rows.csv", to="rows") == want
    for name in ("nosuch.csv", "rows.txt"):
        (tmp_path / "rows.txt").write_text("x")
        with pytest.raises(st.DeclarationError, match=f"file '{name}'"):
            animals.predict(tmp_path / name)
    with pytest.raises(st.Refusal, match=r"a str, want .*; pathlib.Path"):
        animals.predict("rows.csv")


def test_many_rows_run_in_batches_and_keep_their_order(
    animals: st.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "MOST_ROWS", 7)
    monkeypatch.setattr(predictor, "FEW_ROWS", 1)
    many = [{**ROWS[0], "mass": place / 100} for place in range(1000)]
    want = [pytest.approx(place / 100) for place in range(1000)]
    assert [row["size"] for row in animals.predict(many)] == want
    assert animals.predict(frame(many))["size"].tolist() == want


@pytest.mark.parametrize("by", [list, frame])
def test_a_bad_row_is_named_by_its_place_among_all_and_shown(
    animals: st.Bundle, by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "MOST_ROWS", 2)
    monkeypatch.setattr(predictor, "FEW_ROWS", 1)
    rows = [*ROWS, {**ROWS[0], "mass": 100.5}]
    with pytest.raises(st.Refusal, match=r"input 'mass', row 3: got 100\.5, want"):
        animals.predict(by(rows))


def test_an_answer_that_nobody_may_be_given_is_an_error_of_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(
        monkeypatch,
        lambda feeds: {
            "twice": np.where(feeds["x"] == 7, np.nan, feeds["x"]),
            "pair": np.stack([feeds["x"], feeds["x"]], 1),
        },
    )
    monkeypatch.setattr(predictor, "MOST_ROWS", 3)
    monkeypatch.setattr(predictor, "FEW_ROWS", 1)
    bundle = st.open_bundle(toy_bundle(tmp_path).path)
    rows = [{"x": float(place), "word": "a"} for place in range(9)]
    assert len(bundle.predict(rows[:7], to="arrays")["pair"]) == 7
    for data in (rows, pd.DataFrame(rows)):
        with pytest.raises(st.ModelError, match="row 7"):
            bundle.predict(data)


@pytest.mark.parametrize(
    ("dims", "rows"),
    [([()], 4096), ([()] * 64, 1024), ([(200,)], 327), ([(224, 224, 3)], 32), ([(), ("n",)], 32)],
)
def test_a_batch_has_fewer_rows_where_these_are_larger(dims: Any, rows: int) -> None:
    specs = [TensorSpec(name=f"t{n}", dtype="float32", dims=each) for n, each in enumerate(dims)]
    assert predictor.rows_of_a_batch(specs) == rows


def test_no_rows_give_no_answers(animals: st.Bundle) -> None:
    assert animals.predict([]) == []
    assert len(animals.predict(frame().head(0))) == 0
    with pytest.raises(st.Refusal, match="at least one"):
        animals.predict([], to="arrays")


def test_an_unknown_option_and_an_unknown_variant_are_refused(animals: st.Bundle) -> None:
    with pytest.raises(st.Refusal, match="an option that the contract does not have"):
        animals.predict(ROWS, options={"top_k": 3})
    with pytest.raises(st.ModelError, match="no variant 'int8' in this bundle; sealed: fp32"):
        animals.predict(ROWS, variant="int8")
