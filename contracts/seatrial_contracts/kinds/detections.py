"""Detections: things of known classes in a picture, each with a box in the client's pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import (
    Comparison,
    Tolerance,
)
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.boxes import BoxForm, corners, pairs, to_client
from seatrial_contracts.kinds.classes import class_schema
from seatrial_contracts.kinds.detection_faults import MOST_DETECTIONS, faults_of
from seatrial_contracts.kinds.detection_match import arranged, match_detections
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.instance_masks import (
    COMPRESSION,
    MaskEncoding,
    cut_out,
    mask_json,
    mask_schema,
    mask_text,
    text_of,
)
from seatrial_contracts.kinds.keypoints import (
    WITH_SCORE,
    placed,
    points_json,
    points_of,
    points_schema,
)
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
from seatrial_contracts.kinds.truth import THINGS, Hit, fits
from seatrial_contracts.options import Option

MOST_KEYPOINTS = 256
MOST_COUNTED = 8
"""With more classes, drift counts the detections of all classes together."""
OF_THE_GRAPH = frozenset({"boxes", "relative", "class_ids", "candidates", "unlike"})
"""Options of which a client sees nothing."""
OF_MASKS = frozenset({"mask_threshold", "mask_encoding"})
HALF = 0.5
MaskSide = Annotated[int, Field(ge=1, le=2**12)]
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

    With `masks=(height, width)` the model answers `<field>_masks` too, float32, `(batch, n, height,
    width)`: for each box a grid over the picture that the graph sees. It is interpolated to the
    client's picture, and the pixels above `mask_threshold` are the thing: 0.5 of probabilities, or
    0 of logits. A client sees a `"mask"` of the size of its picture: a gray PNG in base64, 255 in
    the thing, or with `mask_encoding="rle"` COCO's run lengths, `{"size": [height, width],
    "counts"}`. `unlike` is 1 - intersection over union at which two masks count as unlike.

    With `keypoints=("nose", ...)` the model answers `<field>_keypoints` too, float32, `(batch, n,
    keypoints, 2)`: x and y, in the unit of the boxes. With `keypoint_scores=True` a third number is
    the score of the point, from 0 to 1. A client sees `"keypoints": [{"label", "x", "y"}, ...]`
    (and `"score"`), all of them, in pixels of its picture; a point may lie beyond the edges.
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
    masks: Annotated[tuple[MaskSide, MaskSide], Field(strict=False)] | None = None
    mask_threshold: Annotated[float, Field(ge=-1e3, le=1e3)] = HALF
    mask_encoding: MaskEncoding = "png"
    unlike: Annotated[float, Field(ge=0, lt=1)] = 0.01
    keypoints: Annotated[tuple[Word, ...], Field(strict=False, max_length=MOST_KEYPOINTS)] = ()
    keypoint_scores: bool = False

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
        if len(set(self.keypoints)) != len(self.keypoints):
            got = f"keypoints {self.keypoints!r}"[:100]
            raise DeclarationError("st.Detections", got, "different names")
        if self.keypoint_scores and not self.keypoints:
            raise DeclarationError(
                "st.Detections", "keypoint_scores without keypoints", "their names: keypoints=(...)"
            )
        if self.masks is None and (self.mask_threshold, self.mask_encoding) != (HALF, "png"):
            raise DeclarationError(
                "st.Detections", "options of masks without masks", "masks=(height, width)"
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

    @property
    def truth_want(self) -> str:
        sides = ", ".join(SIDES)
        return f'a list of {{"label", "box": {{{sides}}}}} of its {len(self.classes)} classes'

    def truth_schema(self) -> JsonSchema:
        box = closed_object({side: {"type": "number"} for side in SIDES})
        thing = closed_object({"label": class_schema(self.classes), "box": box})
        return {"type": "array", "maxItems": MOST_DETECTIONS, "items": thing}

    def truth_example(self) -> Any:
        box = dict(zip(SIDES, (4.5, 2.0, 21.0, 30.25), strict=True))
        return [{"label": self.classes[0], "box": box}]

    @property
    def hit_labels(self) -> Sequence[str]:
        return self.classes

    def is_truth(self, value: Any) -> bool:
        return fits(THINGS, value) and all(
            each["label"] in self.classes
            and each["box"]["xmin"] < each["box"]["xmax"]
            and each["box"]["ymin"] < each["box"]["ymax"]
            for each in value
        )

    def true_boxes(self, truth: Any) -> tuple[Array, Array, Array]:
        """Boxes, scores (all 1) and classes of a truth, as `client` has them."""
        boxes, scores, classes = self._recovered([{**each, "score": 1.0} for each in truth])
        return boxes, scores, classes

    def hit_tensors(self, name: str) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.answer_tensors(name)[: 2 + self.class_ids])

    def hits(self, arrays: Arrays, note: Any, options: OptionValues, truth: Any) -> Iterator[Hit]:
        """Boxes are one thing if their class is the same and they overlap (IoU) by half or more."""
        found, true = self.found(arrays, note, options)[:3], self.true_boxes(truth)
        both = list(pairs((found[0], found[1], found[2]), true))
        for place, _ in both:
            yield Hit(self.classes[int(found[2][place])], True, True)
        for values, met, answered in ((found, 0, True), (true, 1, False)):
            alone = np.setdiff1d(np.arange(len(values[0])), [pair[met] for pair in both])
            for place in alone.tolist():
                yield Hit(self.classes[int(values[2][place])], answered, not answered)

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

    @property
    def _point(self) -> tuple[int, int]:
        return (len(self.keypoints), WITH_SCORE if self.keypoint_scores else 2)

    @property
    def answers_slowly(self) -> bool:
        return self.masks is not None

    def client_bytes(self, note: Any) -> int:
        """Of the mask that is being made, and of all as texts."""
        if self.masks is None:
            return 0
        pixels = int(note.width * note.height)
        return pixels + pixels // COMPRESSION * min(
            self.max_detections, self.candidates or self.max_detections
        )

    def answer_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        n = self.candidates
        found = [AnswerTensor(f"{name}_boxes", "FP32", self.shape)]
        if self.class_ids:
            found.append(AnswerTensor(f"{name}_scores", "FP32", (n,)))
            found.append(AnswerTensor(f"{name}_classes", "INT64", (n,)))
        else:
            found.append(AnswerTensor(f"{name}_scores", "FP32", (n, len(self.classes))))
        if self.masks is not None:
            found.append(AnswerTensor(f"{name}_masks", "FP32", (n, *self.masks)))
        if self.keypoints:
            found.append(AnswerTensor(f"{name}_keypoints", "FP32", (n, *self._point)))
        return tuple(found)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        found = [
            AnswerTensor(f"{name}_boxes", "FP32", (None, 4)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
            AnswerTensor(f"{name}_classes", "INT32", (None,)),
        ]
        if self.masks is not None:
            found.append(AnswerTensor(f"{name}_masks", "BYTES", (None,)))
        if self.keypoints:
            found.append(AnswerTensor(f"{name}_keypoints", "FP32", (None, *self._point)))
        return tuple(found)

    def _masks(self, arrays: Arrays) -> Array:
        """The graph's grids, of an answer that has some."""
        return arrays[3 if self.class_ids else 2]

    def scored(self, arrays: Arrays) -> tuple[Array, Array]:
        """Score and class of each box, `(..., n)`; of each class of it with `multi_label`."""
        if self.class_ids:
            return arrays[1], arrays[2]
        scores = arrays[1]
        if self.multi_label:
            classes = np.broadcast_to(np.arange(scores.shape[-1]), scores.shape)
            return scores.reshape(*scores.shape[:-2], -1), classes.reshape(*scores.shape[:-2], -1)
        return scores.max(-1), scores.argmax(-1)

    def breaks_answer(self, option: str, old: Self) -> bool:
        if option == "masks":
            return self.masks is None
        if option in OF_MASKS:
            return old.masks is not None and self.masks is not None
        if option == "keypoints":
            return bool(old.keypoints)
        if option == "keypoint_scores":
            return bool(old.keypoints and self.keypoints)
        return option not in OF_THE_GRAPH and super().breaks_answer(option, old)

    def arranged(self, want: Arrays, got: Arrays) -> Arrays:
        """Boxes that belong together at one place: a graph may sort them, and ties move."""
        return arranged(self, want, got)

    def faults(self, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
        return faults_of(self, arrays, about)

    def found(
        self, arrays: Arrays, note: Any, options: OptionValues
    ) -> tuple[Array, Array, Array, Array]:
        """Boxes, scores and classes as `client` has them, and each one's place in the graph's."""
        scores, classes = self.scored(arrays)
        threshold = options.get("threshold", self.threshold)
        [passed] = np.nonzero((scores > threshold) & (classes >= 0) & (classes < len(self.classes)))
        places = passed // len(self.classes) if self.multi_label else passed
        # Clipped in float32, which is what a client gets: no box is empty there.
        box = to_client(
            corners(arrays[0][places], self.boxes), note, relative=self.relative
        ).astype(np.float32)
        kept = (box[:, 2:] > box[:, :2]).all(1)
        order = np.argsort(-scores[passed[kept]], kind="stable")[: self._most(options)]
        chosen, things = passed[kept][order], places[kept][order]
        return box[kept][order], scores[chosen], classes[chosen].astype(np.int32), things

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        *found, things = self.found(arrays, note, options)
        if self.masks is not None:
            grids = self._masks(arrays)
            masks = [
                mask_text(cut_out(grids[place], note, self.mask_threshold), self.mask_encoding)
                for place in things.tolist()
            ]
            found.append(np.array(masks, object))
        if self.keypoints:
            found.append(placed(arrays[-1][things], note, relative=self.relative))
        return tuple(found)

    def _most(self, options: OptionValues) -> int:
        return int(options.get("top_k", self.max_detections))

    def written(self, values: Arrays) -> Any:
        boxes, scores, classes = values[:3]
        # Numpy's float32 is written in its shortest form. Arrays by row take four times as long.
        columns = (list(boxes[:, side]) for side in range(4))
        found: list[dict[str, Any]] = [
            {
                "label": self.classes[place],
                "score": score,
                "box": {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom},
            }
            for place, score, left, top, right, bottom in zip(
                classes.tolist(), list(scores), *columns, strict=True
            )
        ]
        if self.masks is not None:
            for thing, text in zip(found, values[3], strict=True):
                thing["mask"] = mask_json(text, self.mask_encoding)
        if self.keypoints:
            for thing, points in zip(found, values[-1], strict=True):
                thing["keypoints"] = points_json(points, self.keypoints)
        return found

    def _recovered(self, value: Any) -> tuple[Array, Array, Array]:
        places = {name: place for place, name in enumerate(self.classes)}
        boxes = [[each["box"][side] for side in SIDES] for each in value]
        return (
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array([each["score"] for each in value], np.float32),
            np.array([places[each["label"]] for each in value], np.int32),
        )

    def recover(self, value: Any) -> tuple[Array, ...]:
        found: list[Array] = [*self._recovered(value)]
        if self.masks is not None:
            texts = [text_of(each["mask"], self.mask_encoding) for each in value]
            found.append(np.array(texts, object))
        if self.keypoints:
            points = [points_of(each["keypoints"]) for each in value]
            found.append(np.array(points, np.float32).reshape(-1, *self._point))
        return tuple(found)

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        return match_detections(self, want, got, tolerance)

    def json_schema(self) -> JsonSchema:
        side = {"type": "number", "minimum": 0}
        thing: JsonSchema = {
            "label": {"type": "string"},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "box": closed_object(dict.fromkeys(SIDES, side)),
        }
        if self.masks is not None:
            thing["mask"] = mask_schema(self.mask_encoding)
        if self.keypoints:
            thing["keypoints"] = points_schema(self.keypoints, scored=self.keypoint_scores)
        return {"type": "array", "maxItems": self.max_detections, "items": closed_object(thing)}

    def example(self) -> Any:
        values = [
            np.array([[4.5, 2.0, 21.0, 30.25]], np.float32),
            np.array([0.9], np.float32),
            np.zeros(1, np.int32),
        ]
        if self.masks is not None:
            mask = np.zeros((32, 24), bool)
            mask[2:30, 5:21] = True
            values.append(np.array([mask_text(mask, self.mask_encoding)], object))
        if self.keypoints:
            values.append(np.full((1, *self._point), 0.75, np.float32))
        return self.written(values)

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How many detections pass, the highest score, and each class's number where few."""
        each = self.classes if len(self.classes) <= MOST_COUNTED else ()

        def features(values: Column) -> Mapping[str, Column]:
            rows = [self.scored(row) for row in zip(*values, strict=True)]
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
