"""Images, judged by Pillow and numpy: what is decoded is what Pillow shows.

What is damaged, huge or lying is refused.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image as Pillow
from PIL import ImageOps
from support.pictures import PICTURE, RNG, code_of, decode, encoded, front
from support.properties import drawing
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.yolos.image_processing_pil_yolos import get_size_with_aspect_ratio_yolos

import seatrial as st


def test_png_pixels_are_exact_and_base64_is_the_same_file() -> None:
    data = encoded(PICTURE)
    assert (decode(data) == np.asarray(PICTURE)).all()
    assert (decode(base64.b64encode(data).decode()) == np.asarray(PICTURE)).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGB"])
def test_other_modes_are_what_pillow_converts_them_to(mode: str) -> None:
    picture = PICTURE.convert(mode)
    fmt = "JPEG" if mode == "CMYK" else "PNG"
    data = encoded(picture, fmt)
    assert (decode(data) == np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))).all()


def test_transparency_is_laid_on_white() -> None:
    picture = Pillow.new("RGBA", (4, 4), (255, 0, 0, 0))
    picture.putpixel((1, 1), (10, 20, 30, 255))
    pixels = decode(encoded(picture))
    assert (pixels[0, 0] == 255).all()
    assert pixels[1, 1].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_colours_under_transparency_are_pillows_where_opacity_is_dropped(mode: str) -> None:
    picture = PICTURE.convert("RGB")
    picture.putalpha(Pillow.linear_gradient("L").resize(PICTURE.size))
    data = encoded(picture.convert(mode), "PNG", **({"transparency": 3} if mode == "P" else {}))
    want = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))
    assert (decode(data, opacity="drop") == want).all()
    with pytest.raises(st.DeclarationError, match="opacity with mode 'RGBA'"):
        st.Image(mode="RGBA", opacity="drop").check()


@given(
    sides=some.tuples(some.integers(1, 900), some.integers(1, 900)),
    shorter=some.integers(8, 100),
    more=some.integers(0, 200),
)
def test_a_longer_side_is_bounded_as_transformers_bounds_it(
    sides: tuple[int, int], shorter: int, more: int
) -> None:
    width, height = sides
    want = get_size_with_aspect_ratio((height, width), shorter, shorter + more)
    kind = st.Image(shorter_side_px=shorter, longer_side_px=shorter + more)
    made = kind.placement((width, height))
    assert (made.height, made.width) == tuple(max(1, side) for side in want)
    assert max(made.height, made.width) <= kind.sizes("photo")["photo_width"][1]
    want = get_size_with_aspect_ratio_yolos((height, width), shorter, shorter + more)
    kind = kind.model_copy(update={"multiple_px": 16})
    made = kind.placement((width, height))
    assert (made.height, made.width) == tuple(max(16, side) for side in want)
    assert max(made.height, made.width) <= max(16, kind.sizes("photo")["photo_width"][1])


@given(sides=some.tuples(some.integers(1, 900), some.integers(1, 900)))
def test_the_shorter_side_is_bounded_too_where_pictures_may_not_be_long(
    sides: tuple[int, int],
) -> None:
    kind = st.Image(shorter_side_px=40, longer_side_px=64, max_aspect=3)
    made = kind.placement(sides)
    least, most = kind.sizes("photo")["photo_width"]
    assert (least, most) == (21, 66)
    if max(sides) <= 3 * min(sides):
        assert least <= min(made.width, made.height) <= max(made.width, made.height) <= most


def test_a_picture_that_is_too_long_is_refused() -> None:
    data = encoded(Pillow.new("RGB", (61, 20)))
    assert decode(encoded(Pillow.new("RGB", (60, 20))), max_aspect=3).shape == (20, 60, 3)
    assert code_of(data, max_aspect=3) == "E_IMAGE_SIZE"


@pytest.mark.parametrize(
    "options",
    [
        {"longer_side_px": 64},
        {"shorter_side_px": 64, "longer_side_px": 63},
        {"size_px": (8, 8), "fit": "crop", "shorter_side_px": 8, "longer_side_px": 64},
    ],
)
def test_a_longer_side_needs_a_shorter_one_and_no_size(options: dict[str, Any]) -> None:
    with pytest.raises(st.DeclarationError, match="longer_side_px"):
        st.Image(**options).check()


def test_sixteen_bit_gray_keeps_its_upper_eight_bits() -> None:
    deep = Pillow.fromarray(np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 7)
    assert decode(encoded(deep))[:, :, 0].ravel().tolist() == list(range(256))


def test_exif_rotation_is_applied_or_ignored_as_declared() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = encoded(PICTURE, "JPEG", exif=exif)
    assert decode(data).shape == (240, 160, 3)
    assert decode(data, exif="ignore").shape == (160, 240, 3)


def test_the_shorter_side_is_resized_as_torchvision_does() -> None:
    pixels = decode(encoded(PICTURE), shorter_side_px=64)
    expected = PICTURE.resize((96, 64), Pillow.Resampling.BILINEAR)
    assert (pixels == np.asarray(expected)).all()


def gif_frames() -> bytes:
    return encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(90)])


def lying_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its pixels do not have."""
    data = bytearray(encoded(PICTURE))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not an image", "E_IMAGE_FORMAT"), (b"", "E_IMAGE_BYTES"),
        (encoded(PICTURE, "GIF"), "E_IMAGE_FORMAT"), (gif_frames(), "E_IMAGE_FRAMES"),
        (encoded(PICTURE)[:-12], "E_IMAGE"), (encoded(PICTURE)[:9000], "E_IMAGE"),
        (encoded(PICTURE, "JPEG")[:5000], "E_IMAGE"),
        (lying_png(6000, 5000), "E_PIXELS"), (lying_png(60000, 60000), "E_PIXELS"),
        (lying_png(300, 200), "E_IMAGE"), (lying_png(0, 40), "E_IMAGE_FORMAT"),
        ("file:///etc/passwd", "E_BASE64"), ("aGVs bG8=", "E_BASE64"), ("aGVsbG8", "E_BASE64"),
        ("_-8=", "E_BASE64"), (7, "E_TYPE"), (None, "E_TYPE"),
        (["a"], "E_TYPE"), (encoded(Pillow.new("1", (8000, 5000))), "E_PIXELS"),
    ],
)  # fmt: skip
def test_damaged_huge_and_lying_images_are_refused(data: Any, code: str) -> None:
    assert code_of(data) == code


def test_a_file_over_the_byte_limit_is_refused_before_it_is_decoded() -> None:
    assert code_of(b"x" * 1001, max_bytes=1000) == "E_IMAGE_BYTES"
    assert code_of("A" * 4000, max_bytes=1000) == "E_IMAGE_BYTES"


def test_a_sliver_that_would_grow_past_the_pixel_limit_is_refused() -> None:
    assert code_of(encoded(Pillow.new("RGB", (1, 4000))), shorter_side_px=256) == "E_IMAGE_SIZE"
    assert code_of(encoded(Pillow.new("RGB", (4, 100))), min_side_px=8) == "E_IMAGE_SIZE"


@given(
    some.sampled_from([encoded(PICTURE), encoded(PICTURE, "JPEG")]),
    some.integers(0, 2**20),
    some.integers(0, 255),
    some.integers(0, 2**20),
)
@drawing(150)
def test_damage_anywhere_is_answered_or_refused_but_never_raises(
    data: bytes, place: int, value: int, cut: int
) -> None:
    damaged = bytearray(data)
    damaged[place % len(data)] = value
    stage = front()
    for file in (bytes(damaged), bytes(damaged[: cut % len(data)])):
        code = stage.refusal_code({"photo": file})
        assert code is None or code.startswith("E_")


def test_a_file_cut_anywhere_is_refused() -> None:
    stage = front()
    for data in (encoded(PICTURE), encoded(PICTURE, "JPEG")):
        for length in range(1, len(data) - 2, len(data) // 40):
            assert stage.refusal_code({"photo": data[:length]}) is not None, length


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["TIFF", "PNG", "WEBP", "JPEG", "MPO"])
def test_a_picture_is_turned_as_pillow_turns_it_or_left_as_its_file_holds_it(
    fmt: str, orientation: int
) -> None:
    small = Pillow.fromarray(RNG.integers(0, 255, (4, 6, 3), np.uint8))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "MPO": {"save_all": True, "append_images": [small]}}.get(
        fmt, {}
    )
    data = encoded(small, fmt, exif=exif, **options)
    stored = np.asarray(Pillow.open(io.BytesIO(encoded(small, fmt, **options))).convert("RGB"))
    formats = ("JPEG" if fmt == "MPO" else fmt,)
    assert (decode(data, exif="ignore", formats=formats) == stored).all()
    turned = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))).convert("RGB")
    assert (decode(data, formats=formats) == np.asarray(turned)).all()


@pytest.mark.parametrize(
    "tail",
    [b"\x00", b"\r\n", b"PK\x03\x04 an archive", b"\x00\x00\x00\x0dIHDR" * 9, PICTURE.tobytes()],
)
def test_a_png_with_bytes_after_its_end_is_the_picture_before_them(tail: bytes) -> None:
    assert (decode(encoded(PICTURE) + tail) == np.asarray(PICTURE)).all()
    assert code_of(encoded(PICTURE)[:-1] + tail) == "E_IMAGE"


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "LA", "PA", "I;16", "RGBX"]
)
def test_every_mode_of_a_tiff_is_what_pillow_shows_on_white(mode: str) -> None:
    small = Pillow.fromarray(RNG.integers(0, 255, (4, 6, 4), np.uint8))
    deep = Pillow.fromarray(RNG.integers(0, 65535, (4, 6)).astype(np.uint16))
    data = encoded(
        deep
        if mode == "I;16"
        else small.convert("P").convert("PA")
        if mode == "PA"
        else small.convert("RGB").convert(mode),
        "TIFF",
    )
    shown = Pillow.open(io.BytesIO(data))
    if mode == "I;16":
        shown = Pillow.fromarray((np.asarray(shown) >> 8).astype(np.uint8))
    if shown.has_transparency_data:
        shown = Pillow.alpha_composite(
            Pillow.new("RGBA", shown.size, "white"), shown.convert("RGBA")
        )
    assert (decode(data, formats=("TIFF",)) == np.asarray(shown.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_refused_by_name(mode: str) -> None:
    stage = front(formats=("TIFF",))
    with pytest.raises(
        st.Refusal, match="pixels of 32 bits, want 8 or 16 bits a channel"
    ) as refused:
        stage.encode_row({"photo": encoded(Pillow.new("L", (4, 4), 9).convert(mode), "TIFF")})
    assert refused.value.code == "E_IMAGE_FORMAT"


def test_gray_of_sixteen_bits_with_a_transparent_value_lies_on_white() -> None:
    data = encoded(Pillow.fromarray(np.array([[1000, 30000]], np.uint16)))
    chunk = b"tRNS" + (1000).to_bytes(2, "big")
    cut = data.index(b"IDAT") - 4
    data = (
        data[:cut]
        + (2).to_bytes(4, "big")
        + chunk
        + zlib.crc32(chunk).to_bytes(4, "big")
        + data[cut:]
    )
    assert decode(data)[0, :, 0].tolist() == [255, 30000 >> 8]


def png(depth: int, samples: tuple[int, int, int], transparent: tuple[int, int, int]) -> bytes:
    """A PNG of one pixel with a transparent colour, by the specification."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + crc

    row = b"".join(value.to_bytes(depth // 8, "big") for value in samples)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, depth, 2, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(">3H", *transparent)),
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize("transparent", [(0x1234, 0x5678, 0x9ABC), (5, 6, 7)])
def test_sixteen_bits_a_channel_with_a_transparent_colour_are_refused_by_name(
    transparent: tuple[int, int, int],
) -> None:
    with pytest.raises(st.Refusal, match="16 bits a channel with a transparent colour") as refused:
        front().encode_row({"photo": png(16, transparent, transparent)})
    assert refused.value.code == "E_IMAGE_FORMAT"
    assert decode(png(8, (5, 6, 7), (5, 6, 7))).tolist() == [[[255, 255, 255]]]
    assert decode(png(8, (5, 6, 8), (5, 6, 7))).tolist() == [[[5, 6, 8]]]
