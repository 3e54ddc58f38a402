"""Measures of things that have a place, against the truth: spans in texts, boxes in pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seatrial_contracts.average_precision import Boxes, mean_average_precision
from seatrial_contracts.compare import Answers, Array
from seatrial_contracts.contract import Contract
from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import NO_OPTIONS
from seatrial_contracts.kinds.spans import Spans

Truths = Sequence[Mapping[str, Any] | None]
"""One for each row: output name -> the true answer; None where nothing is known."""
Notes = Sequence[tuple[Any, ...]]
"""One for each row: what the host stage notes of it, empty where that was not looked at."""


class _Known(NamedTuple):
    """An answer whose truth is known."""

    output: str
    kind: MappedKind
    arrays: Sequence[Array] | None
    """None where the answer lacks a tensor, or has another shape than the training side's."""
    note: Any
    true: Any


def placed_measures(
    contract: Contract, expected: Answers, got: Answers, truth: Truths, notes: Notes
) -> Mapping[str, float | None]:
    """Precision, recall and F1 of spans over all rows (micro), and mean average precision of boxes.

    A measure is None where no truth shows it, or where an answer has another shape.
    """
    known = list(_known(contract, expected, got, truth, notes))
    spans = [each for each in known if isinstance(each.kind, Spans)]
    boxes = [each for each in known if isinstance(each.kind, Detections)]
    return {**_of_spans(spans), "map": _of_boxes(boxes)}


def _known(
    contract: Contract, expected: Answers, got: Answers, truth: Truths, notes: Notes
) -> Iterator[_Known]:
    for want, have, true, of_row in zip(expected, got, truth, notes, strict=True):
        for output in contract.mapped if of_row else ():
            names = output.tensors
            if true is None or output.name not in true or any(name not in want for name in names):
                continue
            alike = all(name in have and have[name].shape == want[name].shape for name in names)
            arrays = [have[name] for name in names] if alike else None
            note = of_row[output.place] if output.place is not None else None
            yield _Known(output.name, output.kind, arrays, note, true[output.name])


def _of_spans(known: Sequence[_Known]) -> Mapping[str, float | None]:
    if not known or any(each.arrays is None for each in known):
        return {}
    hits = [
        hit
        for each in known
        for hit in each.kind.hits(each.arrays or (), each.note, NO_OPTIONS, each.true)
    ]
    if not hits:
        return {}
    both, answered, true = (
        sum(bool(getattr(hit, name)) for hit in hits) for name in ("right", "answered", "true")
    )
    return {
        "span_precision": both / answered if answered else 0.0,
        "span_recall": both / true if true else 0.0,
        "span_f1": 2 * both / (answered + true),
    }


def _of_boxes(known: Sequence[_Known]) -> float | None:
    """Over all boxes that the model gives, up to the most that are answered."""
    if any(each.arrays is None for each in known):
        return None
    pictures = []
    for each in known:
        kind, arrays = each.kind, each.arrays or ()
        assert isinstance(kind, Detections), "chosen by its kind"
        found = kind.found(arrays, each.note, {"threshold": 0.0})
        true = kind.true_boxes(each.true)
        pictures.append((_named(each.output, kind, *found[:3]), _named(each.output, kind, *true)))
    return mean_average_precision(pictures)


def _named(output: str, kind: Detections, boxes: Array, scores: Array, classes: Array) -> Boxes:
    """With classes by name, since outputs may have classes of their own."""
    names = np.array([f"{output}.{kind.classes[place]}" for place in classes.tolist()], str)
    return Boxes(boxes.astype(np.float64), scores.astype(np.float64), names)
