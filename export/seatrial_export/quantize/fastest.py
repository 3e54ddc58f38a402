"""The fastest variant within a budget, which becomes the default of the bundle.

Each recipe makes its graph, which is timed in turns with fp32. From the fastest on, each is proven
on golden, held-out and drawn rows with the budget as its promise; the first that holds it is the
choice. If none does, the search within a budget keeps nodes of theirs in fp32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from seatrial_contracts.cost import Choice, Search
from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_contracts.measures import Measures
from seatrial_contracts.promise import GAINS, Promise, shown
from seatrial_contracts.receipt import Trial
from seatrial_export.gate.run_steps import Progress, silent
from seatrial_export.graphs.session import Model
from seatrial_export.quantize.make_variants import (
    MadeVariant,
    check_recipe,
    make_graph,
    make_variants,
)
from seatrial_export.quantize.measure_cost import best_seconds
from seatrial_export.quantize.search import TIMED_S, WORTHWHILE, BudgetSearch
from seatrial_export.quantize.subject import FP32, Subject
from seatrial_export.variants import recipes
from seatrial_export.variants.recipe import Recipe

MOST_CHARS = 400
"""Of the line that a receipt keeps."""
ERRORS = frozenset({"max_error", "absolute_error"})
"""Measures in the unit of an output; the others are shares and cosines."""


class Candidate(NamedTuple):
    """A recipe, and how many times as fast as fp32 its graph is."""

    recipe: Recipe
    speed: float


class Fastest(NamedTuple):
    """The choice, and the variant that was made; None where fp32 stays the default."""

    choice: Choice
    made: MadeVariant | None
    searches: tuple[Search, ...] = ()


def choose_fastest(
    subject: Subject, budget: Promise, taken: frozenset[str], progress: Progress = silent
) -> Fastest:
    """Find the fastest variant that holds the budget, proven.

    The budget is one that the model's rows can show. `taken` are names of variants that the bundle
    has already.
    """
    timed = sorted(
        (
            candidate
            for candidate in candidates(subject, budget, taken, progress)
            if candidate.speed > WORTHWHILE
        ),
        key=lambda candidate: -candidate.speed,
    )
    if not timed:
        return stays(budget, f"no variant is {WORTHWHILE:g} times as fast on this machine")
    missed = []
    for candidate in timed:
        try:
            (made,) = make_variants(subject, [candidate.recipe], progress)
        except GateError as error:
            missed.append(f"{candidate.recipe.variant}, {candidate.speed:.1f}x: {error.cause}")
            continue
        if speed_of(made) > WORTHWHILE:
            return chosen(budget, made)
    searches: list[Search] = []
    for candidate in timed:
        found = searched(subject, candidate.recipe, budget, progress, searches)
        if found is not None and speed_of(found) > WORTHWHILE:
            return chosen(budget, found)._replace(searches=tuple(searches))
    why = missed[0] if missed else "no variant is faster once it is proven"
    return stays(budget, why)._replace(searches=tuple(searches))


def candidates(
    subject: Subject, budget: Promise, taken: frozenset[str], progress: Progress
) -> list[Candidate]:
    """Every recipe that this graph can have, timed at each batch size."""
    found = []
    for kind, recipe_class in recipes().items():
        recipe = recipe_class(promise=budget)
        if kind in taken:
            continue
        progress(f"fastest: timing {kind}")
        try:
            check_recipe(subject, recipe)
            model = Model(make_graph(subject, recipe), subject.specs)
        except (DeclarationError, GateError):  # a graph, or rows, that this recipe is not for
            continue
        ratios = []
        for size in subject.sizes:
            fp32, own = best_seconds([subject.fp32, model], subject.middling, size, TIMED_S)
            ratios.append(fp32 / own)
        found.append(Candidate(recipe, mean(ratios)))
    return found


def searched(
    subject: Subject, recipe: Recipe, budget: Promise, progress: Progress, searches: list[Search]
) -> MadeVariant | None:
    """The recipe with as few nodes in fp32 as hold the budget; None where none do.

    What the search found is added to `searches`.
    """

    def watch(what: str, done: int, of: int) -> None:
        progress(f"{what}, {done} of {of}")

    search = BudgetSearch(subject, recipe, budget, watch=watch)
    result = search.run()
    searches.append(result)
    if result.chosen is None:
        return None
    try:
        return make_variants(subject, [search.chosen(result)], progress)[0]
    except GateError:  # at drawn rows, which the search does not ask
        return None


def mean(ratios: list[float]) -> float:
    """The geometric mean, which is that of ratios."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def speed_of(made: MadeVariant) -> float:
    """How many times as fast as fp32, over the batch sizes of its proof."""
    cost = made.trials[0].cost
    assert cost is not None, "the first trial of a proof holds the cost"
    return mean(list(cost.speed.values()))


def chosen(budget: Promise, made: MadeVariant) -> Fastest:
    """The choice of a variant, in one line: its name, its speed, what it costs."""
    parts = [made.variant.name, f"{speed_of(made):.1f}x", *costs(budget, made.trials)]
    told = ", ".join(parts)
    return Fastest(Choice(budget=str(budget), variant=made.variant.name, told=told), made)


def stays(budget: Promise, why: str) -> Fastest:
    """fp32 as the choice."""
    told = f"{FP32} stays the default: {why}"
    return Fastest(Choice(budget=str(budget), variant=FP32, told=told[:MOST_CHARS]), None)


def costs(budget: Promise, trials: tuple[Trial, ...]) -> list[str]:
    """What the budget is about, as it was measured: of golden and held-out rows the worst."""
    measured = [trial.measures for trial in trials if trial.measures is not None]
    told = []
    for _, bar, _ in budget.bars():
        values = [value for each in measured if (value := value_of(each, bar.measure)) is not None]
        if values:
            worst = min(values) if bar.at_least or bar.measure in GAINS else max(values)
            figure = f"{worst:.2g}" if bar.measure in ERRORS else f"{worst:.4f}"
            told.append(f"{shown(bar.measure)} {figure}")
    return told


def value_of(measures: Measures, name: str) -> float | None:
    """One measure by its name."""
    value: float | None = getattr(measures, name)
    return value
