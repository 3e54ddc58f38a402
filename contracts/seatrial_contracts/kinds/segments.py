"""Segments: things and stretches of a picture, each pixel in one of them or in none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, compare_arrays, mismatch, worst_of
from seatrial_contracts.errors import DeclarationError
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
from seatrial_contracts.kinds.resample import (
    PNG_SCHEMA,
    check_seen,
    png_pixels,
    png_text,
    sampling,
    sized_schema,
)
from seatrial_contracts.options import Option

MOST_SEGMENTS = 2**16 - 1
"""Ids of a PNG of 16 bits, without 0."""
BYTE = 256
NONE = 0
"""The id of a pixel that is in no segment."""
OF_THE_GRAPH = frozenset({"queries", "unlike"})
"""Options of which a client sees nothing."""
Share = Annotated[float, Field(ge=0, lt=1)]


class Segments(MappedKind):
    """`Annotated[dict, Segments("cat", "sky", on="photo", fused=("sky",))]`.

    The model answers `<field>_logits`, float32, `(batch, queries, classes + 1)`, whose last class
    is no thing, and `<field>_masks`, float32 logits, `(batch, queries, rows, columns)`: for each
    query a grid over the picture that the graph sees. `queries` is their number, or None where it
    varies.

    The rule is that of `post_process_panoptic_segmentation` of DETR and MaskFormer in transformers
    5.23. A query counts if its best class (softmax) is a thing and scores above `threshold`. The
    sigmoid of its mask is interpolated to the client's picture (bilinear, as
    `torch.nn.functional.interpolate` without `align_corners`), times the score. A pixel goes to
    the query of the highest product, the first of equal ones. A query is a segment if it has a
    pixel, and if its pixels are more than the share `overlap` of those at which its own product is
    `mask_threshold` or more. Queries of a class in `fused` are one segment, of the highest score.

    A client sees a mask of the size of its own upright picture and a list: V1 answers `{"width",
    "height", "png", "segments": [{"id", "label", "score"}, ...]}`. The gray PNG in base64 holds
    the ids, of 8 bits or, with ids above 255, of 16. Ids count from 1 in the order of the list; 0
    is no segment, which is also what a crop cut off. V2 answers `<field>_ids`, INT32, `(height,
    width)`, and as lists `<field>_classes` and `<field>_scores`, whose first entry has the id 1;
    the pictures of a request are of one size there. Requests may choose `threshold`, where the
    contract declares it.
    """

    reads_options: ClassVar[frozenset[str]] = frozenset({"threshold"})
    kind: Literal["segments"] = "segments"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    on: Annotated[str, Field(max_length=128)] = ""
    queries: Annotated[int, Field(ge=1, le=MOST_SEGMENTS)] | None = None
    threshold: Share = 0.5
    mask_threshold: Share = 0.5
    overlap: Share = 0.8
    fused: Annotated[tuple[Word, ...], Field(strict=False, max_length=MAX_WORDS)] = ()
    unlike: Share = 1e-3
    """The share of pixels that two answers of one picture may differ in, and count as equal."""

    def __init__(self, *classes: str, **options: Any) -> None:
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation not in (dict, dict[str, Any]):
            raise DeclarationError("st.Segments", str(annotation), "dict")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        names = self.classes
        if self.nullable or not names or len(set(names)) != len(names):
            got = f"classes {names!r}"[:100]
            raise DeclarationError("st.Segments", got, "one or more different names, never missing")
        if not self.on:
            raise DeclarationError("st.Segments", "no picture", 'on="...", an image field')
        if unknown := [name for name in self.fused if name not in names]:
            raise DeclarationError("st.Segments", f"fused={unknown[0]!r}", "names of its classes")

    @property
    def about(self) -> str | None:
        return self.on

    def check_about(self, kind: Kind) -> None:
        check_seen("st.Segments", kind, NONE)

    def check_option(self, name: str, option: Option) -> None:
        if option.default != self.threshold or option.ge is None or option.ge < 0:
            raise DeclarationError(
                f"option '{name}'",
                f"default {option.default}, at least {option.ge}",
                f"default {self.threshold:g}, which is the kind's own, and ge=0",
            )

    def annotation(self) -> Any:
        return dict[str, Any]

    def want(self) -> str:
        return f"segments of {len(self.classes)} classes, each pixel of '{self.on}' in one or none"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        return (self.queries, len(self.classes) + 1)

    @property
    def answers_slowly(self) -> bool:
        return True

    def client_bytes(self, note: Any) -> int:
        return int(note.width * note.height * np.dtype(np.int32).itemsize)

    def answer_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_logits", "FP32", self.shape),
            AnswerTensor(f"{name}_masks", "FP32", (self.queries, None, None)),
        )

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        return (
            AnswerTensor(f"{name}_ids", "INT32", (None, None)),
            AnswerTensor(f"{name}_classes", "INT32", (None,)),
            AnswerTensor(f"{name}_scores", "FP32", (None,)),
        )

    def breaks_answer(self, option: str, old: Self) -> bool:
        return option not in OF_THE_GRAPH and super().breaks_answer(option, old)

    def faults(self, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
        logits, masks = arrays
        if logits.shape[1] != masks.shape[1]:
            cause = f"{logits.shape[1]} queries with {masks.shape[1]} masks"
        elif logits.shape[1] > MOST_SEGMENTS:
            cause = f"more than {MOST_SEGMENTS} queries"
        else:
            return {}
        return dict.fromkeys(range(len(logits)), cause)

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        scores, classes, shares = self._passed(arrays, options.get("threshold", self.threshold))
        places = sampling(note, *shares.shape[1:])
        return self._segments(scores, classes, places.bilinear(shares), places.inside)

    def _passed(self, arrays: Arrays, threshold: float) -> tuple[Array, Array, Array]:
        """Scores, classes and masks of the queries that count, the masks from 0 to 1."""
        logits, masks = arrays
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        scores, classes = probabilities.max(-1), probabilities.argmax(-1)
        kept = (scores > threshold) & (classes < len(self.classes))
        shares = np.exp(-np.logaddexp(np.float32(0), -masks[kept]))
        return scores[kept], classes[kept].astype(np.int32), shares

    def _segments(
        self,
        scores: Array,
        classes: Array,
        stretches: Iterable[tuple[slice, Array]],
        inside: Array,
    ) -> tuple[Array, Array, Array]:
        """Ids `(height, width)`, and class and score of each segment.

        `stretches` are rows of the picture with their masks, `(queries, some, width)`; `inside`
        says which pixels the graph saw.
        """
        number = len(scores)
        if not number:
            return np.zeros(inside.shape, np.int32), classes, scores
        winners = np.full(inside.shape, number, np.int32)
        own, whole = np.zeros(number + 1, np.int64), np.zeros(number, np.int64)
        for rows, shares in stretches:
            weighted, seen = shares * scores[:, None, None], inside[rows]
            winners[rows] = np.where(seen, weighted.argmax(0), number)
            own += np.bincount(winners[rows].ravel(), minlength=number + 1)
            whole += ((weighted >= self.mask_threshold) & seen).sum((1, 2))
        # transformers divides in float32: 4 of 5 pixels are more than a share of 0.8 there.
        shown = own[:-1].astype(np.float32) / np.maximum(whole, 1).astype(np.float32)
        ids, found, one = np.zeros(number + 1, np.int32), list[int](), dict[int, int]()
        for place in np.flatnonzero(
            (own[:-1] > 0) & (whole > 0) & (shown.astype(np.float64) > self.overlap)
        ).tolist():
            label = int(classes[place])
            is_fused = self.classes[label] in self.fused
            if is_fused and label in one:
                ids[place] = one[label]
                if scores[place] > scores[found[one[label] - 1]]:
                    found[one[label] - 1] = place
                continue
            found.append(place)
            ids[place] = one[label] = len(found)
        return ids[winners], classes[found], scores[found]

    def written(self, values: Arrays) -> Any:
        ids, classes, scores = values
        pixels = ids.astype(np.uint8 if len(classes) < BYTE else np.uint16)
        return {
            "width": ids.shape[1],
            "height": ids.shape[0],
            "png": png_text(pixels),
            "segments": [
                {"id": place, "label": self.classes[label], "score": score}
                for place, (label, score) in enumerate(
                    zip(classes.tolist(), list(scores), strict=True), 1
                )
            ],
        }

    def recover(self, value: Any) -> tuple[Array, ...]:
        places = {name: place for place, name in enumerate(self.classes)}
        segments = value["segments"]
        return (
            png_pixels(value["png"]).astype(np.int32),
            np.array([places[each["label"]] for each in segments], np.int32),
            np.array([each["score"] for each in segments], np.float32),
        )

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Segments of one class by the pixels that both have, whatever their ids.

        The share of pixels in another segment is held against `unlike`. A segment that one answer
        lacks is left out if its score is as near to the threshold as two scores may be to each
        other: its pixels are left out.
        """
        if want[0].shape != got[0].shape:
            return mismatch(f"ids of {list(got[0].shape)}, want {list(want[0].shape)}")
        partner = self._paired(want, got)
        other = partner[want[0]] != got[0]
        met = np.isin(np.arange(len(got[1]) + 1), partner)
        for values, lacking in ((want, partner < 0), (got, ~met)):
            for place in np.flatnonzero(lacking).tolist():
                score = values[2][place - 1]
                if abs(score - self.threshold) <= tolerance.allowed(score, 1.0):
                    other &= values[0] != place
        share = float(other.mean())
        if share > self.unlike:
            row, column = np.unravel_index(int(other.argmax()), other.shape)
            return mismatch(
                f"{share:.2%} of the pixels are in another segment, want {self.unlike:.2%} at "
                f"most; the first is row {row}, column {column}: got "
                f"{self._named(got, int(got[0][row, column]))}, "
                f"want {self._named(want, int(want[0][row, column]))}"
            )
        both = partner > 0
        scores = compare_arrays(want[2][both[1:]], got[2][partner[both] - 1], tolerance, 1.0)
        same = Comparison(passed=True, rows=0, worst_error=share, allowed=self.unlike)
        return worst_of([same, scores])

    def _paired(self, want: Arrays, got: Arrays) -> Array:
        """The id in `got` of each id in `want`: of one class, with most pixels in both, or -1."""
        mine, theirs = len(want[1]) + 1, len(got[1]) + 1
        both = np.bincount((want[0] * theirs + got[0]).ravel(), minlength=mine * theirs)
        shared = both.reshape(mine, theirs)[1:, 1:] * (want[1][:, None] == got[1])
        partner = np.where(np.arange(mine) == NONE, NONE, -1).astype(np.int32)
        for place in np.argsort(-shared.ravel(), kind="stable").tolist():
            one, other = divmod(place, max(1, theirs - 1))
            if not shared[one, other]:
                break
            if partner[one + 1] < 0 and other + 1 not in partner:
                partner[one + 1] = other + 1
        return partner

    def _named(self, values: Arrays, place: int) -> str:
        """A segment of an answer, for messages."""
        if place == NONE:
            return "none"
        return f"'{self.classes[int(values[1][place - 1])]}', score {values[2][place - 1]:.6g}"

    def json_schema(self) -> JsonSchema:
        segment = closed_object(
            {
                "id": {"type": "integer", "minimum": 1, "maximum": MOST_SEGMENTS},
                "label": {"type": "string"},
                "score": {"type": "number", "minimum": 0, "maximum": 1},
            }
        )
        most = self.queries or MOST_SEGMENTS
        segments = {"type": "array", "maxItems": most, "items": segment}
        return sized_schema({"png": PNG_SCHEMA, "segments": segments})

    def example(self) -> Any:
        ids = np.zeros((2, 3), np.int32)
        ids[:, 1] = 1
        return self.written([ids, np.zeros(1, np.int32), np.array([0.9], np.float32)])

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """How many segments there are in the graph's grid, and the share of it in none."""

        def features(values: Column) -> Mapping[str, Column]:
            found = []
            for arrays in zip(*values, strict=True):
                scores, classes, shares = self._passed(arrays, self.threshold)
                seen = np.ones(shares.shape[1:], bool)
                found.append(self._segments(scores, classes, [(slice(None), shares)], seen))
            return {
                "segments": [float(len(classes)) for _, classes, _ in found],
                "none": [float((ids == NONE).mean()) for ids, *_ in found],
            }

        return features
