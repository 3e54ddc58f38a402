"""Detections: things of known classes in a picture, each with a box in the client's pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import (
    Comparison,
    Tolerance,
    compare_arrays,
    largest,
    mismatch,
    worst_of,
)
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.boxes import BoxForm, corners, pairs, to_client
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import (
    MAX_WORDS,
    Array,
    Column,
    Features,
    JsonSchema,
    Kind,
    Stage,
    Word,
    closed_object,
)
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.options import Option

MOST_DETECTIONS = 2**16
MOST_COUNTED = 8
"""With more classes, drift counts the detections of all classes together."""
MOST_ARRANGED = 1024
"""Boxes whose order is looked at: each is compared with each."""
SAME = 1e-3
"""Boxes in one order differ by less, as a share of the largest side."""
OF_THE_GRAPH = frozenset({"boxes", "relative", "class_ids", "candidates"})
"""Options of which a client sees nothing."""
OVERHANG = 1.0
"""How far a box may reach beyond the graph's picture, in sides of it.

Detectors guess how a cut thing goes on: DETR's boxes reach up to half a side beyond.
"""
SIDES = ("xmin", "ymin", "xmax", "ymax")


class Detections(MappedKind):
    """`Annotated[list, Detections("cat", "dog", on="photo")]`.

    The model answers `<field>_boxes`, float32, `(batch, n, 4)`, and `<field>_scores`, float32,
    `(batch, n, classes)`, each from 0 to 1 and without a class for the background. With
    `class_ids=True` the scores are `(batch, n)`, and `<field>_classes`, int64, `(batch, n)`, holds
    the class of each. `candidates` is n, or None where it varies.

    `boxes` is their form: left, top, right, bottom (`"xyxy"`), centre and size (`"cxcywh"`) or
    left, top and size (`"xywh"`), in pixels of the picture that the graph sees, or with
    `relative=True` as shares of its sides. A client sees
    `[{"label", "score", "box": {"xmin", "ymin", "xmax", "ymax"}}, ...]`, highest score first, in
    pixels of its own upright picture, as floats within its edges. A box of which nothing lies in
    that picture is left out.

    A detection is shown if its score is above `threshold`, as transformers has it, and is among the
    `max_detections` of highest score. A box has its best class alone, or each above the threshold
    with `multi_label=True`. Requests may choose `threshold` and `top_k`, where the contract
    declares them.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"threshold", "top_k"})
    kind: Literal["detections"] = "detections"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    on: Annotated[str, Field(max_length=128)] = ""
    boxes: BoxForm = "xyxy"
    relative: bool = False
    class_ids: bool = False
    multi_label: bool = False
    candidates: Annotated[int, Field(ge=1, le=MOST_DETECTIONS)] | None = None
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_detections: Annotated[int, Field(ge=1, le=MOST_DETECTIONS)] = 100

    def __init__(self, *classes: str, **options: Any) -> None:
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation not in (list, list[dict[str, Any]]):
            raise DeclarationError("st.Detections", str(annotation), "list")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        names = self.classes
        if self.nullable or not names or len(set(names)) != len(names):
            got = f"classes {names!r}"[:100]
            raise DeclarationError(
                "st.Detections", got, "one or more different names, never missing"
            )
        if not self.on:
            raise DeclarationError("st.Detections", "no picture", 'on="...", an image field')
        if self.class_ids and self.multi_label:
            raise DeclarationError(
                "st.Detections", "multi_label with class_ids", "one of both: a box has one id"
            )

    @property
    def about(self) -> str | None:
        return self.on

    def check_about(self, kind: Kind) -> None:
        if not isinstance(kind, Image):
            raise DeclarationError(
                "st.Detections", f"boxes on a field of kind {kind.name}", "one of kind image"
            )

    def check_option(self, name: str, option: Option) -> None:
        if name == "threshold" and (
            option.default != self.threshold or option.ge is None or option.ge < 0
        ):
            raise DeclarationError(
                f"option '{name}'",
                f"default {option.default}, at least {option.ge}",
                f"default {self.threshold:g}, which is the kind's own, and ge=0",
            )
        if name == "top_k" and (
            option.ge is None or option.ge < 0 or not (option.le or 0) <= self.max_detections
            or option.le is None
        ):  # fmt: skip
            raise DeclarationError(
                f"option '{name}'",
                f"at least {option.ge}, at most {option.le}",
                f"ge=0 and le={self.max_detections} or less: max_detections is the most",
            )

    def annotation(self) -> Any:
        return list[Any]

    def want(self) -> str:
        return (
            f"boxes of {len(self.classes)} classes with a score above {self.threshold:g}, at most "
            f"{self.max_detections}, in pixels of '{self.on}'"
        )

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.candidates, 4)

    def answer_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        boxes = AnswerTensor(f"{name}_boxes", "FP32", self.shape)
        if self.class_ids:
            return (
                boxes,
                AnswerTensor(f"{name}_scores", "FP32", (self.candidates,)),
                AnswerTensor(f"{name}_classes", "INT64", (self.candidates,)),
            )
        shape = (self.candidates, len(self.classes))
        return (boxes, AnswerTensor(f"{name}_scores", "FP32", shape))

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_boxes", "FP32", (None, 4)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
            AnswerTensor(f"{name}_classes", "INT32", (None,)),
        )

    def _scored(self, arrays: Arrays) -> tuple[Array, Array]:
        """Score and class of each box, `(..., n)`; of each class of it with `multi_label`."""
        if self.class_ids:
            return arrays[1], arrays[2]
        scores = arrays[1]
        if self.multi_label:
            classes = np.broadcast_to(np.arange(scores.shape[-1]), scores.shape)
            return scores.reshape(*scores.shape[:-2], -1), classes.reshape(*scores.shape[:-2], -1)
        return scores.max(-1), scores.argmax(-1)

    def breaks_answer(self, option: str, old: Self) -> bool:
        return option not in OF_THE_GRAPH and super().breaks_answer(option, old)

    def arranged(self, want: Arrays, got: Arrays) -> Arrays:
        """Boxes that belong together at one place: a graph may sort them, and ties move.

        What is unlike stays unlike. More than `MOST_ARRANGED` boxes stay as they are.
        """
        number = len(want[0])
        if any(a.shape != b.shape for a, b in zip(want, got, strict=True)) or (
            not 0 < number <= MOST_ARRANGED
            or np.abs(want[0] - got[0]).max() <= SAME * np.abs(want[0]).max()
        ):
            return got
        mine, theirs = (
            (
                corners(each[0], self.boxes),
                each[1] if self.class_ids else each[1].max(-1),
                each[2] if self.class_ids else each[1].argmax(-1),
            )
            for each in (want, got)
        )
        order = np.full(number, -1)
        for place, other in pairs(mine, theirs):
            order[place] = other
        order[order < 0] = np.setdiff1d(np.arange(number), order)
        return [each[order] for each in got]

    def faults(self, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
        if len(arrays[0][0]) > MOST_DETECTIONS:
            cause = f"more than {MOST_DETECTIONS} boxes"
            return dict.fromkeys(range(len(arrays[0])), cause)
        scores, classes = self._scored(arrays)
        shown = scores > self.threshold
        with np.errstate(
            invalid="ignore"
        ):  # other rows may be infinite, which is a fault of its own
            box = corners(arrays[0], self.boxes)
        crossed, outside = (box[..., 2:] < box[..., :2]).any(-1), self._outside(box, about)
        if self.multi_label:
            crossed, outside = (
                np.repeat(each, len(self.classes), -1) for each in (crossed, outside)
            )
        causes = (
            ((arrays[1] < 0) | (arrays[1] > 1), "a score that is not from 0 to 1"),
            (
                shown & ((classes < 0) | (classes >= len(self.classes))),
                f"a class that is not from 0 to {len(self.classes) - 1}",
            ),
            (shown & crossed, "a box that ends before it begins"),
            (shown & outside, "a box that reaches further beyond its picture than that is large"),
        )
        found: dict[int, str] = {}
        for bad, what in causes:
            for row in np.flatnonzero(bad.reshape(len(bad), -1).any(1)).tolist():
                found.setdefault(row, what)
        return found

    def _outside(self, box: Array, about: Kind | None) -> Array:
        """Which corners `(..., 4)` lie too far beyond the graph's picture, where its size is known.

        A picture of open size is known to the answer alone, which ends boxes at its edges.
        """
        if not self.relative:
            if not isinstance(about, Image) or about.size_px is None:
                return np.zeros(box.shape[:-1], bool)
            height, width = about.size_px
            box = box / [width, height, width, height]
        return np.asarray(((box < -OVERHANG) | (box > 1 + OVERHANG)).any(-1))

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        scores, classes = self._scored(arrays)
        threshold = options.get("threshold", self.threshold)
        [passed] = np.nonzero((scores > threshold) & (classes >= 0) & (classes < len(self.classes)))
        places = passed // len(self.classes) if self.multi_label else passed
        # Clipped in float32, which is what a client gets: no box is empty there.
        box = to_client(
            corners(arrays[0][places], self.boxes), note, relative=self.relative
        ).astype(np.float32)
        kept = (box[:, 2:] > box[:, :2]).all(1)
        order = np.argsort(-scores[passed[kept]], kind="stable")[: self._most(options)]
        chosen = passed[kept][order]
        return box[kept][order], scores[chosen], classes[chosen].astype(np.int32)

    def _most(self, options: OptionValues) -> int:
        return int(options.get("top_k", self.max_detections))

    def written(self, values: Arrays) -> Any:
        boxes, scores, classes = values
        # Numpy's float32 is written in its shortest form. Arrays by row take four times as long.
        columns = (list(boxes[:, side]) for side in range(4))
        return [
            {
                "label": self.classes[place],
                "score": score,
                "box": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom},
            }
            for place, score, left, top, right, bottom in zip(
                classes.tolist(), list(scores), *columns, strict=True
            )
        ]

    def recover(self, value: Any) -> tuple[Array, ...]:
        places = {name: place for place, name in enumerate(self.classes)}
        boxes = [[each["box"][side] for side in SIDES] for each in value]
        return (
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array([each["score"] for each in value], np.float32),
            np.array([places[each["label"]] for each in value], np.int32),
        )

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Boxes of one class by their overlap, whatever their order.

        A box that one answer lacks is no mismatch if its score is as near to the threshold as two
        scores may be to each other; where an answer is full, to its lowest score.
        """
        mine, theirs = (want[0], want[1], want[2]), (got[0], got[1], got[2])
        both = list(pairs(mine, theirs))
        places = [place for place, _ in both]
        others = [other for _, other in both]
        sides = ((mine, places, theirs, "only wanted"), (theirs, others, mine, "not wanted"))
        for (boxes, scores, classes), met, other, side in sides:
            edges = [self.threshold]
            if len(other[1]) >= self.max_detections:
                edges.append(float(other[1].min()))
            for place in np.setdiff1d(np.arange(len(boxes)), met).tolist():
                score = float(scores[place])
                allowed = tolerance.allowed(np.asarray(score), 1.0)
                if all(abs(score - edge) > allowed for edge in edges):
                    label, box = self.classes[int(classes[place])], boxes[place].round(1).tolist()
                    return mismatch(f"'{label}' at {box}, score {score:.6g}: {side}")
        return worst_of(
            [
                compare_arrays(mine[0][places], theirs[0][others], tolerance, largest(mine[0])),
                compare_arrays(mine[1][places], theirs[1][others], tolerance, 1.0),
            ]
        )

    def json_schema(self) -> JsonSchema:
        side = {"type": "number", "minimum": 0}
        return {
            "type": "array",
            "maxItems": self.max_detections,
            "items": closed_object(
                {
                    "label": {"type": "string"},
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                    "box": closed_object(dict.fromkeys(SIDES, side)),
                }
            ),
        }

    def example(self) -> Any:
        box = dict(zip(SIDES, (4.5, 2.0, 21.0, 30.25), strict=True))
        return [{"label": self.classes[0], "score": 0.9, "box": box}]

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How many detections pass, the highest score, and each class's number where few."""
        each = self.classes if len(self.classes) <= MOST_COUNTED else ()

        def features(values: Column) -> Mapping[str, Column]:
            rows = [self._scored(row) for row in zip(*values, strict=True)]
            passed = [(scores, classes[scores > self.threshold]) for scores, classes in rows]
            own = {
                f"passed.{word}": [float((classes == place).sum()) for _, classes in passed]
                for place, word in enumerate(each)
            }
            return {
                "passed": [float(len(classes)) for _, classes in passed],
                "confidence": [float(scores.max(initial=0)) for scores, _ in passed],
                **own,
            }

        return features
