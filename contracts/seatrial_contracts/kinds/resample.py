"""From a grid over the graph's picture to the pixels of the client's, and pixels as PNG."""

from __future__ import annotations

import binascii
import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.file_kind import base64_text
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import Array, JsonSchema, Kind, closed_object
from seatrial_contracts.kinds.notes import ImageNote

BLOCK_VALUES = 2**21
"""How many values of an upsampled grid are held at a time: 8 MiB of float32."""


class Sampling(NamedTuple):
    """Where the centres of the client's pixels lie in a grid that covers the graph's picture."""

    x: Array
    """float64, `(width,)`, in cells of the grid from its left edge."""
    y: Array
    """float64, `(height,)`."""
    columns: int
    rows: int

    @property
    def inside(self) -> Array:
        """Which pixels the graph saw: bool, `(height, width)`. A crop leaves some out."""
        x, y = (self.x >= 0) & (self.x < self.columns), (self.y >= 0) & (self.y < self.rows)
        return np.asarray(y[:, None] & x)

    def nearest(self, grid: Array) -> Array:
        """`(rows, columns)` to `(height, width)`: the cell that holds the centre of a pixel."""
        x = np.clip(self.x.astype(np.int64), 0, self.columns - 1)
        y = np.clip(self.y.astype(np.int64), 0, self.rows - 1)
        return np.asarray(grid[y[:, None], x])

    def bilinear(self, grid: Array) -> Iterator[tuple[slice, Array]]:
        """`(channels, rows, columns)` to `(channels, some, width)`, a stretch of rows at a time.

        The rule is that of `torch.nn.functional.interpolate` with `align_corners=False`: the value
        of a cell lies at its centre, and beyond the outermost centres it goes on as it is.
        """
        left, right, share_x = between(self.x, self.columns)
        upper, lower, share_y = between(self.y, self.rows)
        some = max(1, BLOCK_VALUES // max(1, len(grid) * len(self.x)))
        for first in range(0, len(self.y), some):
            rows = slice(first, min(first + some, len(self.y)))
            above, below, share = upper[rows], lower[rows], share_y[rows, None]
            lines = grid[:, above[0] : below[-1] + 1]
            # Columns first: there are fewer lines then, and whole lines are copied quickly.
            wide = lines[:, :, left] * (1 - share_x) + lines[:, :, right] * share_x
            yield rows, wide[:, above - above[0]] * (1 - share) + wide[:, below - above[0]] * share


def between(places: Array, cells: int) -> tuple[Array, Array, Array]:
    """The cells on both sides of each place, and the share of the second, float32."""
    place = np.clip(places - 0.5, 0, cells - 1)
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), (place - first).astype(np.float32)


def sampling(note: ImageNote, rows: int, columns: int, scale: int = 1) -> Sampling:
    """Of the pixels of the client's picture, `scale` times as many on each side."""
    x = (np.arange(note.width * scale) + 0.5) / scale * note.scale_x + note.left
    y = (np.arange(note.height * scale) + 0.5) / scale * note.scale_y + note.top
    x, y = x * (columns / note.made_width), y * (rows / note.made_height)
    # A centre on the border of two cells is in the second, whatever the last bits are.
    return Sampling(x.round(9), y.round(9), columns, rows)


def check_seen(name: str, kind: Kind, cut: float | None) -> None:
    """Raise `DeclarationError` where a picture answers a field that is none, or is cut."""
    if not isinstance(kind, Image):
        raise DeclarationError(name, f"an answer on a field of kind {kind.name}", "kind image")
    if kind.fit == "crop" and cut is None:
        raise DeclarationError(
            name, "a picture of which a part is cut off", "cut=..., the value of that part"
        )


def png_text(pixels: Array) -> str:
    """Pixels as a PNG in base64: uint8 or uint16 `(height, width)`, or uint8 with 3 channels."""
    from PIL import Image as Pillow

    sink = io.BytesIO()
    # Of ids and smooth values, zlib's fastest level makes nearly the same size.
    Pillow.fromarray(pixels).save(sink, "PNG", compress_level=1)
    return base64_text(sink.getvalue())


def png_pixels(text: str) -> Array:
    """The pixels that `png_text` wrote."""
    from PIL import Image as Pillow

    return np.asarray(Pillow.open(io.BytesIO(binascii.a2b_base64(text)), formats=("PNG",)))


def sized_schema(properties: Mapping[str, Any]) -> JsonSchema:
    """JSON Schema of an object with a width, a height and these."""
    side = {"type": "integer", "minimum": 1}
    return closed_object({"width": side, "height": side, **properties})


PNG_SCHEMA: JsonSchema = {
    "type": "string",
    "contentEncoding": "base64",
    "contentMediaType": "image/png",
}
