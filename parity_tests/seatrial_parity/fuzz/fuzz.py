"""Fuzzing: the smallest row on which training code and bundle disagree.

The rows are drawn from the contract.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from seatrial_contracts.answer_changes import Answered
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import MissingExtra
from seatrial_parity.fuzz.case import Case, cases_of, drawn_cases
from seatrial_parity.fuzz.disagreement import Disagreement
from seatrial_parity.fuzz.side import Side, Training

TRAINING = "training code"
MEND = "narrow the contract so that it refuses such rows, or mend the model"
Clock = Callable[[], float]
Progress = Callable[[str], None]


@dataclass
class Fuzz:
    """One fuzz.

    `rows` are drawn at most. After `within_s` seconds the fuzz neither draws nor shrinks any more.
    """

    bundle: Bundle
    training: Training
    sides: Sequence[Side]
    rows: int
    seed: int = 0
    within_s: float = 600.0
    clock: Clock = time.monotonic
    progress: Progress = lambda _: None
    counts: Counter[str] = field(default_factory=Counter)
    """How the drawn rows were treated alike: "answered", or the code."""
    _failing: set[str] = field(default_factory=set)
    _late: bool = False

    def run(self) -> Disagreement | None:
        """The smallest disagreement; None where there is none among the rows drawn.

        The rows that every gate draws from the contract come first, at most half of all, up to the
        first that disagrees. Hypothesis then looks for a smaller one.
        """
        end = self.clock() + self.within_s
        chance = Random(self.seed)  # noqa: S311  (the seed makes it the same each time)
        cases = drawn_cases(self.bundle, self.rows // 2, chance)
        place = next((at for at, case in enumerate(cases) if self._fails(case, end)), None)
        asked = len(cases) if place is None else place + 1
        case = self._shrunk(self.rows - asked, end, chance)
        case = cases[place] if case is None and place is not None else case
        return None if case is None else self._shown(case)

    def _shrunk(self, rows: int, end: float, chance: Random) -> Case | None:
        """The smallest case that disagrees of at most `rows` that Hypothesis generates."""
        try:
            from hypothesis import HealthCheck, Phase, find, settings
            from hypothesis.errors import NoSuchExample
        except ImportError:
            raise MissingExtra("--fuzz", "parity") from None
        rules = settings(
            max_examples=max(rows, 1),
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        try:
            return find(
                cases_of(self.bundle),
                lambda case: self._fails(case, end),
                settings=rules,
                random=chance,
            )
        except NoSuchExample:
            return None

    def _shown(self, case: Case) -> Disagreement | None:
        """The disagreement of a row of the case alone, or else of all together."""
        alone = (self.disagreement(Case(row)) for row in (*case.mates, case.row))
        return next(filter(None, alone), None) or self.disagreement(case)

    @property
    def drawn(self) -> int:
        """How many rows were tried until the first disagreement."""
        return self.counts.total()

    @property
    def summary(self) -> str:
        """How the rows were treated, for people."""
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.most_common())
        return f"{self.drawn} rows{', then time was up' if self._late else ''}: {counts}"

    def _fails(self, case: Case, end: float) -> bool:
        """Does the case show a disagreement? When time is up, only what did before."""
        self._late = self._late or self.clock() > end
        if case.key in self._failing or self._late:
            return case.key in self._failing
        found = self.disagreement(case)
        if found is not None:
            self._failing.add(case.key)
        if self._failing:
            self.progress(f"shrinking: {len(self._failing)} smaller rows so far")
        else:
            self.counts[outcome(self.training.answer(case.row))] += 1
            self.progress(f"row {self.drawn} of {self.rows}")
        return found is not None

    def disagreement(self, case: Case) -> Disagreement | None:
        """The first disagreement of a case: the row alone, then all rows together.

        The rows run together where every row is one to be answered. A row that the contract takes
        and the model cannot answer is a disagreement too, though both sides fail alike.
        """
        rows = [case.row, *case.mates]
        want = [self.training.answer(row) for row in rows]
        for row, mine in zip(rows, want, strict=True):
            cause = self.training.cause(row)
            if cause:
                return Disagreement(
                    case,
                    TRAINING,
                    row,
                    1,
                    f"the contract takes the row, but {cause}",
                    str(mine),
                    MEND,
                )
        together = case.mates and not any(isinstance(answer, str) for answer in want)
        for side in self.sides:
            for asked in (1, len(rows)) if together else (1,):
                got = side.answers(rows[:asked]) or want
                for row, mine, its in zip(rows, want, got, strict=False):
                    finding = side.difference(row, mine, its)
                    if finding:
                        return Disagreement(
                            case,
                            side.name,
                            row,
                            asked,
                            finding,
                            mine if isinstance(mine, str) else "",
                        )
        return None


def outcome(answer: Answered) -> str:
    """What became of a row, for counting."""
    return f"refused alike with {answer}" if isinstance(answer, str) else "answered"
