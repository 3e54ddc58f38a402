"""Bins hold every value once; PSI and Jensen-Shannon are what scipy says they are."""

from __future__ import annotations

import io
import math
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

import seatrial as st
from seatrial_contracts.bins import UNSEEN, Ranges, Words, split_numbers, split_words
from seatrial_contracts.declaration import contract_from_rows
from seatrial_contracts.drift import (
    LEAST_SHARE,
    drifts,
    jensen_shannon,
    population_stability_index,
    shares,
    stability_by_chance,
)
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds import kinds
from seatrial_contracts.profile import DriftFeatures, Profile, count_by_bin, trait_of

counts = some.lists(
    some.tuples(some.integers(0, 500), some.integers(0, 500)), min_size=1, max_size=12
).filter(lambda pairs: all(map(any, zip(*pairs, strict=True))))


@given(counts)
def test_the_two_figures_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    reference, live = (list(each) for each in zip(*pairs, strict=True))
    p, q = (np.maximum(np.array(each) / sum(each), LEAST_SHARE) for each in (reference, live))
    # PSI is the symmetric Kullback-Leibler divergence.
    psi = (rel_entr(p, q) + rel_entr(q, p)).sum()
    assert population_stability_index(reference, live) == pytest.approx(psi, abs=1e-12)
    assert jensen_shannon(reference, live) == pytest.approx(
        jensenshannon(reference, live, base=2), abs=1e-7
    )


def test_two_samples_of_one_population_show_the_psi_that_chance_predicts() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=300)
    bins = split_numbers(reference)
    seen = [
        population_stability_index(
            count_by_bin(bins, reference).tolist(),
            count_by_bin(bins, random.normal(size=500)).tolist(),
        )
        for _ in range(200)
    ]
    # The bins are made from the reference, so its own counts do not vary:
    # 1/500 of the formula's two parts at least.
    assert 9 / 500 < np.mean(seen) < 2 * stability_by_chance(10, 500, 300)


def test_of_nothing_seen_nothing_is_said() -> None:
    assert math.isnan(population_stability_index([1, 2], [0, 0]))
    assert math.isnan(jensen_shannon([1, 2], [0, 0]))
    assert math.isnan(stability_by_chance(10, 0, 5))


@given(some.lists(some.floats(-1e9, 1e9, width=32), min_size=1, max_size=300))
def test_numbers_fall_into_exactly_one_range_in_either_precision(values: list[float]) -> None:
    bins = split_numbers(values)
    assert count_by_bin(bins, values).sum() == len(values)
    assert len(bins.names) == len(set(bins.names)) <= 21
    wide, narrow = (
        bins.places(np.array(values, np.float64)),
        bins.places(np.array(values, np.float32)),
    )
    assert (wide == narrow).all()


def test_ranges_hold_like_many_values_and_equal_values_stay_together() -> None:
    random = np.random.default_rng(0)
    even = count_by_bin(split_numbers(values := random.normal(size=1000)), values)
    assert len(even) == 10
    assert even.min() > 80
    assert split_numbers([0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]).edges == (0.5,)
    assert len(split_numbers(np.repeat([2007, 2008, 2009], 50)).edges) == 2


def test_a_value_that_never_varied_shows_every_change() -> None:
    bins = split_numbers([7.0] * 50)
    assert bins.places([6.9, 7.0, 7.1]).tolist() == [0, 1, 2]


def test_bins_are_not_narrower_than_arithmetic_is_exact() -> None:
    scores = 1 - np.geomspace(1e-9, 1e-1, 500)
    edges = split_numbers(scores).edges
    assert min(np.diff(edges)) >= 1e-5


def test_bins_of_large_numbers_that_differ_little_have_names_of_their_own() -> None:
    names = split_numbers(1.7e18 + np.arange(100) * 1000).names
    assert len(set(names)) == len(names) == 10


def test_missing_values_have_a_bin_where_there_may_be_any() -> None:
    bins = split_numbers([1.0, None, 3.0, *range(100)], missing=True)
    assert bins.names[-1] == "(missing)"
    assert bins.places([None, math.nan, 2.0])[:2].tolist() == [len(bins.names) - 1] * 2


def test_words_have_bins_of_their_own_and_long_lists_share_one() -> None:
    bins = split_words(["a"], ("a", "b"), unseen=True, missing=True)
    assert bins.names == ("a", "b", "(unseen)", "(missing)")
    assert bins.places(["b", UNSEEN, None, "a"]).tolist() == [1, 2, 3, 0]
    listed = [f"w{place}" for place in range(100)]
    long = split_words(
        [word for place, word in enumerate(listed) for _ in range(place + 1)], listed
    )
    assert long.names == (*(f"w{place}" for place in range(80, 100)), "(other)")
    assert long.places(["w3", "w99"]).tolist() == [20, 19]


def test_a_word_cannot_pass_for_a_special_bin() -> None:
    assert Words(words=("(missing)",), missing=True).names == ("'(missing)'", "(missing)")


def test_edges_that_do_not_increase_are_refused() -> None:
    with pytest.raises(ValueError, match="increase"):
        Ranges(edges=(1.0, 1.0))


class Mixed(st.Row):
    number: float | None
    whole: int
    flag: bool
    word: Annotated[str, st.Category("a", "b", unknown="bucket")]
    maybe: Literal["x", "y"] | None
    vector: st.Tensor[np.float32, 3]


class Said(st.Answer):
    score: float
    label: Annotated[str, st.Label("yes", "no")]


MIXED: list[dict[str, Any]] = [
    {
        "number": None if i % 7 == 0 else i / 3,
        "whole": i,
        "flag": i % 2 == 0,
        "word": "abc"[i % 3],
        "maybe": [None, "x", "y"][i % 3],
        "vector": [i, 0.5, -i],
    }
    for i in range(60)
]
ANSWERS = [
    {"score": np.float32(i), "label": np.array([i / 60, 1 - i / 60], np.float32)} for i in range(60)
]


def test_rows_and_columns_fall_into_the_same_bins() -> None:
    contract = contract_from_rows(Mixed, Said)
    features = DriftFeatures(HostStage(contract, {}))
    rows = [contract.validate_row(row) for row in MIXED]
    profile = Profile.from_json(features.profile(rows, ANSWERS).to_json())
    columns = {
        "number": np.array([row["number"] for row in MIXED], np.float32),
        "whole": np.arange(60),
        "flag": np.arange(60) % 2 == 0,
        "word": [row["word"].encode() for row in MIXED],
        "maybe": [row["maybe"] or "" for row in MIXED],
        "vector": np.array([row["vector"] for row in MIXED], np.float32),
    }
    batch = {name: np.stack([answer[name] for answer in ANSWERS]) for name in ("score", "label")}
    found = features.count(profile, contract.validate_columns(columns, 60), batch)
    assert {name: tuple(each) for name, each in found.items()} == {
        name: spread.counts for name, spread in profile.fields.items()
    }
    assert profile.inputs["word"].bins.names == ("a", "b", "(unseen)")
    assert profile.inputs["word"].counts == (20, 20, 20)
    assert profile.inputs["maybe"].counts == (20, 20, 0, 20)
    assert profile.inputs["number"].counts[-1] == 9
    assert profile.inputs["flag"].counts == (30, 30)
    assert profile.outputs["label"].counts == (30, 30)
    assert set(profile.fields) >= {
        "vector.mean",
        "vector.spread",
        "label.confidence",
        "label.score.yes",
        "score",
    }
    assert all(field.psi == field.distance == 0 for field in drifts(profile, found))


def test_the_findings_say_what_is_missing_unseen_and_above() -> None:
    contract = contract_from_rows(Mixed, Said)
    profile = DriftFeatures(HostStage(contract, {})).profile(
        [contract.validate_row(row) for row in MIXED], ANSWERS
    )
    live = {"word": [0, 0, 30], "maybe": [10, 10, 0, 20]}
    found = {field.field: field for field in drifts(profile, live)}
    assert found["word"].unseen == 1
    assert found["word"].missing is None
    assert found["maybe"].missing == 0.5
    assert found["word"].above(0.2, 0.2)
    assert not found["maybe"].above(0.2, 0.2)
    assert found["flag"].rows == 0
    assert not found["flag"].above(0.2, 0.2)
    assert found["flag"].to_json()["psi"] is None
    assert shares([1, 3]).tolist() == [0.25, 0.75]


def test_images_are_looked_at_as_pillow_and_numpy_see_them() -> None:
    Pillow = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 255, (30, 60, 3), np.uint8)
    sink = io.BytesIO()
    Pillow.fromarray(pixels).save(sink, "PNG")
    seen = st.Image(shorter_side_px=30).features("photo", {}, None)([sink.getvalue()])
    assert seen["brightness"] == [pytest.approx(pixels.mean() / 255)]
    assert seen["contrast"] == [pytest.approx(pixels.std() / 127.5)]
    assert (seen["pixels"], seen["aspect"]) == ([1800], [2.0])


@pytest.mark.parametrize("sort", ["WordLevel", "Unigram", "BPE"])
def test_unknown_tokens_are_counted_in_each_sort_of_vocabulary(sort: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    models = {
        "WordLevel": lambda: tokenizers.models.WordLevel(
            {"ship": 0, "sea": 1, "[UNK]": 7}, "[UNK]"
        ),
        "Unigram": lambda: tokenizers.models.Unigram(
            [("ship", -1.0), ("sea", -1.0), ("<unk>", -9.0)], 2, False
        ),
        "BPE": lambda: tokenizers.models.BPE(
            {letter: place for place, letter in enumerate("sea")}, []
        ),
    }
    tokenizer = tokenizers.Tokenizer(models[sort]())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    kind = st.Text(tokenizer=tokenizer.to_str().encode())
    files = kind.front_files("text")
    features = kind.features("text", files, kind.stage("text", files))
    text = "sea" if sort == "BPE" else "ship sea 123 sea"
    assert features([text])["unknown"] == [0.0 if sort == "BPE" else 0.25]
    assert features([text])["chars"] == [len(text)]


def test_every_kind_says_what_drift_looks_at() -> None:
    assert all(
        not getattr(kind.features, "__isabstractmethod__", False) for kind in kinds().values()
    )


@pytest.mark.parametrize(
    ("name", "field", "trait"),
    [
        ("pet", "pet", ""),
        ("pet.score.st. bernard", "pet", "score.st. bernard"),
        ("at.zip.score.x", "at.zip", "score.x"),
        ("at.zip", "at.zip", ""),
    ],
)
def test_fields_and_traits_may_have_dots(name: str, field: str, trait: str) -> None:
    assert trait_of(name, {"pet", "at", "at.zip"}) == (field, trait)
