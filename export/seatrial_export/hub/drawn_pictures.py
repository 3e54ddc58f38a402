"""Pictures of our own for golden rows, where a user gives none: shapes on a rough ground."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

DRAWN = (
    (64, 48, "JPEG"), (48, 64, "JPEG"), (40, 40, "PNG"), (90, 36, "JPEG"), (31, 77, "WEBP"),
    (56, 56, "JPEG"), (120, 90, "JPEG"), (24, 18, "PNG"),
)  # fmt: skip
"""Widths, heights and formats."""


def picture_file(width: int, height: int, form: str, seed: int) -> bytes:
    """A picture from a seed: a slope of two colours, two shapes on it, and noise."""
    some = np.random.default_rng(seed)
    near, far = some.integers(0, 256, (2, 3))
    slope = np.add.outer(np.linspace(0, 0.5, height), np.linspace(0, 0.5, width))[..., None]
    ground = near + (far - near) * slope + some.normal(0, 6, (height, width, 3))
    picture = Pillow.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    x, y = (int(some.integers(0, max(1, side // 2))) for side in (width, height))
    colours = [tuple(map(int, some.integers(0, 256, 3))) for _ in range(2)]
    draw.ellipse((x, y, x + width // 2, y + height // 2), fill=colours[0])
    draw.rectangle((width // 3, height // 4, width // 2, height - 2), fill=colours[1])
    sink = io.BytesIO()
    picture.save(sink, form, **({} if form == "PNG" else {"quality": 85}))
    return sink.getvalue()


@cache
def pictures() -> list[bytes]:
    """The files."""
    return [picture_file(*drawn, seed=place) for place, drawn in enumerate(DRAWN)]
