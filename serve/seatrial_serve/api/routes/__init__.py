"""Routes of other projects' clients over contracts: one file each, found by looking in here.

Adding a route is adding a file with a subclass of `Route`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from seatrial_serve.api.routes.route import Route


@cache
def client_routes() -> Mapping[str, Route[Any]]:
    """Path -> the route that answers a POST there."""
    found: dict[str, Route[Any]] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            is_route = isinstance(value, type) and issubclass(value, Route)
            if is_route and not inspect.isabstract(value):
                found[value.path] = value()
    return found
