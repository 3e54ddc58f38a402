"""The size that a picture is made on the host, judged by Pillow's own calls, written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as some
from PIL import Image as Pillow
from support.pictures import PICTURE, code_of, decode, encoded
from transformers.models.dpt.image_processing_pil_dpt import get_resize_output_image_size

import seatrial as st
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.notes import ImageNote

BILINEAR = Pillow.Resampling.BILINEAR


def wide(width: int, height: int) -> Pillow.Image:
    return PICTURE.resize((width, height), BILINEAR)


def test_a_stretched_picture_is_what_pillow_resizes_to_that_size() -> None:
    pixels = decode(encoded(PICTURE), size_px=(50, 90))
    assert (pixels == np.asarray(PICTURE.resize((90, 50), BILINEAR))).all()


def test_a_letterboxed_picture_lies_whole_in_the_middle_of_the_fill() -> None:
    pixels = decode(encoded(PICTURE), size_px=(100, 100), fit="letterbox", fill=114)
    whole = Pillow.new("RGB", (100, 100), (114, 114, 114))
    whole.paste(PICTURE.resize((100, 67), BILINEAR), (0, 16))  # 240 x 160, rest 33
    assert (pixels == np.asarray(whole)).all()


def test_a_cropped_picture_is_the_middle_of_the_resized_one() -> None:
    pixels = decode(encoded(PICTURE), size_px=(64, 64), fit="crop")
    resized = PICTURE.resize((96, 64), BILINEAR)
    assert (pixels == np.asarray(resized.crop((16, 0, 80, 64)))).all()
    pixels = decode(encoded(PICTURE), size_px=(56, 64), fit="crop", shorter_side_px=72)
    resized = PICTURE.resize((108, 72), BILINEAR)
    assert (pixels == np.asarray(resized.crop((22, 8, 86, 64)))).all()


@pytest.mark.parametrize(("offset", "left"), [("floor", 1), ("half_even", 2)])
def test_half_a_pixel_beside_the_middle_goes_where_the_offset_says(offset: str, left: int) -> None:
    picture = wide(67, 64)
    pixels = decode(encoded(picture), size_px=(64, 64), fit="crop", crop_offset=offset)
    assert (pixels == np.asarray(picture.crop((left, 0, left + 64, 64)))).all()


@pytest.mark.parametrize(("size", "resized"), [((500, 333), (336, 224)), ((301, 299), (225, 224))])
def test_the_shorter_side_of_a_crop_is_that_of_clip_in_transformers_5_23(
    size: tuple[int, int], resized: tuple[int, int]
) -> None:
    place = Image(size_px=(224, 224), fit="crop").placement(size)
    assert (place.width, place.height) == resized
    assert place.left == -((resized[0] - 224) // 2)


@given(
    sides=some.tuples(some.integers(1, 1500), some.integers(1, 1500)),
    wanted=some.tuples(some.integers(60, 160), some.integers(60, 160)),
    step=some.sampled_from([1, 7, 14, 16]),
)
def test_one_side_is_that_of_dpt_in_transformers_and_both_lie_within_their_ends(
    sides: tuple[int, int], wanted: tuple[int, int], step: int
) -> None:
    width, height = sides
    assume(max(sides) <= 4 * min(sides))
    kind = st.Image(size_px=wanted, fit="one_side", max_aspect=4, multiple_px=step)
    kind.check()
    want = get_resize_output_image_size(np.empty((3, height, width)), wanted, True, step)
    made = kind.placement(sides)
    assert (made.height, made.width) == (want.height, want.width)
    (least_high, most_high), (least_wide, most_wide) = kind.sizes("photo").values()
    assert least_high <= made.height <= most_high
    assert least_wide <= made.width <= most_wide
    assert kind.tensors("photo")[0].dims == ("photo_height", "photo_width", 3)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((640, 480), (686, 518)),  # 640 x 518 / 480 is 49.3 times 14
        ((120, 90), (518, 392)),  # the larger side needs the smaller scale
        ((600, 300), (518, 252)),  # 518 / 600 is nearer to 1; 259 is 18.5 times 14
    ],
)
def test_the_side_whose_scale_is_nearer_to_1_is_the_one_that_is_set(
    size: tuple[int, int], resized: tuple[int, int]
) -> None:
    options: dict[str, Any] = {
        "size_px": (518, 518), "fit": "one_side", "multiple_px": 14, "max_aspect": 4,
    }  # fmt: skip
    picture = wide(*size)
    pixels = decode(encoded(picture), **options)
    assert (pixels == np.asarray(picture.resize(resized, BILINEAR))).all()
    assert code_of(encoded(wide(81, 20)), **options) == "E_IMAGE_SIZE"
    [missing] = st.Image(**options).filler(lambda value: (value,))
    assert missing.shape == (126, 126, 3)


def test_pictures_of_all_sizes_make_one_shape_and_its_note_says_where_they_lie() -> None:
    kind = Image(size_px=(100, 100), fit="letterbox")
    assert kind.tensors("photo")[0].dims == (100, 100, 3)
    assert kind.sizes("photo") == {}
    pixels, note = kind.decode_noted(encoded(PICTURE))
    assert pixels.shape == (100, 100, 3)
    assert note == ImageNote(240, 160, 100, 100, 100 / 240, 67 / 160, 0.0, 16.0)
    x, y = note.to_client(np.array([0.0, 50, 100]), np.array([16.0, 49.5, 99]))
    assert x.tolist() == [0, 120, 240]
    assert y.tolist() == [0, 80, 160]  # the last lies below the picture: clipped


def test_a_sliver_is_refused_where_it_would_grow_and_taken_where_it_would_not() -> None:
    sliver = encoded(Pillow.new("RGB", (1, 4000)))
    assert code_of(sliver, size_px=(256, 256), fit="crop") == "E_IMAGE_SIZE"
    assert code_of(sliver, size_px=(256, 256), fit="letterbox") is None
    assert code_of(sliver, size_px=(256, 256)) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "crop"}, "fit 'crop' without a size, want size_px"),
        ({"size_px": (8, 8), "fill": 9}, "a fill, want one with fit='letterbox'"),
        ({"size_px": (8, 8), "crop_offset": "half_even"}, "a crop_offset"),
        ({"size_px": (8, 8), "shorter_side_px": 9}, "shorter_side_px beside fit='stretch'"),
        ({"size_px": (8, 9), "fit": "crop", "shorter_side_px": 8}, "want at least 9"),
        ({"size_px": (200, 100), "max_pixels": 9999}, "at most 9999 pixels"),
        ({"size_px": (8, 8), "fit": "one_side"}, "without a max_aspect, want one"),
        ({"size_px": (8, 8), "multiple_px": 4}, "multiple_px 4"),
        (
            {"size_px": (8, 8), "fit": "one_side", "max_aspect": 5, "multiple_px": 4},
            "none is rounded to 0 by multiple_px 4",
        ),
        (
            {"size_px": (50, 50), "fit": "one_side", "max_aspect": 5, "max_pixels": 9999},
            "at most 9999 pixels",
        ),
        (
            {"size_px": (8, 8), "fit": "one_side", "max_aspect": 2, "shorter_side_px": 9},
            "shorter_side_px beside fit='one_side'",
        ),
    ],
)
def test_a_size_that_contradicts_itself_is_refused_where_it_is_declared(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        st.Image(**options).check()


def test_drift_looks_at_the_shape_of_the_file_and_not_at_the_fitted_picture() -> None:
    seen = st.Image(size_px=(8, 8)).features("photo", {}, None)([encoded(PICTURE)])
    assert (seen["pixels"], seen["aspect"]) == ([240 * 160], [1.5])


def test_the_edges_of_a_fitted_picture_are_taken_by_its_own_contract() -> None:
    kind = st.Image(size_px=(24, 40), fit="crop", min_side_px=24)
    for edge in kind.edges(lambda value: (value,)):
        assert code_of(edge.value, size_px=(24, 40), fit="crop", min_side_px=24) is None, edge.what
