"""What a folder says of its pictures: the image processor, as options of `st.Image`.

The options are read off the processor's own attributes. Whatever the processor's class, they are
held to what it makes of some pictures: one that `st.Image` does not make so is refused.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.image import Image
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.drawn_pictures import picture_file, pictures
from seatrial_export.hub.faults import MEND_DOWNLOAD, fault
from seatrial_export.hub.folder import Folder, quiet, told
from seatrial_export.hub.pixels import Pixels, opened

FORMATS = ("JPEG", "PNG", "WEBP")
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's `Resampling`, as processors write it, by the names that `st.Image` has."""
CONVNEXT_WARPS = 384
"""From this side on ConvNeXT's processor resizes both sides, and crops nothing."""
LEVIT_MARGIN = 256 / 224
"""LeViT's processor resizes the shorter side by so much beyond the crop."""
YOLOS_STEP = 16
"""YOLOS' processor cuts sides to multiples of so many pixels."""
LEAST_MADE = 64
"""Pixels that a longest edge leaves to the other side: longer pictures are refused.

Feature maps of a 32nd of the picture have a second cell from 33 pixels on.
"""
MOST_ASPECT = 4.0
"""Of a picture whose shorter side alone is bounded: attention takes 16 times a square's memory."""
LEAST_MULTIPLES = 3
"""Of a side: a size of 1 is a constant to a trace, and DPT's neck halves a side of patches."""
TRIED = ((96, 72), (47, 71), (33, 33), (180, 45), (64, 64), (30, 131))
"""Widths and heights of pictures on which the options are tried."""
CLOSE = 2e-6
"""Of the largest value: the processor rounds its scale and mean in another order."""
MEND = "write a pipeline whose st.Image and model do what this processor does"


@dataclass(frozen=True)
class ImageSide:
    """The image processor of a folder, and what makes the same of a file."""

    processor: Any
    image: Mapping[str, Any]
    """Options of `st.Image`."""
    pixels: Mapping[str, Any]
    """Options of `Pixels`."""

    @property
    def kind(self) -> Image:
        """The field."""
        return Image(**self.image)

    @property
    def cropped(self) -> bool:
        """Does the model see a part of the picture alone?"""
        return self.image.get("fit") == "crop" or "crop" in self.pixels


def read_image_side(folder: Folder, *, whole: bool = False) -> ImageSide:
    """The image processor of a folder; `whole` where an answer is about places in the picture.

    Raises `DeclarationError` where there is none, or none that `st.Image` can be.
    """
    processor = load_processor(folder)
    side = ImageSide(processor, *options_of(folder, processor))
    if whole and side.cropped:
        raise odd(folder, processor, "a centre crop, which leaves out a part of the picture")
    check_made(folder, side)
    return side


def load_processor(folder: Folder) -> Any:
    """The folder's image processor, in the form that resizes by Pillow."""
    from transformers import AutoImageProcessor

    if not folder.preprocessor and not folder.file("processor_config.json"):
        raise fault(folder.path, "no preprocessor_config.json", "an image processor", MEND_DOWNLOAD)
    try:
        with quiet():
            return AutoImageProcessor.from_pretrained(
                folder.root, backend="pil", local_files_only=True
            )
    except Exception as error:  # transformers' own kinds, of no common class
        got = f"an image processor that transformers does not load: {told(error)}"
        raise fault(folder.path, got, "preprocessor_config.json", MEND_DOWNLOAD) from error


def options_of(folder: Folder, processor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of `st.Image` and of `Pixels`, as the processor's attributes say."""
    image: dict[str, Any] = {"formats": FORMATS, "opacity": "drop"}
    pixels = affine(folder, processor)
    crop = (
        sides(getattr(processor, "crop_size", None)) if said(processor, "do_center_crop") else None
    )
    if not said(processor, "do_resize"):
        if crop is not None:
            raise odd(folder, processor, "a centre crop without resizing")
        return image, pixels
    resample = getattr(processor, "resample", None)
    if resample not in FILTERS:
        raise odd(folder, processor, f"Pillow's filter {resample}")
    image["resample"] = FILTERS[resample]
    made = sized(folder, processor)
    if crop is None or made.get("fit") == "crop":
        return image | made, pixels
    varies = "longer_side_px" in made or made.get("fit") == "one_side"
    if "size_px" in made and not varies:
        (height, width), (crop_height, crop_width) = made["size_px"], crop
        if crop_height > height or crop_width > width:
            raise odd(folder, processor, "a centre crop that is larger than the picture")
        place = ((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)
        return image | made, pixels | ({} if crop == (height, width) else {"crop": place})
    if varies or max(crop) > made["shorter_side_px"]:
        raise odd(folder, processor, "a centre crop that can be larger than the picture")
    return image | made | {"size_px": crop, "fit": "crop"}, pixels


def sized(folder: Folder, processor: Any) -> dict[str, Any]:
    """Options of how pictures are resized."""
    size, name = processor.size, type(processor).__name__.removesuffix("Pil")
    if size.shortest_edge and name == "ConvNextImageProcessor":
        side = size.shortest_edge
        if side >= CONVNEXT_WARPS:
            return {"size_px": (side, side)}
        grown = int(side / processor.crop_pct)
        return {"size_px": (side, side), "fit": "crop", "shorter_side_px": grown}
    if size.shortest_edge and name == "LevitImageProcessor":
        return {"shorter_side_px": int(LEVIT_MARGIN * size.shortest_edge)}
    if size.shortest_edge:
        most = size.longest_edge
        if not most:
            return {"shorter_side_px": size.shortest_edge}
        aspect = max(1.0, float(most // LEAST_MADE))
        cut = {"multiple_px": YOLOS_STEP} if name == "YolosImageProcessor" else {}
        return {
            "shorter_side_px": size.shortest_edge, "longer_side_px": most, "max_aspect": aspect,
        } | cut  # fmt: skip
    both = sides(size)
    if both is None:
        raise odd(folder, processor, f"size {dict(size)}")
    step = getattr(processor, "ensure_multiple_of", None) or 1
    if not said(processor, "keep_aspect_ratio"):
        return {"size_px": tuple(round(side / step) * step for side in both)}
    aspect = max(1.0, min(MOST_ASPECT, min(both) / (LEAST_MULTIPLES * step)))
    cut = {"multiple_px": step} if step > 1 else {}
    return {"size_px": both, "fit": "one_side", "max_aspect": aspect} | cut


def affine(folder: Folder, processor: Any) -> dict[str, Any]:
    """`scale` and `shift` of each colour: rescale, then normalise."""
    factor = float(processor.rescale_factor) if said(processor, "do_rescale") else 1.0
    offset = -1.0 if said(processor, "rescale_offset") and said(processor, "do_rescale") else 0.0
    mean, std = np.zeros(3), np.ones(3)
    if said(processor, "do_normalize"):
        mean, std = (
            np.broadcast_to(np.asarray(each, np.float64), 3)
            for each in (processor.image_mean, processor.image_std)
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # a deviation of 0 is told below
        scale, shift = factor / std, (offset - mean) / std
        if said(processor, "include_top"):  # EfficientNet's divides by the deviation once more
            again = np.broadcast_to(np.asarray(processor.image_std, np.float64), 3)
            scale, shift = scale / again, shift / again
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise odd(folder, processor, "an image_std of 0")
    return {"scale": tuple(scale.tolist()), "shift": tuple(shift.tolist())}


def check_made(folder: Folder, side: ImageSide) -> None:
    """Raise `DeclarationError` where kind and processor make other values of a picture."""
    try:
        side.kind.check()
    except DeclarationError as error:
        raise odd(folder, side.processor, f"what st.Image refuses: {told(error)}") from None
    graph = Pixels(**side.pixels)
    most = side.kind.max_aspect or max(map(max, TRIED))
    for width, height in (each for each in TRIED if max(each) <= most * min(each)):
        data = picture_file(width, height, "PNG", seed=width)
        where = f"of {width} x {height} pixels"
        try:
            with quiet():
                made = side.processor(images=opened(data), return_tensors="pt")["pixel_values"]
        except Exception as error:  # a library's own kinds
            raise odd(folder, side.processor, f"{told(error)} {where}") from error
        try:
            seen = side.kind.decode(data)
        except Refusal as error:
            raise odd(folder, side.processor, f"what st.Image refuses: {told(error)}") from None
        got = graph(torch.from_numpy(seen.copy())[None])
        if got.shape != made.shape:
            raise odd(folder, side.processor, f"{list(made.shape)} {where}, not {list(got.shape)}")
        apart = float((got - made).abs().max())
        if apart > CLOSE * max(1.0, float(made.abs().max())):
            raise odd(folder, side.processor, f"values {where} that are {apart:.2g} apart")


def odd(folder: Folder, processor: Any, what: str) -> DeclarationError:
    """A processor that `st.Image` cannot be."""
    name = type(processor).__name__
    want = "resize, centre crop, rescale and normalise as st.Image and the graph do"
    return fault(folder.path, f"{name}, which makes {what}", want, MEND)


def said(processor: Any, name: str) -> bool:
    """Is an option of the processor there, and on?"""
    return bool(getattr(processor, name, False))


def sides(size: Any) -> tuple[int, int] | None:
    """Height and width of a size that has both."""
    if size is None or not (size.height and size.width):
        return None
    return int(size.height), int(size.width)


def rows_of_pictures() -> list[RawRow]:
    """Rows of our own, of a field `image`."""
    return [
        {"image": binascii.b2a_base64(picture, newline=False).decode()} for picture in pictures()
    ]
