"""Hugging Face's tasks, asked by its own client: each task's output from a contract's answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from huggingface_hub.errors import BadRequestError
from PIL import Image as Pillow
from prometheus_client import generate_latest
from support.embedded import CUT, ROWS, TOKENIZER, Text, embedding_bundle, vector_of
from support.hf_tasks import check_output, hf_client
from support.made import made_bundle
from support.pictures import encoded
from support.running import Running, run_app
from test_pictures_answered import CONTRACT as DETECTIONS
from test_pictures_answered import TALL, WIDE, detect
from test_text_answers import (
    QUESTIONS,
    SENTENCES,
    Asked,
    Found,
    Named,
    Sentence,
    find_people,
    name_people,
)
from test_text_answers import TOKENIZER as WORDS
from tokenizers import Tokenizer, decoders, models

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.sound import draw_sound
from seatrial_serve.api.tasks.zero_shot import shares_of, sides_of

pytestmark = pytest.mark.filterwarnings(
    # The asynchronous client of 2.4 hands bytes to httpx2 by a name that httpx2 deprecates.
    "ignore:Use 'content=<...>' to upload raw bytes/text content.:DeprecationWarning"
)
LETTERS = {"front/text.tokenizer.json": TOKENIZER}
NAMES = {"front/text.tokenizer.json": WORDS}
PAIRS = {"front/pair.tokenizer.json": WORDS}
Bundle = Callable[..., Any]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Write a bundle of rows, answers, a function for a graph, and golden rows."""

    def write(
        row: Any, answer: Any, function: Any, rows: Any, files: Any = None, **more: Any
    ) -> Path:
        contract = (
            row if isinstance(row, st.Contract) else st.contract_from_rows(row, answer, **more)
        )
        made_bundle(tmp_path, monkeypatch, contract, function, rows, files)
        return tmp_path

    return write


class Topic(st.Answer):
    topic: Annotated[str, st.Label("sea", "land", "air")]


class Tags(st.Answer):
    tags: Annotated[list[str], st.Labels("long", "short", threshold=0.3)]


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",), size_px=(8, 8))]


class Clip(st.Row):
    clip: Annotated[bytes, st.Audio(max_seconds=1)]


LETTERS_OF_CTC = ["|", *"abcdefgh"]
SPELLING = Tokenizer(models.WordLevel({word: place for place, word in enumerate(LETTERS_OF_CTC)}))
SPELLING.decoder = decoders.Sequence([decoders.Replace("|", " "), decoders.Fuse()])


class Said(st.Answer):
    text: Annotated[str, st.Transcript(tokenizer=SPELLING.to_str().encode(), max_ids=4)]


class Masked(st.Answer):
    mask: Annotated[dict[str, Any], st.Mask("dark", "bright", "none", on="photo")]


class Parted(st.Answer):
    parts: Annotated[dict[str, Any], st.Segments("dark", "bright", on="photo")]


CLASSES = ("contradiction", "neutral", "entailment")


class Entails(st.Answer):
    says: Annotated[str, st.Label(*CLASSES)]


class TopK(st.Options):
    top_k: Annotated[int, st.Option(1, ge=1, le=2)]


def topics(feeds: Mapping[str, Array]) -> dict[str, Array]:
    letters = feeds["text_mask"].sum(1) / 16
    return {"topic": np.stack([letters, 1 - letters, 0 * letters], 1).astype(np.float32)}


def tags(feeds: Mapping[str, Array]) -> dict[str, Array]:
    letters = feeds["text_mask"].sum(1) / 16
    return {"tags": np.stack([letters, 1 - letters], 1).astype(np.float32)}


def colours(feeds: Mapping[str, Array]) -> dict[str, Array]:
    light = feeds["photo"].mean((1, 2, 3)) / 256
    return {"topic": np.stack([light, 1 - light, 0 * light], 1).astype(np.float32)}


def seconds(feeds: Mapping[str, Array]) -> dict[str, Array]:
    length = feeds["clip_length"] / 16_000
    return {"topic": np.stack([length, 1 - length, 0 * length], 1).astype(np.float32)}


def spell(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A letter for each second sixteenth of a second, and two words where there are four."""
    letters = feeds["clip_length"] // 2000
    ids = np.where(np.arange(4) < letters[:, None], [1, 1, 0, 5], -1)
    return {"text": ids}


def masks(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {"mask": (feeds["photo"][..., 0] > 127).astype(np.int64)}


def parts(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A query for what is bright, one for what is dark, and one for nothing."""
    light = feeds["photo"][..., 0].astype(np.float32) / 8 - 16
    logits = np.array([[0, 5, 0], [5, 0, 0], [0, 0, 5]], np.float32)
    return {
        "parts_logits": np.tile(logits, (len(light), 1, 1)),
        "parts_masks": np.stack([light, -light, light], 1),
    }


def entails(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Of hypotheses that hold "Ada", "Lovelace" or neither: logits, whose softmax is answered."""
    ids = feeds["pair_ids"] * feeds["pair_types"]
    logits = np.stack([(ids == word).any(1) for word in (99, 7, 6)], 1) * 2.0
    return {"says": (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)}


PICTURES = [{"photo": encoded(Pillow.new("RGB", (12, 6), (each, each, each)))} for each in (0, 192)]
GOLDEN = [{"photo": base64.b64encode(each["photo"]).decode()} for each in PICTURES]


async def test_a_text_has_labels_the_best_first_and_at_most_top_k(bundle: Bundle) -> None:
    async with run_app(bundle(Text, Topic, topics, ROWS, LETTERS)) as running:
        async with hf_client(running) as client:
            found = await client.text_classification("ship")
            one = await client.text_classification("ship", top_k=1, function_to_apply="none")
        assert [(each.label, each.score) for each in found] == [
            ("land", 0.625), ("sea", 0.375), ("air", 0.0)
        ]  # fmt: skip
        assert one == found[:1]
        check_output("text-classification", found)
        [told] = (await running.client.post("/hf/made", json={"inputs": "ship"})).json()
        check_output("text-classification", told)


async def test_independent_labels_are_those_that_pass(bundle: Bundle) -> None:
    folder = bundle(Text, Tags, tags, ROWS, LETTERS)
    async with run_app(folder) as running, hf_client(running) as client:
        found = await client.text_classification("ship", function_to_apply="sigmoid")
        assert [each.label for each in found] == ["short", "long"]
        assert [each.label for each in await client.text_classification("a")] == ["short"]
        with pytest.raises(BadRequestError, match="want sigmoid"):
            await client.text_classification("a", function_to_apply="none")


async def test_options_that_the_contract_declares_are_chosen_by_parameters(bundle: Bundle) -> None:
    folder = bundle(Text, Topic, topics, ROWS, LETTERS, options=TopK)
    async with run_app(folder) as running, hf_client(running) as client:
        assert len(await client.text_classification("ship")) == 1
        assert len(await client.text_classification("ship", top_k=2)) == 2
        with pytest.raises(BadRequestError, match="from 1 to 2"):
            await client.text_classification("ship", top_k=3)


async def test_spans_are_words_of_the_text_by_entity_group(bundle: Bundle) -> None:
    async with run_app(bundle(Sentence, Named, name_people, SENTENCES, NAMES)) as running:
        async with hf_client(running) as client:
            found = await client.token_classification(
                "🚢 Ada  Lovelace who", aggregation_strategy="simple"
            )
            none = await client.token_classification("Ada", ignore_labels=["O", "PER"])
        assert none == []
        assert found == [
            {
                "entity_group": "PER", "entity": None, "word": "Ada  Lovelace", "score": 0.75,
                "start": 2, "end": 15,
            }
        ]  # fmt: skip
        told = (await running.client.post("/hf/made", json={"inputs": "Ada who Ada"})).json()
        assert [each["start"] for each in told] == [0, 8]
        check_output("token-classification", told)


async def test_a_question_is_answered_by_parts_of_its_context(bundle: Bundle) -> None:
    async with run_app(bundle(Asked, Found, find_people, QUESTIONS, PAIRS)) as running:
        async with hf_client(running) as client:
            found = await client.question_answering(
                question="who", context="🚢  Ada Lovelace", max_answer_len=15,
                handle_impossible_answer=True, top_k=1,
            )  # fmt: skip
            none = await client.question_answering(question="who", context="東京")
        assert [(each.answer, each.start, each.end) for each in found] == [("Ada Lovelace", 3, 15)]
        assert found[0].score > 0.8
        assert none[0].answer == ""
        check_output("question-answering", found)


async def test_texts_are_vectors_by_prompt_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding_bundle(tmp_path, monkeypatch)
    async with run_app(tmp_path) as running:
        async with hf_client(running) as client:
            one = await client.feature_extraction("ship")
            cut = await client.feature_extraction(
                ["ship", "keel"], prompt_name="query", dimensions=CUT, normalize=True
            )
            cosines = await client.sentence_similarity("ship", ["ship", "keel"])
        assert np.allclose(one, [vector_of("ship")], atol=1e-6)
        want = np.stack([vector_of("q: ship"), vector_of("q: keel")])[:, :CUT]
        want /= np.linalg.norm(want, axis=1, keepdims=True)
        assert np.allclose(cut, want, atol=1e-6)
        assert cosines == pytest.approx(
            [1.0, float(vector_of("ship") @ vector_of("keel"))], abs=1e-6
        )
        check_output("feature-extraction", one.tolist())
        check_output("sentence-similarity", cosines)


@pytest.mark.parametrize("path", ["/hf/made", "/"])
async def test_a_picture_is_sent_as_its_file_or_with_parameters(bundle: Bundle, path: str) -> None:
    async with run_app(bundle(Photo, Topic, colours, GOLDEN)) as running:
        async with hf_client(running, path) as client:
            found = await client.image_classification(PICTURES[1]["photo"])
            one = await client.image_classification(PICTURES[1]["photo"], top_k=1)
        assert [(each.label, each.score) for each in found] == [
            ("sea", 0.75), ("land", 0.25), ("air", 0.0)
        ]  # fmt: skip
        assert one == found[:1]
        check_output("image-classification", found)
        typed = await running.client.post(
            path, content=PICTURES[1]["photo"], headers={"content-type": "image/png"}
        )
        assert typed.json() == found


async def test_a_sound_is_sent_as_its_file_or_with_parameters(bundle: Bundle) -> None:
    sound = draw_sound(24_000, 32_000, fmt="FLAC")
    rows = [{"clip": base64.b64encode(sound).decode()}]
    async with run_app(bundle(Clip, Topic, seconds, rows)) as running:
        async with hf_client(running) as client:
            found = await client.audio_classification(sound)
            one = await client.audio_classification(sound, top_k=1)
        assert [(each.label, each.score) for each in found] == [
            ("sea", 0.75), ("land", 0.25), ("air", 0.0)
        ]  # fmt: skip
        assert one == found[:1]
        check_output("audio-classification", found)
        reply = await running.client.post("/hf/made", content=b"no sound at all")
        assert reply.status_code == 415
        assert "want a WAV, FLAC, OGG or MP3 file" in reply.text


async def test_what_is_said_in_a_sound_is_a_text(bundle: Bundle) -> None:
    sounds = [draw_sound(samples, 16_000, fmt="FLAC") for samples in (4000, 9000)]
    rows = [{"clip": base64.b64encode(sound).decode()} for sound in sounds]
    files = {"front/text.tokenizer.json": SPELLING.to_str().encode()}
    async with run_app(bundle(Clip, Said, spell, rows, files)) as running:
        async with hf_client(running) as client:
            found = await client.automatic_speech_recognition(sounds[1])
            for asked, want in (
                ({"return_timestamps": True}, "want false: the text is answered without times"),
                ({"generation_parameters": {"num_beams": 2}}, "the graph chooses the tokens"),
            ):
                with pytest.raises(BadRequestError, match=want):
                    await client.automatic_speech_recognition(sounds[1], extra_body=asked)
        assert found.text == "aa e"
        told = (await running.client.post("/hf/made", content=sounds[0])).json()
        assert told == {"text": "aa"}
        check_output("automatic-speech-recognition", told)
        predictions = (await running.ask(rows, "made")).json()["predictions"]
        assert predictions == [{"text": "aa"}, {"text": "aa e"}]
        inputs = [
            {
                "name": "clip",
                "datatype": "BYTES",
                "shape": [2],
                "data": [row["clip"] for row in rows],
            }
        ]
        reply = await running.client.post("/v2/models/made/infer", json={"inputs": inputs})
        [output] = reply.json()["outputs"]
        assert output == {
            "name": "text",
            "datatype": "BYTES",
            "shape": [2, 1],
            "data": ["aa", "aa e"],
        }
        schemas = (await running.client.get("/openapi.json")).json()["components"]["schemas"]
        shown = schemas["made-1.0.0-answer"]["properties"]["text"]
        assert (shown["type"], shown["x-kind"]) == ("string", "transcript")


async def test_things_in_a_picture_have_boxes_in_its_whole_pixels(bundle: Bundle) -> None:
    rows = [{"photo": WIDE}, {"photo": TALL}]
    async with run_app(bundle(DETECTIONS, None, detect, rows)) as running:
        async with hf_client(running) as client:
            [found] = await client.object_detection(base64.b64decode(WIDE))
            none = await client.object_detection(base64.b64decode(WIDE), threshold=0.9)
        assert none == []
        assert (found.label, found.score) == ("bright", 0.875)
        assert found.box == {"xmin": 16, "ymin": 8, "xmax": 32, "ymax": 40}
        check_output("object-detection", [found])


async def test_each_class_of_a_picture_has_a_white_mask_of_its_size(bundle: Bundle) -> None:
    drawn = Pillow.new("RGB", (12, 6), (0, 0, 0))
    drawn.paste((255, 255, 255), (6, 0, 12, 6))
    async with run_app(bundle(Photo, Masked, masks, GOLDEN)) as running:
        async with hf_client(running) as client:
            dark, bright = await client.image_segmentation(encoded(drawn), subtask="semantic")
        assert (dark.label, bright.label) == ("dark", "bright")
        assert np.asarray(bright.mask).tolist() == [[0] * 6 + [255] * 6] * 6
        assert np.array_equal(255 - np.asarray(dark.mask), bright.mask)
        told = (await running.client.post("/hf/made", content=encoded(drawn))).json()
        check_output("image-segmentation", told)
        mask = Pillow.open(io.BytesIO(base64.b64decode(told[1]["mask"])))
        assert (mask.format, mask.mode) == ("PNG", "L")


async def test_each_segment_of_a_picture_has_a_score_and_a_white_mask(bundle: Bundle) -> None:
    drawn = Pillow.new("RGB", (12, 6), (0, 0, 0))
    drawn.paste((255, 255, 255), (6, 0, 12, 6))
    async with run_app(bundle(Photo, Parted, parts, GOLDEN)) as running:
        async with hf_client(running) as client:
            found = await client.image_segmentation(
                encoded(drawn), subtask="panoptic", mask_threshold=0.5, threshold=0.5,
                overlap_mask_area_threshold=0.8,
            )  # fmt: skip
        assert [each.label for each in found] == ["bright", "dark"]
        bright, dark = found
        assert bright.score == pytest.approx(np.exp(5) / (np.exp(5) + 2), abs=1e-6)
        assert np.asarray(bright.mask).tolist() == [[0] * 6 + [255] * 6] * 6
        assert np.array_equal(255 - np.asarray(dark.mask), bright.mask)
        told = await running.client.post("/hf/made", content=encoded(drawn))
        check_output("image-segmentation", told.json())
        for name, value in (
            ("subtask", "semantic"), ("threshold", 0.9), ("overlap_mask_area_threshold", 0.5),
        ):  # fmt: skip
            asked = {"inputs": base64.b64encode(encoded(drawn)).decode()}
            reply = await running.client.post(
                "/hf/made", json=asked | {"parameters": {name: value}}
            )
            assert reply.json()["code"] == "E_OPTION", reply.text


async def zero_shot(running: Running, labels: list[str], **more: Any) -> Any:
    async with hf_client(running) as client:
        return await client.zero_shot_classification("who sails", labels, **more)


async def test_labels_of_the_request_are_hypotheses_about_its_text(bundle: Bundle) -> None:
    async with run_app(bundle(Asked, Entails, entails, QUESTIONS, PAIRS)) as running:
        labels = ["Lovelace", "Ada", "東京"]
        found = await zero_shot(running, labels, hypothesis_template="{} who")
        high, low, even = np.exp(2) / (np.exp(2) + 2), 1 / (np.exp(2) + 2), 1 / 3
        assert [each.label for each in found] == ["Ada", "東京", "Lovelace"]
        total = high + low + even
        assert [each.score for each in found] == pytest.approx(
            [high / total, even / total, low / total], abs=1e-6
        )
        check_output("zero-shot-classification", found)
        each = await zero_shot(running, labels, multi_label=True)
        assert {one.label: one.score for one in each} == pytest.approx(
            {"Ada": high / (high + low), "東京": 0.5, "Lovelace": 0.5}, abs=1e-6
        )
        [alone] = await zero_shot(running, ["Ada"])
        assert alone.score == pytest.approx(high / (high + low), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [("entailment", "neutral", "contradiction"), CLASSES])
def test_shares_are_those_of_transformers_pipeline(classes: tuple[str, ...]) -> None:
    import torch
    from transformers import ZeroShotClassificationPipeline

    sides = sides_of(classes)
    assert sides is not None
    pipeline = SimpleNamespace(entailment_id=sides[1])
    logits = torch.log_softmax(torch.randn((5, 3), generator=torch.Generator().manual_seed(0)), 1)
    outputs = [
        {"candidate_label": str(place), "sequence": "", "logits": each[None]}
        for place, each in enumerate(logits)
    ]
    for multi, rows in ((False, 5), (True, 5), (False, 1)):
        want = ZeroShotClassificationPipeline.postprocess(pipeline, outputs[:rows], multi)
        scores = logits[:rows].exp().double().numpy()[:, sides]
        found = shares_of(scores, alone=multi or rows == 1)
        by_label = dict(zip(want["labels"], want["scores"], strict=True))
        assert found.tolist() == pytest.approx([by_label[str(row)] for row in range(rows)])


async def test_labels_of_a_request_are_rows_and_bounded_like_them(bundle: Bundle) -> None:
    folder = bundle(
        Asked, Entails, entails, QUESTIONS, PAIRS, limits=st.Limits(max_rows=4)
    )  # fmt: skip
    async with run_app(folder) as running:
        for labels, more, message in (
            (["Ada"] * 5, {}, "got 5 labels, want 1 to 4 labels"),
            ([], {}, "got no labels"),
            (["Ada"], {"hypothesis_template": "who"}, "want a text with {} in it"),
            (["Ada who " * 30], {}, "row 0: got passage: 257 characters"),
        ):
            with pytest.raises(BadRequestError) as raised:
                await zero_shot(running, labels, **more)
            assert message in str(raised.value)
        braces = await zero_shot(running, ["Ada"], hypothesis_template="{} {0.__class__}")
        assert braces[0].score > 0.5
        running.metrics.flush()
        served = generate_latest(running.metrics.registry).decode()
        assert 'code="E_BATCH"' in served


async def test_what_a_contract_does_not_offer_is_refused_by_name(bundle: Bundle) -> None:
    async with run_app(bundle(Text, Topic, topics, ROWS, LETTERS)) as running:
        for body, code, message in (
            (with_parameters(top_k=4), "E_OPTION",
             "parameter 'top_k': got 4, want a whole number from 1 to 3"),
            (with_parameters(function_to_apply="softmax"), "E_OPTION",
             "parameter 'function_to_apply': got another value, want none"),
            (with_parameters(function_to_apply="tanh"), "E_SCHEMA",
             "field 'parameters.function_to_apply': got something else, want sigmoid"),
            (with_parameters(canary=1), "E_SCHEMA",
             "field 'parameters': got something else, want an object of: top_k, function_to_apply"),
            ({"inputs": 7}, "E_SCHEMA", "field 'inputs': got something else"),
            ({}, "E_SCHEMA", "field 'inputs': got nothing"),
            ([], "E_SCHEMA", "request body: got something else"),
            ({"inputs": "x" * 41}, "E_TEXT_LIMIT", "row 0"),
        ):  # fmt: skip
            reply = await running.client.post("/hf/made", json=body)
            told = reply.json()
            assert (reply.status_code, told["code"]) == (400, code)
            assert message in told["error"]
            assert "canary" not in reply.text


def with_parameters(**parameters: Any) -> dict[str, Any]:
    return {"inputs": "a", "parameters": parameters}


async def test_spans_and_answers_are_those_that_the_contract_declares(bundle: Bundle) -> None:
    async with run_app(bundle(Sentence, Named, name_people, SENTENCES, NAMES)) as running:
        for parameters, message in (
            ({"aggregation_strategy": "max"}, "want simple, as is declared"),
            ({"ignore_labels": ["PER"]}, "parameter 'ignore_labels': got fewer"),
            ({"stride": 8}, "parameter 'stride': got another value"),
        ):
            body = {"inputs": "Ada", "parameters": parameters}
            reply = await running.client.post("/hf/made", json=body)
            assert (reply.status_code, reply.json()["code"]) == (400, "E_OPTION")
            assert message in reply.json()["error"]


class Score(st.Answer):
    score: float


class Both(st.Answer):
    topic: Annotated[str, st.Label("sea", "land", "air")]
    people: Annotated[list[dict[str, Any]], st.Spans("O", "B-PER", "I-PER", of="text")]


def score(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {"score": feeds["text_mask"].sum(1).astype(np.float32)}


def both(feeds: Mapping[str, Array]) -> dict[str, Array]:
    return topics(feeds) | name_people(feeds)


@pytest.mark.parametrize(
    ("answer", "function", "got"),
    [
        (Score, score, "got one that does no task, want one that does one of: feature-extraction"),
        (Both, both, "one that does several tasks: text-classification, token-classification"),
    ],
)
async def test_a_model_of_no_task_or_of_several_is_refused(
    bundle: Bundle, answer: Any, function: Any, got: str
) -> None:
    async with run_app(bundle(Text, answer, function, ROWS, LETTERS)) as running:
        reply = await running.client.post("/hf/made", json={"inputs": "ship"})
        assert (reply.status_code, reply.json()["code"]) == (400, "E_UNSUPPORTED")
        assert got in reply.json()["error"]
        partial = await running.client.post(
            "/hf/made", json={"inputs": "ship"}, headers={"X-Partial": "1"}
        )
        assert "header X-Partial" in partial.json()["error"]


async def test_masks_of_more_bytes_than_an_answer_may_have_are_refused(bundle: Bundle) -> None:
    folder = bundle(Photo, Masked, masks, GOLDEN, limits=st.Limits(max_answer_bytes=1000))
    async with run_app(folder) as running:
        large = encoded(Pillow.new("RGB", (40, 40)))
        reply = await running.client.post("/hf/made", content=large)
        assert (reply.status_code, reply.json()["code"]) == (400, "E_ANSWER_BYTES")


async def test_paths_that_lead_to_no_model_are_refused(bundle: Bundle) -> None:
    async with run_app(bundle(Text, Topic, topics, ROWS, LETTERS)) as running:
        for path, status, code in (
            ("/hf/other", 404, "E_MODEL_NOT_FOUND"),
            ("/hf/", 404, "E_NOT_FOUND"),
            ("/hf/made/versions/1.0.0", 404, "E_NOT_FOUND"),
        ):
            reply = await running.client.post(path, json={"inputs": "ship"})
            assert (reply.status_code, reply.json()["code"]) == (status, code), path
        reply = await running.client.get("/hf/made")
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
        reply = await running.client.post(
            "/hf/made", content=b"ship", headers={"content-type": "text/plain"}
        )
        assert reply.json()["code"] == "E_CONTENT_TYPE"
