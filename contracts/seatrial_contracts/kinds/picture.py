"""A picture back: depth, a larger or a cleaner picture, at the size of the client's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.compare import Comparison, Tolerance, mismatch
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array, Features, JsonSchema, Kind, Stage
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_contracts.kinds.mask import MaskSide
from seatrial_contracts.kinds.output_kind import AnswerTensor, Arrays, OptionValues
from seatrial_contracts.kinds.resample import (
    PNG_SCHEMA,
    check_seen,
    png_pixels,
    png_text,
    sampling,
    sized_schema,
)


class Picture(MappedKind):
    """`Annotated[dict, Picture(on="photo", channels=1, bits=16, ge=0, le=80, unit="m")]`.

    The model answers float32, `(batch, height, width)`, or `(batch, 3, height, width)` with
    `channels=3`. That grid covers the picture that the graph sees, in any number of cells;
    `grid_px=(height, width)` fixes it.

    A client sees a picture of the size of its own upright one, or `scale` times as large, between
    the cells interpolated (bilinear, as `torch.nn.functional.interpolate` without `align_corners`).
    `ge` becomes 0 and `le` the largest number of `bits`; values beyond them end there. Pixels that
    a crop cut off have the value `cut`.

    V1 answers `{"width", "height", "png"}`: a PNG in base64, gray of 8 or 16 bits or RGB of 8. V2
    answers one tensor, UINT8 or UINT16, `(height, width)` or `(height, width, 3)`; the pictures of
    a request are of one size there.
    """

    kind: Literal["picture"] = "picture"
    on: Annotated[str, Field(max_length=128)] = ""
    channels: Literal[1, 3] = 1
    bits: Literal[8, 16] = 8
    ge: float = 0.0
    le: float = 1.0
    unit: Annotated[str, Field(max_length=64)] | None = None
    scale: Annotated[int, Field(ge=1, le=16)] = 1
    grid_px: Annotated[tuple[MaskSide, MaskSide], Field(strict=False)] | None = None
    cut: float | None = None

    def declared(self, annotation: Any, nullable: bool) -> Self:
        if annotation not in (dict, dict[str, Any]):
            raise DeclarationError("st.Picture", str(annotation), "dict")
        return self.completed(nullable=nullable)

    def check(self) -> None:
        beyond = self.cut is not None and not self.ge <= self.cut <= self.le
        faults = (
            (self.nullable, "a picture that may be missing", "one that is there"),
            (not self.on, "no picture", 'on="...", an image field'),
            (self.ge >= self.le, f"ge={self.ge:g} and le={self.le:g}", "ge below le"),
            (self.channels == 3 and self.bits == 16, "RGB of 16 bits", "8 bits, or one channel"),
            (beyond, f"cut={self.cut}", f"a value from {self.ge:g} to {self.le:g}"),
        )
        for is_fault, got, want in faults:
            if is_fault:
                raise DeclarationError("st.Picture", got, want)

    @property
    def about(self) -> str | None:
        return self.on

    def check_about(self, kind: Kind) -> None:
        check_seen("st.Picture", kind, self.cut)

    def annotation(self) -> Any:
        return dict[str, Any]

    def want(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return f"a picture of values from {self.ge:g} to {self.le:g}{unit} on '{self.on}'"

    @property
    def datatype(self) -> str:
        return "FP32"

    @property
    def shape(self) -> tuple[int | None, ...]:
        grid = self.grid_px or (None, None)
        return (3, *grid) if self.channels == 3 else grid

    @property
    def _type(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def _most(self) -> int:
        return (1 << self.bits) - 1

    def client_tensors(self, name: str) -> tuple[AnswerTensor, ...]:
        shape = (None, None, 3) if self.channels == 3 else (None, None)
        return (AnswerTensor(name, f"UINT{self.bits}", shape),)

    def breaks_answer(self, option: str, old: Self) -> bool:
        return option != "grid_px" and super().breaks_answer(option, old)

    @property
    def answers_slowly(self) -> bool:
        return True

    def client_bytes(self, note: Any) -> int:
        pixels = note.width * note.height * self.scale * self.scale
        return int(pixels * self.channels * self._type.itemsize)

    def client(self, arrays: Arrays, note: Any, options: OptionValues) -> tuple[Array, ...]:
        grid = arrays[0] if self.channels == 3 else arrays[0][None]
        _, rows, columns = grid.shape
        places = sampling(note, rows, columns, self.scale)
        made = np.empty((len(places.y), len(places.x), self.channels), self._type)
        for some, values in places.bilinear(grid):
            made[some] = np.moveaxis(self._levels(values), 0, -1)
        if self.cut is not None:
            made[~places.inside] = self._levels(np.array(self.cut))
        return (made if self.channels == 3 else made[..., 0],)

    def _levels(self, values: Array) -> Array:
        share = (values.astype(np.float64) - self.ge) / (self.le - self.ge)
        return np.asarray((share.clip(0, 1) * self._most).round().astype(self._type))

    def written(self, values: Arrays) -> Any:
        height, width = values[0].shape[:2]
        return {"width": width, "height": height, "png": png_text(values[0])}

    def recover(self, value: Any) -> tuple[Array, ...]:
        return (png_pixels(value["png"]).astype(self._type),)

    def match(self, want: Arrays, got: Arrays, tolerance: Tolerance) -> Comparison:
        """Each pixel, with one step of the PNG allowed beside the tolerance."""
        if want[0].shape != got[0].shape:
            return mismatch(f"a picture of {list(got[0].shape)}, want {list(want[0].shape)}")
        a, b = got[0].astype(np.float64), want[0].astype(np.float64)
        allowed = np.maximum(1.0, tolerance.allowed(b, float(self._most)))
        index = np.unravel_index(int((np.abs(a - b) / allowed).argmax()), a.shape)
        error = float(abs(a[index] - b[index]))
        return Comparison(
            passed=error <= float(allowed[index]),
            rows=0,
            worst_error=error,
            allowed=float(allowed[index]),
            index=tuple(map(int, index)),
            got=float(a[index]),
            want=float(b[index]),
        )

    def json_schema(self) -> JsonSchema:
        return sized_schema({"png": PNG_SCHEMA})

    def example(self) -> Any:
        shape = (2, 3, 3) if self.channels == 3 else (2, 3)
        return self.written([np.zeros(shape, self._type)])

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Mean and spread of the values in the graph's grid."""
        return lambda values: {
            "mean": [float(np.mean(value)) for value in values],
            "spread": [float(np.std(value)) for value in values],
        }
