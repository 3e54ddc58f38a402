"""Spans and boxes against their truth: seqeval, pycocotools, promises, sealed rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import pytest
from support.embedded import TOKENIZER
from support.pictures import PICTURE, encoded

import seatrial as st
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.judge import judge
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.notes import ImageNote, TextNote
from seatrial_contracts.measures import Measures, measure, measure_slices
from seatrial_contracts.sample import check_samples

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORDS = 12
SCENE = ImageNote(100, 100, 100, 100, 1.0, 1.0)


class Said(st.Row):
    text: Annotated[str, st.Text(tokenizer=TOKENIZER, max_chars=40, max_tokens=20)]


class Tagged(st.Answer):
    spans: Annotated[list[dict], st.Spans(*TAGS, of="text")]


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",), size_px=(100, 100))]


class Seen(st.Answer):
    things: Annotated[list, st.Detections("a", "b", "c", on="photo", class_ids=True)]


SPANS = st.contract_from_rows(Said, Tagged)
THINGS = st.contract_from_rows(Photo, Seen)


def note_of(tokens: int) -> TextNote:
    """Of a text of one letter a token and a word."""
    places = np.arange(tokens)
    return TextNote(
        ("abcdefghijklmnopqrst"[:tokens],), ("",), np.stack([places, places + 1], 1),
        np.zeros(tokens, bool), np.zeros(tokens, np.int64), places, (False,),
    )  # fmt: skip


def tagged(seed: int) -> tuple[Array, Array]:
    """True and answered labels of 6 rows, `(rows, tokens)`."""
    random = np.random.default_rng(seed)
    true = random.choice(5, (6, WORDS), p=(0.4, 0.2, 0.2, 0.1, 0.1))
    return true, np.where(random.random((6, WORDS)) < 0.8, true, random.choice(5, (6, WORDS)))


def scores_of(labels: Array) -> Array:
    return np.eye(len(TAGS), dtype=np.float32)[labels]


def spans_in(labels: Array) -> list[dict[str, Any]]:
    """The spans of one row's labels by the rule of CoNLL, without any of our code."""
    found: list[dict[str, Any]] = []
    before = "O"
    for place, tag in enumerate(TAGS[label] for label in labels):
        opens = tag != "O" and (tag[0] == "B" or before == "O" or before[2:] != tag[2:])
        if opens:
            found.append({"label": tag[2:], "start": place, "end": place + 1})
        elif tag != "O":
            found[-1]["end"] = place + 1
        before = tag
    return found


# seqeval 1.2.2: precision_score, recall_score and f1_score of these labels.
SEQEVAL = [
    (0, (0.5789473684210527, 0.6666666666666666, 0.619718309859155)),
    (1, (0.875, 0.8333333333333334, 0.8536585365853658)),
    (2, (0.7631578947368421, 0.725, 0.7435897435897436)),
]


@pytest.mark.parametrize(("seed", "figures"), SEQEVAL)
def test_measures_of_spans_are_those_of_seqeval(seed: int, figures: Sequence[float]) -> None:
    true, got = tagged(seed)
    answers = [{"spans": scores_of(row)} for row in got]
    truth = [{"spans": spans_in(row)} for row in true]
    found = measure(SPANS, answers, answers, truth, [(note_of(WORDS),)] * 6)
    assert [found.span_precision, found.span_recall, found.span_f1] == pytest.approx(figures)
    assert found.map is None


Scene = tuple[Array, Array, Array, Array, Array]


def scene(seed: int) -> list[Scene]:
    """12 pictures: true boxes and their classes, found boxes, their classes and scores (ties)."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(12):
        many = int(random.integers(0, 6))
        first, size = random.integers(0, 60, (many, 2)), random.integers(8, 40, (many, 2))
        true = np.concatenate([first, first + size], 1).astype(float)
        names = random.integers(0, 3, many)
        moved = true + random.integers(-4, 5, true.shape)
        keep = random.random(many) < 0.8
        extra = random.integers(0, 4)
        first, size = random.integers(0, 60, (extra, 2)), random.integers(8, 40, (extra, 2))
        boxes = np.concatenate([moved[keep], np.concatenate([first, first + size], 1)])
        labels = np.concatenate([names[keep], random.integers(0, 3, extra)])
        scores = random.integers(1, 20, len(boxes)) / 20.0
        found.append((true, names, boxes.astype(float), labels, scores))
    return found


def things_of(boxes: Array, names: Array) -> list[dict[str, Any]]:
    sides = ("xmin", "ymin", "xmax", "ymax")
    return [
        {"label": "abc"[name], "box": dict(zip(sides, box, strict=True))}
        for box, name in zip(boxes.tolist(), names.tolist(), strict=True)
    ]


def pictures(scenes: Sequence[Scene]) -> tuple[list[Mapping[str, Array]], list[Mapping[str, Any]]]:
    answers = [
        {
            "things_boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
            "things_scores": np.asarray(scores, np.float32),
            "things_classes": np.asarray(labels, np.int64),
        }
        for _, _, boxes, labels, scores in scenes
    ]
    return answers, [{"things": things_of(true, names)} for true, names, *_ in scenes]


# pycocotools 2.0.11: COCOeval(..., "bbox").stats[0] of these boxes.
COCO = [
    (0, 0.16183455374195035), (1, 0.1628065654550803), (2, 0.1687835186630515),
    (3, 0.13537512542463037),
]  # fmt: skip
WIDE = ImageNote(200, 200, 200, 200, 1.0, 1.0)


@pytest.mark.parametrize(("seed", "figure"), COCO)
def test_mean_average_precision_is_that_of_pycocotools(seed: int, figure: float) -> None:
    scenes = [
        (true + 10, names, boxes + 10, labels, scores)  # no box ends at an edge
        for true, names, boxes, labels, scores in scene(seed)
    ]
    answers, truth = pictures(scenes)
    found = measure(THINGS, answers, answers, truth, [(WIDE,)] * len(answers))
    assert found.map == pytest.approx(figure, abs=1e-9)
    assert found.span_f1 is None


BOX = np.array([[10.0, 10, 50, 50]])
HIT, MISS = BOX.copy(), BOX + 45


@pytest.mark.parametrize(
    ("boxes", "scores", "want"),
    [
        ([HIT], [0.9], 1.0),
        ([HIT, MISS], [0.9, 0.8], 1.0),
        ([MISS, HIT], [0.9, 0.8], 0.5),  # the only precision at every recall is 1 of 2
        ([HIT, HIT], [0.9, 0.8], 1.0),  # one of both has nothing left to hit
        ([], [], 0.0),
        ([np.add(BOX, [0, 0, 0, 10])], [0.9], 0.7),  # IoU 0.8: right at 7 of 10 thresholds
    ],
)
def test_average_precision_worked_by_hand(
    boxes: list[Array], scores: list[float], want: float
) -> None:
    found = np.concatenate([np.zeros((0, 4)), *boxes])
    labels = np.zeros(len(found), int)
    answers, truth = pictures([(BOX, np.zeros(1, int), found, labels, np.array(scores))])
    assert measure(THINGS, answers, answers, truth, [(SCENE,)]).map == pytest.approx(want)


def photos() -> tuple[Golden, list[Mapping[str, Array]]]:
    photo = base64_text(encoded(PICTURE))
    answers, truth = pictures([(BOX, np.zeros(1, int), HIT, np.zeros(1, int), np.array([0.9]))] * 2)
    front = HostStage(THINGS, {})
    width, height = PICTURE.size
    for true in truth:
        [thing] = true["things"]
        thing["box"] = {
            side: at * (width if side[0] == "x" else height) / 100
            for side, at in thing["box"].items()
        }
    golden = Golden(
        ({"photo": photo},) * 2, tuple(answers), (), tuple(truth), (("near",), ("far",)),
        lambda: front,
    )  # fmt: skip
    return golden, answers


def test_a_promise_about_boxes_is_held_in_the_client_s_pixels_and_for_each_slice() -> None:
    golden, answers = photos()
    promise = st.Promise.parse("map>=0.9", "map_drop<=0.05")
    assert not judge(THINGS, promise, golden, answers).finding
    off = [answers[0], {**answers[1], "things_boxes": answers[1]["things_boxes"] + 20}]
    found = judge(THINGS, st.Promise.parse("map>=0.4"), golden, off)
    assert found.finding == "slice 'far', map: got 0, want at least 0.4, 1 rows"
    found = judge(THINGS, st.Promise.parse("map_drop<=0.05"), golden, off)
    assert found.finding == "map_drop: got 0.49505, want at most 0.05, 2 rows"
    shorter = [{name: array[:0] for name, array in answer.items()} for answer in answers]
    measured = measure(THINGS, answers, shorter, golden.truth, golden.notes)
    assert (
        promise.finding(measured, found.measures) == "map: got no number, want at least 0.9, 2 rows"
    )


def test_a_golden_set_with_truths_of_things_comes_back_from_its_files() -> None:
    golden, _ = photos()
    read = Golden.from_files(golden.to_files(), THINGS, make_front=golden.make_front)
    assert read.truth == golden.truth
    assert read.notes == golden.notes == ((golden.notes[0][0],),) * 2
    assert Golden.from_files(golden.to_files(), THINGS).notes == ((), ())
    slices = measure_slices(THINGS, read.answers, read.answers, read.truth, read.slices, read.notes)
    assert {name: each.map for name, each in slices.items()} == {"far": 1.0, "near": 1.0}


@pytest.mark.parametrize(
    ("contract", "truth", "want"),
    [
        (SPANS, {"spans": [{"label": "PER", "start": 3, "end": 3}]}, "not empty, each of PER, LOC"),
        (SPANS, {"spans": [{"label": "O", "start": 0, "end": 3}]}, "each of PER, LOC"),
        (SPANS, {"spans": [{"label": "PER", "start": -1, "end": 3}]}, "each of PER, LOC"),
        (SPANS, {"spans": [{"label": "PER", "start": 0, "end": 3, "text": "x"}]}, "each of PER"),
        (SPANS, {"spans": "PER"}, "each of PER, LOC"),
        (SPANS, {"words": []}, "an output whose truth can be told: spans"),
        (THINGS, {"things": [{"label": "a", "box": [1, 2, 3, 4]}]}, "of its 3 classes"),
        (THINGS, {"things": [{"label": "d", "box": {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1}}]},
            "of its 3 classes"),
        (THINGS, {"things": [{"label": "a", "box": {"xmin": 1, "ymin": 0, "xmax": 1, "ymax": 1}}]},
            "of its 3 classes"),
    ],
)  # fmt: skip
def test_a_truth_that_is_none_is_refused(
    contract: st.Contract, truth: Mapping[str, Any], want: str
) -> None:
    with pytest.raises(st.DeclarationError, match=want):
        check_samples([st.Sample({}, truth=truth)], contract, "golden")


def test_a_promise_of_what_no_truth_shows_is_refused() -> None:
    for text, contract, name in (("span_f1>=0.5", SPANS, "spans"), ("map>=0.5", THINGS, "things")):
        promise = st.Promise.parse(text)
        promise.check(contract, truths={name})
        with pytest.raises(st.DeclarationError, match="nothing that shows it"):
            promise.check(contract, truths=set())
    assert str(st.Promise.parse("span_f1>=0.5,span_f1_drop<=0.1")) == (
        "span_f1 >= 0.5, span_f1_drop <= 0.1"
    )
    assert "map" not in st.Promise(cosine=0.5).model_dump()
    assert Measures(rows=1).map is None
