"""Masks of single things in a picture: which pixels of the client's picture belong to each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from seatrial_contracts.kinds.kind import Array, JsonSchema, closed_object
from seatrial_contracts.kinds.notes import ImageNote
from seatrial_contracts.kinds.resample import (
    PNG_SCHEMA,
    Sampling,
    between,
    png_pixels,
    png_text,
    sampling,
)

MaskEncoding = Literal["png", "rle"]
INSIDE = 255
"""The gray level of a thing in its PNG; everything else is 0, as transformers has it."""
COMPRESSION = 64
"""A PNG of a smooth mask takes at most one byte for so many pixels, about."""
BITS, MORE, SIGN, FIRST = 5, 0x20, 0x10, 48
"""Of a character of COCO's run lengths: it holds 5 bits, whether more follow, and starts at "0"."""
CARRIED = 3
"""From this place on, COCO writes a run as the difference from the last but one."""


def cut_out(values: Array, note: ImageNote, threshold: float) -> Array:
    """The pixels of a thing, bool, `(height, width)` of the client's picture.

    `values` is a grid over the graph's picture, `(rows, columns)`. It is interpolated (bilinear, as
    `Sampling.bilinear` has it), and a pixel belongs to the thing if its value is above `threshold`.
    Pixels that a crop cut off do not belong to it.
    """
    places = sampling(note, *values.shape)
    mask = np.zeros((note.height, note.width), bool)
    above = np.asarray(values > threshold)
    rows, columns = (
        _reached(places.y, np.asarray(above.any(1))),
        _reached(places.x, np.asarray(above.any(0))),
    )
    if rows.stop and columns.stop:
        window = Sampling(places.x[columns], places.y[rows], places.columns, places.rows)
        seen = mask[rows, columns]
        for some, scores in window.bilinear(values[None]):
            seen[some] = scores[0] > threshold
    return mask


def _reached(places: Array, above: Array) -> slice:
    """The stretch of pixels that lies in the grid and beside cells which are above a threshold."""
    first, second, _ = between(places, len(above))
    inside = (places >= 0) & (places < len(above))
    found = np.flatnonzero((above[first] | above[second]) & inside)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def mask_text(mask: Array, encoding: MaskEncoding) -> str:
    """A bool mask as text: a gray PNG in base64, or COCO's object of run lengths as JSON."""
    if encoding == "png":
        return png_text(mask.astype(np.uint8) * np.uint8(INSIDE))
    return json.dumps({"size": list(mask.shape), "counts": coco_counts(runs(mask))})


def mask_json(text: str, encoding: MaskEncoding) -> Any:
    """What `mask_text` made as a JSON value."""
    return text if encoding == "png" else json.loads(text)


def text_of(value: Any, encoding: MaskEncoding) -> str:
    """What `mask_text` made, back from the JSON value."""
    return str(value) if encoding == "png" else json.dumps(value)


def mask_pixels(text: str, encoding: MaskEncoding) -> Array:
    """The bool mask that `mask_text` wrote."""
    if encoding == "png":
        return png_pixels(text) > 0
    told = json.loads(text)
    height, width = told["size"]
    lengths = runs_of(told["counts"])
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return flat.reshape(width, height).T


def runs(mask: Array) -> list[int]:
    """Lengths of runs, column after column from the left, the first one outside of the mask."""
    columns = np.flatnonzero(mask.any(0))
    if not len(columns):
        return [mask.size]
    before, window = columns[0] * len(mask), mask[:, columns[0] : columns[-1] + 1]
    changes = np.flatnonzero(np.diff(np.ravel(window, order="F"), prepend=False, append=False))
    lengths: list[int] = np.diff([0, *(changes + before), mask.size]).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def coco_counts(lengths: list[int]) -> str:
    """Run lengths as COCO writes them in text (`rleToString` of pycocotools)."""
    made = []
    for place, length in enumerate(lengths):
        rest = length - lengths[place - 2] if place >= CARRIED else length
        more = True
        while more:
            bits, rest = rest & (MORE - 1), rest >> BITS
            more = rest != (-1 if bits & SIGN else 0)
            made.append(chr((bits | MORE if more else bits) + FIRST))
    return "".join(made)


def runs_of(counts: str) -> list[int]:
    """The run lengths that `coco_counts` wrote."""
    found: list[int] = []
    for value in _signed(counts):
        found.append(value + found[-2] if len(found) >= CARRIED else value)
    return found


def _signed(counts: str) -> Iterator[int]:
    value = shift = 0
    for code in map(ord, counts):
        bits = code - FIRST
        value, shift = value | (bits & (MORE - 1)) << shift, shift + BITS
        if not bits & MORE:
            yield value - (1 << shift) if bits & SIGN else value
            value = shift = 0


def unlike_share(want: str, got: str, encoding: MaskEncoding) -> float:
    """1 - intersection over union of two masks; 0 of equal ones, 1 of unlike sizes."""
    if want == got:
        return 0.0
    mine, theirs = mask_pixels(want, encoding), mask_pixels(got, encoding)
    if mine.shape != theirs.shape:
        return 1.0
    return float((mine ^ theirs).sum() / max(1, (mine | theirs).sum()))


def mask_schema(encoding: MaskEncoding) -> JsonSchema:
    """JSON Schema (2020-12) of `mask_json`."""
    if encoding == "png":
        return PNG_SCHEMA
    side = {"type": "integer", "minimum": 1}
    size = {"type": "array", "items": side, "minItems": 2, "maxItems": 2}
    return closed_object({"size": size, "counts": {"type": "string"}})
