"""Images at the edges: modes, rotations, sizes and damage that a server meets sooner or later.

Both image examples use them.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

import seatrial as st


def encoded(picture: Image.Image, fmt: str, **options: Any) -> bytes:
    """The picture as a file."""
    sink = io.BytesIO()
    picture.save(sink, fmt, **options)
    return sink.getvalue()


def edge_images(picture: Image.Image) -> dict[str, bytes]:
    """An RGB picture in every form that must be answered, by the name of the form."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    sixteen = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return {
        "gray PNG": encoded(picture.convert("L"), "PNG"),
        "gray JPEG": encoded(picture.convert("L"), "JPEG"),
        "CMYK": encoded(picture.convert("CMYK"), "JPEG"),
        "rotated by EXIF": encoded(picture, "JPEG", exif=exif),
        "palette": encoded(picture.convert("P"), "PNG", transparency=0),
        "transparent": encoded(picture.convert("RGBA").resize((33, 47)), "PNG"),
        "16 bit": encoded(sixteen, "PNG"),
        "black and white": encoded(picture.convert("1"), "PNG"),
        "tiny": encoded(picture.resize((3, 2)), "PNG"),
        "thin": encoded(picture.resize((1, 40)), "PNG"),
        "large": encoded(picture.resize((1500, 900)), "JPEG", quality=30),
        "progressive": encoded(picture, "JPEG", progressive=True),
    }


def refused_images(picture: Image.Image, field: str) -> list[st.Refused]:
    """The same picture, spoilt in every way that must be refused."""
    png, jpeg = encoded(picture, "PNG"), encoded(picture, "JPEG")
    frames = encoded(picture, "PNG", save_all=True, append_images=[picture.rotate(90)])
    bomb = encoded(Image.new("1", (6000, 5000)), "PNG")
    spoilt = [
        (png[: len(png) // 2], "E_IMAGE"),
        (jpeg[: len(jpeg) // 2], "E_IMAGE"),
        (png[:-12], "E_IMAGE"),
        (b"not an image", "E_IMAGE_FORMAT"),
        (encoded(picture, "GIF"), "E_IMAGE_FORMAT"),
        (frames, "E_IMAGE_FRAMES"),
        (bomb, "E_PIXELS"),
    ]
    return [
        *(st.Refused({field: data}, code) for data, code in spoilt),
        st.Refused({field: "file:///etc/passwd"}, "E_BASE64"),
        st.Refused({field: 7}, "E_TYPE"),
    ]
