"""A placement: how large a picture is made for the graph, and where it lies in what the graph sees.

A placement is worked out from a picture's size alone, before any of its pixels is touched.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seatrial_contracts.kinds.notes import ImageNote

if TYPE_CHECKING:
    from PIL import Image as PillowImage

Size = tuple[int, int]
"""Width and height, in pixels, as Pillow has them."""
CropOffset = Literal["floor", "half_even"]
Resample = Literal["bilinear", "bicubic", "nearest", "lanczos"]
"""Pillow's filters, by their names there."""
SLACK = 1e-9
"""Of a multiple, which is more than the last bits of a side's arithmetic."""


class Placement(NamedTuple):
    """A picture of `width` x `height` pixels, resized, at a place in the graph's picture.

    `left` and `top` are below 0 where the graph's picture is a part of the resized one.
    """

    width: int
    height: int
    left: int
    top: int
    made_width: int
    made_height: int

    @property
    def pixels(self) -> int:
        """Of the larger of both pictures."""
        return max(self.width * self.height, self.made_width * self.made_height)

    def note(self, size: Size) -> ImageNote:
        """Where the graph's picture lies in the client's, which has this size."""
        return ImageNote(
            *size, self.made_width, self.made_height,
            self.width / size[0], self.height / size[1], float(self.left), float(self.top),
        )  # fmt: skip

    def apply(self, picture: PillowImage.Image, fill: Any, resample: Resample) -> PillowImage.Image:
        """Resize a picture with one of Pillow's filters, then cut it or lay it on `fill`."""
        from PIL import Image as Pillow

        if picture.size != (self.width, self.height):
            by = Pillow.Resampling[resample.upper()]
            picture = picture.resize((self.width, self.height), by)
        made = (self.made_width, self.made_height)
        if picture.size == made:
            return picture
        if self.left < 0 or self.top < 0:
            return picture.crop((-self.left, -self.top, made[0] - self.left, made[1] - self.top))
        whole = Pillow.new(picture.mode, made, fill)
        whole.paste(picture, (self.left, self.top))
        return whole


def as_it_is(size: Size) -> Placement:
    """A picture of this size, whole."""
    return Placement(*size, 0, 0, *size)


def by_shorter_side(size: Size, shorter_side_px: int) -> Placement:
    """As torchvision's `Resize(shorter_side_px)`: the longer side is cut to a whole pixel."""
    width, height = size
    longer = max(1, int(shorter_side_px * max(size) / min(size)))
    made = (shorter_side_px, longer) if width <= height else (longer, shorter_side_px)
    return as_it_is(made)


def by_sides(
    size: Size, shorter_side_px: int, longer_side_px: int, multiple_px: int | None = None
) -> Placement:
    """As DETR's image processor: the shorter side's length, unless the longer gets too long by it.

    With `multiple_px` sides are cut to multiples of it, as YOLOS' processor does. The arithmetic is
    that of `get_size_with_aspect_ratio` and `get_size_with_aspect_ratio_yolos` of transformers
    5.23, float by float.
    """
    low, high = float(min(size)), float(max(size))
    side, exact = shorter_side_px, None
    if high / low * side > longer_side_px:
        exact = longer_side_px * low / high
        side = round(exact)
    if min(size) == side and (multiple_px is None or size[0] >= size[1]):
        made = size
    else:
        longer = int((side if exact is None else exact) * max(size) / min(size))
        sides = (max(1, side), max(1, longer))
        made = sides if size[0] < size[1] else (sides[1], sides[0])
    step = multiple_px or 1
    return as_it_is((cut_down(made[0], step), cut_down(made[1], step)))


def cut_down(side: int, step: int) -> int:
    """The largest multiple of `step` that is no more than the side, and `step` at least."""
    return max(step, side - side % step)


def by_one_side(size: Size, wanted: Size, multiple_px: int) -> Placement:
    """As DPT's image processor with `keep_aspect_ratio`: one side at that of `wanted`.

    It is the side whose scale is nearer to 1, the height of two alike. Both sides end at the
    nearest multiple, half a multiple at the even one. The arithmetic is that of
    `get_resize_output_image_size` of transformers 5.23, float by float.
    """
    scale_x, scale_y = wanted[0] / size[0], wanted[1] / size[1]
    scale = scale_x if abs(1 - scale_x) < abs(1 - scale_y) else scale_y
    return as_it_is((nearest(scale * size[0], multiple_px), nearest(scale * size[1], multiple_px)))


def nearest(side: float, step: int) -> int:
    """The multiple of `step` that is nearest to a side: 0 for less than half a step."""
    return round(side / step) * step


def ends_of_one_side(own: int, other: int, max_aspect: float, step: int) -> tuple[int, int]:
    """Least and most of a side that is `own` or follows `other`, by `by_one_side`.

    The last bits of its arithmetic may move a side to the multiple beside the nearest.
    """
    least, most = min(own, other / max_aspect), max(own, other * max_aspect)
    ends = math.ceil(least / step - 0.5 - SLACK), math.floor(most / step + 0.5 + SLACK)
    return ends[0] * step, ends[1] * step


def letterboxed(size: Size, made: Size) -> Placement:
    """The whole picture in the middle, both sides by one scale, to the nearest whole pixel.

    The place is that of Ultralytics' `LetterBox`: with an odd rest, the larger margin is right and
    below.
    """
    scale = min(made[0] / size[0], made[1] / size[1])
    width, height = (max(1, round(side * scale)) for side in size)
    return Placement(width, height, (made[0] - width) // 2, (made[1] - height) // 2, *made)


def centre_cropped(size: Size, made: Size, shorter_side_px: int, offset: CropOffset) -> Placement:
    """The middle of a picture that is resized by its shorter side first.

    Of an odd number of pixels beside the middle, `"floor"` leaves the smaller half on the left and
    above, as the image processors of transformers do (`center_crop` in 5.23). `"half_even"` rounds
    the half to the even number, as torchvision's `CenterCrop` does (0.27): 1.5 pixels are 2.
    """
    width, height, *_ = by_shorter_side(size, shorter_side_px)
    beside = (width - made[0], height - made[1])
    left, top = (rest // 2 if offset == "floor" else round(rest / 2) for rest in beside)
    return Placement(width, height, -left, -top, *made)
