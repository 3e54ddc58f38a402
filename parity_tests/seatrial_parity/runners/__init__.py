"""The runners: each answers raw rows in its own way, behind one interface.

Each runner is one file, found by looking into this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from seatrial_contracts.errors import DeclarationError
from seatrial_parity.runners.runner import Runner, TrialRequest

MakeRunners = Callable[[TrialRequest], Iterator[Runner]]
FIRST = "pytorch"
"""The reference stands first in every table."""


@cache
def runners() -> Mapping[str, MakeRunners]:
    """Runner name -> what makes its runners for what was asked, none where it was not."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    found = {module.NAME: module.runners for module in modules if hasattr(module, "NAME")}
    return dict(sorted(found.items(), key=lambda item: (item[0] != FIRST, item[0])))


def check_runners(only: Iterable[str]) -> None:
    """Raise `DeclarationError` for a runner that there is not."""
    for name in only:
        if name not in runners():
            raise DeclarationError("--runner", name, f"one of {', '.join(runners())}")
