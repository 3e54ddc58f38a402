"""A data file while it is written: the weights of one graph, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4096
"""Each tensor begins at a page, so that it is mapped as it lies."""
PIECE_BYTES = 2**24
"""What is in memory of a tensor on its way to the file."""


class DataFile:
    """A new file, open only while a tensor is written. In a `with` block that fails it is removed.

    Raises `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.open("xb").close()
        self._end = 0

    def add(self, pieces: Iterable[Any]) -> tuple[int, int]:
        """Write a tensor, given as buffers, and return its place and length in bytes."""
        start = -(-self._end // ALIGNMENT) * ALIGNMENT
        length = 0
        with self.path.open("ab") as file:
            file.write(bytes(start - self._end))
            for piece in pieces:
                file.write(piece)
                length += memoryview(piece).nbytes
        self._end = start + length
        return start, length

    def add_array(self, array: NDArray[Any]) -> tuple[int, int]:
        """Write an array, in whatever order its numbers lie, as `add` does."""
        return self.add(in_pieces(array))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.path.unlink()


def in_pieces(array: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """Yield an array's bytes in C order; no more than a piece is copied at a time."""
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8)
        return
    rows = max(1, PIECE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows]).reshape(-1).view(np.uint8)
