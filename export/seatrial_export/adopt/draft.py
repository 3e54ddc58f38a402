"""A contract drafted from an estimator and the table that it was trained on, as a file to keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.frames import listed, rows_of_frame
from seatrial_contracts.kinds.category import FEW
from seatrial_contracts.kinds.kind import MAX_WORDS
from seatrial_export.adopt.estimator import columns_of, width_of
from seatrial_export.adopt.names import field_names, match_names
from seatrial_export.adopt.parts import is_missing, parts_of
from seatrial_export.adopt.text_columns import vectorizers_of

if TYPE_CHECKING:
    import pandas

MOST_GOLDEN, MOST_TRAINING = 48, 1000
LEAST_CHARS = 256
HEAD = '''"""Rows and answers of {name}, drafted from the table that it was trained on.

Write bounds, units and better names, and adopt again with --contract.
"""

from typing import Annotated, Literal

import numpy as np

import seatrial as st


class Rows(st.Row):
{rows}


class Answers(st.Answer):
    answer: {answer}
'''


class Draft:
    """What an estimator takes and answers, by the table that it was trained on."""

    def __init__(self, estimator: Any, frame: pandas.DataFrame, target: str | None = None) -> None:
        """Take the table, whose column `target` is what was learnt.

        Raises `DeclarationError` where the table lacks columns of the estimator's.
        """
        self._estimator = estimator
        frame = frame if target is None else without(frame, target)
        columns = columns_of(estimator)
        if not columns:
            width = width_of(estimator)
            columns = [str(name) for name in frame.columns]
            if len(columns) != width:
                raise DeclarationError(
                    "frame",
                    f"{len(columns)} columns",
                    f"the {width} that the estimator was fitted on, in their order, and no other: "
                    "what was learnt is named by --target",
                )
        found = match_names(columns, map(str, frame.columns))
        frame = frame.rename(columns={theirs: name for name, theirs in found.items()})
        lacking = [name for name in columns if name not in frame.columns]
        if lacking:
            raise DeclarationError(
                "frame", f"no column '{lacking[0]}'", f"those of training: {', '.join(columns)}"
            )
        self._frame = frame[columns]
        self._fields = field_names(columns)
        self._texts = {
            columns[place] for _, place in vectorizers_of(estimator, range(len(columns)))
        }

    def code(self, name: str) -> str:
        """The contract as Python. Raises `DeclarationError` for a column that no kind takes."""
        rows = "\n".join(
            f"    {self._fields[column]}: {self._type(column)}" for column in self._frame.columns
        )
        return HEAD.format(name=name, rows=rows, answer=self._answer())

    def write(self, path: Path, name: str) -> None:
        """Write the contract to a new file. Raises `DeclarationError`."""
        write_new(path, self.code(name))

    def golden(self) -> list[dict[str, Any]]:
        """Rows for the proof: the first, and of those with missing values some."""
        lacks = self._frame.isna().any(axis=1)
        half = MOST_GOLDEN // 2
        return self._rows(self._frame[lacks].head(half)) + self._rows(
            self._frame[~lacks].head(half)
        )

    def training(self) -> list[dict[str, Any]]:
        """Rows that drift is measured against."""
        count = min(MOST_TRAINING, len(self._frame))
        return self._rows(self._frame.sample(count, random_state=0))

    def _rows(self, frame: pandas.DataFrame) -> list[dict[str, Any]]:
        return rows_of_frame(frame, {field: column for column, field in self._fields.items()})

    def _type(self, column: str) -> str:
        cells = self._frame[column]
        there = cells.dropna()
        missing = " | None" if len(there) < len(cells) else ""
        sort = there.infer_objects().dtype.kind if len(there) else "O"
        if column in self._texts:
            longest = max(map(len, map(str, there)), default=0)
            chars = max(LEAST_CHARS, 1 << (2 * longest).bit_length())
            return f"Annotated[str{missing}, st.Text(max_chars={chars})]"
        if sort == "b":
            return f"bool{missing}"
        if sort in "iu" and cells.dtype.kind in "iu":
            return "int"
        if sort in "iuf":
            return f"float{missing}"
        words = [word for word in self._words(column) if not is_missing(word)]
        if not words or not all(isinstance(word, str) for word in words):
            raise DeclarationError(
                f"frame, column '{column}'",
                f"values of type {cells.dtype}",
                "numbers, true or false, words or texts",
                "write the contract by hand: --contract FILE.py:ROWS",
            )
        if len(words) > min(FEW, MAX_WORDS):
            raise DeclarationError(
                f"frame, column '{column}'", f"{len(words)} different words", f"at most {FEW}"
            )
        return f"{listed(words).text}{missing}"

    def _words(self, column: str) -> list[Any]:
        """The words that an encoder of the column knows, else those of the table."""
        for part in parts_of(self._estimator):
            known = dict(encoded(part))
            if column in known:
                return known[column]
        return sorted(self._frame[column].dropna().unique().tolist())

    def _answer(self) -> str:
        classes = getattr(self._estimator, "classes_", ())
        if len(classes):
            return f"Annotated[str, st.Label({', '.join(repr(str(name)) for name in classes)})]"
        verb = "predict" if hasattr(self._estimator, "predict") else "transform"
        rows: Any = self._frame.head(2)
        if not columns_of(self._estimator):
            rows = rows.to_numpy()
        made = getattr(self._estimator, verb)(rows)
        made = np.asarray(made.toarray() if hasattr(made, "toarray") else made)
        if made.ndim == 2 and (verb == "transform" or made.shape[1] > 1):
            return f"st.Tensor[np.float32, {made.shape[1]}]"
        return "int" if made.dtype.kind in "iu" else "float"


def write_new(path: Path, code: str) -> None:
    """Write a contract to a new file. Raises `DeclarationError`."""
    check_new(path)
    path.write_text(code, "utf-8")


def check_new(path: Path) -> None:
    """Raise `DeclarationError` where a contract would be written over another file."""
    if path.exists():
        want = "a new one, by --write; or --contract, which takes the one that is there"
        raise DeclarationError(f"file '{path}'", "a file that is there", want)


def without(frame: pandas.DataFrame, target: str) -> pandas.DataFrame:
    """The table without a column. Raises `DeclarationError` where there is none of that name."""
    if target not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        raise DeclarationError("--target", f"'{target}'", f"a column of the table: {names}"[:400])
    return frame.drop(columns=[target])


def encoded(part: Any) -> Iterator[tuple[str, list[Any]]]:
    """The columns that an encoder was fitted on, and the words of each."""
    names = getattr(part, "feature_names_in_", ())
    categories = getattr(part, "categories_", ())
    if len(names) == len(categories):
        yield from ((str(name), list(words)) for name, words in zip(names, categories, strict=True))
