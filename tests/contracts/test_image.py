"""Images, judged by Pillow and numpy: what is decoded is what Pillow shows; what is damaged, huge or lying is refused."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image as Pillow

import seatrial as st
from seatrial_contracts.host_stage import HostStage

RNG = np.random.default_rng(0)
PICTURE = Pillow.fromarray(RNG.integers(0, 255, (40, 60, 3), np.uint8).repeat(4, 0).repeat(4, 1))


class Score(st.Answer):
    score: float


def front(**options: Any) -> HostStage:
    class Photo(st.Row):
        photo: Annotated[bytes, st.Image(**options)]

    Photo.model_rebuild(_types_namespace={"options": options, "Annotated": Annotated, "st": st})
    return HostStage(st.contract_from_rows(Photo, Score), {})


def encoded(picture: Pillow.Image, fmt: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, fmt, **options)
    return sink.getvalue()


def decode(data: bytes | str, **options: Any) -> np.ndarray:
    stage = front(**options)
    (pixels,) = stage.encode_row(stage.contract.validate_row({"photo": data}))
    return pixels


def code_of(data: Any, **options: Any) -> str | None:
    return front(**options).refusal_code({"photo": data})


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
        (b"not an image", "E_IMAGE_FORMAT"), (b"", "E_IMAGE_BYTES"), (encoded(PICTURE, "GIF"), "E_IMAGE_FORMAT"), (gif_frames(), "E_IMAGE_FRAMES"),
        (encoded(PICTURE)[:-12], "E_IMAGE"), (encoded(PICTURE)[:9000], "E_IMAGE"), (encoded(PICTURE, "JPEG")[:5000], "E_IMAGE"),
        (lying_png(6000, 5000), "E_PIXELS"), (lying_png(60000, 60000), "E_PIXELS"), (lying_png(300, 200), "E_IMAGE"), (lying_png(0, 40), "E_IMAGE_FORMAT"),
        ("file:///etc/passwd", "E_BASE64"), ("aGVs bG8=", "E_BASE64"), ("aGVsbG8", "E_BASE64"), ("_-8=", "E_BASE64"), (7, "E_TYPE"), (None, "E_TYPE"),
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
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_answered_or_refused_but_never_raises(data: bytes, place: int, value: int, cut: int) -> None:
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
