"""Classes: the closed list of names that a model's scores stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import MAX_WORDS, Array, JsonSchema

LONGEST_NAME = 1024
WHOLE = 1e-3
"""How far scores may be from adding up to 1 and still count as probabilities."""
ROUNDED = 1e-5
"""How far below 0 float32 leaves a probability: 1 - p of a forest whose p is 1 + 1.2e-07."""
MOST_LISTED = 256
"""Longer lists stand in the contract alone, and in no schema or description of the model."""


def words_in(path: str, where: str, noun: str) -> tuple[str, ...]:
    """Read a text file in UTF-8 of one `noun` a line: up to `MAX_WORDS`, each once.

    Raises `DeclarationError` that names the line.
    """
    where, want = f"{where}, file '{path}'", f"a text file in UTF-8 of one {noun} a line"
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise DeclarationError(where, error.strerror or "no file", want) from None
    except UnicodeDecodeError:
        raise DeclarationError(where, "bytes that are no UTF-8", want) from None
    names = tuple(line.rstrip("\r") for line in text.removesuffix("\n").split("\n"))
    if len(names) > MAX_WORDS:
        raise DeclarationError(where, f"{len(names)} lines", f"at most {MAX_WORDS}")
    seen: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        if not name.strip() or len(name) > LONGEST_NAME:
            got = f"{len(name)} characters" if name.strip() else "an empty line"
            want = f"a {noun}, up to {LONGEST_NAME} characters"
            raise DeclarationError(f"{where}, line {line}", got, want)
        if name in seen:
            got = f"the {noun} of line {seen[name]} again"
            raise DeclarationError(f"{where}, line {line}", got, f"each {noun} once")
        seen[name] = line
    return names


def check_spread(classes: Sequence[Any], where: str) -> None:
    """Raise `DeclarationError` for a list in the place of class names."""
    if any(isinstance(each, (list, tuple, set)) for each in classes):
        mend = f'{where}("a", "b"), or {where}(*NAMES) for a list NAMES'
        raise DeclarationError(where, "a list of classes", "each class by itself", mend)


def declared_classes(classes: tuple[str, ...], file: str | None, where: str) -> tuple[str, ...]:
    """The classes that a declaration names, or those of its file. Raises `DeclarationError`."""
    if file is None:
        return classes
    if classes:
        raise DeclarationError(where, "classes and a file", "one of both")
    return words_in(file, where, "class")


def class_schema(classes: Sequence[str]) -> JsonSchema:
    """JSON Schema (2020-12) of one of these: they are listed where they are few."""
    if len(classes) <= MOST_LISTED:
        return {"type": "string", "enum": list(classes)}
    return {"type": "string", "maxLength": max(map(len, classes))}


def are_probabilities(scores: Array) -> bool:
    """Are these scores, shape `(..., classes)`, none below 0 and 1 together in each row?"""
    return bool(
        np.isfinite(scores).all()
        and (scores >= -ROUNDED).all()
        and (np.abs(scores.sum(-1) - 1) <= WHOLE).all()
    )


def best_of(scores: Array, most: int) -> Array:
    """Places of the `most` highest scores of `(classes,)`, highest first, ties by their order."""
    places: Array = np.arange(len(scores))
    if most < len(scores):
        ordered, place = scores.copy(), len(scores) - most
        ordered.partition(place)
        places = (scores >= ordered[place]).nonzero()[0]
    order: Array = (-scores[places]).argsort(kind="stable")
    best: Array = places[order[:most]]
    return best
