"""Answers about pictures of unlike size, in one batch, over V1 and V2."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from PIL import Image as Pillow
from support.made import made_bundle
from support.pictures import encoded
from support.running import Running, run_app

import seatrial as st
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.kind import Array


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",), size_px=(64, 64), fit="letterbox")]


class Found(st.Answer):
    things: Annotated[list, st.Detections("dark", "bright", on="photo", max_detections=3)]


class Options(st.Options):
    threshold: Annotated[float, st.Option(0.5, ge=0, le=1)]
    top_k: Annotated[int, st.Option(3, ge=1, le=3)]


CONTRACT = st.contract_from_rows(Photo, Found, options=Options)


def picture(width: int, height: int, box: tuple[int, int, int, int], light: int) -> str:
    drawn = Pillow.new("RGB", (width, height), (128, 128, 128))
    drawn.paste((light, light, light), box)
    return base64_text(encoded(drawn))


def detect(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The dark and the bright pixels of each picture, each as one box; a faulty box at 77."""
    boxes, scores = [], []
    for pixels in feeds["photo"][..., 0].astype(int):
        found = []
        for is_it, score in (((pixels > 0) & (pixels < 64), (0.75, 0)), (pixels > 200, (0, 0.875))):
            rows, columns = np.nonzero(is_it)
            if len(rows):
                found.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, *score))
            else:
                found.append((0, 0, 0, 0, 0.25, 0.25))
        if (pixels == 77).any():
            found[0] = (9, 9, 0, 0, 0.9, 0)
        boxes.append([each[:4] for each in found])
        scores.append([each[4:] for each in found])
    return {
        "things_boxes": np.array(boxes, np.float32),
        "things_scores": np.array(scores, np.float32),
    }


WIDE = picture(128, 64, (16, 8, 32, 40), 255)
TALL = picture(32, 128, (4, 20, 12, 60), 8)
FAULTY = picture(64, 64, (0, 0, 64, 64), 77)
BRIGHT = {"label": "bright", "score": 0.875}
DARK = {"label": "dark", "score": 0.75}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    rows = [{"photo": WIDE}, {"photo": TALL}]
    made_bundle(tmp_path, monkeypatch, CONTRACT, detect, rows)
    async with run_app(tmp_path) as running:
        yield running


async def ask(served: Running, photos: list[str], **more: Any) -> Any:
    body = {"instances": [{"photo": photo} for photo in photos]}
    headers = more.pop("headers", {})
    return await served.client.post(
        "/v1/models/made:predict", json={**body, **more}, headers=headers
    )


async def test_boxes_of_pictures_of_unlike_size_are_in_pixels_of_each(served: Running) -> None:
    wide, tall = (await ask(served, [WIDE, TALL])).json()["predictions"]
    assert wide["things"] == [
        BRIGHT | {"box": {"xmin": 16.0, "ymin": 8.0, "xmax": 32.0, "ymax": 40.0}}
    ]
    assert tall["things"] == [
        DARK | {"box": {"xmin": 4.0, "ymin": 20.0, "xmax": 12.0, "ymax": 60.0}}
    ]


async def test_v2_gives_padded_boxes_with_their_count(served: Running) -> None:
    inputs = [{"name": "photo", "datatype": "BYTES", "shape": [2, 1], "data": [WIDE, TALL]}]
    reply = await served.client.post("/v2/models/made/infer", json={"inputs": inputs})
    found = {output["name"]: output for output in reply.json()["outputs"]}
    assert found["things_boxes"]["shape"] == [2, 1, 4]
    assert found["things_boxes"]["data"] == [16, 8, 32, 40, 4, 20, 12, 60]
    assert found["things_classes"] == {
        "name": "things_classes", "datatype": "INT32", "shape": [2, 1], "data": [1, 0],
    }  # fmt: skip
    assert found["things_count"]["data"] == [1, 1]
    told = (await served.client.get("/v2/models/made")).json()
    assert told["properties"]["things.classes"] == "dark,bright"


async def test_requests_choose_how_many_boxes_and_how_sure(served: Running) -> None:
    reply = await ask(served, [WIDE], parameters={"threshold": 0.9})
    assert reply.json()["predictions"] == [{"things": []}]
    assert (await ask(served, [WIDE], parameters={"top_k": 4})).json()["code"] == "E_OPTION"


async def test_a_faulty_box_is_the_error_of_its_row_and_nothing_is_half_answered(
    served: Running,
) -> None:
    reply = await ask(served, [WIDE, FAULTY])
    assert (reply.status_code, reply.json()["code"]) == (500, "E_OUTPUT_RANGE")
    assert "row 1: the model answered a box that ends before it begins" in reply.json()["error"]
    reply = await ask(served, [WIDE, FAULTY], headers={"X-Partial": "1"})
    assert [row and len(row["things"]) for row in reply.json()["predictions"]] == [1, None]
    assert [each["code"] for each in reply.json()["errors"]] == ["E_OUTPUT_RANGE"]


class Parts(st.Answer):
    things: Annotated[
        list,
        st.Detections(
            "dark", "bright", on="photo", masks=(64, 64), keypoints=("middle",), mask_encoding="png"
        ),
    ]


def detect_parts(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The same boxes, each with its own pixels and its middle."""
    found = detect(feeds)
    gray = feeds["photo"][..., 0]
    masks = np.stack([(gray > 0) & (gray < 64), gray > 200], 1).astype(np.float32)
    boxes = found["things_boxes"]
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    return {**found, "things_masks": masks, "things_keypoints": middles[..., None, :]}


async def test_masks_and_points_of_pictures_of_unlike_size_are_in_pixels_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = st.contract_from_rows(Photo, Parts)
    rows = [{"photo": WIDE}, {"photo": TALL}]
    made_bundle(tmp_path, monkeypatch, contract, detect_parts, rows)
    inputs = [{"name": "photo", "datatype": "BYTES", "shape": [2, 1], "data": [WIDE, TALL]}]
    async with run_app(tmp_path) as running:
        answers = (await ask(running, [WIDE, TALL])).json()["predictions"]
        reply = await running.client.post("/v2/models/made/infer", json={"inputs": inputs})
        told = (await running.client.get("/v2/models/made")).json()
    assert told["properties"]["things.keypoints"] == "middle"
    things = [thing for answer in answers for thing in answer["things"]]
    assert [thing["keypoints"] for thing in things] == [
        [{"label": "middle", "x": 24.0, "y": 24.0}],
        [{"label": "middle", "x": 8.0, "y": 40.0}],
    ]
    for thing, size, box in zip(
        things, ((128, 64), (32, 128)), ((16, 8, 32, 40), (4, 20, 12, 60)), strict=True
    ):
        shown = Pillow.open(io.BytesIO(base64.b64decode(thing["mask"])))
        assert shown.size == size
        found = np.array(shown.getbbox())
        assert np.abs(found - box).max() <= 1
    outputs = {output["name"]: output for output in reply.json()["outputs"]}
    assert outputs["things_masks"]["data"] == [thing["mask"] for thing in things]
    assert outputs["things_masks"]["shape"] == [2, 1]
    assert outputs["things_keypoints"]["data"] == [24, 24, 8, 40]
    assert outputs["things_keypoints"]["shape"] == [2, 1, 1, 2]


class Seen(st.Answer):
    mask: Annotated[dict, st.Mask("dark", "bright", on="photo")]
    depth: Annotated[dict, st.Picture(on="photo", bits=16)]


def segment(feeds: Mapping[str, Array]) -> dict[str, Array]:
    gray = feeds["photo"][..., 0]
    return {"mask": (gray > 200).astype(np.int64), "depth": (gray / 255).astype(np.float32)}


SEEN = st.contract_from_rows(Photo, Seen, limits=st.Limits(max_answer_bytes=300_000))


@pytest.fixture
async def segmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    made_bundle(tmp_path, monkeypatch, SEEN, segment, [{"photo": WIDE}, {"photo": TALL}])
    async with run_app(tmp_path) as running:
        yield running


async def test_masks_and_pictures_of_unlike_size_are_answered_at_the_size_of_each(
    segmented: Running,
) -> None:
    wide, tall = (await ask(segmented, [WIDE, TALL])).json()["predictions"]
    shown = [Pillow.open(io.BytesIO(base64.b64decode(wide[name]["png"]))) for name in wide]
    assert [each.size for each in shown] == [(128, 64)] * 2
    light = np.asarray(shown[0])
    assert light[8:40, 16:32].all()
    assert light.sum() == 32 * 16
    assert np.asarray(shown[1])[20, 20] == 65535
    assert (tall["mask"]["width"], tall["mask"]["height"]) == (32, 128)


async def test_v2_gives_masks_of_one_size_and_refuses_unlike_ones(segmented: Running) -> None:
    for photos, status in (([WIDE, WIDE], 200), ([WIDE, TALL], 400)):
        inputs = [{"name": "photo", "datatype": "BYTES", "shape": [2, 1], "data": photos}]
        reply = await segmented.client.post("/v2/models/made/infer", json={"inputs": inputs})
        assert reply.status_code == status
        if status == 200:
            outputs = {each["name"]: each for each in reply.json()["outputs"]}
            assert (outputs["mask"]["datatype"], outputs["mask"]["shape"]) == (
                "UINT8",
                [2, 64, 128],
            )
            assert outputs["depth"]["datatype"] == "UINT16"
        else:
            assert reply.json()["code"] == "E_SHAPE"


async def test_a_mask_of_a_large_picture_counts_for_the_size_of_the_answer(
    segmented: Running,
) -> None:
    large = picture(512, 256, (0, 0, 9, 9), 255)
    reply = await ask(segmented, [large])
    assert (reply.status_code, reply.json()["code"]) == (400, "E_ANSWER_BYTES")
