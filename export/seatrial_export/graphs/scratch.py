"""A folder for the data files of graphs until they are sealed."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Scratch:
    """A folder that is made when something is first put there, and removed with what is left in it.

    It lies in `parent`, which should be on the disk that the bundle will lie on: its files become
    the bundle's without a copy. Without a parent it lies where temporary files do.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = parent
        self._folder: Path | None = None
        self._made_parent = False

    def file(self, name: str) -> Path:
        """The path of a file in the folder. Raises `OSError`."""
        if self._folder is None:
            if self._parent is not None:
                self._made_parent = not self._parent.exists()
                self._parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.mkdtemp(prefix=".seatrial.", dir=self._parent)
            self._folder = Path(made).resolve()
            # Where nobody closes it, it goes with this object.
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / name

    def close(self) -> None:
        """Remove the folder, and its parent where that was made for it and is empty."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None
        if self._parent is not None and self._made_parent:
            with suppress(OSError):
                self._parent.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
