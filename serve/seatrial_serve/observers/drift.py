"""The drift observer: counts what answered requests held, by the bins of their model's profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Column
from seatrial_contracts.profile import DriftFeatures, Profile, columns_of
from seatrial_serve.metrics.drift_counts import DriftCounts
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.observers.sampling import Answered

MOST_ROWS, MOST_STAGED_ROWS, MOST_VALUES = 1024, 16, 2**17
"""Most rows counted of one request, and values of them; of more, rows that are spread evenly.

Rows with a host stage (images, texts) go through it once more, so fewer of them are counted.
"""


class Drift:
    """What of one version's traffic is counted, and where."""

    def __init__(self, front: HostStage, profile: Profile, counts: DriftCounts) -> None:
        self._lookout, self._profile, self._counts = DriftFeatures(front), profile, counts
        self._names = [tensor.name for tensor in front.contract.answer_tensors]
        wide = sum(field.kind.most_values for field in front.contract.inputs)
        rows = min(MOST_ROWS, max(1, MOST_VALUES // wide))
        self._most = rows if front.columnar else min(rows, MOST_STAGED_ROWS)

    def count(self, answers: Sequence[Answer]) -> None:
        """Count the rows of these requests.

        Those that came by columns are counted each by itself, all others together.
        """
        rows, outputs = [], []
        for answer in answers:
            given = answer.own
            if isinstance(given, Mapping):
                self._count_columns(given, answer)
                continue
            step = -(-len(given) // self._most)
            for row, (batch, index) in list(zip(given, answer, strict=True))[::step]:
                rows.append(row)
                outputs.append({name: batch[name][index] for name in self._names})
        if rows:
            self._add(columns_of(rows), columns_of(outputs), len(rows))

    def _count_columns(self, columns: Mapping[str, Column], answer: Answer) -> None:
        step = -(-max(map(len, columns.values())) // self._most)
        some = {name: column[::step] for name, column in columns.items()}
        outputs = {name: answer.array(name)[::step] for name in self._names}
        self._add(some, outputs, len(next(iter(some.values()))))

    def _add(self, columns: Mapping[str, Column], outputs: Mapping[str, Column], rows: int) -> None:
        self._counts.add(self._lookout.count(self._profile, columns, outputs), rows)


class DriftObserver:
    """Counts for every version that has a profile."""

    def __init__(self) -> None:
        self._drift: WeakKeyDictionary[ServedModel, Drift] = WeakKeyDictionary()

    def answered(self, seen: Sequence[Answered]) -> None:
        """See `SampleObserver`."""
        for model in dict.fromkeys(each.model for each in seen):
            if model.drift_counts is None:
                continue
            drift = self._drift.get(model)
            if drift is None:
                drift = self._drift[model] = Drift(
                    model.engine.front, model.bundle.profile, model.drift_counts
                )
            drift.count([each.answer for each in seen if each.model is model])
