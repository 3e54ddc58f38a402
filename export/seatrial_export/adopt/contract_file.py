"""The contract of an adopted model: a row class in a user's file, and its answer class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.row import Answer, Row
from seatrial_export.user_file import UserFiles

NOUN = "contract"


def read_contract(
    files: UserFiles, rows: str, answers: str | None = None
) -> tuple[type[Row], type[Answer]]:
    """Load the classes at `file.py:Rows` and, where it is named, `file.py:Answers`.

    Without a name, the answer class is the only one in the file of the rows.
    """
    inputs = _checked(files.value(rows, NOUN, "a class derived from st.Row"), rows, Row)
    if answers is not None:
        return inputs, _checked(
            files.value(answers, NOUN, "a class derived from st.Answer"), answers, Answer
        )
    held = vars(files.module(Path(rows.rpartition(":")[0]), NOUN)).values()
    found = list({id(value): value for value in held if _is(value, Answer)}.values())
    if len(found) != 1:
        got = (
            "no class derived from st.Answer"
            if not found
            else f"several: {', '.join(value.__name__ for value in found)}"
        )
        raise DeclarationError(
            f"contract '{rows}'", got, "one beside the rows", "or name it: --answers FILE.py:NAME"
        )
    return inputs, found[0]


def _checked(value: Any, target: str, base: type) -> Any:
    if not _is(value, base):
        got = (
            f"a value of type {type(value).__name__}"
            if not isinstance(value, type)
            else f"the class {value.__name__}"
        )
        raise DeclarationError(
            f"contract '{target}'", got, f"a class derived from st.{base.__name__}"
        )
    return value


def _is(value: Any, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value is not base
