"""Estimators in files: boosters in their libraries' own, the others in those of skops.

skops names the types that a file makes before it makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_export.adopt.native import is_native, read_native

SUFFIX = ".skops"
PLAIN_TYPES = frozenset({
    "collections.OrderedDict", "numpy.dtype", "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier", "lightgbm.sklearn.LGBMRegressor",
})  # fmt: skip
"""What is taken beside skops' own types: values, and LightGBM's estimators, which hold its text."""
MEND = (
    "if you trust it, name a file of yours that loads it: seatrial adopt FILE.py:NAME, with "
    "NAME = {call}"
)


def estimator_in(path: Path) -> Any:
    """The estimator or booster in a file; None in that of a graph or a program.

    Raises `DeclarationError` and `MissingExtra`.
    """
    if path.suffix == SUFFIX:
        return read_skops(path)
    return read_native(path) if is_native(path) else None


def read_skops(path: Path) -> Any:
    """The estimator in a file.

    Raises `DeclarationError` for a file that makes other types, whatever an MLmodel beside it says
    of them, and `MissingExtra`.
    """
    where = f"model '{path}'"
    if not path.is_file():
        raise DeclarationError(where, "no file", "an existing file of skops'")
    try:
        import skops.io
    except ImportError:
        raise MissingExtra("adopting a file of skops'", "adopt") from None
    try:
        types = set(skops.io.get_untrusted_types(file=path))
        odd = sorted(types - PLAIN_TYPES)
        if odd:
            got = f"the type {odd[0]}, which skops does not trust"
            mend = MEND.format(call=f"skops.io.load({path.name!r}, trusted=[...])")
            raise DeclarationError(where, got, "types of scikit-learn's", mend)
        return skops.io.load(path, trusted=sorted(types))
    except DeclarationError:
        raise
    except Exception as error:  # skops and what it imports raise many kinds
        got = f"a file that skops does not read ({type(error).__name__})"
        raise DeclarationError(where, got, "a file that this skops wrote") from error
