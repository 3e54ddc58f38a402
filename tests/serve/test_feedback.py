"""Feedback: the truth of answers, told later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.running import Running, run_app
from support.toys import Feeds, toy_bundle, toy_manifest

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.measures import calibration_error
from seatrial_serve.inference import engine
from seatrial_serve.inference.engine import Answers
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.answer import Answer
from seatrial_serve.observers import feedback
from seatrial_serve.observers.feedback import (
    Feedback,
    FeedbackMetrics,
    Judged,
    Remembered,
    Tellable,
)
from seatrial_serve.process.budget import GROWTH, Hold
from seatrial_serve.runtimes.fake import FakeRuntime

pytestmark = pytest.mark.slow
CLASSES = ("cat", "dog", "eel")
ROWS = [{"x": float(i)} for i in range(3)]


PETS = Tellable("pets", "1.0.0", {"pet": Judged("pet", st.Label(*CLASSES), ("pet",))})


class Pet(st.Row):
    x: Annotated[float, st.Number(ge=0, le=2)]


class Guess(st.Answer):
    pet: Annotated[str, st.Label(*CLASSES)]
    size: float


def answer(feeds: Feeds) -> dict[str, Array]:
    """x is the class, with a probability of 0.8."""
    scores = np.full((len(feeds["x"]), 3), 0.1, np.float32)
    scores[np.arange(len(scores)), feeds["x"].astype(int)] = 0.8
    return {"pet": scores, "size": feeds["x"]}


def pets(folder: Path, name: str = "pets") -> Bundle:
    answers = tuple(
        {key: array[0] for key, array in answer({"x": np.array([row["x"]], np.float32)}).items()}
        for row in ROWS
    )
    golden = Golden(tuple(ROWS), answers, slices=(("small",), (), ("large", "odd")))
    contract = st.contract_from_rows(Pet, Guess, limits=st.Limits(max_rows=4))
    files = {
        CONTRACT: contract.to_json(),
        PROFILE: b"{}\n",
        "graphs/toy.fake": b"pets",
        **golden.to_files(),
    }
    return write_bundle(folder, toy_manifest(name), files)


@pytest.fixture
def pet_runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    runtime = FakeRuntime(answer, inputs={"x": "float32"}, outputs=["pet", "size"])
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
    return runtime


@pytest.fixture
async def app(tmp_path: Path, pet_runtime: FakeRuntime) -> AsyncIterator[Running]:
    pets(tmp_path)
    async with run_app(tmp_path, feedback_answers=3) as running:
        yield running


async def tell(app: Running, truth: Any, model: str = "pets", **body: Any) -> httpx.Response:
    return await app.client.post(f"/v1/models/{model}:feedback", json={"truth": truth, **body})


def count(app: Running, slice_: str, outcome: str) -> float:
    labels = {"model": "pets", "version": "1.0.0", "slice": slice_, "outcome": outcome}
    return app.metrics.registry.get_sample_value("seatrial_feedback_total", labels) or 0.0


def gauge(app: Running, name: str) -> float | None:
    return app.metrics.registry.get_sample_value(
        f"seatrial_feedback_{name}", {"model": "pets", "version": "1.0.0"}
    )


async def test_the_truth_of_an_answer_is_told_by_its_request_id_and_once(app: Running) -> None:
    reply = await app.ask(ROWS, model="pets", headers={"X-Request-Id": "visit-7"})
    assert reply.headers["x-request-id"] == "visit-7"
    told = await tell(
        app,
        [{"pet": "cat"}, {"pet": "eel"}, None],
        request_id="visit-7",
        slices=[["small"], [], []],
    )
    assert (told.status_code, told.json()) == (
        200,
        {"model_version": "1.0.0", "right": 1, "wrong": 1},
    )
    assert (count(app, "all", "right"), count(app, "all", "wrong")) == (1, 1)
    assert (
        count(app, "pet=cat", "right"),
        count(app, "pet=eel", "wrong"),
        count(app, "small", "right"),
    ) == (1, 1, 1)
    assert gauge(app, "accuracy") == 0.5
    assert gauge(app, "calibration_error") == pytest.approx(0.3)
    again = await tell(app, [{"pet": "cat"}, None, None], request_id="visit-7")
    assert (again.status_code, again.json()["code"]) == (404, "E_ANSWER_NOT_FOUND")
    assert count(app, "all", "unmatched") == 1


async def test_the_truth_of_a_version_that_is_gone_moves_no_gauge(app: Running) -> None:
    for name in ("early", "late"):
        await app.ask(ROWS, model="pets", headers={"X-Request-Id": name})
    await tell(app, [{"pet": "cat"}, None, None], request_id="early")
    assert gauge(app, "accuracy") == 1
    late = app.watch.feedback.find("pets", "1.0.0", "late")
    await app.lifecycle.unload("pets")
    app.metrics.flush()
    assert (gauge(app, "accuracy"), gauge(app, "calibration_error")) == (None, None)
    assert app.watch.feedback.learn(late, [{"pet": "cat"}, None, None]) == (1, 0)
    app.metrics.flush()
    assert gauge(app, "accuracy") is None
    assert count(app, "all", "right") == 2, "a moment later it is counted all the same"


async def test_rows_in_place_of_an_id_are_answered_again(app: Running) -> None:
    told = await tell(app, [{"pet": "dog"}, {"pet": "dog"}], instances=[{"x": 1.0}, {"x": 2.0}])
    assert told.json() == {"model_version": "1.0.0", "right": 1, "wrong": 1}
    version = await app.client.post(
        "/v1/models/pets/versions/1.0.0:feedback",
        json={"truth": [{"pet": "eel"}], "instances": [{"x": 2.0}]},
    )
    assert version.json()["right"] == 1


async def test_answers_over_v2_are_remembered_too(app: Running) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}
    reply = await app.client.post("/v2/models/pets/infer", json={"inputs": [tensor]})
    told = await tell(app, [{"pet": "eel"}], request_id=reply.headers["x-request-id"])
    assert told.json()["right"] == 1


async def test_the_truth_of_a_partial_answer_is_one_a_row_and_counts_where_there_was_an_answer(
    app: Running,
) -> None:
    headers = {"X-Partial": "1", "X-Request-Id": "mixed"}
    await app.ask([{"x": 0.0}, {"x": 9.0}, {"x": 2.0}], model="pets", headers=headers)
    truth = [{"pet": "cat"}, {"pet": "cat"}, {"pet": "dog"}]
    assert (await tell(app, truth[:2], request_id="mixed")).json()["code"] == "E_BATCH"
    assert (await tell(app, truth, request_id="mixed")).json() == {
        "model_version": "1.0.0",
        "right": 1,
        "wrong": 1,
    }


async def test_models_that_are_asked_by_one_id_are_told_of_each(
    tmp_path: Path, pet_runtime: FakeRuntime
) -> None:
    """A client of another model, which sends the id, takes nothing away."""
    pets(tmp_path)
    pets(tmp_path, name="strays")
    async with run_app(tmp_path, feedback_answers=3) as app:
        for model in ("pets", "strays"):
            await app.ask(ROWS[:1], model=model, headers={"X-Request-Id": "visit-7"})
        for model, status in (("strays", 200), ("strays", 404), ("pets", 200), ("pets", 404)):
            told = await tell(app, [{"pet": "cat"}], model=model, request_id="visit-7")
            assert told.status_code == status, told.text


async def test_only_the_last_answers_are_remembered(app: Running) -> None:
    ids = [(await app.ask(ROWS[:1], model="pets")).headers["x-request-id"] for _ in range(5)]
    known = [(await tell(app, [{"pet": "cat"}], request_id=each)).status_code for each in ids]
    assert known == [404, 404, 200, 200, 200]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({"truth": [{"pet": "cat"}] * 2}, "E_BATCH", id="more truths than rows"),
        pytest.param({"truth": [{"pet": "gnu"}]}, "E_CATEGORY", id="an unknown class"),
        pytest.param({"truth": [{"size": "cat"}]}, "E_OUTPUT", id="an output that is no label"),
        pytest.param({"truth": [{"fur": "cat"}]}, "E_OUTPUT", id="no output at all"),
        pytest.param({"truth": [{"pet": 1}]}, "E_SCHEMA", id="a number"),
        pytest.param({"truth": []}, "E_SCHEMA", id="no truth"),
        pytest.param({"truth": {"pet": "cat"}}, "E_SCHEMA", id="no list"),
        pytest.param({"truth": [{"pet": "cat"}], "slices": [["huge"]]}, "E_CATEGORY",
            id="an unknown slice"),
        pytest.param({"truth": [{"pet": "cat"}], "slices": [[], []]}, "E_BATCH",
            id="more slices than rows"),
        pytest.param({"truth": [{"pet": "cat"}], "instances": [{"x": 0.0}]}, "E_SCHEMA",
            id="an id and rows"),
        pytest.param({"truth": [{"pet": "cat"}], "more": 1}, "E_SCHEMA", id="an unknown key"),
        pytest.param({"truth": [{"pet": "cat"}], "request_id": None}, "E_SCHEMA", id="neither"),
        pytest.param({"truth": [{"pet": "cat"}], "request_id": None, "instances": [{"x": 9.0}]},
            "E_RANGE", id="a row out of range"),
        pytest.param(
            {"truth": [{"pet": "cat"}] * 5, "request_id": None, "instances": [{"x": 0.0}] * 5},
            "E_BATCH", id="too many rows"),
    ],
)  # fmt: skip
async def test_what_cannot_be_true_is_refused_and_counts_nothing(
    app: Running, body: Mapping[str, Any], code: str
) -> None:
    asked = await app.ask(ROWS[:1], model="pets")
    sent = {"request_id": asked.headers["x-request-id"]} | {
        name: value for name, value in body.items() if value is not None
    }
    if body.get("request_id", "") is None:
        del sent["request_id"]
    reply = await app.client.post("/v1/models/pets:feedback", json=sent)
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert set(reply.json()) - {"errors"} == {"error", "code", "request_id"}
    assert gauge(app, "accuracy") is None
    good = await tell(app, [{"pet": "cat"}], request_id=asked.headers["x-request-id"])
    assert good.json()["right"] == 1, "a refused truth does not use the answer up"


async def test_bodies_that_are_none_get_the_errors_of_every_route(app: Running) -> None:
    async def post(model: str, **options: Any) -> tuple[int, str]:
        reply = await app.client.post(f"/v1/models/{model}:feedback", **options)
        return reply.status_code, reply.json()["code"]

    assert await post("pets", content=b"{") == (400, "E_JSON")
    assert await post("pets", content=b"") == (400, "E_JSON")
    assert await post("pets", content=b"x" * 5_000_000) == (413, "E_BODY_BYTES")
    assert await post("none", json={}) == (404, "E_MODEL_NOT_FOUND")
    assert await post("pets", content=b"{}", headers={"Content-Type": "text/plain"}) == (
        415,
        "E_CONTENT_TYPE",
    )
    reply = await app.client.get("/v1/models/pets:feedback")
    assert reply.status_code in (404, 405)


async def test_a_model_without_labels_and_answers_of_another_model_are_refused(
    tmp_path: Path, runtime: FakeRuntime
) -> None:
    toy_bundle(tmp_path)
    async with run_app(tmp_path) as app:
        asked = await app.ask([{"x": 1.0, "word": "a"}])
        reply = await tell(
            app, [{"twice": "2"}], model="toy", request_id=asked.headers["x-request-id"]
        )
        assert (reply.status_code, reply.json()["code"]) == (400, "E_UNSUPPORTED")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 3}, "one of 3 workers' answers"),
        ({"feedback_answers": 0}, "no answers are remembered"),
    ],
)
async def test_where_no_answers_are_remembered_rows_are_asked_for(
    tmp_path: Path, pet_runtime: FakeRuntime, options: dict[str, Any], said: str
) -> None:
    pets(tmp_path)
    async with run_app(tmp_path, **options) as app:
        asked = await app.ask(ROWS[:1], model="pets")
        reply = await tell(app, [{"pet": "cat"}], request_id=asked.headers["x-request-id"])
        assert (reply.status_code, reply.json()["code"]) == (400, "E_UNSUPPORTED")
        assert said in reply.json()["error"]
        assert (await tell(app, [{"pet": "cat"}], instances=ROWS[:1])).json()["right"] == 1


async def test_its_bodies_are_held_within_the_one_budget(
    app: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    work = Hold.work
    monkeypatch.setattr(Hold, "work", lambda self, size: held.append(size) or work(self, size))
    reply = await tell(app, [{"pet": "cat"}], instances=ROWS[:1])
    assert reply.status_code == 200
    assert held == [GROWTH * len(reply.request.content)]
    assert app.app._exchanges.budget.held_bytes == 0


async def test_the_route_is_in_the_api_document(app: Running) -> None:
    document = (await app.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/models/pets:feedback"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    schema = content["schema"] | {"components": document["components"]}
    jsonschema.validate(content["example"], schema)
    jsonschema.validate({"request_id": "a", "truth": [{"pet": "cat"}, None]}, schema)
    for wrong in (
        {"truth": [{"pet": "cow"}], "request_id": "a"},
        {"truth": [{"age": "cat"}], "request_id": "a"},
        {"truth": [{"pet": "cat"}]},
        {**content["example"], "request_id": "a"},
        {**content["example"], "slices": [["unknown"]]},
        {**content["example"], "instances": [{"x": "a"}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
        assert (await app.client.post("/v1/models/pets:feedback", json=wrong)).status_code in (
            400,
            404,
        )
    assert {"200", "400", "404", "408", "413", "503"} <= set(operation["responses"])
    assert (
        await app.client.post("/v1/models/pets:feedback", json=content["example"])
    ).status_code == 200
    assert "/v1/models/toy:feedback" not in document["paths"]


def remembered(scores: Array) -> Remembered:
    answer = Answer((), [Answers({"pet": scores}, 0, len(scores))])
    return PETS.remember(answer)


@given(
    some.lists(
        some.tuples(some.sampled_from(CLASSES), some.floats(0.34, 1), some.sampled_from(CLASSES)),
        min_size=1,
        max_size=40,
    )
)
def test_the_window_holds_the_last_truths_and_measures_them(
    told: list[tuple[str, float, str]],
) -> None:
    metrics = Metrics()
    registry, learned = metrics.registry, Feedback(10, 7, FeedbackMetrics(metrics))
    for guess, confidence, truth in told:
        scores = np.full((1, 3), (1 - confidence) / 2)
        scores[0, CLASSES.index(guess)] = confidence
        learned.learn(remembered(scores), [{"pet": truth}])
    last = told[-7:]
    right = np.array([guess == truth for guess, _, truth in last], np.float64)
    labels = {"model": "pets", "version": "1.0.0"}
    assert registry.get_sample_value("seatrial_feedback_accuracy", labels) == pytest.approx(
        right.mean()
    )
    expected = calibration_error(np.array([confidence for _, confidence, _ in last]), right)
    assert registry.get_sample_value(
        "seatrial_feedback_calibration_error", labels
    ) == pytest.approx(expected)


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    metrics = Metrics()
    registry, learned = metrics.registry, Feedback(10, 7, FeedbackMetrics(metrics))
    learned.learn(remembered(np.array([[3.0, -1.0, 0.5]])), [{"pet": "cat"}])
    labels = {"model": "pets", "version": "1.0.0"}
    assert registry.get_sample_value("seatrial_feedback_accuracy", labels) == 1
    assert registry.get_sample_value("seatrial_feedback_calibration_error", labels) is None


async def test_remembered_scores_are_bounded_in_bytes(
    app: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_BYTES", 30)  # a row's scores are 12 bytes
    ids = [(await app.ask(ROWS[:1], model="pets")).headers["x-request-id"] for _ in range(3)]
    known = [(await tell(app, [{"pet": "cat"}], request_id=each)).status_code for each in ids]
    assert known == [404, 200, 200]
