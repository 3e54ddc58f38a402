"""Modes, filters, frames and colour profiles of pictures: bit-equal to Pillow's own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from support.pictures import PICTURE, RNG, code_of, decode, encoded

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.pixel_mode import shown_pixels
from seatrial_contracts.profile import DriftFeatures

DEEP = Pillow.fromarray(RNG.integers(0, 65_536, (40, 60)).astype(np.uint16))
FLOATS = Pillow.fromarray(RNG.normal(0, 1e4, (40, 60)).astype(np.float32))
CLEAR = PICTURE.convert("RGBA")
CLEAR.putalpha(Pillow.fromarray(RNG.integers(0, 256, PICTURE.size[::-1]).astype(np.uint8)))
PALETTE = PICTURE.convert("P")
GIVEN: list[tuple[str, Pillow.Image, str]] = [
    ("L", PICTURE, "PNG"),
    ("L", PICTURE.convert("L"), "PNG"),
    ("L", PICTURE.convert("L"), "JPEG"),
    ("L", PALETTE, "GIF"),
    ("RGBA", CLEAR, "PNG"),
    ("RGBA", CLEAR, "WEBP"),
    ("RGBA", CLEAR, "TIFF"),
    ("RGBA", PICTURE, "BMP"),
    ("RGBA", CLEAR.convert("LA"), "PNG"),
    ("RGB", PICTURE, "WEBP"),
    ("RGB", PALETTE, "GIF"),
    ("I;16", DEEP, "PNG"),
    ("I;16", DEEP, "TIFF"),
    ("F", FLOATS, "TIFF"),
]
SIZES: tuple[dict[str, Any], ...] = (
    {},
    {"shorter_side_px": 20},
    {"size_px": (17, 31)},
    {"size_px": (24, 24), "fit": "crop"},
    {"size_px": (32, 32), "fit": "letterbox", "fill": 7},
)


def by_pillow(data: bytes, mode: str, options: dict[str, Any]) -> Any:
    picture = Pillow.open(io.BytesIO(data))
    if picture.mode != mode:
        picture = picture.convert("RGB").convert(mode) if mode == "L" else picture.convert(mode)
    by = Pillow.Resampling[options.get("resample", "bilinear").upper()]
    width, height = picture.size
    if "shorter_side_px" in options:
        side = options["shorter_side_px"]
        picture = picture.resize((int(side * width / height), side), by)
    elif options.get("fit") == "crop":
        picture = picture.resize((int(24 * width / height), 24), by)
        left = (picture.width - 24) // 2
        picture = picture.crop((left, 0, left + 24, 24))
    elif options.get("fit") == "letterbox":
        scaled = picture.resize((32, round(height * 32 / width)), by)
        channels = len(picture.getbands())
        picture = Pillow.new(picture.mode, (32, 32), (7,) * channels if channels > 1 else 7)
        picture.paste(scaled, (0, (32 - scaled.height) // 2))
    elif "size_px" in options:
        picture = picture.resize((31, 17), by)
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize("options", SIZES, ids=str)
def test_every_mode_at_every_size_is_what_pillow_makes(
    options: dict[str, Any], resample: str
) -> None:
    options = {**options, "resample": resample}
    for mode, picture, form in GIVEN:
        data = encoded(picture, form)
        formats = ("PNG", "TIFF") if mode == "I;16" else ("TIFF",) if mode == "F" else (form,)
        pixels = decode(data, mode=mode, formats=formats, **options)
        want = by_pillow(data, mode, options)
        assert pixels.dtype == want.dtype, (mode, form)
        assert pixels.shape == want.shape, (mode, form)
        assert (pixels == want).all(), (mode, form)


def test_opacity_of_palettes_and_of_deep_gray_is_kept() -> None:
    deep = encoded(DEEP, "PNG", transparency=int(np.asarray(DEEP)[0, 0]))
    pixels = decode(deep, mode="RGBA")
    assert (pixels[..., 0] == np.asarray(DEEP) >> 8).all()
    assert ((pixels[..., 3] == 0) == (np.asarray(DEEP) == np.asarray(DEEP)[0, 0])).all()
    clear = encoded(PALETTE, "PNG", transparency=PALETTE.getpixel((0, 0)))
    assert (
        decode(clear, mode="RGBA") == np.asarray(Pillow.open(io.BytesIO(clear)).convert("RGBA"))
    ).all()


REFUSED: list[tuple[str, bytes, tuple[str, ...], str]] = [
    ("I;16", encoded(PICTURE.convert("L")), ("PNG",), "E_IMAGE_FORMAT"),
    ("I;16", encoded(PICTURE), ("PNG",), "E_IMAGE_FORMAT"),
    ("I;16", encoded(FLOATS, "TIFF"), ("TIFF",), "E_IMAGE_FORMAT"),
    ("I;16", encoded(DEEP, "PNG", transparency=1), ("PNG",), "E_IMAGE_FORMAT"),
    ("F", encoded(PICTURE, "TIFF"), ("TIFF",), "E_IMAGE_FORMAT"),
    ("F", encoded(DEEP, "TIFF"), ("TIFF",), "E_IMAGE_FORMAT"),
    (
        "F",
        encoded(Pillow.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"),
        ("TIFF",),
        "E_NONFINITE",
    ),
    ("RGB", encoded(FLOATS, "TIFF"), ("TIFF",), "E_IMAGE_FORMAT"),
    ("L", encoded(FLOATS, "TIFF"), ("TIFF",), "E_IMAGE_FORMAT"),
]


@pytest.mark.parametrize(("mode", "data", "formats", "code"), REFUSED)
def test_a_picture_of_another_depth_than_declared_is_refused(
    mode: str, data: bytes, formats: tuple[str, ...], code: str
) -> None:
    assert code_of(data, mode=mode, formats=formats) == code


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_taken_where_the_contract_says_so(form: str) -> None:
    frames = [PICTURE, PICTURE.rotate(180), PICTURE.rotate(90)]
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **lossless)
    assert code_of(data, formats=(form,)) == "E_IMAGE_FRAMES"
    first = Pillow.open(io.BytesIO(data)).convert("RGB")
    assert (decode(data, formats=(form,), frames="first") == np.asarray(first)).all()


def swapped_profile() -> bytes:
    """sRGB's profile with red and green exchanged: no colours of a picture stay as they are."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for red, green in ((b"rXYZ", b"gXYZ"),):
        table = bytes(profile[128:600])
        at, other = 128 + table.index(red), 128 + table.index(green)
        profile[at : at + 4], profile[other : other + 4] = green, red
    return bytes(profile)


def test_colours_are_converted_by_their_profile_or_it_is_ignored() -> None:
    profile = swapped_profile()
    srgb = ImageCms.createProfile("sRGB")
    for picture in (PICTURE, CLEAR):
        data = encoded(picture, icc_profile=profile)
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        judged = ImageCms.profileToProfile(picture, given, srgb, outputMode=picture.mode)
        assert judged is not None
        pixels = decode(data, icc="srgb", mode=picture.mode)
        assert (pixels == np.asarray(judged)).all()
        assert (decode(data, mode=picture.mode) == np.asarray(picture)).all()
        assert (pixels != np.asarray(picture)).any()
    plain = encoded(PICTURE)
    assert (decode(plain, icc="srgb") == np.asarray(PICTURE)).all(), "without a profile: as it is"
    assert code_of(encoded(PICTURE, icc_profile=b"no profile"), icc="srgb") == "E_IMAGE"
    cmyk = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert code_of(encoded(PICTURE, icc_profile=cmyk), icc="srgb") == "E_IMAGE"


def test_the_contract_of_an_image_of_before_is_the_same_bytes() -> None:
    said = st.Image().model_dump(mode="json")
    assert not {"mode", "frames", "resample", "icc"} & said.keys()
    for option in ({"mode": "L"}, {"frames": "first"}, {"resample": "nearest"}, {"icc": "srgb"}):
        kind = st.Image(**option)  # type: ignore[arg-type]
        assert kind.model_dump(mode="json").items() >= option.items()
        assert st.Image.model_validate(kind.model_dump(mode="json")) == kind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "F"}, "got mode 'F' with formats"),
        ({"mode": "I;16"}, "want some of PNG, TIFF"),
        ({"mode": "I;16", "formats": ("PNG",), "icc": "srgb"}, "want RGB, L or RGBA"),
        ({"mode": "HSV"}, "mode"),
        ({"resample": "box"}, "resample"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        st.Image(**options).declared(bytes, nullable=False)


@pytest.mark.parametrize(
    ("mode", "formats"),
    [
        ("L", ("JPEG", "GIF")),
        ("RGBA", ("PNG", "WEBP")),
        ("I;16", ("PNG", "TIFF")),
        ("F", ("TIFF",)),
    ],
)
def test_each_mode_takes_its_own_example_edges_and_drift(
    mode: str, formats: tuple[str, ...]
) -> None:
    kind = st.Image(mode=mode, formats=formats, max_pixels=10_000, nullable=True)  # type: ignore[arg-type]
    contract = Contract(
        inputs=({"name": "photo", "kind": kind},),  # type: ignore[arg-type]
        outputs=({"name": "y", "kind": st.Number(dtype="float32")},),  # type: ignore[arg-type]
    )
    contract = Contract.from_json(contract.to_json())
    front = HostStage(contract, {})
    values = [kind.example(), *(edge.value for edge in kind.edges(front.stages["photo"]))]
    rows = [contract.validate_row({"photo": value}) for value in [*values, None]]
    (spec, _) = front.specs
    for row in rows:
        pixels, present = front.encode_row(row)
        assert pixels.dtype == spec.array_dtype
        assert pixels.shape[-1] == spec.dims[-1]
        assert present is (row["photo"] is not None)
        assert shown_pixels(pixels).dtype == np.uint8
    profile = DriftFeatures(front).profile(rows, [{"y": 0.0}] * len(rows))
    assert profile.inputs["photo.brightness"].counts[-1] == 1
