"""What the host stage notes of a row for the answers about it. A note enters no batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seatrial_contracts.kinds.kind import Array


class ImageNote(NamedTuple):
    """Where the graph's picture lies in the client's.

    The client's picture is the file's, upright where the field applies EXIF. A point at `x` of it
    lies at `x * scale_x + left` of the graph's picture, in pixels from the left edge; `y` likewise.
    """

    width: int
    """Of the client's picture, in pixels."""
    height: int
    made_width: int
    """Of the graph's picture, in pixels."""
    made_height: int
    scale_x: float
    scale_y: float
    left: float = 0.0
    top: float = 0.0

    def to_client(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Points of the graph's picture in pixels of the client's, within its edges."""
        return (
            np.clip((x - self.left) / self.scale_x, 0.0, self.width),
            np.clip((y - self.top) / self.scale_y, 0.0, self.height),
        )


class TextNote(NamedTuple):
    """Where a text's tokens lie in it. Places count code points, as Python's strings do."""

    text: str
    offsets: Array
    """int64, `(tokens, 2)`: where each token begins and ends, as the tokenizer says."""
    special: Array
    """bool, `(tokens,)`: is it a special token, which stands for no part of the text?"""
    words: Array
    """int64, `(tokens,)`: the place of the tokenizer's word that a token belongs to, or -1."""
    is_cut: bool
    """Did the text have more tokens than the model takes?"""
