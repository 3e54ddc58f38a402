"""A mask: the class of each pixel of the client's picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, mismatch
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array, Column, Features, JsonSchema, Kind, Stage, Word
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

MOST_IDS = 2**16
"""Class ids of a PNG of 16 bits."""
BYTE = 256
MOST_SHARES = 8
"""With more classes, drift looks at the largest share alone."""
MaskSide = Annotated[int, Field(ge=1, le=2**15)]


class Mask(MappedKind):
    """`Annotated[dict, Mask("sky", "sea", "ship", on="photo")]`.

    The model answers class ids, int64, `(batch, height, width)`, or with `logits=True` float32,
    `(batch, classes, height, width)`. That grid covers the picture that the graph sees, in any
    number of cells; `grid_px=(height, width)` fixes it.

    A client sees a mask of the size of its own upright picture. Of ids, each pixel has the id of
    the cell that holds its centre; logits are interpolated first (bilinear, as
    `torch.nn.functional.interpolate` without `align_corners`), and the highest wins, the lower
    class of equal ones. Pixels that a crop cut off have the id `cut`.

    V1 answers `{"width", "height", "png"}`, a gray PNG of the ids in base64, of 8 bits or, with ids
    above 255, of 16; with `encoding="rle"` it answers `{"width", "height", "ids", "lengths"}`: runs
    of equal ids, row after row from the top. V2 answers one tensor, UINT8 or INT32, `(height,
    width)`; the pictures of a request are of one size there.
    """

    kind: Literal["mask"] = "mask"
    classes: Annotated[tuple[Word, ...], Field(strict=False, max_length=MOST_IDS)] = ()
    on: Annotated[str, Field(max_length=128)] = ""
    logits: bool = False
    grid_px: Annotated[tuple[MaskSide, MaskSide], Field(strict=False)] | None = None
    cut: Annotated[int, Field(ge=0, lt=MOST_IDS)] | None = None
    encoding: Literal["png", "rle"] = "png"
    unlike: Annotated[float, Field(ge=0, lt=1)] = 1e-3
    """The share of pixels that two masks of one picture may differ in, and count as equal."""

    def __init__(self, *classes: str, **options: Any) -> None:
        super().__init__(**({"classes": classes} | options if classes else options))

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation not in (dict, dict[str, Any]):
            raise DeclarationError("st.Mask", str(annotation), "dict")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        names = self.classes
        if self.nullable or not names or len(set(names)) != len(names):
            got = f"classes {names!r}"[:100]
            raise DeclarationError("st.Mask", got, "one or more different names, never missing")
        if not self.on:
            raise DeclarationError("st.Mask", "no picture", 'on="...", an image field')

    @property
    def about(self) -> str | None:
        return self.on

    def check_about(self, kind: Kind) -> None:
        check_seen("st.Mask", kind, self.cut)

    def annotation(self) -> Any:
        return dict[str, Any]

    def want(self) -> str:
        return f"one of {len(self.classes)} classes for each pixel of '{self.on}'"

    @property
    def datatype(self) -> str:
        return "FP32" if self.logits else "INT64"

    @property
    def shape(self) -> tuple[int | None, ...]:
        grid = self.grid_px or (None, None)
        return (len(self.classes), *grid) if self.logits else grid

    @property
    def _id_type(self) -> np.dtype[Any]:
        most = max(len(self.classes), (self.cut or 0) + 1)
        return np.dtype(np.uint8 if most <= BYTE else np.int32)

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        datatype = "UINT8" if self._id_type == np.uint8 else "INT32"
        return (AnswerTensor(name, datatype, (None, None)),)

    def breaks_answer(self, option: str, old: Self) -> bool:
        if option in ("logits", "grid_px", "unlike"):  # a client sees nothing of them
            return False
        return super().breaks_answer(option, old)

    @property
    def answers_slowly(self) -> bool:
        return True

    def client_bytes(self, note: Any) -> int:
        return int(note.width * note.height * self._id_type.itemsize)

    def faults(self, arrays: Arrays, about: Kind | None) -> Mapping[int, str]:
        if self.logits:
            return {}
        bad = ((arrays[0] < 0) | (arrays[0] >= len(self.classes))).any((1, 2))
        cause = f"a class that is not from 0 to {len(self.classes) - 1}"
        return dict.fromkeys(np.flatnonzero(bad).tolist(), cause)

    def agrees(self, want: Array, got: Array) -> bool:
        """Whether no more than the share `unlike` of the grid's cells has another class."""
        return want.shape == got.shape and float((want != got).mean()) <= self.unlike

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        grid = arrays[0]
        places = sampling(note, *grid.shape[-2:])
        if self.logits:
            ids = np.empty((len(places.y), len(places.x)), self._id_type)
            for rows, scores in places.bilinear(grid):
                ids[rows] = scores.argmax(0)
        else:
            ids = places.nearest(grid).astype(self._id_type)
        if self.cut is not None:
            ids[~places.inside] = self.cut
        return (ids,)

    def written(self, values: Arrays) -> Any:
        ids = values[0]
        size = {"width": ids.shape[1], "height": ids.shape[0]}
        if self.encoding == "png":
            pixels = ids if ids.dtype == np.uint8 else ids.astype(np.uint16)
            return {**size, "png": png_text(pixels)}
        flat = ids.ravel()
        starts = np.flatnonzero(np.diff(flat, prepend=flat[0] ^ 1))
        lengths = np.diff(starts, append=len(flat))
        return {**size, "ids": flat[starts], "lengths": lengths}

    def recover(self, value: Any) -> tuple[Array, ...]:
        if self.encoding == "png":
            return (png_pixels(value["png"]).astype(self._id_type),)
        flat = np.repeat(np.array(value["ids"], self._id_type), value["lengths"])
        return (flat.reshape(value["height"], value["width"]),)

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """The share of pixels whose class differs, against `unlike`."""
        if want[0].shape != got[0].shape:
            return mismatch(f"a mask of {list(got[0].shape)}, want {list(want[0].shape)}")
        other = want[0] != got[0]
        share = float(other.mean())
        if share <= self.unlike:
            return Comparison(passed=True, rows=0, worst_error=share, allowed=self.unlike)
        index = np.unravel_index(int(other.argmax()), other.shape)
        return mismatch(
            f"{share:.2%} of the pixels have another class, want {self.unlike:.2%} at most; the "
            f"first is row {index[0]}, column {index[1]}: got {int(got[0][index])}, "
            f"want {int(want[0][index])}"
        )

    def json_schema(self) -> JsonSchema:
        if self.encoding == "png":
            return sized_schema({"png": PNG_SCHEMA})
        ids = {"type": "integer", "minimum": 0, "maximum": MOST_IDS - 1}
        return sized_schema(
            {
                "ids": {"type": "array", "items": ids},
                "lengths": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            },
        )

    def example(self) -> Any:
        ids = np.zeros((2, 3), self._id_type)
        ids[:, 1] = len(self.classes) - 1
        if self.encoding == "png":
            return self.written([ids])
        return {"width": 3, "height": 1, "ids": [0], "lengths": [3]}

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """The largest share of a class in the graph's grid, and each class's share where few."""
        each = self.classes if len(self.classes) <= MOST_SHARES else ()

        def features(values: Column) -> Mapping[str, Column]:
            ids = [value.argmax(0) if self.logits else value for value in values]
            shares = [
                np.bincount(one.ravel(), minlength=len(self.classes)) / one.size for one in ids
            ]
            own = {f"share.{word}": [s[place] for s in shares] for place, word in enumerate(each)}
            return {"largest": [float(share.max()) for share in shares], **own}

        return features
