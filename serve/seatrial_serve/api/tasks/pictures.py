"""Things and classes of pixels in a picture: Hugging Face's object detection and segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.detections import SIDES, Detections
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.kinds.kind import Array, JsonSchema, closed_object
from seatrial_contracts.kinds.mask import Mask
from seatrial_contracts.kinds.output_kind import Arrays
from seatrial_contracts.kinds.resample import PNG_SCHEMA, png_text
from seatrial_contracts.kinds.segments import Segments
from seatrial_serve.api.routes.body import Body
from seatrial_serve.api.tasks.task import SCORED, RowTask, Telling, check_fixed

WHITE = 255


class DetectionParameters(Body):
    """Which things are told."""

    threshold: float | None = Field(None, description="a number")


class DetectionBody(Body):
    """A picture."""

    inputs: str = Field(description="a picture in base64")
    parameters: DetectionParameters = Field(
        DetectionParameters(), description="an object of threshold"
    )


class ObjectDetection(RowTask[DetectionBody]):
    """Things, the surest first; sides are whole pixels, cut off as transformers' pipeline does."""

    name = "object-detection"
    body = DetectionBody
    takes_kind, gives_kinds = Image, (Detections,)
    answers: ClassVar[JsonSchema] = {
        "type": "array",
        "items": closed_object(
            {**SCORED, "box": closed_object({side: {"type": "integer"} for side in SIDES})}
        ),
    }

    def telling(self, body: DetectionBody) -> Telling:
        """See `RowTask`."""
        threshold, kind = body.parameters.threshold, self.output.kind
        assert isinstance(kind, Detections)
        if "threshold" not in self.contract.known_options:
            want = f"{kind.threshold:g}, as is declared"
            check_fixed("threshold", threshold, kind.threshold, want)
            threshold = None
        options = self.options(threshold=threshold)

        def things(arrays: Arrays, note: Any) -> list[dict[str, Any]]:
            return [
                {
                    "label": each["label"],
                    "score": each["score"],
                    "box": {side: int(place) for side, place in each["box"].items()},
                }
                for each in kind.describe(arrays, note, options)
            ]

        return things


class MaskParameters(Body):
    """How pixels are told. The contract decides all of it; a request may say `semantic`."""

    subtask: Literal["instance", "panoptic", "semantic"] | None = Field(
        None, description="instance, panoptic or semantic"
    )
    threshold: float | None = Field(None, description="a number")
    mask_threshold: float | None = Field(None, description="a number")
    overlap_mask_area_threshold: float | None = Field(None, description="a number")


class MaskBody(Body):
    """A picture."""

    inputs: str = Field(description="a picture in base64")
    parameters: MaskParameters = Field(
        MaskParameters(), description="an object of subtask and other parameters of the task"
    )


class ImageSegmentation(RowTask[MaskBody]):
    """For each class or segment that the picture shows, a gray PNG that is white where it is.

    Scores are those of segments: of `st.Mask` a pixel has one class.
    """

    name = "image-segmentation"
    body = MaskBody
    takes_kind, gives_kinds = Image, (Mask, Segments)
    answers: ClassVar[JsonSchema] = {
        "type": "array",
        "items": closed_object({"label": {"type": "string"}, "mask": PNG_SCHEMA})
        | {"properties": {**SCORED, "mask": PNG_SCHEMA}},
    }

    def telling(self, body: MaskBody) -> Telling:
        """See `RowTask`."""
        kind, asked = self.output.kind, body.parameters
        if isinstance(kind, Segments):
            return self._segments(kind, asked)
        assert isinstance(kind, Mask)
        return self._classes(kind, asked)

    def _classes(self, kind: Mask, asked: MaskParameters) -> Telling:
        want = "a request without it: each pixel has one class"
        check_fixed("subtask", asked.subtask, "semantic", "semantic")
        for name in ("threshold", "mask_threshold", "overlap_mask_area_threshold"):
            check_fixed(name, getattr(asked, name), None, want)
        options = self.options()

        def masks(arrays: Arrays, note: Any) -> list[dict[str, Any]]:
            (ids,) = kind.client(arrays, note, options)
            places = shown(ids, len(kind.classes))
            white = self._white(ids, places)
            return [
                {"label": kind.classes[place], "mask": mask}
                for place, mask in zip(places, white, strict=True)
            ]

        return masks

    def _segments(self, kind: Segments, asked: MaskParameters) -> Telling:
        threshold = asked.threshold
        check_fixed("subtask", asked.subtask, "panoptic", "panoptic")
        for name, value in (
            ("mask_threshold", kind.mask_threshold), ("overlap_mask_area_threshold", kind.overlap),
        ):  # fmt: skip
            check_fixed(name, getattr(asked, name), value, f"{value:g}, as is declared")
        if "threshold" not in self.contract.known_options:
            want = f"{kind.threshold:g}, as is declared"
            check_fixed("threshold", threshold, kind.threshold, want)
            threshold = None
        options = self.options(threshold=threshold)

        def segments(arrays: Arrays, note: Any) -> list[dict[str, Any]]:
            ids, classes, scores = kind.client(arrays, note, options)
            white = self._white(ids, range(1, len(classes) + 1))
            return [
                {"label": kind.classes[label], "score": score, "mask": mask}
                for label, score, mask in zip(classes.tolist(), list(scores), white, strict=True)
            ]

        return segments

    def _white(self, ids: Array, places: Sequence[int]) -> Iterator[str]:
        """A gray PNG for each of these ids. Raises `Refusal` where they take too much."""
        size, room = ids.size * len(places), self.contract.limits.max_answer_bytes
        if size > room:
            got, want = f"{size} bytes of masks", f"at most {room}"
            raise Refusal("E_ANSWER_BYTES", "the answer", got, want, "send a smaller picture")
        return (png_text((ids == place) * np.uint8(WHITE)) for place in places)


def shown(ids: Array, classes: int) -> list[int]:
    """Which of so many classes an array of ids holds, `(height, width)`."""
    found = np.zeros(max(classes, int(ids.max(initial=0)) + 1), bool)
    for row in ids:  # the whole would become an index eight times its size
        found[row] = True
    return np.flatnonzero(found[:classes]).tolist()
