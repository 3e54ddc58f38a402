"""The search within a parity budget: the fewest nodes that must stay in fp32.

Ranges are measured once. Each node is quantised alone and its error measured end to end, from raw
rows to answers; the error ranks the nodes. Then more and more of the most sensitive nodes are kept
in fp32, each candidate measured anew, down to the fewest that hold the budget; nodes that prove to
be kept for nothing are given back. Of the candidates that hold, the fastest on this machine is
chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.cost import Point, Search
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import EncodedRow, padded_length
from seatrial_contracts.judge import judge
from seatrial_contracts.measures import Measures
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import this_machine
from seatrial_export.graphs.session import Model
from seatrial_export.quantize.journal import Journal
from seatrial_export.quantize.make_variants import check_recipe, make_graph
from seatrial_export.quantize.measure_cost import best_seconds
from seatrial_export.quantize.subject import Subject
from seatrial_export.tool_versions import tool_versions
from seatrial_export.variants.recipe import Recipe

RANKING_ROWS, MOST_ROWS = 48, 1000
"""Rows of each set that nodes are ranked on, and that candidates are measured on.

All rows are taken where there are no more, else as many drawn by the seed. The choice is proven on
all.
"""
MOST_GIVEN_BACK = 8
"""How many kept nodes are tried without."""
WORTHWHILE = 1.03
"""The least speed-up of a candidate over one with fewer nodes in fp32.

Below this ratio, timing is noise.
"""
TIMED_S = 0.6
Watch = Callable[[str, int, int], None]
"""Told of each step: what, how many are done, of how many."""


def unwatched(what: str, done: int, of: int) -> None:
    """A search that nobody watches."""


class BudgetSearch:
    """One recipe on one subject within one budget."""

    def __init__(
        self,
        subject: Subject,
        recipe: Recipe,
        budget: Promise,
        *,
        seed: int = 0,
        watch: Watch = unwatched,
        journal: Journal | None = None,
    ) -> None:
        """Prepare the search.

        Raises `DeclarationError` where the model cannot have the variant, or the budget can never
        be measured on its rows.
        """
        budget.check(subject.contract, truths=subject.truths)
        check_recipe(subject, recipe)
        self._subject, self._recipe, self._budget, self._watch = subject, recipe, budget, watch
        self._nodes = tuple(
            node for node in recipe.nodes(subject.original) if node not in recipe.keep
        )
        self._few, self._many = drawn(subject, seed, RANKING_ROWS), drawn(subject, seed, MOST_ROWS)
        self._journal = journal or Journal(self._key(seed))

    def _key(self, seed: int) -> str:
        """Whatever a candidate's measures depend on."""
        rows = sha256(canonical_json(list(self._subject.calibration)))
        machine = this_machine(tool_versions()).model_dump(mode="json")
        return sha256(
            canonical_json(
                [
                    self._subject.bundle.digest,
                    str(self._recipe),
                    str(self._budget),
                    rows,
                    seed,
                    machine,
                ]
            )
        )

    def run(self) -> Search:
        """Find the choice.

        Candidates that a stopped search measured before are not measured again.
        """
        alone = self._sensitivity()
        ranked = sorted(self._nodes, key=lambda node: -alone[node])
        points = self._widen(ranked)
        points += [point for point in self._give_back(points, alone) if point not in points]
        met = [place for place, point in enumerate(points) if point.met]
        return Search(
            variant=self._recipe.variant,
            recipe=str(self._recipe),
            budget=str(self._budget),
            nodes=len(self._nodes),
            sensitivity=alone,
            points=tuple(points),
            chosen=fastest(points, met),
            nearest=self._nearest(points),
        )

    def chosen(self, search: Search) -> Recipe:
        """The recipe of the choice, with the budget as its promise."""
        assert search.chosen is not None, "only asked where the budget was met"
        return self._recipe.model_copy(
            update={"keep": search.points[search.chosen].keep, "promise": self._budget}
        )

    def _sensitivity(self) -> dict[str, float]:
        """Node -> the error that it brings when it alone is quantised."""
        found = {}
        for done, node in enumerate(self._nodes):
            self._watch(f"{self._recipe.variant}: error of each node", done, len(self._nodes))
            others = tuple(other for other in self._nodes if other != node)
            found[node] = error_of(self._point(others, timed=False).measures)
        return found

    def _widen(self, ranked: Sequence[str]) -> list[Point]:
        """Keep 0, 1, 2, 3, 4, 6, 9, 13 ... of the most sensitive nodes: the curve.

        Then the fewest nodes that hold the budget are kept. One node is always quantised.
        """
        found = {count: self._keeping(ranked, count) for count in growing(len(ranked))}
        low = max((count for count, point in found.items() if not point.met), default=-1)
        high = min(
            (count for count, point in found.items() if point.met and count > low), default=low
        )
        while high - low > 1:
            middle = (low + high) // 2
            found[middle] = self._keeping(ranked, middle)
            low, high = (low, middle) if found[middle].met else (middle, high)
        return [found[count] for count in sorted(found)]

    def _give_back(self, points: Sequence[Point], alone: Mapping[str, float]) -> list[Point]:
        """Quantise kept nodes again, where the budget still holds.

        The nodes go one after the other from the least sensitive.
        """
        best = min(
            (point for point in points if point.met),
            key=lambda point: len(point.keep),
            default=None,
        )
        if best is None:
            return []
        tried = []
        kept = sorted(
            (node for node in best.keep if node not in self._recipe.keep),
            key=lambda node: alone[node],
        )
        for done, node in enumerate(kept[:-1][:MOST_GIVEN_BACK]):
            self._watch(
                f"{self._recipe.variant}: giving back", done, min(len(kept) - 1, MOST_GIVEN_BACK)
            )
            tried.append(self._point(tuple(each for each in best.keep if each != node)))
            best = tried[-1] if tried[-1].met else best
        return tried

    def _keeping(self, ranked: Sequence[str], count: int) -> Point:
        self._watch(
            f"{self._recipe.variant}: {count} of {len(ranked)} nodes in fp32", count, len(ranked)
        )
        return self._point((*self._recipe.keep, *ranked[:count]))

    def _point(self, keep: tuple[str, ...], *, timed: bool = True) -> Point:
        """Measure a candidate's error and speed.

        The candidate's nodes are in the graph's order, so that one choice is one graph.
        """
        keep = tuple(node for node in self._recipe.nodes(self._subject.original) if node in keep)
        known = self._journal.find(keep, timed=timed)
        if known is not None:
            return known
        graph = make_graph(self._subject, self._recipe.model_copy(update={"keep": keep}))
        model = Model(graph, self._subject.specs)
        verdicts = [
            judge(
                self._subject.contract,
                self._budget,
                golden,
                model.run_in_batches(rows, self._subject.sizes[-1]),
            )
            for golden, rows in (self._many if timed else self._few)
        ]
        measured = [verdict.measures for verdict in verdicts if verdict.measures is not None]
        met = not any(verdict.finding for verdict in verdicts)
        point = Point(
            keep=keep,
            measures=max(measured, key=error_of),
            met=met,
            speed=self._speed(model) if timed else 0.0,
        )
        self._journal.add(point)
        return point

    def _speed(self, model: Model) -> float:
        size = 8 if self._subject.batchable else 1
        fp32, own = best_seconds([self._subject.fp32, model], self._subject.middling, size, TIMED_S)
        return fp32 / own

    def _nearest(self, points: Sequence[Point]) -> int:
        """Place of the candidate that comes nearest to the budget.

        A candidate that meets the budget is nearest, else that of the least error.
        """
        return min(
            range(len(points)),
            key=lambda place: (not points[place].met, error_of(points[place].measures)),
        )


def growing(most: int) -> list[int]:
    """0, 1, 2, 3, 4, 6, 9, 13 ... below `most`, and the last one."""
    counts = [0]
    while counts[-1] < most - 1:
        counts.append(min(counts[-1] + max(1, counts[-1] // 2), most - 1))
    return counts


def drawn(subject: Subject, seed: int, most: int) -> list[tuple[Golden, list[EncodedRow]]]:
    """Draw at most `most` rows of the golden set, and of the held-out one.

    The rows are sorted by length, so that little is padded.
    """
    sets = []
    for golden, rows in subject.sets:
        places = list(range(len(rows)))
        if len(places) > most:
            places = random.Random(seed).sample(places, most)  # noqa: S311  (a draw that can be drawn again)
        places.sort(key=lambda place: padded_length(subject.specs, rows[place]))
        sets.append((golden.at(places), [rows[place] for place in places]))
    return sets


def error_of(measures: Measures) -> float:
    """One number to rank by.

    The number is the mean distance of directions, where outputs have some, else the largest error;
    infinite where there is none.
    """
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
