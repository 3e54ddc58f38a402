"""Segments of a picture, judged by the post-processing of DETR and MaskFormer in transformers."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from PIL import Image as Pillow

import seatrial as st
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.notes import ImageNote
from seatrial_contracts.kinds.segments import Segments

NAMES = ("cat", "dog", "sky", "sea")
KIND = Segments(*NAMES, on="photo")
FUSED = Segments(*NAMES, on="photo", fused=("sky", "sea"))
SIDES = [(301, 203), (33, 250), (11, 7), (96, 64)]


def note_of(width: int, height: int, **options: Any) -> ImageNote:
    return Image(**{"size_px": (64, 96)} | options).placement((width, height)).note((width, height))


def drawn(seed: int, queries: int = 12) -> tuple[Array, Array]:
    """Logits of classes, and masks: most parts of a picture are one query's, some are of two."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (queries, len(NAMES) + 1)).astype(np.float32)
    parts = np.full((queries, 24), -4.0)
    parts[random.integers(0, queries, 24), np.arange(24)] = 5
    parts[random.integers(0, queries, 4), random.integers(0, 24, 4)] = 3
    whole = np.kron(parts.reshape(queries, 4, 6), np.ones((1, 4, 4)))
    return logits, (whole + random.normal(0, 0.5, whole.shape)).astype(np.float32)


def judged(
    family: str, arrays: tuple[Array, Array], size: tuple[int, int], task: str = "panoptic",
    **options: Any,
) -> tuple[Array, list[dict[str, Any]]]:  # fmt: skip
    """Ids and segments as transformers makes them for a picture of width and height."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    logits, masks = (torch.tensor(each[None].copy()) for each in arrays)
    made, processor = {
        "detr": ({"logits": logits, "pred_masks": masks}, transformers.DetrImageProcessor),
        "maskformer": (
            {"class_queries_logits": logits, "masks_queries_logits": masks},
            transformers.MaskFormerImageProcessor,
        ),
    }[family]
    post = getattr(processor(), f"post_process_{task}_segmentation")
    [found] = post(SimpleNamespace(**made), target_sizes=[size[::-1]], **options)
    return found["segmentation"].numpy(), found["segments_info"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["detr", "maskformer"])
@pytest.mark.parametrize("size", SIDES)
def test_segments_are_those_of_transformers(family: str, size: tuple[int, int]) -> None:
    segments = 0
    for seed in range(12):
        arrays = drawn(seed)
        want, told = judged(family, arrays, size)
        ids, classes, scores = KIND.client(arrays, note_of(*size), {})
        assert [each["label_id"] for each in told] == classes.tolist()
        assert np.allclose([each["score"] for each in told], scores, atol=1e-6)
        assert [each["id"] for each in told] == list(range(1, len(classes) + 1))
        assert (np.maximum(want, 0) != ids).mean() <= 1e-4
        segments += len(classes)
    assert segments > 20


@pytest.mark.slow
def test_detr_s_instances_are_segments_of_which_none_are_fused() -> None:
    arrays = drawn(3)
    want, told = judged("detr", arrays, (120, 80), "instance")
    ids, classes, _ = KIND.client(arrays, note_of(120, 80), {})
    assert [each["label_id"] for each in told] == classes.tolist()
    assert (want != ids).mean() <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.8])
def test_thresholds_are_those_of_transformers(overlap: float) -> None:
    found = set[tuple[int, ...]]()
    for threshold, mask_threshold in ((0.5, 0.5), (0.9, 0.5), (0.3, 0.2), (0.0, 0.0)):
        options = {"threshold": threshold, "mask_threshold": mask_threshold}
        arrays = drawn(5)
        want, told = judged(
            "detr", arrays, (64, 48), overlap_mask_area_threshold=overlap, **options
        )
        kind = Segments(*NAMES, on="photo", overlap=overlap, **options)
        ids, classes, _ = kind.client(arrays, note_of(64, 48), {})
        asked = KIND.model_copy(update={"mask_threshold": mask_threshold, "overlap": overlap})
        assert np.array_equal(
            asked.client(arrays, note_of(64, 48), {"threshold": threshold})[0], ids
        )
        assert [each["label_id"] for each in told] == classes.tolist()
        assert (np.maximum(want, 0) != ids).mean() <= 1e-4
        found.add(tuple(classes.tolist()))
    assert len(found) > 1


@pytest.mark.slow
def test_queries_of_a_fused_class_are_one_segment_as_transformers_has_them() -> None:
    together = 0
    for seed in range(12):
        arrays, size = drawn(seed), (64, 48)
        _, told = judged("maskformer", arrays, size)
        alone, _ = judged("maskformer", arrays, size, label_ids_to_fuse={2, 3})
        ids, classes, scores = FUSED.client(arrays, note_of(*size), {})
        first: dict[Any, list[float]] = {}
        for place, each in enumerate(told):
            key = each["label_id"] if each["label_id"] > 1 else (each["label_id"], place)
            first.setdefault(key, []).append(each["score"])
        want = [key if isinstance(key, int) else key[0] for key in first]
        assert classes.tolist() == want
        assert np.allclose([max(each) for each in first.values()], scores, atol=1e-6)
        # transformers counts on from a fused id, and may give one twice: none is told apart here.
        assert set(ids.flat) - {0} == set(range(1, len(want) + 1))
        assert ((np.maximum(alone, 0) > 0) != (ids > 0)).mean() <= 1e-4
        together += len(told) - len(want)
    assert together > 5


def test_a_pixel_that_a_crop_cut_off_is_in_no_segment() -> None:
    logits = np.array([[9, 0, 0, 0, 0]], np.float32)
    masks = np.full((1, 4, 4), 9, np.float32)
    note = note_of(40, 20, size_px=(8, 8), fit="crop")
    ids, classes, _ = KIND.client([logits, masks], note, {})
    assert (ids[:, 10:30] == 1).all()
    assert not ids[:, :10].any()
    assert not ids[:, 30:].any()
    assert classes.tolist() == [0]


def test_masks_of_large_logits_overflow_nothing() -> None:
    logits = np.array([[200, -200, 0, 0, 0], [-200, 300, 0, 0, 0]], np.float32)
    masks = np.stack([np.full((2, 2), -500), [[500, -500]] * 2]).astype(np.float32)
    ids, classes, _ = KIND.client([logits, masks], note_of(2, 2, size_px=(2, 2)), {})
    assert ids.tolist() == [[1, 0], [1, 0]]
    assert classes.tolist() == [1]


def test_json_is_a_png_of_the_ids_and_a_list_that_comes_back() -> None:
    few = (np.array([[0, 2, 1]], np.int32), np.array([3, 0], np.int32), np.float32([0.75, 0.5]))
    written = KIND.written(few)
    assert (written["width"], written["height"]) == (3, 1)
    assert written["segments"] == [
        {"id": 1, "label": "sea", "score": 0.75}, {"id": 2, "label": "cat", "score": 0.5},
    ]  # fmt: skip
    shown = Pillow.open(io.BytesIO(base64.b64decode(written["png"])))
    assert (shown.mode, np.asarray(shown).tolist()) == ("L", [[0, 2, 1]])
    many = (np.array([[300, 0]], np.int32), np.zeros(300, np.int32), np.ones(300, np.float32))
    deep = Pillow.open(io.BytesIO(base64.b64decode(KIND.written(many)["png"])))
    assert deep.mode == "I;16"
    for values in (few, many):
        back = KIND.recover(KIND.written(values))
        for mine, theirs in zip(values, back, strict=True):
            assert np.array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype


def answer(*scores: float, moved: int = 0) -> tuple[Array, Array, Array]:
    """Stripes of ten columns for each score, the first of them moved."""
    ids = np.zeros((20, 100), np.int32)
    for place in range(len(scores)):
        ids[:, 10 * place : 10 * place + 10] = place + 1
    ids[:moved, 0] = 0
    return ids, np.arange(len(scores), dtype=np.int32), np.array(scores, np.float32)


def test_parity_compares_pixels_and_scores_of_segments_whatever_their_ids() -> None:
    want = answer(0.9, 0.8, 0.7)
    turned = (np.array([0, 3, 1, 2], np.int32)[want[0]], want[1][[1, 2, 0]], want[2][[1, 2, 0]])
    assert KIND.match(want, turned, Tolerance()).passed
    assert KIND.match(want, answer(0.9, 0.8, 0.7, moved=2), Tolerance()).passed
    found = KIND.match(want, answer(0.9, 0.8, 0.7, moved=3), Tolerance())
    assert "0.15% of the pixels are in another segment, want 0.10% at most" in found.mismatch
    assert "row 0, column 0: got none, want 'cat', score 0.9" in found.mismatch
    assert not KIND.match(want, answer(0.9, 0.8, 0.71), Tolerance()).passed
    other = (want[0], np.array([0, 1, 3], np.int32), want[2])
    assert "got 'sea'" in KIND.match(want, other, Tolerance()).mismatch
    assert "ids of [20, 99]" in KIND.match(want, (want[0][:, 1:], *want[1:]), Tolerance()).mismatch
    assert KIND.match(answer(), answer(), Tolerance()).passed


def test_a_segment_may_be_lacking_where_its_score_lies_at_the_threshold() -> None:
    for score, passed in ((0.5 + 1e-7, True), (0.6, False)):
        with_it, without = answer(0.9, score), answer(0.9)
        assert KIND.match(with_it, without, Tolerance()).passed == passed
        assert KIND.match(without, with_it, Tolerance()).passed == passed


def test_masks_of_another_number_than_classes_are_a_fault_of_every_row() -> None:
    logits, masks = np.zeros((2, 3, 5), np.float32), np.zeros((2, 4, 2, 2), np.float32)
    assert KIND.faults([logits, masks], None) == dict.fromkeys((0, 1), "3 queries with 4 masks")
    assert KIND.faults([logits, masks[:, :3]], None) == {}


def test_drift_looks_at_the_number_of_segments_and_at_what_is_in_none() -> None:
    nothing = np.array([[0, 0, 0, 0, 9], [0, 0, 0, 0, 9]], np.float32)
    one = np.array([[9, 0, 0, 0, 0], [0, 0, 0, 0, 9]], np.float32)
    masks = np.zeros((2, 2, 2), np.float32)
    features = KIND.features("seen", {}, None)
    masks[0] = 5
    # A pixel goes to the highest product whatever its height: there is one query alone.
    assert features([[nothing, one], [masks, masks]]) == {
        "segments": [0.0, 1.0], "none": [1.0, 0.0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Segments("a"), "no picture"),
        (Segments("a", "a", on="photo"), "different names"),
        (Segments("a", on="photo", fused=("b",)), "fused='b'"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_declared(kind: Any, message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        contract_of(kind)


def contract_of(kind: Segments, options: type[st.Options] | None = None) -> st.Contract:
    row = type("Photo", (st.Row,), {"__annotations__": {"photo": Annotated[bytes, st.Image()]}})
    answer = type("Found", (st.Answer,), {"__annotations__": {"found": Annotated[dict, kind]}})
    return st.contract_from_rows(row, answer, **({"options": options} if options else {}))


def test_requests_may_choose_the_threshold_that_the_kind_has() -> None:
    def chosen(default: float) -> type[st.Options]:
        option = Annotated[float, st.Option(default, ge=0, le=1)]
        return type("Choice", (st.Options,), {"__annotations__": {"threshold": option}})

    assert "threshold" in contract_of(KIND, chosen(0.5)).known_options
    with pytest.raises(st.DeclarationError, match=r"default 0\.5, which is the kind's own"):
        contract_of(KIND, chosen(0.4))


def test_a_client_does_not_see_how_many_queries_there_are() -> None:
    other = Segments(*NAMES, on="photo", queries=9, unlike=0.1, overlap=0.5)
    seen = {name: other.breaks_answer(name, KIND) for name in ("queries", "unlike", "overlap")}
    assert seen == {"queries": False, "unlike": False, "overlap": True}
