"""The estimators that a fitted estimator is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def parts_of(estimator: Any) -> Iterator[Any]:
    """The estimator itself and every fitted estimator inside it, each once.

    Inside are steps, columns' transformers, members, and searches' best.
    """
    seen: set[int] = set()
    left = [estimator]
    while left:
        part = left.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            left += children_of(part)


def children_of(estimator: Any) -> Iterator[Any]:
    """The fitted estimators that it holds itself: steps, members, a search's best."""
    left = [getattr(estimator, name) for name in held_by(estimator)]
    while left:
        value = left.pop()
        if isinstance(value, (list, tuple)):
            left += value
        elif isinstance(value, np.ndarray):
            left += value.ravel().tolist() if value.dtype == object else []
        elif isinstance(value, dict):
            left += value.values()
        elif is_part(value):
            yield value


def is_part(value: Any) -> bool:
    """Is it an estimator, a transformer, or what CalibratedClassifierCV keeps one in?"""
    fits = hasattr(value, "fit") or type(value).__name__ == "_CalibratedClassifier"
    return fits and hasattr(value, "__dict__") and not isinstance(value, type)


def held_by(estimator: Any) -> list[str]:
    """Names of the attributes that hold what was fitted, or are themselves parts.

    The unfitted parts that the estimator was made of are left out.
    """
    names = list(vars(estimator))
    kept = (
        ("estimator",)
        if type(estimator).__name__ == "_CalibratedClassifier"
        else ("steps", "transformer_list")
    )
    return [name for name in names if name.endswith("_") or name in kept]


def last_of(estimator: Any) -> Any:
    """What answers: the last step of pipelines, the best of searches."""
    while True:
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def is_missing(word: Any) -> bool:
    """Is this how a missing value stands among an encoder's categories?"""
    return word is None or (isinstance(word, (float, np.floating)) and bool(np.isnan(word)))
