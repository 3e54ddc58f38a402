"""Row classes and rows of pandas data frames, by their columns. pandas itself is not imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from keyword import iskeyword
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import create_model

from seatrial_contracts.contract_fields import is_field_name
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.date_time import DateTime
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.time_zone import zone_of
from seatrial_contracts.own_values import own_value
from seatrial_contracts.row import Row

MOST_LISTED = 50
"""Different words of a column that are taken for a closed list; of more, it is text."""
FEW_COLUMNS = 32
"""So many numbers and flags stay inputs of their own; more are packed."""


class Guess(NamedTuple):
    """The type of a field, and how it is written."""

    annotation: Any
    text: str

    def or_none(self) -> Guess:
        """The same of a field that may be missing."""
        return Guess(self.annotation | None, f"{self.text} | None")


FLAG, DURATION = Guess(bool, "bool"), Guess(timedelta, "timedelta")
WHOLE, FLOAT = Guess(int, "int"), Guess(float, "float")
PLAIN = {"b": FLAG, "i": WHOLE, "u": WHOLE, "f": FLOAT, "m": DURATION}
"""numpy's kind of a column's element type -> the field."""
MOMENT = Guess(datetime, "datetime")
LOCAL = Guess(
    Annotated[datetime, DateTime(zone=zone_of("UTC"))],
    'Annotated[datetime, st.DateTime(zone="UTC")]',
)
WORDS = Guess(Annotated[str, Text()], "Annotated[str, st.Text()]")


class FrameRows(NamedTuple):
    """The fields of a data frame, by their names."""

    fields: dict[str, Guess]
    packed: str | None
    """The name of the tensor that numbers and flags are packed into, where they are many."""


def row_of_frame(frame: Any, name: str = "Rows") -> type[Row]:
    """A row class with a field for each column of a data frame.

    Numbers, flags, dates and durations are known by the column's type, closed lists of words by
    their number; where the frame has a hole, the value may be missing. More than 32 numbers and
    flags are packed. The frame says nothing of bounds and units: `row_code` writes the class out,
    to be edited. Raises `DeclarationError` naming a column whose values are none of these.
    """
    fields, packed = fields_of_frame(frame)
    options = {"packed": packed} if packed else None
    definitions: dict[str, Any] = {each: (guess.annotation, ...) for each, guess in fields.items()}
    made: type[Row] = create_model(name, __base__=Row, __cls_kwargs__=options, **definitions)
    return made


def row_code(frame: Any, name: str = "Rows") -> str:
    """The class that `row_of_frame` makes, as the text of a Python module."""
    fields, packed = fields_of_frame(frame)
    body = "\n".join(f"    {each}: {guess.text}" for each, guess in fields.items())
    times = sorted(set(re.findall(r"datetime|timedelta", body)))
    words = sorted(set(re.findall(r"Annotated|Literal", body)))
    imports = [f"from datetime import {', '.join(times)}\n"] if times else []
    imports += [f"from typing import {', '.join(words)}\n"] if words else []
    base = f'st.Row, packed="{packed}"' if packed else "st.Row"
    above = "".join(imports) + ("\n" if imports else "")
    return f"{above}import seatrial as st\n\n\nclass {name}({base}):\n{body}\n"


def rows_of_frame(frame: Any, names: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows of a data frame, by the names that `row_of_frame` gives; None where one is missing.

    They are raw rows of any contract whose fields have these names. `names` are others: of a field,
    and the column that it stands for.
    """
    columns = {
        name: list(map(own_value, frame[column].tolist()))
        for name, column in (names_of(frame.columns) if names is None else names).items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def names_of(columns: Iterable[Any]) -> dict[str, Any]:
    """Name of a field -> the column that it stands for, of a data frame's columns.

    What no name may hold becomes `_`; a word of Python's own gets `column_` before it. Raises
    `DeclarationError` where two columns have one name.
    """
    found: dict[str, Any] = {}
    for column in columns:
        name = re.sub(r"\W+", "_", str(column)).strip("_")
        if not is_field_name(name) or iskeyword(name) or name == "self":
            name = f"column_{name}".rstrip("_")
        if name in found:
            got = f"two columns that are called '{name}'"
            raise DeclarationError(f"column {column!r}"[:80], got, "a name of its own for each")
        found[name] = column
    return found


def fields_of_frame(frame: Any) -> FrameRows:
    """The field of each column. Raises `DeclarationError`."""
    fields = {}
    for name, column in names_of(frame.columns).items():
        values = frame[column]
        guess = _guess(values)
        fields[name] = guess.or_none() if bool(values.isna().any()) else guess
    alike = {guess.text for guess in (FLAG, WHOLE, FLOAT)}
    numbers = [name for name, guess in fields.items() if guess.text.split(" |")[0] in alike]
    packed = "numbers"
    while packed in fields:
        packed += "_"
    return FrameRows(fields, packed if len(numbers) > FEW_COLUMNS else None)


def _guess(values: Any) -> Guess:
    """The field of a column, missing values aside."""
    dtype = values.dtype
    if hasattr(dtype, "categories"):
        return listed(dtype.categories.tolist())
    if dtype.kind == "M":
        return MOMENT if getattr(dtype, "tz", None) else LOCAL
    if dtype.kind in PLAIN:
        return PLAIN[dtype.kind]
    there = values[~values.isna()].tolist()
    types = set(map(type, there))
    if types == {bool}:
        return FLAG
    if types == {str}:
        words = sorted(set(there))
        return listed(words) if len(words) <= min(MOST_LISTED, len(there) // 2) else WORDS
    got = ", ".join(sorted(each.__name__ for each in types)) or "no value"
    want = "numbers, flags, words, dates or durations"
    raise DeclarationError(f"column {values.name!r}"[:80], got, want)


def listed(words: Sequence[Any]) -> Guess:
    """A closed list of words or of whole numbers."""
    return Guess(
        Literal[tuple(words)], f"Literal[{json.dumps([*words], ensure_ascii=False)[1:-1]}]"
    )
