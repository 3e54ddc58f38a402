"""Feedback: the truth about recent answers, as rolling accuracy and calibration error.

Nothing is kept beyond the window.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.measures import are_probabilities, calibration_error
from seatrial_serve.inference.engine import Answers
from seatrial_serve.metrics.families import Key
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.models.served_model import ServedModel

MOST_BYTES = 64 * 2**20
"""What all remembered scores take together: the oldest go first."""
MOST_CLASSES = 100
"""Labels of more classes have no slice for each of them: a metric's labels are few."""
Truths = Sequence[Mapping[str, str] | None]
"""One for each row: label output -> its true class; None where nothing is known."""


class FeedbackMetrics:
    """The metrics of feedback, for Prometheus.

    Of several processes, the gauges are the worst one's.

    The truth of an answer may come after its version has gone: then there is no series to count it
    in.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._families = metrics, metrics.families

    def count(self, version: Key, slice_: str, outcome: str) -> None:
        """One more label whose truth was told."""
        if self._metrics.counts(*version):
            self._families.feedback.labels(*version, slice_, outcome).inc()

    def measure(self, version: Key, window: Window) -> None:
        """Show what the last truths say."""
        if not window.right or not self._metrics.holds(*version):
            return
        right = np.array(window.right, np.float64)
        self._families.feedback_accuracy.labels(*version).set(right.mean())
        if None not in window.confidence:
            error = calibration_error(np.array(window.confidence, np.float64), right)
            self._families.feedback_calibration.labels(*version).set(error)


@dataclass(frozen=True, eq=False)
class Labels:
    """The label outputs of one version and the names of the bundle's slices.

    Each output has its classes.
    """

    model: str
    version: str
    classes: Mapping[str, tuple[str, ...]]
    slices: frozenset[str] = frozenset()

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Those of a bundle; there may be none."""
        kinds = [(field.name, field.kind) for field in bundle.contract.outputs]
        classes = {name: kind.classes for name, kind in kinds if isinstance(kind, Label)}
        return cls(bundle.name, bundle.version, classes, bundle.slices)

    @cached_property
    def row_bytes(self) -> int:
        """What the scores of one row take."""
        return 4 * sum(map(len, self.classes.values()))

    def remember(self, answer: Answer) -> Remembered:
        """The scores of an answer: neither what was asked nor any other output is kept."""
        names = self.classes
        parts = [
            Answers({name: part.outputs[name] for name in names}, part.start, part.stop)
            for part in answer.parts
        ]
        known = (
            {place: index for index, place in enumerate(answer.places)} if answer.errors else None
        )
        return Remembered(self, Answer((), parts, answer.order), answer.rows, known)


@dataclass(slots=True)
class Remembered:
    """The scores that the rows of a request were answered with."""

    labels: Labels
    answer: Answer
    rows: int
    """How many were asked."""
    known: Mapping[int, int] | None = None
    """Of a partial answer: place of a row that has one -> its place among those.

    The truth of other rows is not counted.
    """

    @property
    def scores(self) -> Mapping[str, Array]:
        """By label output, shape `(rows, classes)`."""
        return {name: self.answer.array(name) for name in self.labels.classes}


@dataclass(slots=True)
class Window:
    """The last truths of one version.

    Each holds whether the label was right, and how probable the model thought it.
    """

    right: deque[bool]
    confidence: deque[float | None] = field(init=False)

    def __post_init__(self) -> None:
        self.confidence = deque(maxlen=self.right.maxlen)


class Feedback:
    """A `RequestObserver` that remembers the last `kept` answers with labels.

    It remembers them by request id, and takes the truth of them.
    """

    def __init__(self, kept: int, window: int, metrics: FeedbackMetrics) -> None:
        self.kept, self._window, self._metrics = kept, window, metrics
        self._recent: OrderedDict[str, Remembered] = OrderedDict()
        self._held_bytes = 0
        self._windows: WeakKeyDictionary[Labels, Window] = WeakKeyDictionary()
        self._labels: WeakKeyDictionary[ServedModel, Labels] = WeakKeyDictionary()
        self._newest: WeakValueDictionary[Key, Labels] = WeakValueDictionary()
        """Of each version as it was loaded last: the truth about older answers moves no gauge."""

    def labels_of(self, model: ServedModel) -> Labels:
        """What it answers that a truth can be told of."""
        known = self._labels.get(model)
        if known is None:
            known = self._labels[model] = Labels.of(model.bundle)
            self._newest[known.model, known.version] = known
        return known

    def ended(self, record: RequestRecord) -> None:
        """See `RequestObserver`."""
        if record.answer is None or record.model is None:
            return
        labels = self.labels_of(record.model)
        if not labels.classes or not record.answer.parts:
            return
        remembered = labels.remember(record.answer)
        self._drop(record.request_id)
        self._recent[record.request_id] = remembered
        self._held_bytes += remembered.rows * labels.row_bytes
        while len(self._recent) > self.kept or self._held_bytes > MOST_BYTES:
            self._drop(next(iter(self._recent)))

    def _drop(self, request_id: str) -> None:
        gone = self._recent.pop(request_id, None)
        if gone is not None:
            self._held_bytes -= gone.rows * gone.labels.row_bytes

    def find(self, model: str, version: str, request_id: str) -> Remembered:
        """Return what a request to `model` was answered.

        Raises `Refusal` if that is not known any more, and counts it to `version`.
        """
        found = self._recent.get(request_id)
        if found is None or found.labels.model != model:
            self._metrics.count((model, version), "all", "unmatched")
            want = f"that of one of the last {self.kept} answers of this model, once"
            raise Refusal(
                "E_ANSWER_NOT_FOUND",
                "request_id",
                "an unknown one",
                want,
                'send the rows: {"instances": [...], "truth": [...]}',
            )
        return found

    def forget(self, request_id: str) -> None:
        """Its truth is known."""
        self._drop(request_id)

    def learn(
        self, answered: Remembered, truth: Truths, slices: Sequence[Sequence[str]] = ()
    ) -> tuple[int, int]:
        """Count the truth of each row; return how many labels were right, and how many wrong.

        Raises `Refusal`, and counts nothing, for what cannot be true.
        """
        check(answered, truth, slices)
        labels = answered.labels
        version, found = (labels.model, labels.version), answered.scores
        window = self._windows.setdefault(labels, Window(deque(maxlen=self._window)))
        counts = [0, 0]
        for place, true in enumerate(truth):
            index = place if answered.known is None else answered.known.get(place)
            for name, label in (true or {}).items() if index is not None else ():
                scores = found[name][index]
                right = labels.classes[name][int(scores.argmax())] == label
                window.right.append(right)
                window.confidence.append(float(scores.max()) if are_probabilities(scores) else None)
                counts[right] += 1
                own = [f"{name}={label}"] if len(labels.classes[name]) <= MOST_CLASSES else []
                for slice_ in {"all", *own, *(slices[place] if slices else ())}:
                    outcome = "right" if right else "wrong"
                    self._metrics.count(version, slice_, outcome)
        if self._newest.get(version, labels) is labels:
            self._metrics.measure(version, window)
        return counts[True], counts[False]


def check(answered: Remembered, truth: Truths, slices: Sequence[Sequence[str]]) -> None:
    """Raise `Refusal` for truths or slices that do not fit the answer.

    Truths must be one a row, of labels that the model has; slices must be those that the bundle
    has.
    """
    if len(truth) != answered.rows or (slices and len(slices) != answered.rows):
        which = "truth" if len(truth) != answered.rows else "slices"
        got = len(truth) if which == "truth" else len(slices)
        raise Refusal(
            "E_BATCH", which, f"{got}", f"one for each of the request's {answered.rows} rows"
        )
    for place, true in enumerate(truth):
        for name, label in (true or {}).items():
            if name not in answered.labels.classes:
                raise Refusal(
                    "E_OUTPUT",
                    f"truth, row {place}",
                    "an output that is no label",
                    ", ".join(answered.labels.classes),
                )
            if label not in answered.labels.classes[name]:
                some = ", ".join(answered.labels.classes[name][:8])
                raise Refusal(
                    "E_CATEGORY",
                    f"truth of '{name}', row {place}",
                    "an unknown class",
                    f"one of {some}",
                )
    for place, chosen in enumerate(slices):
        if not answered.labels.slices.issuperset(chosen):
            some = ", ".join(sorted(answered.labels.slices)[:8]) or "none: the bundle has no slices"
            raise Refusal("E_CATEGORY", f"slices, row {place}", "an unknown one", some)
