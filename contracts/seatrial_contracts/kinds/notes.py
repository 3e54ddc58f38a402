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
    """Where the tokens of a row's texts lie. Places count code points, as Python's strings do."""

    texts: tuple[str, ...]
    names: tuple[str, ...]
    """What each text is called; a single one is not."""
    offsets: Array
    """int64, `(tokens, 2)`: where each token begins and ends, as the tokenizer says."""
    special: Array
    """bool, `(tokens,)`: is it a special token, which stands for no part of a text?"""
    sequences: Array
    """int64, `(tokens,)`: the place of the text that a token belongs to, or -1."""
    words: Array
    """int64, `(tokens,)`: the place of the tokenizer's word that a token belongs to, or -1."""
    cuts: tuple[bool, ...]
    """Of each text: did it have more tokens than the model takes?"""

    @property
    def is_cut(self) -> bool:
        """Had a text more tokens than the model takes?"""
        return any(self.cuts)

    @property
    def text(self) -> str:
        """The first text, or the only one."""
        return self.texts[0]


def text_place(note: TextNote, name: str | None) -> int:
    """The place of the text of this name; of the last where there is no name."""
    return len(note.texts) - 1 if name is None else note.names.index(name)
