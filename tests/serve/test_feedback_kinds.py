"""Feedback for labels of several, boxes and spans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from support.made import made_bundle
from support.pictures import PICTURE, encoded
from support.running import Running, run_app
from support.word_tokenizer import word_tokenizer

import seatrial as st
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.measures import calibration_error

NAMES = ("urgent", "billing", "spam")
TOKENIZER = word_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Ada", "saw", "Bob"])
SECRET = "Ada saw Bob"
PHOTO = base64_text(encoded(PICTURE))


class Mail(st.Row):
    scores: st.Tensor[np.float32, 3]


class Tags(st.Answer):
    tags: Annotated[list[str], st.Labels(*NAMES)]


class Said(st.Row):
    text: Annotated[str, st.Text(tokenizer=TOKENIZER, max_tokens=8, max_chars=200)]


class People(st.Answer):
    people: Annotated[list[dict], st.Spans("O", "PER", of="text")]  # type: ignore[type-arg]
    tone: Annotated[str, st.Label("warm", "cold")]


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",), size_px=(50, 50))]


class Things(st.Answer):
    things: Annotated[list, st.Detections("cat", "dog", on="photo", masks=(2, 2))]


def tag(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {"tags": feeds["scores"]}


def name_people(feeds: Mapping[str, Array]) -> dict[str, Array]:
    is_one = (feeds["text_ids"] == 4) | (feeds["text_ids"] == 6)
    people = np.where(is_one[..., None], [0.25, 0.75], [0.875, 0.125]).astype(np.float32)
    return {"people": people, "tone": np.tile(np.float32([0.75, 0.25]), (len(people), 1))}


def find(feeds: Mapping[str, Array]) -> dict[str, Array]:
    rows = len(feeds["photo"])
    boxes = np.float32([[[5, 5, 25, 25], [30, 30, 45, 45]]])
    scores = np.float32([[[0.9, 0], [0, 0.8]]])
    found = {"boxes": boxes, "scores": scores, "masks": np.ones((1, 2, 2, 2), np.float32)}
    return {f"things_{name}": np.repeat(each, rows, 0) for name, each in found.items()}


ROWS = [{"scores": [0.75, 0.25, 0.5]}, {"scores": [0.125, 0.0, 0.25]}]


@pytest.fixture
async def app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    rows, answers, function, golden, files = request.param
    contract = st.contract_from_rows(rows, answers)
    made_bundle(tmp_path, monkeypatch, contract, function, golden, files)
    async with run_app(tmp_path, feedback_answers=3) as running:
        yield running


TAGGED = pytest.param((Mail, Tags, tag, ROWS, {}), id="labels")
SPOKEN = pytest.param(
    (Said, People, name_people, [{"text": "Ada"}, {"text": "saw"}],
     {"front/text.tokenizer.json": TOKENIZER}), id="spans",
)  # fmt: skip
SEEN = pytest.param((Photo, Things, find, [{"photo": PHOTO}] * 2, {}), id="boxes")


async def tell(app: Running, truth: Any, **body: Any) -> Any:
    reply = await app.client.post("/v1/models/made:feedback", json={"truth": truth, **body})
    return reply.json()


def value(app: Running, name: str, **labels: str) -> float | None:
    known = {"model": "made", "version": "1.0.0", **labels}
    return app.metrics.registry.get_sample_value(f"seatrial_feedback_{name}", known)


@pytest.mark.parametrize("app", [TAGGED], indirect=True)
async def test_labels_of_several_are_right_or_wrong_one_by_one(app: Running) -> None:
    await app.ask(ROWS, "made", headers={"X-Request-Id": "mail"})
    truth = [{"tags": ["urgent", "billing"]}, {"tags": []}]
    told = await tell(app, truth, request_id="mail")
    held = np.array([[1, 1, 0], [0, 0, 0]])
    scores = np.array([row["scores"] for row in ROWS])
    _, more, less, both = confusion_matrix(held.ravel(), scores.ravel() >= 0.5).ravel()
    assert told == {"model_version": "1.0.0", "right": both, "wrong": more + less}
    assert value(app, "accuracy") == pytest.approx(both / (both + more + less))
    wanted = calibration_error(scores.ravel(), held.ravel().astype(float))
    assert value(app, "calibration_error") == pytest.approx(wanted)
    outcomes = [
        value(app, "total", slice=f"tags={name}", outcome=outcome)
        for name, outcome in zip(NAMES, ("right", "wrong", "wrong"), strict=True)
    ]
    assert outcomes == [1, 1, 1]
    assert (await tell(app, truth, instances=ROWS))["right"] == both


@pytest.mark.parametrize("app", [TAGGED], indirect=True)
async def test_an_answer_is_judged_by_the_declared_threshold(app: Running) -> None:
    await app.ask(ROWS[:1], "made", headers={"X-Request-Id": "one"})
    told = await tell(app, [{"tags": ["urgent", "spam"]}], request_id="one")
    assert (told["right"], told["wrong"]) == (2, 0)


def box(*sides: float) -> dict[str, Any]:
    """In pixels of the client's picture, 240 x 160: the graph sees 50 x 50."""
    scale = np.array(PICTURE.size * 2) / 50
    names = ("xmin", "ymin", "xmax", "ymax")
    return dict(zip(names, (np.array(sides) * scale).tolist(), strict=True))


@pytest.mark.parametrize("app", [SEEN], indirect=True)
async def test_boxes_are_right_where_they_overlap_by_half_and_have_the_class(app: Running) -> None:
    await app.ask([{"photo": PHOTO}], "made", headers={"X-Request-Id": "shot"})
    truth = [
        {"things": [
            {"label": "cat", "box": box(5, 8, 25, 28)},
            {"label": "cat", "box": box(30, 30, 45, 45)},
        ]}
    ]  # fmt: skip
    held = app.watch.feedback.find("made", "1.0.0", "shot")
    kept = {name for part in held.answer.parts for name in part.outputs}
    assert kept == {"things_boxes", "things_scores"}, "no mask is remembered"
    told = await tell(app, truth, request_id="shot")
    assert (told["right"], told["wrong"]) == (1, 2), "a dog that is none, and a cat not found"
    assert (await tell(app, [{"things": []}], instances=[{"photo": PHOTO}]))["wrong"] == 2


@pytest.mark.parametrize("app", [SPOKEN], indirect=True)
async def test_the_truth_of_spans_is_told_with_the_rows_and_no_text_is_kept(app: Running) -> None:
    row = {"text": SECRET}
    await app.ask([row], "made", headers={"X-Request-Id": "talk"})
    truth = {"people": [
        {"label": "PER", "start": 0, "end": 3}, {"label": "PER", "start": 4, "end": 7},
    ]}  # fmt: skip
    refused = await tell(app, [truth], request_id="talk")
    assert refused["code"] == "E_OUTPUT"
    assert "an output about a text, which is not kept" in refused["error"]
    assert SECRET not in repr(app.watch.feedback.find("made", "1.0.0", "talk").answer)
    told = await tell(app, [truth], instances=[row])
    assert (told["right"], told["wrong"]) == (1, 2)
    told = await tell(app, [{"tone": "warm"}], request_id="talk")
    assert (told["right"], told["wrong"]) == (1, 0)


@pytest.mark.parametrize(
    ("app", "truth"),
    [
        (TAGGED.values[0], {"tags": ["urgent", "junk"]}),
        (TAGGED.values[0], {"tags": "urgent"}),
        (SPOKEN.values[0], {"people": [{"label": "ORG", "start": 0, "end": 1}]}),
        (SEEN.values[0], {"things": [{"label": "cat", "box": {"xmin": 0}}]}),
    ],
    indirect=["app"],
)
async def test_a_truth_that_is_none_is_refused_and_said(app: Running, truth: Any) -> None:
    entry = app.repository.find("made")
    assert entry is not None
    assert entry.model is not None
    row = entry.model.bundle.golden.rows[0]
    refused = await tell(app, [truth], instances=[row])
    assert refused["code"] == "E_CATEGORY"
    assert "want a list of" in refused["error"]


@pytest.mark.parametrize("app", [TAGGED, SPOKEN, SEEN], indirect=True)
async def test_the_api_document_describes_each_truth(app: Running) -> None:
    document = (await app.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/models/made:feedback"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    jsonschema.validate(
        content["example"], content["schema"] | {"components": document["components"]}
    )
