"""Detections: boxes come back in the client's pixels, judged by Pillow and by transformers."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as some
from PIL import Image as Pillow
from PIL import ImageOps
from support.pictures import encoded
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.kinds.boxes import corners, overlaps
from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.notes import ImageNote

KIND = Detections("cat", "dog", on="photo")
SAME = ImageNote(200, 100, 200, 100, 1.0, 1.0)
TWO = [[10.0, 20, 60, 80], [100.5, 5, 190, 95]]


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(size_px=(100, 200), formats=("PNG",))]


def contract(**options: Any) -> st.Contract:
    class Found(st.Answer):
        things: Annotated[list, Detections("cat", "dog", on="photo", **options)]

    Found.model_rebuild(
        _types_namespace={"options": options, "Annotated": Annotated, "Detections": Detections}
    )
    return st.contract_from_rows(Photo, Found)


def arrays(boxes: Any, scores: Any) -> list[Array]:
    return [np.array(boxes, np.float32), np.array(scores, np.float32)]


def seen(boxes: Any, scores: Any, note: ImageNote = SAME, kind: Detections = KIND, **options: Any):
    return kind.client(arrays(boxes, scores), note, options)


geometry = some.one_of(
    some.just({}),
    some.builds(lambda side: {"shorter_side_px": side}, some.integers(8, 160)),
    some.builds(
        lambda height, width, fit, offset: {
            "size_px": (height, width),
            "fit": fit,
            "crop_offset": offset if fit == "crop" else "floor",
        },
        some.integers(8, 160),
        some.integers(8, 160),
        some.sampled_from(["stretch", "letterbox", "crop"]),
        some.sampled_from(["floor", "half_even"]),
    ),
    some.builds(
        lambda height, width, step: {
            "size_px": (height, width),
            "fit": "one_side",
            "multiple_px": step,
            "max_aspect": 3.0,
        },
        some.integers(40, 160),
        some.integers(40, 160),
        some.sampled_from([None, 8, 14]),
    ),
)
side = some.integers(1, 600)
share = some.tuples(some.floats(0, 1), some.floats(0, 1)).map(sorted)


@given(side, side, share, share, geometry, some.integers(1, 8))
@drawing(150)
def test_a_box_drawn_in_the_client_s_picture_comes_back_within_one_pixel(
    width: int, height: int, xs: Any, ys: Any, options: dict[str, Any], orientation: int
) -> None:
    kind = Image(formats=("PNG",), max_pixels=4_000_000, **options)
    assume(kind._drawable((width, height)))
    left, right = round(xs[0] * (width - 1)), 1 + round(xs[1] * (width - 1))
    top, bottom = round(ys[0] * (height - 1)), 1 + round(ys[1] * (height - 1))
    drawn = Pillow.new("RGB", (width, height))
    drawn.paste((255, 255, 255), (left, top, right, bottom))
    pixels, note = kind.decode_noted(turned(drawn, orientation))
    made = np.array([left, top, right, bottom]) * np.tile([note.scale_x, note.scale_y], 2)
    made += np.tile([note.left, note.top], 2)
    ends = np.tile(pixels.shape[1::-1], 2)
    inside = made.clip(0, ends)
    boxes, scores, classes = KIND.client(arrays([inside], [[0.1, 0.9]]), note, {})
    if (inside[2:] - inside[:2] < 1e-3).any():  # the crop keeps none of it
        assert len(boxes) <= 1
        return
    edges = np.array(note.to_client(*np.array([[0, ends[0]], [0, ends[1]]], float))).T.ravel()
    kept = np.array([left, top, right, bottom]).clip(
        [*edges[:2], *edges[:2]], [*edges[2:], *edges[2:]]
    )
    assert np.abs(boxes[0] - kept).max() <= 1e-3 * max(width, height)
    assert (scores.tolist(), classes.tolist()) == ([pytest.approx(0.9)], [1])
    # What the graph sees there is the box: its bright pixels begin and end at its edges.
    if (inside == made).all() and (inside[2:] - inside[:2] > 4).all():
        light = pixels[..., 0].astype(int)
        columns, rows = (np.flatnonzero(light.max(axis) * 2 >= light.max()) for axis in (0, 1))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(found) - inside).max() <= 1.0


def turned(picture: Pillow.Image, orientation: int) -> bytes:
    """A file whose EXIF turns it into this picture."""
    way = next(way for way in (None, *Pillow.Transpose) if is_the_inverse(way, orientation))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    return encoded(picture if way is None else picture.transpose(way), "PNG", exif=exif)


MARK = Pillow.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))


def is_the_inverse(way: Pillow.Transpose | None, orientation: int) -> bool:
    stored = MARK.copy() if way is None else MARK.transpose(way)
    stored.getexif()[0x0112] = orientation
    back = ImageOps.exif_transpose(stored)
    return back.size == MARK.size and back.tobytes() == MARK.tobytes()


def test_detections_are_sorted_by_score_and_strictly_above_the_threshold() -> None:
    boxes, scores, classes = seen([*TWO, [0, 0, 9, 9]], [[0.6, 0.1], [0.2, 0.9], [0.5, 0.5]])
    assert boxes.tolist() == [[100.5, 5, 190, 95], [10, 20, 60, 80]]
    assert scores.tolist() == pytest.approx([0.9, 0.6])
    assert classes.tolist() == [1, 0]
    assert len(seen(TWO, [[0.6, 0.1], [0.2, 0.9]], top_k=1)[0]) == 1
    assert len(seen(TWO, [[0.6, 0.1], [0.2, 0.9]], threshold=0.7)[0]) == 1


def test_boxes_end_at_the_edges_of_the_client_s_picture_and_none_lies_beyond_it() -> None:
    boxes, *_ = seen([[-20, -4, 220, 50], [201, 0, 220, 9]], [[0.9, 0], [0.9, 0]])
    assert boxes.tolist() == [[0, 0, 200, 50]]


@pytest.mark.parametrize(
    ("form", "box"),
    [("xyxy", [10, 20, 60, 80]), ("cxcywh", [35, 50, 50, 60]), ("xywh", [10, 20, 50, 60])],
)
@pytest.mark.parametrize("relative", [False, True])
def test_each_form_of_a_box_is_the_same_box(form: Any, box: list[float], relative: bool) -> None:
    kind = Detections("cat", "dog", on="photo", boxes=form, relative=relative)
    given = np.array(box) / ([200, 100, 200, 100] if relative else 1)
    boxes, *_ = seen([given], [[0.9, 0]], kind=kind)
    assert boxes[0] == pytest.approx([10, 20, 60, 80], abs=1e-4)


def test_a_box_may_have_one_id_or_each_of_its_classes() -> None:
    by_id = Detections("cat", "dog", on="photo", class_ids=True)
    given = [*arrays(TWO, [0.6, 0.9]), np.array([1, 0])]
    assert by_id.client(given, SAME, {})[2].tolist() == [0, 1]
    each = Detections("cat", "dog", on="photo", multi_label=True)
    boxes, _, classes = seen(TWO, [[0.7, 0.8], [0.1, 0.6]], kind=each)
    assert classes.tolist() == [1, 0, 1]
    assert boxes[:, 0].tolist() == [10, 10, 100.5]


def test_json_of_detections_comes_back_to_the_bit() -> None:
    client = seen([[1 / 3, 20, 60.1, 80]], [[0.1, 0.7]])
    written = KIND.written(client)
    assert written[0]["label"] == "dog"
    assert [*written[0]["box"]] == ["xmin", "ymin", "xmax", "ymax"]
    for had, found in zip(client, KIND.recover(written), strict=True):
        assert np.array_equal(had, found)
        assert had.dtype == found.dtype


@pytest.mark.parametrize(
    ("boxes", "scores", "cause"),
    [
        ([[0, 0, 9, 9]], [[1.5, 0]], "a score that is not from 0 to 1"),
        ([[0, 0, 9, 9]], [[-0.5, 0.2]], "a score that is not from 0 to 1"),
        ([[9, 0, 0, 9]], [[0.9, 0]], "a box that ends before it begins"),
        ([[0, 0, 401, 9]], [[0.9, 0]], "reaches further beyond its picture"),
        ([[0, -101, 9, 9]], [[0.9, 0]], "reaches further beyond its picture"),
    ],
)
def test_an_answer_that_is_no_detection_is_a_fault_of_its_row_alone(
    boxes: Any, scores: Any, cause: str
) -> None:
    good = arrays([[0, 0, 9, 9]], [[0.9, 0]])
    bad = arrays(boxes, scores)
    outputs = {
        f"things_{name}": np.stack([mine, theirs])
        for name, mine, theirs in zip(("boxes", "scores"), good, bad, strict=True)
    }
    [(row, fault)] = contract().faulty_rows(outputs, 2).items()
    error = fault.error(row)
    assert (row, error.code) == (1, "E_OUTPUT_RANGE")
    assert cause in str(error)
    single = {name: array[1] for name, array in outputs.items()}
    found = contract().fault_of(single)
    assert found is not None
    assert cause in found.cause


def test_a_picture_of_one_side_bounds_no_box_by_the_size_that_one_of_its_sides_has() -> None:
    photo = st.Image(size_px=(100, 200), fit="one_side", max_aspect=4)
    far = [each[None] for each in arrays([[0, 0, 700, 9]], [[0.9, 0]])]
    assert KIND.faults(far, photo) == {}
    assert 0 in KIND.faults(far, st.Image(size_px=(100, 200)))


@pytest.mark.parametrize("name", ["things_boxes", "things_scores"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_a_fault_of_its_row_alone(name: str, value: float) -> None:
    outputs = {
        "things_boxes": np.ones((2, 3, 4), np.float32),
        "things_scores": np.full((2, 3, 2), 0.25, np.float32),
    }
    outputs[name][1] = value
    [(row, fault)] = contract(boxes="cxcywh").faulty_rows(outputs, 2).items()
    assert (row, fault.error(row).code) == (1, "E_OUTPUT_CONTRACT")


def test_boxes_below_the_threshold_may_be_anything_and_are_never_shown_wrong() -> None:
    given = arrays([[9, 0, 0, 9], [0, 0, 9, 9]], [[0.3, 0], [0.2, 0]])
    outputs = {"things_boxes": given[0][None], "things_scores": given[1][None]}
    assert not contract().faulty_rows(outputs, 1)
    assert seen(*given, threshold=0.1)[0].tolist() == [[0, 0, 9, 9]]


def test_a_class_out_of_range_is_a_fault_where_its_score_passes() -> None:
    by_id = contract(class_ids=True)
    for score, ids, faulty in ((0.9, 2, True), (0.9, -1, True), (0.0, -1, False), (0.9, 1, False)):
        outputs = {
            "things_boxes": np.zeros((1, 1, 4), np.float32),
            "things_scores": np.full((1, 1), score, np.float32),
            "things_classes": np.full((1, 1), ids),
        }
        assert bool(by_id.faulty_rows(outputs, 1)) == faulty


def test_parity_finds_half_a_pixel_a_swapped_class_and_a_missed_box() -> None:
    want = seen(TWO, [[0.6, 0.1], [0.2, 0.9]])
    tolerance = st.Tolerance()
    assert KIND.match(want, want, tolerance).passed
    near = np.add(TWO, [0, 0, 0.5, 0])
    off = KIND.match(want, seen(near, [[0.6, 0.1], [0.2, 0.9]]), tolerance)
    assert not off.passed
    assert off.worst_error == pytest.approx(0.5)
    swapped = KIND.match(want, seen(TWO, [[0.1, 0.6], [0.2, 0.9]]), tolerance)
    assert "'cat' at [10.0, 20.0, 60.0, 80.0], score 0.6: only wanted" in swapped.mismatch
    missed = KIND.match(want, seen(TWO[1:], [[0.2, 0.9]]), tolerance)
    assert "only wanted" in missed.mismatch
    more = KIND.match(seen(TWO[1:], [[0.2, 0.9]]), want, tolerance)
    assert "not wanted" in more.mismatch
    assert KIND.match(seen(np.zeros((0, 4)), np.zeros((0, 2))), want, tolerance).mismatch


def test_parity_does_not_fail_where_ties_move_or_a_score_lies_at_the_threshold() -> None:
    tolerance = st.Tolerance()
    three = [*TWO, [10.2, 20, 60, 80]]
    want = seen(three, [[0.6, 0], [0.6, 0], [0.6, 0]])
    got = seen(three[::-1], [[0.6, 0], [0.6, 0], [0.6, 0]])
    assert want[0].tolist() != got[0].tolist()
    assert KIND.match(want, got, tolerance).passed
    above, below = ([[0.9, 0], [score, 0]] for score in (0.500001, 0.499999))
    pair = seen(TWO, above), seen(TWO, below)
    assert [len(boxes) for boxes, *_ in pair] == [2, 1]
    assert KIND.match(*pair, tolerance).passed
    full = Detections("cat", on="photo", max_detections=1)
    pair = seen(TWO, [[0.7], [0.699999]], kind=full), seen(TWO, [[0.699999], [0.7]], kind=full)
    assert full.match(*pair, tolerance).passed


def test_boxes_that_a_graph_sorted_another_way_are_judged_in_one_order() -> None:
    order = [2, 0, 1]
    boxes = np.array([*TWO, [11.0, 20, 60, 80]], np.float32)
    scores = np.array([[0.6, 0], [0, 0.9], [0.6, 0]], np.float32)
    want = {"things_boxes": boxes, "things_scores": scores}
    swapped = {name: array[order] for name, array in want.items()}
    golden = Golden(({"photo": ""},), (want,))
    tolerance = st.Promise(tolerance=st.Tolerance())
    assert not judge(contract(), tolerance, golden, [swapped]).finding
    swapped["things_boxes"] = swapped["things_boxes"] + np.float32([0, 0, 0.5, 0])
    assert "error 5.00e-01" in judge(contract(), tolerance, golden, [swapped]).finding
    lost = want | {"things_scores": scores * np.float32([[1], [1], [0]])}
    assert "things_scores" in judge(contract(), tolerance, golden, [lost]).finding


@given(some.integers(0, 2**32 - 1))
@drawing(50)
def test_any_order_of_any_boxes_matches_itself(seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.uniform(0, 90, (12, 2)).round()  # duplicates and near ones
    boxes = np.concatenate([first, first + random.integers(1, 9, (12, 2))], 1)
    scores = random.uniform(0, 1, (12, 2)).round(1)
    order = random.permutation(12)
    want, got = seen(boxes, scores), seen(boxes[order], scores[order])
    assert KIND.match(want, got, st.Tolerance()).passed


def test_overlaps_are_those_worked_by_hand() -> None:
    one = corners(np.array([[0, 0, 2, 2]]), "xyxy")
    others = corners(np.array([[1, 1, 2, 2], [0, 0, 2, 2], [2, 2, 1, 1]]), "xywh")
    assert overlaps(one, others).tolist() == [[1 / 7, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": st.Option(0.4, type="number", ge=0, le=1)}, "default 0.5"),
        ({"threshold": st.Option(0.5, type="number")}, "ge=0"),
        ({"top_k": st.Option(5, ge=1)}, "le=100 or less"),
        ({"top_k": st.Option(5, ge=1, le=101)}, "le=100 or less"),
    ],
)
def test_an_option_that_would_be_answered_by_something_else_is_refused(
    options: dict[str, st.Option], message: str
) -> None:
    [(name, option)] = options.items()
    with pytest.raises(st.DeclarationError, match=message):
        KIND.check_option(name, option)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Detections("cat"), "no picture"),
        (Detections(on="photo"), "one or more different names"),
        (Detections("a", "a", on="photo"), "one or more different names"),
        (Detections("cat", on="photo", class_ids=True, multi_label=True), "one of both"),
    ],
)
def test_detections_that_make_no_sense_are_refused(kind: Detections, message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        kind.check()


def test_detections_are_on_a_picture_of_the_contract() -> None:
    class Number(st.Row):
        photo: float

    class Found(st.Answer):
        things: Annotated[list, Detections("cat", on="photo")]

    with pytest.raises(st.DeclarationError, match="an answer about 'photo'"):
        st.contract_from_rows(Number, Found)
    read = contract(candidates=7, boxes="cxcywh", relative=True)
    assert st.Contract.from_json(read.to_json()) == read


@pytest.mark.parametrize(
    ("options", "breaking"),
    [
        ({"boxes": "cxcywh"}, False), ({"relative": True}, False), ({"candidates": 9}, False),
        ({"threshold": 0.4}, True), ({"max_detections": 99}, True), ({"multi_label": True}, True),
    ],
)  # fmt: skip
def test_a_change_between_graph_and_contract_breaks_no_client(
    options: dict[str, Any], breaking: bool
) -> None:
    [difference] = compare_contracts(contract(), contract(**options))
    assert difference.breaking == breaking


def test_drift_counts_what_passes() -> None:
    boxes, scores = arrays([TWO], [[[0.6, 0.1], [0.2, 0.9]]])
    assert KIND.features("things", {}, None)([[boxes[0]], [scores[0]]]) == {
        "passed": [2.0],
        "confidence": [pytest.approx(0.9)],
        "passed.cat": [1.0],
        "passed.dog": [1.0],
    }


@pytest.mark.slow
def test_boxes_are_those_of_transformers_post_processing() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    random = np.random.default_rng(3)
    logits = random.normal(size=(1, 30, 4)).astype(np.float32) * 2
    centre = random.uniform(0.2, 0.8, (1, 30, 2))
    boxes = np.concatenate([centre, random.uniform(0.01, 0.3, (1, 30, 2))], 2).astype(np.float32)
    answer = transformers.modeling_outputs.ModelOutput(
        logits=torch.tensor(logits), pred_boxes=torch.tensor(boxes)
    )
    [expected] = transformers.DetrImageProcessor().post_process_object_detection(
        answer, threshold=0.5, target_sizes=[(333, 517)]
    )
    kind = Detections("a", "b", "c", on="photo", boxes="cxcywh", relative=True)
    scores = torch.tensor(logits).softmax(-1)[0, :, :-1].numpy()
    note = Image(size_px=(64, 64)).placement((517, 333)).note((517, 333))
    found = kind.client([boxes[0], scores], note, {})
    order = np.argsort(-expected["scores"].numpy(), kind="stable")
    wanted = expected["boxes"].numpy()[order].clip(0, [517, 333, 517, 333])
    assert len(order) > 5
    assert np.abs(found[0] - wanted).max() < 1e-3
    assert np.allclose(found[1], expected["scores"].numpy()[order], atol=1e-6)
    assert found[2].tolist() == expected["labels"].numpy()[order].tolist()
