"""Feedback: the truth about recent answers, as rolling accuracy and calibration error.

Nothing is kept beyond the window.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.output_kind import NO_OPTIONS, Arrays, OptionValues, OutputKind
from seatrial_contracts.measures import calibration_error
from seatrial_serve.inference.engine import Answers
from seatrial_serve.metrics.families import Key
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.answer import Answer
from seatrial_serve.models.request_record import RequestRecord
from seatrial_serve.models.served_model import ServedModel

MOST_BYTES = 64 * 2**20
"""What all remembered answers take together: the oldest go first."""
MOST_CLASSES = 100
"""Outputs of more classes have no slice for each of them: a metric's labels are few."""
Named = tuple[str, str]
"""A model and a request's id: clients choose ids, and may ask several models by one."""
Truths = Sequence[Mapping[str, Any] | None]
"""One for each row: output -> its truth; None where nothing is known."""


class FeedbackMetrics:
    """The metrics of feedback, for Prometheus.

    Of several processes, the gauges are the worst one's.

    The truth of an answer may come after its version has gone: then there is no series to count it
    in.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._families = metrics, metrics.families

    def count(self, version: Key, slice_: str, outcome: str) -> None:
        """One more thing whose truth was told."""
        if self._metrics.counts(*version):
            self._families.feedback.labels(*version, slice_, outcome).inc()

    def measure(self, version: Key, window: Window) -> None:
        """Show what the last truths say."""
        if not window.right or not self._metrics.holds(*version):
            return
        right = np.array(window.right, np.float64)
        self._families.feedback_accuracy.labels(*version).set(right.mean())
        if window.sure:
            confidence, true = np.array(window.sure, np.float64).T
            error = calibration_error(confidence, true)
            self._families.feedback_calibration.labels(*version).set(error)


class Judged(NamedTuple):
    """An output whose answers are right or wrong, thing by thing."""

    name: str
    kind: OutputKind
    tensors: tuple[str, ...]
    """Those of the graph that tell it."""
    note: int | None = None
    """The place of its note among a row's; None where it needs none."""
    is_remembered: bool = True
    """Can its truth be told by the request's id? Else the note holds what the client sent."""


@dataclass(frozen=True, eq=False)
class Tellable:
    """What of one version's answers a truth can be told of, and its bundle's slices."""

    model: str
    version: str
    outputs: Mapping[str, Judged]
    options: OptionValues = field(default_factory=lambda: NO_OPTIONS)
    """The contract's defaults, by which an answer is judged whatever its request chose."""
    slices: frozenset[str] = frozenset()

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> Self:
        """That of a bundle, whose model has this name; there may be no output."""
        contract = bundle.contract
        inputs = {field.name: field.kind for field in contract.inputs}
        outputs = {}
        for output, kind in contract.answered.items():
            if kind.hit_labels:
                about = kind.about
                outputs[output] = Judged(
                    output,
                    kind,
                    kind.hit_tensors(output),
                    None if about is None else contract.noted.index(about),
                    about is None or isinstance(inputs[about], Image),
                )
        options = contract.default_options
        return cls(name, bundle.version, outputs, options, bundle.slices)

    @cached_property
    def remembered(self) -> Mapping[str, Judged]:
        """Outputs whose truth can be told by the request's id."""
        return {name: each for name, each in self.outputs.items() if each.is_remembered}

    def whole(self, answer: Answer) -> Remembered:
        """An answer whose truth is told right away."""
        return Remembered(self, self.outputs, answer, answer.rows, known_places(answer))

    def remember(self, answer: Answer) -> Remembered:
        """What its truth is held against later: nothing that the client sent is kept."""
        outputs = self.remembered.values()
        names = [name for each in outputs for name in each.tensors]
        parts = [
            Answers({name: part.outputs[name] for name in names}, part.start, part.stop)
            for part in answer.parts
        ]
        kept = {each.note for each in outputs}
        notes = [
            tuple(note if place in kept else None for place, note in enumerate(of_row))
            for of_row in (answer.notes if kept - {None} else ())
        ]
        slim = Answer((), parts, answer.order, notes)
        return Remembered(self, self.remembered, slim, answer.rows, known_places(answer))


def known_places(answer: Answer) -> Mapping[int, int] | None:
    """Of a partial answer: place of a row that has one -> its place among those."""
    if not answer.errors:
        return None
    return {place: index for index, place in enumerate(answer.places)}


@dataclass(slots=True)
class Remembered:
    """What the rows of a request were answered with."""

    of: Tellable
    outputs: Mapping[str, Judged]
    answer: Answer
    rows: int
    """How many were asked."""
    known: Mapping[int, int] | None = None
    """See `known_places`. The truth of other rows is not counted."""

    @property
    def size_bytes(self) -> int:
        """What the tensors of its rows take."""
        return self.answer.size_bytes

    def judged(self, truth: Truths) -> Iterator[tuple[int, Judged, Arrays, Any, Any]]:
        """Every answer whose truth is told: row, output, tensors, note, truth."""
        rows, notes = list(self.answer), self.answer.notes
        for place, true in enumerate(truth):
            index = place if self.known is None else self.known.get(place)
            if index is None:
                continue
            outputs, at = rows[index]
            for name, value in (true or {}).items():
                each = self.outputs[name]
                arrays = [outputs[tensor][at] for tensor in each.tensors]
                note = None if each.note is None else notes[index][each.note]
                yield place, each, arrays, note, value


@dataclass(slots=True)
class Window:
    """The last truths of one version."""

    right: deque[bool]
    """Of each thing that an answer held, or its truth: did both hold it?"""
    sure: deque[tuple[float, bool]] = field(init=False)
    """Probabilities that answers stated, each with whether it was so."""

    def __post_init__(self) -> None:
        self.sure = deque(maxlen=self.right.maxlen)


class Feedback:
    """A `RequestObserver` that remembers the last `kept` answers that can be right or wrong.

    It remembers them by request id, and takes the truth of them.
    """

    def __init__(self, kept: int, window: int, metrics: FeedbackMetrics) -> None:
        self.kept, self._window, self._metrics = kept, window, metrics
        self._recent: OrderedDict[Named, Remembered] = OrderedDict()
        self._held_bytes = 0
        self._windows: WeakKeyDictionary[Tellable, Window] = WeakKeyDictionary()
        self._tellable: WeakKeyDictionary[ServedModel, Tellable] = WeakKeyDictionary()
        self._newest: WeakValueDictionary[Key, Tellable] = WeakValueDictionary()
        """Of each version as it was loaded last: the truth about older answers moves no gauge."""

    def tellable_of(self, model: ServedModel) -> Tellable:
        """What it answers that a truth can be told of."""
        known = self._tellable.get(model)
        if known is None:
            known = self._tellable[model] = Tellable.of(model.bundle, model.name)
            self._newest[known.model, known.version] = known
        return known

    def ended(self, record: RequestRecord) -> None:
        """See `RequestObserver`."""
        if record.answer is None or record.model is None:
            return
        tellable = self.tellable_of(record.model)
        if not tellable.remembered or not record.answer.parts:
            return
        remembered = tellable.remember(record.answer)
        named = tellable.model, record.request_id
        self._drop(named)
        self._recent[named] = remembered
        self._held_bytes += remembered.size_bytes
        while len(self._recent) > self.kept or self._held_bytes > MOST_BYTES:
            self._drop(next(iter(self._recent)))

    def _drop(self, named: Named) -> None:
        gone = self._recent.pop(named, None)
        if gone is not None:
            self._held_bytes -= gone.size_bytes

    def find(self, model: str, version: str, request_id: str) -> Remembered:
        """Return what a request to `model` was answered.

        Raises `Refusal` if that is not known any more, and counts it to `version`.
        """
        found = self._recent.get((model, request_id))
        if found is None:
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

    def forget(self, model: str, request_id: str) -> None:
        """The truth of that answer is known."""
        self._drop((model, request_id))

    def learn(
        self, answered: Remembered, truth: Truths, slices: Sequence[Sequence[str]] = ()
    ) -> tuple[int, int]:
        """Count the truth of each row; return how many things were right, and how many wrong.

        Raises `Refusal`, and counts nothing, for what cannot be true.
        """
        check(answered, truth, slices)
        of = answered.of
        version = (of.model, of.version)
        window = self._windows.setdefault(of, Window(deque(maxlen=self._window)))
        counts = [0, 0]
        for place, each, arrays, note, true in answered.judged(truth):
            named = len(each.kind.hit_labels) <= MOST_CLASSES
            window.sure.extend(each.kind.surety(arrays, true))
            for hit in each.kind.hits(arrays, note, of.options, true):
                window.right.append(hit.right)
                counts[hit.right] += 1
                own = [f"{each.name}={hit.label}"] if named else []
                for slice_ in {"all", *own, *(slices[place] if slices else ())}:
                    self._metrics.count(version, slice_, "right" if hit.right else "wrong")
        if self._newest.get(version, of) is of:
            self._metrics.measure(version, window)
        return counts[True], counts[False]


def check(answered: Remembered, truth: Truths, slices: Sequence[Sequence[str]]) -> None:
    """Raise `Refusal` for truths or slices that do not fit the answer.

    Truths must be one a row, of outputs that have one; slices must be those that the bundle has.
    """
    if len(truth) != answered.rows or (slices and len(slices) != answered.rows):
        which = "truth" if len(truth) != answered.rows else "slices"
        got = len(truth) if which == "truth" else len(slices)
        raise Refusal(
            "E_BATCH", which, f"{got}", f"one for each of the request's {answered.rows} rows"
        )
    for place, true in enumerate(truth):
        for name, value in (true or {}).items():
            each = answered.outputs.get(name)
            if each is None:
                raise not_tellable(answered, name, place)
            if not each.kind.is_truth(value):
                some = ", ".join(each.kind.hit_labels[:8])
                raise Refusal(
                    "E_CATEGORY",
                    f"truth of '{name}', row {place}",
                    "something else",
                    f"{each.kind.truth_want}: {some}",
                )
    for place, chosen in enumerate(slices):
        if not answered.of.slices.issuperset(chosen):
            some = ", ".join(sorted(answered.of.slices)[:8]) or "none: the bundle has no slices"
            raise Refusal("E_CATEGORY", f"slices, row {place}", "an unknown one", some)


def not_tellable(answered: Remembered, name: str, place: int) -> Refusal:
    """The truth of this output cannot be told."""
    where = f"truth, row {place}"
    if name in answered.of.outputs:
        want, mend = "one whose answer is kept", 'send the rows: {"instances": [...]}'
        return Refusal("E_OUTPUT", where, "an output about a text, which is not kept", want, mend)
    return Refusal("E_OUTPUT", where, "an output that has no truth", ", ".join(answered.outputs))
