"""Finding a pipeline in a user's file: `path/to/file.py:name`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError
from seatrial_export.pipeline import Pipeline
from seatrial_export.user_file import UserFiles, call

NOUN, WANT = "pipeline", "a Pipeline, or a function without arguments that returns one"


def load_pipeline(target: str) -> Pipeline:
    """Load the `Pipeline` at `file.py:name`, or the one that a function of that name returns.

    The file runs as it would when imported. Raises `DeclarationError` where there is no such file
    or name, where it is no pipeline, and where the file itself raises.
    """
    return pipeline_at(target, UserFiles().value(target, NOUN, WANT))


def pipeline_at(target: str, value: Any) -> Pipeline:
    """The pipeline that stands at `target`, or that the function there returns.

    Raises `DeclarationError`.
    """
    if not isinstance(value, Pipeline) and callable(value):
        value = call(value, Path(target.rpartition(":")[0]), NOUN)
    if not isinstance(value, Pipeline):
        raise DeclarationError(
            f"pipeline '{target}'", f"a value of type {type(value).__name__}", WANT
        )
    return value
