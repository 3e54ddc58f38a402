"""Masks and keypoints of detections, judged by Pillow, PyTorch, pycocotools and jsonschema."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any

import jsonschema
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as some
from PIL import Image as Pillow
from support.pictures import encoded
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.instance_masks import (
    cut_out,
    mask_pixels,
    mask_text,
    runs_of,
)
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.notes import ImageNote

MASKED = Detections("cat", "dog", on="photo", masks=(8, 16))
RUNS = Detections("cat", "dog", on="photo", masks=(8, 16), mask_encoding="rle")
POSED = Detections("cat", "dog", on="photo", keypoints=("nose", "tail"), keypoint_scores=True)
SAME = ImageNote(200, 100, 200, 100, 1.0, 1.0)
BOXES = np.array([[10, 20, 60, 80], [100.5, 5, 190, 95]], np.float32)
SCORES = np.array([[0.6, 0.1], [0.2, 0.9]], np.float32)
GRIDS = np.full((2, 8, 16), 0.05, np.float32)
GRIDS[0, 2:6, 1:5], GRIDS[1, 1:7, 8:15] = 1, 1
POINTS = np.array(
    [[[20, 30, 0.9], [50, 70, 0.25]], [[120, 40, 0.5], [-20, 90, 0.1]]], np.float32
)  # fmt: skip


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(size_px=(100, 200), formats=("PNG",))]


def contract(**options: Any) -> st.Contract:
    class Found(st.Answer):
        things: Annotated[list, Detections("cat", "dog", on="photo", **options)]

    names = {"options": options, "Annotated": Annotated, "Detections": Detections}
    Found.model_rebuild(_types_namespace=names)
    return st.contract_from_rows(Photo, Found)


def masked(grids: Array = GRIDS, kind: Detections = MASKED) -> tuple[Array, ...]:
    return kind.client([BOXES, SCORES, grids], SAME, {})


def posed(points: Array = POINTS) -> tuple[Array, ...]:
    return POSED.client([BOXES, SCORES, points], SAME, {})


fits = some.builds(
    lambda height, width, fit: {"size_px": (height, width), "fit": fit},
    some.integers(8, 160), some.integers(8, 160),
    some.sampled_from(["stretch", "letterbox", "crop"]),
)  # fmt: skip
side = some.integers(1, 600)
share = some.tuples(some.floats(0, 1), some.floats(0, 1)).map(sorted)


def made(width: int, height: int, box: tuple[int, ...], options: Any) -> tuple[Array, ImageNote]:
    """What the graph sees of a white box on black, and where it lies in the client's picture."""
    kind = Image(formats=("PNG",), max_pixels=4_000_000, **options)
    assume(kind._drawable((width, height)))
    drawn = Pillow.new("RGB", (width, height))
    drawn.paste((255, 255, 255), box)
    pixels, note = kind.decode_noted(encoded(drawn, "PNG"))
    return pixels[..., 0].astype(np.float32) / 255, note


def box_of(width: int, height: int, xs: Any, ys: Any) -> tuple[int, int, int, int]:
    left, right = round(xs[0] * (width - 1)), 1 + round(xs[1] * (width - 1))
    top, bottom = round(ys[0] * (height - 1)), 1 + round(ys[1] * (height - 1))
    return left, top, right, bottom


@given(side, side, share, share, fits)
@drawing(150)
def test_a_point_drawn_in_the_client_s_picture_comes_back_within_one_pixel(
    width: int, height: int, xs: Any, ys: Any, options: dict[str, Any]
) -> None:
    box = box_of(width, height, xs, ys)
    light, note = made(width, height, box, options)
    ends = np.array([note.made_width, note.made_height])
    scale = np.array([note.scale_x, note.scale_y])
    corners = np.reshape(box, (2, 2)) * scale + [note.left, note.top]
    # The whole box is in the graph's picture, and large enough there to be seen.
    assume((corners[0] >= 0).all() and (corners[1] <= ends).all())
    assume((corners[1] - corners[0] >= 2).all())
    y, x = np.nonzero(light > 0)
    weights = light[y, x]
    point = [np.average(x + 0.5, weights=weights), np.average(y + 0.5, weights=weights)]
    kind = Detections("cat", on="photo", keypoints=("middle",))
    whole = np.array([[0, 0, *ends]], np.float32)
    arrays = [whole, np.array([[0.9]], np.float32), np.array([[point]], np.float32)]
    *_, found = kind.client(arrays, note, {})
    middle = np.reshape(box, (2, 2)).mean(0)
    # A box that is scaled down ends within a pixel of the graph's picture.
    assert (np.abs(found[0, 0] - middle) <= np.maximum(1, 0.5 / scale)).all()


@given(side, side, share, share, fits)
@drawing(150)
def test_a_mask_of_what_the_graph_sees_ends_within_one_pixel_of_what_was_drawn(
    width: int, height: int, xs: Any, ys: Any, options: dict[str, Any]
) -> None:
    left, top, right, bottom = box = box_of(width, height, xs, ys)
    light, note = made(width, height, box, options)
    mask = cut_out(light, note, 0.5)
    assert mask.shape == (height, width)
    edge_x, edge_y = (int(np.ceil(max(1, 1 / scale))) for scale in (note.scale_x, note.scale_y))
    y, x = np.mgrid[:height, :width]
    near = (x >= left - edge_x) & (x < right + edge_x) & (y >= top - edge_y) & (y < bottom + edge_y)
    assert not (mask & ~near).any()
    far = (x >= left + edge_x) & (x < right - edge_x) & (y >= top + edge_y) & (y < bottom - edge_y)
    made_x = (x + 0.5) * note.scale_x + note.left
    made_y = (y + 0.5) * note.scale_y + note.top
    seen = (made_x >= 0) & (made_x < note.made_width) & (made_y >= 0) & (made_y < note.made_height)
    assert (mask | ~(far & seen)).all()
    assert not (mask & ~seen).any()


@pytest.mark.slow
def test_masks_are_interpolated_as_pytorch_does() -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(2)
    for rows, columns, height, width in ((7, 9, 40, 61), (28, 28, 13, 300), (5, 5, 5, 5)):
        logits = random.normal(size=(rows, columns)).astype(np.float32) - 1
        note = Image(size_px=(64, 48)).placement((width, height)).note((width, height))
        whole = torch.tensor(logits)[None, None]
        resized = torch.nn.functional.interpolate(whole, (height, width), mode="bilinear")
        want = resized[0, 0].numpy()
        got = cut_out(logits, note, 0.0)
        clear = np.abs(want) > 1e-5
        assert np.array_equal(got[clear], (want > 0)[clear])
        assert 0 < got.sum() < got.size


def test_a_mask_is_a_gray_png_of_the_size_of_the_picture() -> None:
    things = MASKED.written(masked())
    assert [thing["label"] for thing in things] == ["dog", "cat"]
    shown = [Pillow.open(io.BytesIO(base64.b64decode(thing["mask"]))) for thing in things]
    assert [(one.mode, one.size, one.format) for one in shown] == [("L", (200, 100), "PNG")] * 2
    dog, cat = map(np.asarray, shown)
    assert {*np.unique(dog)} == {*np.unique(cat)} == {0, 255}
    y, x = np.nonzero(cat)
    # Cells are 12.5 x 12.5 pixels, and an edge lies in the middle between two of their centres.
    ends = [x.min(), x.max() + 1, y.min(), y.max() + 1]
    assert ends == pytest.approx([12.5, 62.5, 25, 75], abs=1)


DOWN, ACROSS = np.mgrid[:97, :131]
DISC = (
    "Po2?_26J6L2M4M2M4M2N2N2N2O0O2N2O0O2N2O000O2O000O2O0000000000000000000000000001N10001N10001N"
    "2N101N2N101N2N2N2N3L3N3L3N4J6J[k3"
)
COCO = [
    # pycocotools 2.0.11: `encode(np.asfortranarray(mask))["counts"]`
    (np.array([[0, 0, 1], [0, 1, 1]]), "33"),
    (np.zeros((2, 3)), "6"),
    (np.ones((3, 2)), "06"),
    (
        (ACROSS - 60) ** 2 + (DOWN - 40) ** 2 < 900,
        DISC,
    ),
    ((((ACROSS * 7 + DOWN * 13) % 50) < 9)[:9, :8], "0130018OH090G040M0O040L0"),
]


@pytest.mark.parametrize(("mask", "counts"), COCO)
def test_run_lengths_are_those_of_pycocotools(mask: Array, counts: str) -> None:
    text = mask_text(mask.astype(bool), "rle")
    height, width = mask.shape
    assert text == f'{{"size": [{height}, {width}], "counts": "{counts}"}}'
    assert sum(runs_of(counts)) == mask.size


@given(some.integers(1, 70), some.integers(1, 70), some.integers(0, 2**32 - 1), some.floats(0, 1))
@drawing(100)
def test_any_mask_comes_back_from_either_text(
    height: int, width: int, seed: int, dense: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < dense
    for encoding in ("png", "rle"):
        assert np.array_equal(mask_pixels(mask_text(mask, encoding), encoding), mask)


@pytest.mark.parametrize("kind", [MASKED, RUNS, POSED], ids=["png", "rle", "keypoints"])
def test_json_of_things_fits_its_schema_and_comes_back_to_the_bit(kind: Detections) -> None:
    client = posed() if kind is POSED else masked(kind=kind)
    written = kind.written(client)
    jsonschema.validate(_plain(written), kind.json_schema())
    jsonschema.validate(_plain(kind.example()), kind.json_schema())
    for had, found in zip(client, kind.recover(written), strict=True):
        assert np.array_equal(had, found)
        assert (had.dtype, had.shape) == (found.dtype, found.shape)
    whole = (BOXES, SCORES, POINTS if kind is POSED else GRIDS)
    empty = kind.client([each[:0] for each in whole], SAME, {})
    for had, found in zip(empty, kind.recover(kind.written(empty)), strict=True):
        assert (had.dtype, had.shape) == (found.dtype, found.shape)


def _plain(value: Any) -> Any:
    """Numpy's numbers as Python's, which jsonschema knows."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def test_points_stand_by_their_names_and_may_lie_beyond_the_picture() -> None:
    dog, cat = POSED.written(posed())
    assert [*cat] == ["label", "score", "box", "keypoints"]
    assert cat["keypoints"][0] == {"label": "nose", "x": 20, "y": 30, "score": np.float32(0.9)}
    assert dog["keypoints"][1]["x"] == -20
    plain = Detections("cat", "dog", on="photo", keypoints=("nose", "tail"), relative=True)
    points = POINTS[..., :2] / np.float32([200, 100])
    *_, found = plain.client([BOXES / np.float32([200, 100, 200, 100]), SCORES, points], SAME, {})
    assert np.allclose(found[1], [[20, 30], [50, 70]])


def test_parity_finds_a_mask_that_is_shifted_and_a_point_that_is_off() -> None:
    tolerance = st.Tolerance()
    assert MASKED.match(masked(), masked(), tolerance).passed
    off = GRIDS.copy()
    off[0] = np.roll(off[0], 1, axis=1)
    found = MASKED.match(masked(), masked(off), tolerance)
    assert "the mask of 'cat' at [10.0, 20.0, 60.0, 80.0]: overlap (IoU) 0." in found.mismatch
    near = GRIDS + np.float32(1e-3)
    assert MASKED.match(masked(), masked(near), tolerance).passed
    assert RUNS.match(masked(kind=RUNS), masked(near, RUNS), tolerance).passed
    assert POSED.match(posed(), posed(), tolerance).passed
    points = POINTS.copy()
    points[0, 1, :2] += [3, 4]
    found = POSED.match(posed(), posed(points), tolerance)
    assert "keypoint 'tail' of 'cat' at [10.0, 20.0, 60.0, 80.0]: 5 pixels apart" in found.mismatch
    points = POINTS.copy()
    points[0, 1, 2] += 0.1
    found = POSED.match(posed(), posed(points), tolerance)
    assert (found.passed, found.worst_error) == (False, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("point", "cause"),
    [
        ([401, 9, 0.5], "a keypoint that lies further beyond its picture"),
        ([9, -101, 0.5], "a keypoint that lies further beyond its picture"),
        ([9, 9, 1.5], "a keypoint's score that is not from 0 to 1"),
    ],
)
@pytest.mark.parametrize("each_class", [False, True])
def test_a_point_that_is_none_is_a_fault_of_its_row_alone(
    point: list[float], cause: str, each_class: bool
) -> None:
    bad = POINTS.copy()
    bad[1, 0] = point
    outputs = {
        "things_boxes": np.stack([BOXES, BOXES]),
        "things_scores": np.stack([SCORES, SCORES]),
        "things_keypoints": np.stack([POINTS, bad]),
    }
    told = contract(keypoints=("nose", "tail"), keypoint_scores=True, multi_label=each_class)
    [(row, fault)] = told.faulty_rows(outputs, 2).items()
    assert row == 1
    assert cause in fault.cause


def test_masks_and_points_are_tensors_of_the_graph_and_of_the_client() -> None:
    told = contract(masks=(8, 16), keypoints=("nose",), class_ids=True, candidates=7)
    assert [(each.name, each.datatype, each.shape) for each in told.answer_tensors] == [
        ("things_boxes", "FP32", (7, 4)),
        ("things_scores", "FP32", (7,)),
        ("things_classes", "INT64", (7,)),
        ("things_masks", "FP32", (7, 8, 16)),
        ("things_keypoints", "FP32", (7, 1, 2)),
    ]
    seen = told.client_tensors
    assert seen["things_masks"] == ("things_masks", "BYTES", (None,))
    assert seen["things_keypoints"] == ("things_keypoints", "FP32", (None, 1, 2))
    assert st.Contract.from_json(told.to_json()) == told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keypoints": ("nose", "nose")}, "different names"),
        ({"keypoint_scores": True}, "keypoint_scores without keypoints"),
        ({"mask_encoding": "rle"}, "options of masks without masks"),
        ({"mask_threshold": 0.0}, "options of masks without masks"),
    ],
)
def test_things_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        Detections("cat", on="photo", **options).check()


MASKS: dict[str, Any] = {"masks": (8, 16)}
NAMES: dict[str, Any] = {"keypoints": ("nose",)}


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        ({}, MASKS, False), (MASKS, {}, True), (MASKS, {"masks": (9, 9)}, False),
        (MASKS, {**MASKS, "mask_encoding": "rle"}, True),
        (MASKS, {**MASKS, "mask_threshold": 0.4}, True), (MASKS, {**MASKS, "unlike": 0.1}, False),
        ({}, NAMES, False), (NAMES, {}, True), (NAMES, {"keypoints": ("nose", "tail")}, True),
        (NAMES, {**NAMES, "keypoint_scores": True}, True),
    ],
)  # fmt: skip
def test_what_clients_lose_breaks_them_and_what_comes_to_it_does_not(
    old: dict[str, Any], new: dict[str, Any], breaking: bool
) -> None:
    differences = compare_contracts(contract(**old), contract(**new))
    assert differences
    assert any(each.breaking for each in differences) == breaking
