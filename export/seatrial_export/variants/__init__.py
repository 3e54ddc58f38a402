"""The variants that a model can be sealed in beside fp32.

Each variant is one file, found by looking into this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError

from seatrial_contracts.errors import DeclarationError
from seatrial_export.variants.recipe import Recipe


@cache
def recipes() -> Mapping[str, type[Recipe]]:
    """Kind -> the recipe of that kind, for every file in this folder that has a `RECIPE`."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    found = [module.RECIPE for module in modules if hasattr(module, "RECIPE")]
    return {recipe.KIND: recipe for recipe in found}


def parse_recipe(wanted: str | Recipe) -> Recipe:
    """Return a recipe as it is, or parse it from text.

    A text is "int8", or "int8:calibration=percentile,percentile=99.9". Raises `DeclarationError`.
    """
    if isinstance(wanted, Recipe):
        return wanted
    kind, _, options = str(wanted).partition(":")
    recipe = recipes().get(kind)
    if recipe is None:
        raise DeclarationError(
            f"variant '{kind[:60]}'", "an unknown name", f"one of {', '.join(sorted(recipes()))}"
        )
    given: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        name, equals, value = option.partition("=")
        if not equals:
            raise DeclarationError(
                f"variant '{kind}'", repr(option)[:60], "options as name=value, commas between"
            )
        given[name.strip()] = (
            value.split("+") if name.strip() in ("keep", "operators") else value.strip()
        )
    try:
        return recipe.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        known = [field for field in recipe.model_fields if field != "promise"]
        want = f"one of {', '.join(known)}" if first["type"] == "extra_forbidden" else first["msg"]
        raise DeclarationError(
            f"variant '{kind}', option '{name}'", repr(first["input"])[:60], want
        ) from None


def parse_recipes(wanted: Sequence[str | Recipe], taken: Sequence[str]) -> list[Recipe]:
    """Parse each recipe; `taken` are names of graphs that are there already.

    Raises `DeclarationError` where a name would stand for two.
    """
    parsed = [parse_recipe(each) for each in wanted]
    names = [*taken, *(recipe.variant for recipe in parsed)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DeclarationError(
            f"variant '{twice[0]}'",
            "a name that is taken",
            "another: name=..., or a bundle without it",
        )
    return parsed
