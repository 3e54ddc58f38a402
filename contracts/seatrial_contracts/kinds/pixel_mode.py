"""Pixel modes: what a picture is converted to before it is resized, and what the graph takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Mode = Literal["RGB", "L", "RGBA", "I;16", "F"]
Opacity = Literal["white", "drop"]


class PixelMode(NamedTuple):
    """What the graph takes of a picture in one of Pillow's modes: `(height, width, channels)`."""

    dtype: str
    channels: int
    white: float
    """The largest value, 1 where the mode has none."""
    want: str
    """Which pixels are taken, for messages."""
    formats: frozenset[str] | None = None
    """File formats that have such pixels; None for all of them."""


COLOURS = "8 or 16 bits a channel"
MODES: dict[Mode, PixelMode] = {
    "RGB": PixelMode("uint8", 3, 255, COLOURS),
    "L": PixelMode("uint8", 1, 255, COLOURS),
    "RGBA": PixelMode("uint8", 4, 255, COLOURS),
    "I;16": PixelMode("uint16", 1, 65_535, "gray of 16 bits", frozenset({"PNG", "TIFF"})),
    "F": PixelMode("float32", 1, 1, "gray of 32-bit floats", frozenset({"TIFF"})),
}


def check_depth(picture: PillowImage.Image, mode: Mode) -> None:
    """Refuse a picture that cannot become one of this mode, before its pixels are decoded.

    Raises `Refusal`.
    """
    wide = picture.mode == "F" or (picture.mode == "I" and picture.format != "PNG")
    found = "32 bits" if wide else "16 bits" if picture.mode.startswith("I") else "8 bits"
    takes = {"I;16": found == "16 bits", "F": picture.mode == "F"}.get(mode, not wide)
    if not takes:
        raise Refusal("E_IMAGE_FORMAT", "", f"pixels of {found}", MODES[mode].want)
    if mode == "I;16" and "transparency" in picture.info:
        raise Refusal("E_IMAGE_FORMAT", "", "gray with a transparent colour", "gray alone")


def converted(
    picture: PillowImage.Image, mode: Mode, opacity: Opacity = "white"
) -> PillowImage.Image:
    """A decoded picture in this mode. Raises `Refusal` for a float that is not finite."""
    if mode == "RGB":
        return rgb(picture, opacity)
    if mode == "L":
        return picture if picture.mode == "L" else rgb(picture, opacity).convert("L")
    if mode == "RGBA":
        return rgba(picture)
    if mode == "F" and not np.isfinite(np.asarray(picture)).all():
        raise Refusal("E_NONFINITE", "", "NaN or an infinity", "finite pixels")
    if mode == "I;16" and picture.mode != "I;16":
        from PIL import Image as Pillow

        return Pillow.fromarray(np.asarray(picture).astype(np.uint16))
    return picture


def rgb(picture: PillowImage.Image, opacity: Opacity = "white") -> PillowImage.Image:
    """Convert a picture of any mode to RGB.

    Transparency is laid on white or dropped, 16-bit gray keeps its upper 8 bits, Pillow converts
    the rest.
    """
    from PIL import Image as Pillow

    if picture.mode.startswith("I"):
        gray, clear = upper_bits(picture)
        if opacity == "white":
            gray[clear] = 255
        return Pillow.fromarray(gray).convert("RGB")
    if opacity == "white" and picture.has_transparency_data:
        white = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def rgba(picture: PillowImage.Image) -> PillowImage.Image:
    """Convert a picture of any mode to RGBA: 255 is opaque, and a transparent colour is 0."""
    from PIL import Image as Pillow

    if not picture.mode.startswith("I"):
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    gray, clear = upper_bits(picture)
    whole = Pillow.fromarray(gray).convert("RGBA")
    whole.putalpha(Pillow.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return whole


def upper_bits(picture: PillowImage.Image) -> tuple[Array, Array]:
    """The upper 8 bits of 16-bit gray, and where its transparent colour is."""
    deep = np.asarray(picture).astype(np.uint32)
    clear = deep == picture.info["transparency"] if "transparency" in picture.info else deep < 0
    return (deep >> 8).clip(0, 255).astype(np.uint8), clear


def in_srgb(picture: PillowImage.Image) -> PillowImage.Image:
    """A picture in the colours of sRGB, by the ICC profile that it carries, if it carries one.

    Little CMS converts, with the perceptual intent (Pillow's ImageCms). Raises `Refusal`.
    """
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    from PIL import ImageCms

    if picture.mode in ("1", "P", "PA", "LA", "I", "I;16", "I;16B"):
        picture = rgba(picture) if picture.has_transparency_data else rgb(picture)
    target: Any = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if picture.mode == "RGB" and given.profile.xcolor_space.strip() == "GRAY":
            picture = picture.convert("L")
        srgb = ImageCms.createProfile("sRGB")
        made = ImageCms.profileToProfile(picture, given, srgb, outputMode=target)
    except (ImageCms.PyCMSError, OSError, ValueError):
        raise Refusal(
            "E_IMAGE", "", "a colour profile that does not fit the picture", "one that does"
        ) from None
    assert made is not None
    return made


def pixels_of(picture: PillowImage.Image) -> Array:
    """The pixels of a converted picture: `(height, width, channels)`."""
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def fill_of(mode: Mode, fill: int) -> Any:
    """A fill of each channel, as Pillow has it."""
    return (fill,) * MODES[mode].channels if MODES[mode].channels > 1 else fill


def shown_pixels(pixels: Array) -> Array:
    """Pixels of any mode for a page: uint8, of 1, 3 or 4 channels; floats span their own range."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == np.float32:
        low, span = float(pixels.min()), float(np.ptp(pixels)) or 1.0
        pixels = ((pixels - low) * (255 / span)).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
