"""The search within a parity budget: which nodes must stay in fp32, and no more than these.

Ranges are measured once. Each node is quantised alone and its error measured end to end, from raw rows to answers; that ranks them.
Then the most sensitive are kept in fp32, one more at a time, each candidate measured anew, until the budget holds; and what proves
to be kept for nothing is given back. Of the candidates that hold, the fastest on this machine is chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.cost import Point, Search
from seatrial_contracts.front import EncodedRow
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.measures import Measures
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import this_machine
from seatrial_export.gate.session import Model
from seatrial_export.quantize.journal import Journal
from seatrial_export.quantize.make_variants import check_recipe, make_graph
from seatrial_export.quantize.measure_cost import best_seconds
from seatrial_export.quantize.subject import Subject
from seatrial_export.tools import tool_versions
from seatrial_export.variants.recipe import Recipe

MOST_ROWS = 256
"""Rows that candidates are measured on: all where there are no more, else as many drawn by the seed. The choice is proven on all."""
WORTHWHILE = 1.03
"""A candidate with more nodes in fp32 must be so much faster than one with fewer: below that, timing is noise."""
TIMED_S = 0.6
Watch = Callable[[str, int, int], None]
"""Told of each step: what, how many are done, of how many."""


def unwatched(what: str, done: int, of: int) -> None:
    """A search that nobody watches."""


class BudgetSearch:
    """One recipe on one subject within one budget."""

    def __init__(
        self, subject: Subject, recipe: Recipe, budget: Promise, *, seed: int = 0, watch: Watch = unwatched, journal: Journal | None = None
    ) -> None:  # fmt: skip
        """Raises `DeclarationError` where the model cannot have the variant, or the budget can never be measured on its rows."""
        truths = {name for golden, _ in subject.sets for true in golden.truth for name in true or {}}
        budget.check(subject.contract, truths=truths)
        check_recipe(subject, recipe)
        self._subject, self._recipe, self._budget, self._watch = subject, recipe, budget, watch
        self._nodes = tuple(node for node in recipe.nodes(subject.original) if node not in recipe.keep)
        self._golden, self._rows = drawn(subject, seed)
        self._journal = journal or Journal(self._key(seed))

    def _key(self, seed: int) -> str:
        """Whatever a candidate's measures depend on."""
        rows = sha256(canonical_json(list(self._subject.calibration)))
        machine = this_machine(tool_versions()).model_dump(mode="json")
        return sha256(
            canonical_json([self._subject.bundle.digest, str(self._recipe), str(self._budget), rows, seed, machine])
        )

    def run(self) -> Search:
        """Find the choice. What was measured before, by a search that was stopped, is not measured again."""
        alone = self._sensitivity()
        ranked = sorted(self._nodes, key=lambda node: -alone[node])
        points = self._widen(ranked)
        points += self._give_back(points, alone)
        met = [place for place, point in enumerate(points) if point.met]
        return Search(
            variant=self._recipe.variant, recipe=str(self._recipe), budget=str(self._budget), nodes=len(self._nodes), sensitivity=alone,
            points=tuple(points), chosen=fastest(points, met), nearest=self._nearest(points),
        )  # fmt: skip

    def forget(self) -> None:
        """Drop what was written down: the choice is sealed."""
        self._journal.forget()

    def chosen(self, search: Search) -> Recipe:
        """The recipe of the choice, with the budget as its promise."""
        assert search.chosen is not None, "only asked where the budget was met"
        return self._recipe.model_copy(update={"keep": search.points[search.chosen].keep, "promise": self._budget})

    def _sensitivity(self) -> dict[str, float]:
        """Node -> the error that it brings when it alone is quantised."""
        found = {}
        for done, node in enumerate(self._nodes):
            self._watch(f"{self._recipe.variant}: error of each node", done, len(self._nodes))
            others = tuple(other for other in self._nodes if other != node)
            found[node] = error_of(self._point(others, timed=False).measures)
        return found

    def _widen(self, ranked: Sequence[str]) -> list[Point]:
        """Keep 0, 1, 2, 3, 4, 6, 8, 12 ... of the most sensitive nodes until the budget holds, then as few as do."""
        points, count, step = [], 0, 1
        while True:
            points.append(self._keeping(ranked, count))
            if points[-1].met or count >= len(ranked):
                break
            count = min(count + step, len(ranked))
            step = max(1, count // 2)
        if not points[-1].met:
            return points
        low, high = len(points[-2].keep) - len(self._recipe.keep) if len(points) > 1 else -1, count
        while high - low > 1:
            points.append(self._keeping(ranked, (low + high) // 2))
            low, high = (low, (low + high) // 2) if points[-1].met else ((low + high) // 2, high)
        return sorted(points, key=lambda point: len(point.keep))

    def _give_back(self, points: Sequence[Point], alone: Mapping[str, float]) -> list[Point]:
        """Quantise kept nodes again, one after the other from the least sensitive, where the budget still holds."""
        best = min((point for point in points if point.met), key=lambda point: len(point.keep), default=None)
        if best is None:
            return []
        tried = []
        kept = [node for node in best.keep if node not in self._recipe.keep]
        for done, node in enumerate(sorted(kept, key=lambda node: alone[node])):
            self._watch(f"{self._recipe.variant}: giving back", done, len(kept))
            if len(kept) <= 1 or node == max(kept, key=lambda each: alone[each]):
                break
            tried.append(self._point(tuple(each for each in best.keep if each != node)))
            best = tried[-1] if tried[-1].met else best
        return tried

    def _keeping(self, ranked: Sequence[str], count: int) -> Point:
        self._watch(f"{self._recipe.variant}: {count} of {len(ranked)} nodes in fp32", count, len(ranked))
        return self._point((*self._recipe.keep, *ranked[:count]))

    def _point(self, keep: tuple[str, ...], *, timed: bool = True) -> Point:
        """A candidate's measures and speed. Its nodes are in the graph's order, so that one choice is one graph."""
        keep = tuple(node for node in self._recipe.nodes(self._subject.original) if node in keep)
        known = self._journal.find(keep)
        if known is not None and (known.speed or not timed):
            return known
        graph = (
            make_graph(self._subject, self._recipe.model_copy(update={"keep": keep}))
            if self._kept_some(keep)
            else self._subject.fp32_graph
        )
        model = Model(graph, self._subject.specs)
        verdict = judge(
            self._subject.contract,
            self._budget,
            self._golden,
            model.run_in_batches(self._rows, self._subject.sizes[-1]),
        )
        assert verdict.measures is not None, "as many answers as rows"
        point = Point(
            keep=keep, measures=verdict.measures, met=not verdict.finding, speed=self._speed(model) if timed else 0.0
        )
        self._journal.add(point)
        return point

    def _kept_some(self, keep: tuple[str, ...]) -> bool:
        """Is there a node left to quantise?"""
        return len(keep) < len(self._recipe.nodes(self._subject.original))

    def _speed(self, model: Model) -> float:
        size = 8 if self._subject.batchable else 1
        fp32, own = best_seconds([self._subject.fp32, model], self._subject.middling, size, TIMED_S)
        return fp32 / own

    def _nearest(self, points: Sequence[Point]) -> int:
        """Place of the candidate that comes nearest to the budget: one that meets it, else that of the least error."""
        return min(range(len(points)), key=lambda place: (not points[place].met, error_of(points[place].measures)))


def drawn(subject: Subject, seed: int) -> tuple[Golden, list[EncodedRow]]:
    """Golden and held-out rows as one set, with their prepared rows; a draw where there are many."""
    places = [(golden, rows, place) for golden, rows in subject.sets for place in range(len(rows))]
    if len(places) > MOST_ROWS:
        chance = random.Random(seed)  # noqa: S311  (a draw that can be drawn again)
        places = [places[place] for place in sorted(chance.sample(range(len(places)), MOST_ROWS))]
    golden = Golden(
        tuple(golden.rows[place] for golden, _, place in places), tuple(golden.answers[place] for golden, _, place in places), (),
        tuple(golden.truth[place] for golden, _, place in places), tuple(golden.slices[place] for golden, _, place in places),
    )  # fmt: skip
    return golden, [rows[place] for _, rows, place in places]


def error_of(measures: Measures) -> float:
    """One number to rank by: the mean distance of directions, where outputs have some, else the largest error; infinite where there is none."""
    if measures.cosine is not None:
        return 1 - measures.cosine
    return float("inf") if measures.max_error is None else measures.max_error


def fastest(points: Sequence[Point], met: Sequence[int]) -> int | None:
    """The fewest nodes in fp32, unless one with more is clearly faster."""
    best: int | None = None
    for place in sorted(met, key=lambda place: len(points[place].keep)):
        if best is None or points[place].speed > points[best].speed * WORTHWHILE:
            best = place
    return best
