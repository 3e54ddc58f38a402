"""The measures of answers against the training side's, and against the truth where known.

Measures are taken for all rows, and for each slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from seatrial_contracts.compare import Answers, Array
from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import FLOATS
from seatrial_contracts.kinds.classes import are_probabilities
from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.output_kind import OutputKind
from seatrial_contracts.label_measures import LabelCounts, LabelMeasures, count_labels
from seatrial_contracts.placed_measures import Notes, Truths, placed_measures
from seatrial_contracts.recall import recall_at_10

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""How many, or which place: what JavaScript holds exactly."""
ALL_ROWS = "all rows"
"""What stands beside the names of slices."""
BINS = 15
"""Of the calibration error (Guo et al. 2017, section 2)."""


class Measures(BaseModel):
    """The measures of `rows` rows.

    A measure is None if no output, or no row, is of the kind that it needs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rows: Count
    max_error: float | None = None
    """The largest |a - b|; None where shapes differ, or a number is not finite on one side only."""
    cosine: float | None = None
    """Mean over the rows of each row's cosine.

    A row's cosine is that of its worst output of more than one number with a fraction, flattened.
    """
    least_cosine: float | None = None
    recall_at_10: float | None = None
    """Mean share of each row's 10 nearest rows that are the training side's, by `recall.py`.

    It is that of the worst embedding; None where there are fewer than 21 rows.
    """
    agreement: float | None = None
    """Share of the rows whose labels and whole numbers all agree with the training side's.

    Whole numbers are ids, flags and masks of ids.
    """
    accuracy: float | None = None
    """Share of the labels that are the true ones."""
    calibration_error: float | None = None
    """Expected calibration error of the labels with a truth, in 15 bins of equal width.

    Of labels of several, each one's score is the probability that the truth holds it. None where
    scores are no probabilities.
    """
    precision: float | None = None
    """Share of the answered labels of several (`st.Labels`) that the truth holds (micro)."""
    recall: float | None = None
    """Share of the labels of the truth that are answered (micro)."""
    f1: float | None = None
    """Harmonic mean of precision and recall, over all rows and labels together (micro)."""
    f1_macro: float | None = None
    """Mean of the labels' own F1."""
    by_label: dict[str, LabelMeasures] = {}
    """Label -> its own, of up to 64 labels; `output.label` where several outputs have labels."""
    span_precision: float | None = None
    """Share of the answered spans that the truth holds, with the same label, start and end."""
    span_recall: float | None = None
    """Share of the true spans that are answered."""
    span_f1: float | None = None
    """Harmonic mean of both, over all rows together (micro), as seqeval has it."""
    map: float | None = None
    """Mean average precision of boxes, over overlaps (IoU) from 0.5 to 0.95, as COCO has it."""
    absolute_error: float | None = None
    """Mean |answer - truth| of the numbers with a truth."""


def measure(
    contract: Contract, expected: Answers, got: Answers, truth: Truths | None = None,
    notes: Notes | None = None,
) -> Measures:  # fmt: skip
    """Measure `got` against the training side's answers, and against the truth.

    The arguments hold one entry for each row, in the same order. Without the `notes` of the rows,
    nothing that has a place in its input is held against the truth.
    """
    truth = truth or [None] * len(got)
    errors = [_max_error(want, have) for want, have in zip(expected, got, strict=True)]
    wide = [name for name in wide_outputs(contract) if expected and name in expected[0]]
    cosines = (
        [
            min(_cosine(want[name], have.get(name)) for name in wide)
            for want, have in zip(expected, got, strict=True)
        ]
        if wide
        else []
    )
    decided = bool(decided_outputs(contract))
    finite = not errors or np.isfinite(max(errors))
    return Measures(
        rows=len(expected),
        max_error=max(errors, default=0.0) if finite else None,
        cosine=_mean(cosines),
        least_cosine=min(cosines, default=None),
        recall_at_10=_recall(contract, expected, got),
        agreement=1 - len(flips(contract, expected, got)) / len(expected) if decided else None,
        **_against_truth(contract, got, truth),
        **placed_measures(contract, expected, got, truth, notes or [()] * len(got)),
    )


def flips(contract: Contract, expected: Answers, got: Answers) -> tuple[int, ...]:
    """Places of the rows with a label or whole number that is not the training side's."""
    decided = decided_outputs(contract)
    pairs = enumerate(zip(expected, got, strict=True))
    return tuple(
        place
        for place, (want, have) in pairs
        if any(
            not decides_alike(kind, want[name], have.get(name))
            for name, kind in decided.items()
            if name in want
        )
    )


def wide_outputs(contract: Contract) -> list[str]:
    """Outputs of more than one number with a fraction: those that have an angle.

    Ids and masks have no angle that means anything.
    """
    floats = (tensor for tensor in contract.answer_tensors if tensor.datatype in FLOATS)
    return [tensor.name for tensor in floats if tensor.shape not in ((), (1,))]


def decided_outputs(contract: Contract) -> dict[str, OutputKind]:
    """Outputs that are right or wrong: name of the tensor -> the kind that says what agrees.

    The scores of a label only have to have the same winner, those of labels the same ones that
    pass, and masks may differ in few pixels. All other whole numbers have to be equal.
    """
    return {
        tensor.name: field.kind
        for field in contract.outputs
        for tensor in field.kind.answer_tensors(field.name)
        if field.kind.decides or tensor.datatype not in FLOATS
    }


def embedded_outputs(contract: Contract) -> list[str]:
    """Outputs that have nearest neighbours."""
    return [field.name for field in contract.outputs if isinstance(field.kind, Embedding)]


def _recall(contract: Contract, expected: Answers, got: Answers) -> float | None:
    """None also where an answer is missing, or has another shape."""
    found = []
    for name in embedded_outputs(contract):
        if not expected or name not in expected[0]:
            continue
        want, have = [each[name] for each in expected], [each.get(name) for each in got]
        if any(b is None or b.shape != a.shape for a, b in zip(want, have, strict=True)):
            return None
        found.append(recall_at_10(np.array(want), np.array(have)))
    known = [recall for recall in found if recall is not None]
    return min(known) if found and len(known) == len(found) else None


def decides_alike(kind: OutputKind, want: Array, have: Array | None) -> bool:
    """Whether an answer, where there is one, decides as the training side's does."""
    return have is not None and kind.agrees(want, have)


def measure_slices(
    contract: Contract,
    expected: Answers,
    got: Answers,
    truth: Truths | None,
    slices: Sequence[Sequence[str]],
    notes: Notes | None = None,
) -> dict[str, Measures]:
    """The same for the rows of each slice, by its name, in the order of their names."""
    truth, notes = truth or [None] * len(got), notes or [()] * len(got)
    measured = {}
    for name in sorted({name for names in slices for name in names}):
        places = [place for place, names in enumerate(slices) if name in names]
        want, have = ([answers[place] for place in places] for answers in (expected, got))
        true, noted = [truth[place] for place in places], [notes[place] for place in places]
        measured[name] = measure(contract, want, have, true, noted)
    return measured


def calibration_error(confidence: Array, right: Array, bins: int = BINS) -> float:
    """Expected calibration error of labels.

    The error is |accuracy - confidence| of each bin of equal width, weighted by its share of the
    rows. `confidence` are the winning probabilities, `right` whether the winner is the truth, both
    of shape `(rows,)`. A bin holds its upper edge, as in Guo et al. 2017, equation 3.
    """
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _against_truth(contract: Contract, got: Answers, truth: Truths) -> dict[str, Any]:
    right: list[bool] = []
    scores: list[Array] = []
    errors: list[float] = []
    labels = _labels_against_truth(contract, got, truth)
    for kind, answer, value in _known(contract, got, truth):
        if isinstance(kind, Label):
            right.append(kind.decision(answer) == value)
            scores.append(np.asarray(answer, np.float64))
        elif isinstance(kind, Number):
            errors.append(abs(float(answer) - value))
    confidence = np.array([row.max(initial=0.0) for row in scores])
    confidence = np.concatenate([confidence, *(each.scores.ravel() for each in labels)])
    sure = np.concatenate([np.array(right, np.float64), *(each.true.ravel() for each in labels)])
    calibrated = len(sure) and all(map(are_probabilities, scores)) and np.isfinite(confidence).all()
    return {
        "accuracy": _mean(right),
        "calibration_error": calibration_error(confidence, sure) if calibrated else None,
        **_label_measures(labels),
        "absolute_error": _mean(errors) if np.isfinite(errors).all() else None,
    }


class _Labelled(NamedTuple):
    """An output of labels over the rows whose truth is known, `(rows, labels)`."""

    output: str
    kind: Labels
    scores: Array
    true: Array
    """Does the truth hold the label?"""


def _labels_against_truth(contract: Contract, got: Answers, truth: Truths) -> list[_Labelled]:
    found = []
    for field in contract.outputs:
        kind, name = field.kind, field.name
        if isinstance(kind, Labels):
            pairs = [
                (answer[name], set(true[name]))
                for answer, true in zip(got, truth, strict=True)
                if true is not None and name in true and name in answer
            ]
            nothing = np.full(len(kind.classes), np.nan)
            scores = [each if each.shape == kind.shape else nothing for each, _ in pairs]
            held = [[word in words for word in kind.classes] for _, words in pairs]
            if pairs:
                found.append(_Labelled(name, kind, np.array(scores, np.float64), np.array(held)))
    return found


def _label_measures(labelled: Sequence[_Labelled]) -> Mapping[str, Any]:
    if not labelled:
        return {}
    single = len(labelled) == 1
    counts = [
        count_labels(
            [word if single else f"{each.output}.{word}" for word in each.kind.classes],
            each.kind.passes(each.scores.astype(np.float32)),
            each.true,
        )
        for each in labelled
    ]
    names = [name for each in counts for name in each.names]
    return LabelCounts(names, *map(np.concatenate, list(zip(*counts, strict=True))[1:])).measures()


def _known(contract: Contract, got: Answers, truth: Truths) -> Iterator[tuple[object, Array, Any]]:
    """Every answer whose truth is known: its kind, itself, the truth."""
    for field in contract.outputs:
        for answer, true in zip(got, truth, strict=True):
            if true is not None and field.name in true and field.name in answer:
                yield field.kind, answer[field.name], true[field.name]


def _max_error(want: Mapping[str, Array], have: Mapping[str, Array]) -> float:
    worst = 0.0
    for name, expected in want.items():
        if name not in have or have[name].shape != expected.shape:
            return float("inf")
        a, b = np.asarray(have[name], np.float64), np.asarray(expected, np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            error = np.where(same, 0.0, np.abs(a - b))
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf, posinf=np.inf).max(initial=0.0)))
    return worst


def _cosine(want: Array, have: Array | None) -> float:
    """1 where both are the same, zeros and NaN included; 0 where there is no angle between them."""
    if have is None or have.shape != want.shape:
        return 0.0
    a, b = np.asarray(have, np.float64).ravel(), np.asarray(want, np.float64).ravel()
    if np.array_equal(a, b, equal_nan=True):
        return 1.0
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / size, -1.0, 1.0)) if size > 0 and np.isfinite(size) else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
