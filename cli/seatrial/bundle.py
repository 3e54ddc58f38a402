"""A bundle in Python: what is in it, and its predictions in this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import BaseModel

import seatrial_contracts.bundle as sealed
from seatrial_contracts.errors import MissingExtra, Refusal
from seatrial_contracts.identities import Identities

if TYPE_CHECKING:
    from seatrial_serve.inference.predictor import Predictor

Form = Literal["rows", "frame", "arrays"]
"""What predictions can be asked as."""
Row = Mapping[str, Any] | BaseModel


@dataclass(frozen=True, repr=False)
class Bundle(sealed.Bundle):
    """An opened bundle, which also predicts.

        bundle = st.open_bundle("bundles/churn/1.0.0")
        bundle.predict({"plan": "team", "age_days": 120, "spent": None})

    The answer is a dict: `{'stays': {'label': 'leaves', 'scores': {...}}}`.
    """

    @overload
    def predict(
        self, data: Row, *, to: None = None, variant: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]: ...  # fmt: skip
    @overload
    def predict(
        self, data: Sequence[Row], *, to: None = None, variant: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]: ...  # fmt: skip
    @overload
    def predict(
        self, data: Any, *, to: Form | None = None, variant: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any: ...  # fmt: skip
    def predict(
        self, data: Any, *, to: Form | None = None, variant: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Predict in this process: what goes in comes out.

        `data` is a row (a mapping, an `st.Row` or another Pydantic model), a sequence of rows, a
        data frame of pandas or polars, or the `Path` of a file: `.json`, `.jsonl`, `.csv` or
        `.parquet`, or the picture or sound that a model with one such input is asked about. A row
        is answered with a dict, rows with a list of dicts, a frame with a frame of the same library
        and, in pandas, the same index. A `.json` or `.jsonl` file counts as its rows, a `.csv` or
        `.parquet` file as a frame.

        `to` asks for another form: "rows"; "frame", whose columns are those that
        `pandas.json_normalize` makes of the rows; or "arrays", a dict of the tensors that V2
        answers, rows first, such as float32 `(rows, classes)`.

        None, NaN, `pandas.NA` and `NaT` are missing values. `variant` is the graph to run, the
        first one unless named. `options` are a request's options. There is no limit to the number
        of rows: they run in batches, on all cores.

        Raises `Refusal` that shows the value, or the key, that breaks the contract, `ModelError`
        where a graph does not load or answers what it must not, and `MissingExtra`.
        """
        from seatrial.predictions import Predictions

        predictions = Predictions(self.contract, options or {})
        return predictions.answer(data, to, self._predictor(variant))

    def _predictor(self, variant: str | None) -> Predictor:
        """The loaded graph of a variant, which is kept."""
        try:
            from seatrial_serve.inference.engine import load_engine
            from seatrial_serve.inference.predictor import Predictor
            from seatrial_serve.runtimes.runtime import RuntimeOptions
        except ModuleNotFoundError as error:
            raise MissingExtra("bundle.predict", "serve") from error
        lock, loaded = self._loaded
        with lock:
            if variant not in loaded:
                loaded[variant] = Predictor(load_engine(self, RuntimeOptions(), variant))
            return loaded[variant]

    @cached_property
    def _loaded(self) -> tuple[threading.Lock, dict[str | None, Predictor]]:
        return threading.Lock(), {}

    def _repr_html_(self) -> str:
        """Contract, variants and receipt as a page for notebooks."""
        from seatrial.bundle_page import bundle_page

        return bundle_page(self)


def open_bundle(path: str | Path, identity: str | Path | Identities | None = None) -> Bundle:
    """Open a bundle: its folder, or its address in a store, such as oci://HOST/NAME:TAG.

    `identity`: the file of secret keys that open an encrypted bundle; by default what the
    environment names (SEATRIAL_IDENTITY). Of a store's address the environment's counts.

    Every byte is verified first. Raises `BundleError`, and `StoreError` where a store cannot be
    asked.
    """
    if isinstance(identity, str | Path):
        identity = Identities(Path(identity))
    if "://" in str(path) or str(path).startswith("mlflow:"):
        from seatrial_serve.stores.resolve import open_address

        return as_bundle(open_address(str(path)))
    return as_bundle(sealed.open_bundle(Path(path), identity))


def as_bundle(found: sealed.Bundle) -> Bundle:
    """The same bundle, which also predicts."""
    if isinstance(found, Bundle):
        return found
    parts = {each.name: getattr(found, each.name) for each in fields(found)}
    bundle = Bundle(**parts)
    bundle.__dict__.update({n: v for n, v in found.__dict__.items() if n not in bundle.__dict__})
    return bundle


def bundle_at(bundle: str | Path | sealed.Bundle) -> Bundle:
    """The bundle that a caller names: by its path or address, or opened already."""
    return as_bundle(bundle) if isinstance(bundle, sealed.Bundle) else open_bundle(bundle)


def is_row(data: Any) -> bool:
    """Is it one row?"""
    return isinstance(data, Mapping | BaseModel)


def checked_form(to: Any) -> None:
    """Raise `Refusal` for a form that there is not."""
    if to not in (None, "rows", "frame", "arrays"):
        raise Refusal("E_PARAMETER", "to", repr(to)[:60], "'rows', 'frame' or 'arrays'")
