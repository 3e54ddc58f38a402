"""Row classes and rows of pandas data frames, by their columns. pandas itself is not imported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from keyword import iskeyword
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import create_model

from seatrial_contracts.contract_fields import is_field_name
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.date import Date
from seatrial_contracts.kinds.date_time import DateTime
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.time_zone import zone_of
from seatrial_contracts.own_values import own_value
from seatrial_contracts.row import Row

MOST_LISTED = 50
"""Different words of a column that are taken for a closed list; of more, it is text."""
MOST_NAMED = 20
"""So many columns are named by one message."""
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
DAY, MOMENT = Guess(date, "date"), Guess(datetime, "datetime")
IN_UTC = DateTime(zone=zone_of("UTC"))
LOCAL = Guess(Annotated[datetime, IN_UTC], 'Annotated[datetime, st.DateTime(zone="UTC")]')
WRITTEN: tuple[tuple[Guess, Callable[[str], int]], ...] = (
    (DAY, Date().number_of_text),
    (MOMENT, DateTime().number_of_text),
    (LOCAL, IN_UTC.number_of_text),
)
"""The fields that a column of words may be, each with what reads a word of it, or refuses it."""
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
"""A word within the text of a field."""
WORDS = Guess(Annotated[str, Text()], "Annotated[str, st.Text()]")


class FrameRows(NamedTuple):
    """The fields of a data frame, by their names."""

    fields: dict[str, Guess]
    packed: str | None
    """The name of the tensor that numbers and flags are packed into, where they are many."""
    odd: dict[Any, str]
    """Column -> what it holds, of those that are no field."""


def row_of_frame(frame: Any, name: str = "Rows") -> type[Row]:
    """A row class with a field for each column of a data frame.

    Numbers, flags, dates and durations are known by the column's type, dates and times also by
    their text (RFC 3339), closed lists of words by their number. Where the frame has a hole, the
    value may be missing. More than 32 numbers and flags are packed. The frame says nothing of
    bounds and units: `row_code` writes the class out, to be edited. Raises `DeclarationError`
    naming the columns whose values are none of these.
    """
    fields, packed = taken_of_frame(frame)
    options = {"packed": packed} if packed else None
    definitions: dict[str, Any] = {each: (guess.annotation, ...) for each, guess in fields.items()}
    made: type[Row] = create_model(name, __base__=Row, __cls_kwargs__=options, **definitions)
    return made


def row_code(frame: Any, name: str = "Rows") -> str:
    """The class that `row_of_frame` makes, as the text of a Python module."""
    fields, packed = taken_of_frame(frame)
    body = "\n".join(f"    {each}: {guess.text}" for each, guess in fields.items())
    used = QUOTED.sub("", " ".join(guess.text for guess in fields.values()))
    times = sorted(set(re.findall(r"\b(?:date|datetime|timedelta)\b", used)))
    words = sorted(set(re.findall(r"\b(?:Annotated|Literal)\b", used)))
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
            raise DeclarationError(called(column), got, "a name of its own for each")
        found[name] = column
    return found


def taken_of_frame(frame: Any) -> tuple[dict[str, Guess], str | None]:
    """`fields` and `packed` of a frame whose every column is one. Raises `DeclarationError`."""
    fields, packed, odd = fields_of_frame(frame)
    refuse_columns(odd, "numbers, flags, words, dates or durations")
    return fields, packed


def fields_of_frame(frame: Any) -> FrameRows:
    """The field of each column. Raises `DeclarationError` where two columns have one name."""
    fields, odd = {}, {}
    for name, column in names_of(frame.columns).items():
        values = frame[column]
        guess = _guess(values)
        if isinstance(guess, Guess):
            fields[name] = guess.or_none() if bool(values.isna().any()) else guess
        else:
            odd[column] = guess
    alike = {guess.text for guess in (FLAG, WHOLE, FLOAT)}
    numbers = [name for name, guess in fields.items() if guess.text.split(" |")[0] in alike]
    packed = "numbers"
    while packed in fields:
        packed += "_"
    return FrameRows(fields, packed if len(numbers) > FEW_COLUMNS else None, odd)


def refuse_columns(odd: Mapping[Any, str], want: str, mend: str = "") -> None:
    """Raise `DeclarationError` that names all columns of `odd`, and what each holds.

    Of very many, the first are named.
    """
    if not odd:
        return
    (column, got), *others = odd.items()
    told = [f"{called(other)}: got {held}" for other, held in others[: MOST_NAMED - 1]]
    if len(others) > len(told):
        told.append(f"and {len(others) - len(told)} more columns")
    raise DeclarationError(called(column), got, want, "; ".join(filter(None, [*told, mend])))


def called(column: Any) -> str:
    """A column as messages name it."""
    return f"column {column!r}"[:80]


def _guess(values: Any) -> Guess | str:
    """The field of a column, missing values aside; where it is none, what the column holds."""
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
        written = next((guess for guess, read in WRITTEN if _all_read(words, read)), None)
        few = len(words) <= min(MOST_LISTED, len(there) // 2)
        return written or (listed(words) if few else WORDS)
    return ", ".join(sorted(each.__name__ for each in types)) or "no value"


def _all_read(words: Iterable[str], read: Callable[[str], int]) -> bool:
    """Does it read each of these words?"""
    try:
        for word in words:
            read(word)
    except ValueError:
        return False
    return True


def listed(words: Sequence[Any]) -> Guess:
    """A closed list of words or of whole numbers."""
    return Guess(
        Literal[tuple(words)], f"Literal[{json.dumps([*words], ensure_ascii=False)[1:-1]}]"
    )
