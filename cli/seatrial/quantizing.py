"""Faster and smaller graphs of a bundle, from Python: made, proven, and sealed as a new version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seatrial_contracts.bundle as sealed
from seatrial.budget import promised
from seatrial.bundle import Bundle, as_bundle, bundle_at
from seatrial_contracts.cost import Search
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.golden import wire_row
from seatrial_contracts.own_rows import own_rows
from seatrial_contracts.promise import Promise

if TYPE_CHECKING:
    from seatrial_export.pipeline import Pipeline
    from seatrial_export.quantize.subject import Subject
    from seatrial_export.variants.recipe import Recipe

MADE = "a quantised bundle"
Progress = Callable[[str, int, int | None], None]
"""Called with a step, how much of it is done, and of how much (None where that is unknown)."""


@dataclass(frozen=True)
class Quantized:
    """What became of a bundle."""

    bundle: Bundle | None
    """The new version; None where no candidate holds the budget, and nothing was sealed."""
    searches: tuple[Search, ...] = ()
    """With a budget: what was tried for each variant, and what was chosen."""


def quantize(
    bundle: sealed.Bundle | str | Path,
    variants: Sequence[str] = (),
    *,
    budget: Promise | str | None = None,
    promise: Promise | str | None = None,
    version: str | None = None,
    force: bool = False,
    out: str | Path | None = None,
    rows: Any = None,
    pipeline: Pipeline | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Quantized:
    """Make variants of a sealed model, prove each, and seal them as a new version.

    `variants` are names with options: "fp16", "int8:calibration=percentile"; by default int8 where
    the graph has convolutions, else int8_per_token. With a `budget`, such as "cosine>=0.99", as few
    nodes stay in fp32 as hold it. `promise` is what the variants promise in place of their own.
    `version` is the next patch ("next": the one after the highest in `out`), and `out` the folder
    where the bundle lies, unless named. A version that is there is refused before anything is made,
    unless `force`, which replaces it where it differs. Ranges
    are measured on `rows` (raw rows or a data frame), on the reference rows of a `pipeline`, or on
    the golden rows. `seed` chooses the rows that candidates are measured on, where there are many.

    The bundle itself never changes. Raises `DeclarationError`, `GateError` where a variant misses
    its promise, and `BundleError`; then nothing is written.
    """
    from seatrial_export.graphs.scratch import Scratch
    from seatrial_export.place import next_patch, settled_version
    from seatrial_export.quantize.quantize_bundle import quantize_bundle
    from seatrial_export.quantize.subject import Subject
    from seatrial_export.variants import parse_recipes

    if promise is not None and budget is not None:
        raise DeclarationError("promise", "a budget too", "one: a budget becomes the promise")
    if rows is not None and pipeline is not None:
        raise DeclarationError("rows", "a pipeline too", "one of them")
    if not isinstance(bundle, sealed.Bundle):
        sealed.refuse_encrypted_folder(Path(bundle), MADE)
    opened = bundle_at(bundle)
    opened.refuse_encrypted(MADE)
    home = Path(out) if out is not None else opened.path.resolve().parent.parent
    version = settled_version(home, opened.name, version, next_patch(opened.version), force=force)
    raw = _calibration(opened, rows, pipeline)
    subject = Subject(opened, raw, Scratch(home))
    names = variants or ("int8" if subject.original.has("Conv") else "int8_per_token",)
    recipes = parse_recipes(names, [variant.name for variant in opened.manifest.variants])
    if promise is not None:
        kept = promised(promise) if isinstance(promise, str) else promise
        recipes = [recipe.model_copy(update={"promise": kept}) for recipe in recipes]
    tell: Progress = progress or (lambda *_: None)
    searches: list[Search] = []
    if budget is not None:
        kept = promised(budget) if isinstance(budget, str) else budget
        recipes, searches = _search(subject, recipes, kept, seed, tell)
    if not recipes:
        return Quantized(None, tuple(searches))
    made = quantize_bundle(
        subject,
        recipes,
        home,
        version,
        lambda step: tell(step, 0, None),
        searches,
        replace=force,
    )
    return Quantized(as_bundle(made), tuple(searches))


def _calibration(
    bundle: Bundle, rows: Any, pipeline: Pipeline | str | None
) -> Sequence[Any] | None:
    """Raw rows to measure ranges on; None where nobody gave some."""
    if rows is not None:
        return [wire_row(row) for row in own_rows(rows, bundle.contract)]
    if isinstance(pipeline, str):
        from seatrial_export.load_pipeline import load_pipeline

        pipeline = load_pipeline(pipeline)
    if pipeline is None:
        return None
    reference = pipeline.reference_rows or [sample.row for sample in pipeline.golden_samples]
    return [wire_row(row) for row in reference]


def _search(
    subject: Subject, recipes: Sequence[Recipe], budget: Promise, seed: int, tell: Progress
) -> tuple[list[Recipe], list[Search]]:
    """Search each recipe; the recipes of those that hold the budget, and what each search found."""
    from seatrial_export.quantize.search import BudgetSearch

    searching = [BudgetSearch(subject, recipe, budget, seed=seed, watch=tell) for recipe in recipes]
    found = [search.run() for search in searching]
    pairs = zip(searching, found, strict=True)
    return [search.chosen(result) for search, result in pairs if result.chosen is not None], found
