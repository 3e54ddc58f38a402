"""The field kinds: one file each, found by looking into this folder.

Adding a kind is adding a file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from seatrial_contracts.kinds.kind import Kind


@cache
def kinds() -> Mapping[str, type[Kind]]:
    """Kind name -> class, for every kind in this folder."""
    found: dict[str, type[Kind]] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Kind) and "kind" in value.model_fields:
                found[value.model_fields["kind"].default] = value
    return found


def kind_of(value: Any) -> Any:
    """A kind from its JSON, by its name."""
    if isinstance(value, Mapping):
        known = kinds()
        if value.get("kind") not in known:
            raise ValueError(f"unknown field kind; known: {', '.join(sorted(known))}")
        return known[value["kind"]].model_validate(dict(value))
    return value
