"""Masks and pictures that a model answers, judged by Pillow, PyTorch and transformers."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image as Pillow
from support.properties import drawing

import seatrial as st
from seatrial_contracts.compare import Tolerance
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.mask import Mask
from seatrial_contracts.kinds.notes import ImageNote
from seatrial_contracts.kinds.picture import Picture

RNG = np.random.default_rng(0)
KIND = Mask("sky", "sea", "ship", on="photo")


def note_of(width: int, height: int, **options: Any) -> ImageNote:
    return Image(**options).placement((width, height)).note((width, height))


def shown(text: str) -> Pillow.Image:
    return Pillow.open(io.BytesIO(base64.b64decode(text)))


def test_ids_are_shown_at_the_size_of_the_client_s_picture_as_pillow_shows_them() -> None:
    ids = RNG.integers(0, 3, (24, 40))  # of sizes at which no centre lies on a border
    for width, height in ((120, 72), (96, 32), (16, 320), (40, 24)):
        (got,) = KIND.client([ids], note_of(width, height, size_px=(24, 40)), {})
        want = Pillow.fromarray(ids.astype(np.uint8)).resize(
            (width, height), Pillow.Resampling.NEAREST
        )
        assert np.array_equal(got, np.asarray(want))


@given(
    some.integers(1, 90), some.integers(1, 90), some.integers(4, 40), some.integers(4, 40),
    some.sampled_from(["letterbox", "crop"]),
)  # fmt: skip
@drawing(80)
def test_a_mask_of_the_fitted_picture_lies_where_the_client_s_picture_lies(
    width: int, height: int, rows: int, columns: int, fit: str
) -> None:
    image = Image(size_px=(rows, columns), fit=fit, max_pixels=10**6)
    place = image.placement((width, height))
    note = place.note((width, height))
    # What the graph sees holds, in each pixel, the place that it has in the client's picture.
    x = (np.arange(columns) + 0.5 - place.left) * width / place.width
    y = (np.arange(rows) + 0.5 - place.top) * height / place.height
    inside = (x >= 0) & (x < width), (y >= 0) & (y < height)
    grid = np.where(inside[1][:, None] & inside[0], 1, 0)
    kind = Mask("beside", "inside", "cut", on="photo", cut=2)
    (ids,) = kind.client([grid], note, {})
    assert ids.shape == (height, width)
    if fit == "letterbox":
        # A pixel of the edge may fall into a cell whose own centre lies beside the picture.
        assert (ids[2:-2, 2:-2] == 1).all() or min(place.width, place.height) < 4
        assert not (ids == 2).any()
    else:
        left, top = -place.left * width / place.width, -place.top * height / place.height
        right, bottom = left + columns * width / place.width, top + rows * height / place.height
        seen_x = np.array([left <= at + 0.5 < right for at in range(width)])
        seen_y = np.array([top <= at + 0.5 < bottom for at in range(height)])
        assert np.array_equal(ids != 2, seen_y[:, None] & seen_x)


def test_of_equal_logits_the_lowest_class_wins() -> None:
    kind = Mask("sky", "sea", on="photo", logits=True)
    (ids,) = kind.client([np.zeros((2, 3, 3), np.float32)], note_of(9, 9, size_px=(3, 3)), {})
    assert not ids.any()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(301, 203), (33, 500), (11, 7)])
def test_logits_are_upsampled_as_segformer_does_in_transformers(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    logits = RNG.normal(size=(5, 16, 24)).astype(np.float32)
    answer = transformers.modeling_outputs.ModelOutput(logits=torch.tensor(logits[None]))
    [want] = transformers.SegformerImageProcessor().post_process_semantic_segmentation(
        answer, target_sizes=[size[::-1]]
    )
    kind = Mask(*"abcde", on="photo", logits=True)
    (got,) = kind.client([logits], note_of(*size, size_px=(64, 96)), {})
    assert (got != want.numpy()).mean() <= 1e-4


def test_json_is_a_png_of_the_ids_or_runs_of_them() -> None:
    ids = np.array([[0, 0, 2], [2, 1, 1]], np.uint8)
    written = KIND.written([ids])
    assert np.asarray(shown(written["png"])).tolist() == ids.tolist()
    assert (written["width"], written["height"]) == (3, 2)
    runs = Mask("sky", "sea", "ship", on="photo", encoding="rle")
    told = runs.written([ids])
    assert (told["ids"].tolist(), told["lengths"].tolist()) == ([0, 2, 1], [2, 2, 2])
    many = Mask(*map(str, range(300)), on="photo")
    deep = np.array([[0, 299]], np.int32)
    for kind, value in ((KIND, ids), (runs, ids), (many, deep)):
        (found,) = kind.recover(kind.written([value]))
        assert np.array_equal(found, value)
        assert found.dtype == value.dtype
    assert shown(many.written([deep])["png"]).mode == "I;16"


def test_parity_counts_pixels_of_another_class() -> None:
    want = np.zeros((40, 50), np.uint8)
    got = want.copy()
    got[7, :2] = 1
    assert KIND.match([want], [got], Tolerance()).passed
    got[7, :3] = 2
    found = KIND.match([want], [got], Tolerance())
    assert "0.15% of the pixels have another class" in found.mismatch
    assert "row 7, column 0: got 2, want 0" in found.mismatch
    assert "a mask of [40, 49]" in KIND.match([want], [want[:, 1:]], Tolerance()).mismatch


def test_a_class_out_of_range_is_a_fault_of_its_row() -> None:
    ids = np.zeros((3, 2, 2), np.int64)
    ids[1, 0, 0], ids[2, 1, 1] = 3, -1
    cause = "a class that is not from 0 to 2"
    assert KIND.faults([ids], None) == {1: cause, 2: cause}


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (1, 16), (3, 8)])
def test_a_picture_comes_back_as_its_values(channels: Any, bits: Any) -> None:
    kind = Picture(on="photo", channels=channels, bits=bits, ge=-1, le=3)
    levels = RNG.integers(0, 2**bits, (5, 8, channels)).astype(np.float64)
    grid = (levels / (2**bits - 1) * 4 - 1).astype(np.float32)
    grid = np.moveaxis(grid, -1, 0) if channels == 3 else grid[..., 0]
    (made,) = kind.client([grid], note_of(8, 5), {})
    assert np.abs(made.reshape(levels.shape) - levels).max() <= (0 if bits == 8 else 1)
    written = kind.written([made])
    assert np.array_equal(np.asarray(shown(written["png"])), made)
    assert np.array_equal(kind.recover(written)[0], made)


def test_a_picture_may_be_larger_than_the_client_s_and_values_beyond_its_range_end_there() -> None:
    torch = pytest.importorskip("torch")
    grid = RNG.uniform(-0.5, 1.5, (6, 9)).astype(np.float32)
    (made,) = Picture(on="photo", scale=2, bits=16).client([grid], note_of(20, 11), {})
    want = torch.nn.functional.interpolate(
        torch.tensor(grid)[None, None], size=(22, 40), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    assert np.abs(made - want.clip(0, 1) * 65535).max() <= 1


def test_parity_allows_a_picture_one_step_and_finds_two() -> None:
    kind, want = Picture(on="photo"), np.full((3, 4), 100, np.uint8)
    near, far = want + 1, want.copy()
    far[1, 2] = 103
    assert kind.match([want], [near], Tolerance()).passed
    found = kind.match([want], [far], Tolerance())
    assert (found.passed, found.index, found.got) == (False, (1, 2), 103)


@pytest.mark.parametrize(
    ("kind", "image", "message"),
    [
        (Mask("a", on="photo"), st.Image(size_px=(8, 8), fit="crop"), "cut="),
        (Picture(on="photo"), st.Image(size_px=(8, 8), fit="crop"), "cut="),
        (Mask("a"), st.Image(), "no picture"),
        (Mask("a", "a", on="photo"), st.Image(), "different names"),
        (Picture(on="photo", ge=2, le=1), st.Image(), "ge below le"),
        (Picture(on="photo", channels=3, bits=16), st.Image(), "RGB of 16 bits"),
        (Picture(on="photo", cut=4.0), st.Image(), "cut=4.0"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_declared(
    kind: Any, image: st.Image, message: str
) -> None:
    row = type("Photo", (st.Row,), {"__annotations__": {"photo": Annotated[bytes, image]}})
    answer = type("Found", (st.Answer,), {"__annotations__": {"found": Annotated[dict, kind]}})
    with pytest.raises(st.DeclarationError, match=message):
        st.contract_from_rows(row, answer)


def test_a_client_does_not_see_whether_a_mask_was_made_of_logits() -> None:
    other = Mask("sky", "sea", "ship", on="photo", logits=True, cut=9)
    assert [other.breaks_answer(name, KIND) for name in ("logits", "grid_px")] == [False, False]
    assert other.breaks_answer("cut", KIND)
    assert not Picture(on="photo").breaks_answer("grid_px", Picture(on="photo"))


def test_drift_looks_at_the_shares_of_classes() -> None:
    seen = KIND.features("mask", {}, None)([np.array([[0, 0], [0, 2]])])
    assert seen == {
        "largest": [0.75], "share.sky": [0.75], "share.sea": [0.0], "share.ship": [0.25],
    }  # fmt: skip
