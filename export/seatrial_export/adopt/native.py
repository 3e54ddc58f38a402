"""Boosters in the files of their own libraries: XGBoost, LightGBM and CatBoost."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from seatrial_contracts.errors import DeclarationError, MissingExtra

LIBRARY_OF = {".ubj": "xgboost", ".json": "xgboost", ".txt": "lightgbm", ".cbm": "catboost"}
"""The suffix of a file -> the library that writes such files."""
SCORES = frozenset(
    {
        "binary:logistic",
        "multi:softprob",
        "multi:softmax",
        "binary",
        "multiclass",
        "multiclassova",
        "Logloss",
        "CrossEntropy",
        "MultiClass",
        "MultiClassOneVsAll",
    }
)
"""Objectives of classifiers, by the libraries' own names."""


class NativeBooster:
    """A booster that was read from a file, as an estimator.

    `native` is the library's own object, which is the reference. A file holds no names of classes
    but CatBoost's: elsewhere they are `nameless`, numbers from 0 in the order of the scores.
    """

    def __init__(self, library: str, native: Any, names: list[str], objective: str) -> None:
        self.library, self.native, self.objective = library, native, objective
        self.n_features_in_ = len(names)
        if any(name != default for name, default in zip(names, unnamed(library), strict=False)):
            self.feature_names_in_ = np.array(names, object)
        own = getattr(native, "classes_", None)
        self.nameless = own is None or not len(own)
        if objective in SCORES:
            self.classes_ = np.arange(self._classes()) if self.nameless else np.asarray(own)
            self.predict_proba = self._scores

    def fit(self, *_: Any) -> NoReturn:
        """It is fitted."""
        raise NotImplementedError("a booster from a file is fitted: this is a bug in seatrial")

    def predict(self, rows: Any) -> Any:
        """The value of each row, or the class with the highest score."""
        if self.objective in SCORES:
            return self.classes_[self._scores(rows).argmax(1)]
        return self._answers(rows)

    def _classes(self) -> int:
        if self.library == "lightgbm":
            return max(2, int(self.native.num_model_per_iteration()))
        return max(2, int(self.native.n_classes_))

    def _scores(self, rows: Any) -> Any:
        if self.library == "lightgbm":
            made = np.asarray(self._answers(rows))
            return np.stack([1 - made, made], 1) if made.ndim == 1 else made
        return self.native.predict_proba(np.asarray(rows))

    def _answers(self, rows: Any) -> Any:
        return self.native.predict(np.asarray(rows, np.float64))


def unnamed(library: str) -> Any:
    """What a library calls features that have no names."""
    first = {"lightgbm": "Column_", "xgboost": "f"}.get(library, "")
    return (f"{first}{place}" for place in range(2**20))


def is_native(path: Path) -> bool:
    """Is it a file of a booster, by its suffix?"""
    return path.suffix in LIBRARY_OF


def read_native(path: Path) -> NativeBooster:
    """Read a booster from its library's own file; nothing in it is run.

    Raises `DeclarationError`, and `MissingExtra` where the library is not installed.
    """
    library, where = LIBRARY_OF[path.suffix], f"model '{path}'"
    if not path.is_file():
        raise DeclarationError(where, "no file", f"an existing file of {library}'s")
    try:
        module = importlib.import_module(library)
    except ImportError:
        raise MissingExtra(f"adopting a file of {library}'s", library) from None
    try:
        return READERS[library](module, path)
    except Exception as error:  # each library raises kinds of its own
        got = f"a file that {library} does not read ({type(error).__name__})"
        raise DeclarationError(where, got, f"a model that {library} saved") from error


def _xgboost(xgboost: Any, path: Path) -> NativeBooster:
    booster = xgboost.Booster(model_file=path)
    learner = json.loads(booster.save_config())["learner"]
    objective = str(learner["objective"]["name"])
    kind = xgboost.XGBClassifier if objective in SCORES else xgboost.XGBRegressor
    native = kind()
    native.load_model(path)
    count = int(booster.num_features())
    names = list(booster.feature_names or [f"f{place}" for place in range(count)])
    made = NativeBooster("xgboost", native, names, objective)
    made.nameless = True
    return made


def _lightgbm(lightgbm: Any, path: Path) -> NativeBooster:
    native = lightgbm.Booster(model_file=path)
    objective = str(native.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
    return NativeBooster("lightgbm", native, list(native.feature_name()), objective)


def _catboost(catboost: Any, path: Path) -> NativeBooster:
    plain = catboost.CatBoost().load_model(str(path))
    objective = str(plain.get_all_params().get("loss_function", "")).partition(":")[0]
    kind = catboost.CatBoostClassifier if objective in SCORES else catboost.CatBoostRegressor
    native = kind().load_model(str(path))
    return NativeBooster("catboost", native, list(native.feature_names_), objective)


READERS: dict[str, Callable[[Any, Path], NativeBooster]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}
