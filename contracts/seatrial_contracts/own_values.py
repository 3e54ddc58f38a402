"""Values that a user has in Python: what stands for a missing one, and numpy's own types."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np

PLAIN = frozenset({str, int, bool, bytes, type(None)})
MISSING_TYPES = frozenset({"NAType", "NaTType"})
"""pandas' own missing values, by their class."""
MOMENTS = frozenset({"Timestamp", "Timedelta"})
"""pandas' own moments and durations, by their class."""


def own_value(value: Any) -> Any:
    """A value as a raw row has it: None for NaN, `pandas.NA` and `NaT`.

    numpy's scalars become Python's, pandas' moments text in ISO 8601, torch's tensors arrays.
    Arrays and lists stay.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is float:
        return None if isnan(value) else value
    if isinstance(value, np.generic):
        return own_value(value.item())
    if kind.__name__ in MISSING_TYPES:
        return None
    if kind.__name__ in MOMENTS:
        return value.isoformat() if hasattr(value, "to_pydatetime") else value.to_pytimedelta()
    if kind.__module__ == "torch" and kind.__name__ == "Tensor":
        return value.detach().cpu().numpy()
    return value
