"""An image: an encoded file, decoded on the host by Pillow, into pixels of one mode."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.declared import is_none
from seatrial_contracts.errors import DeclarationError, MissingExtra, Refusal
from seatrial_contracts.kinds.file_kind import FileKind, base64_text
from seatrial_contracts.kinds.kind import Array, Column, Edge, Features, Stage, TensorSpec
from seatrial_contracts.kinds.notes import ImageNote
from seatrial_contracts.kinds.pixel_mode import (
    MODES,
    Mode,
    Opacity,
    PixelMode,
    check_depth,
    converted,
    fill_of,
    in_srgb,
    pixels_of,
)
from seatrial_contracts.kinds.placement import (
    CropOffset,
    Placement,
    Resample,
    Size,
    as_it_is,
    by_one_side,
    by_shorter_side,
    by_sides,
    centre_cropped,
    cut_down,
    ends_of_one_side,
    letterboxed,
    nearest,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from PIL import Image as PillowImage

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
DRAWN_MODES: dict[str, tuple[str, ...]] = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "RGBA", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("RGB", "L", "P", "1"),
    "TIFF": ("RGB", "L", "RGBA", "CMYK", "P", "1", "I;16"),
}
"""Pillow's modes that pictures of each format are drawn in for tests."""
DEEP = frozenset({"I;16", "F"})
"""Modes whose pixels no other mode's become."""
ORIENTATION = 0x0112
"""EXIF's tag (Exif 2.32, 4.6.5): 1 is upright, 2 to 8 are turned or mirrored."""
PNG_DEPTH = 24
"""The place of the bits a sample in a PNG (PNG specification, 11.2.1)."""
PNG_SIGNATURE_BYTES, PNG_END = 8, b"\x00\x00\x00\x00IEND\xaeB`\x82"
"""The last chunk of every whole PNG (PNG specification, 11.2.5).

Pillow decodes a file that is cut before this chunk without an error.
"""
TURNED_BACK = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_90",
    7: "TRANSVERSE",
    8: "ROTATE_270",
}
"""Orientation -> Pillow's name of what undoes it."""


Side = Annotated[int, Field(ge=1, le=2**15)]


class Image(FileKind):
    """`Annotated[bytes, Image(formats=("JPEG", "PNG"))]`.

    Decoded to RGB uint8, shape `(height, width, 3)`: transparency is laid on white, 16-bit gray
    keeps its upper 8 bits, CMYK, palettes and gray are converted by Pillow, pixels of 32 bits
    (TIFF) are refused, EXIF rotation is applied (`exif="apply"`) or not (`"ignore"`).
    `mode="L"` and `"RGBA"` are gray and colour with opacity, uint8 of 1 and 4 channels; `"I;16"`
    takes gray of 16 bits alone (PNG, TIFF) as uint16, `"F"` gray of 32-bit floats alone (TIFF).
    ICC profiles are ignored, or with `icc="srgb"` the colours are converted by them to sRGB.
    With `opacity="drop"` the colours of transparent pixels are taken as the file holds them, which
    is what Pillow's `convert("RGB")` does.
    `shorter_side_px` resizes on the host so that the shorter side has that many pixels, with
    Pillow's filter `resample`, as torchvision's `Resize` does for PIL images. Files of several
    frames are refused, except a JPEG's (MPO), of which the first is taken; with `frames="first"`
    the first is taken of any.

    `size_px=(height, width)` makes every picture that large, so that pictures of all sizes share
    batches: `fit="stretch"` resizes both sides, `"letterbox"` resizes the whole picture to fit in
    and lays it in the middle of `fill` (0 to 255, each channel), `"crop"` resizes the shorter side
    to `shorter_side_px` (the longer of `size_px` unless set) and takes the middle; `crop_offset`
    says how that middle is rounded. `"one_side"` makes pictures of several sizes: one side is that
    of `size_px`, the one whose scale is nearer to 1, and the other is in proportion, both at the
    nearest multiple of `multiple_px`; `max_aspect` bounds it.
    """

    takes_notes: ClassVar[bool] = True
    too_large: ClassVar[str] = "E_IMAGE_BYTES"
    kind: Literal["image"] = "image"
    formats: Annotated[tuple[Format, ...], Field(strict=False, max_length=16)] = ("JPEG", "PNG")
    max_pixels: Annotated[int, Field(ge=1, le=2**30)] = 25_000_000
    min_side_px: Annotated[int, Field(ge=1, le=2**15)] = 1
    exif: Literal["apply", "ignore"] = "apply"
    shorter_side_px: Side | None = None
    longer_side_px: Annotated[Side | None, Field(exclude_if=is_none)] = None
    multiple_px: Annotated[Side | None, Field(exclude_if=is_none)] = None
    size_px: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    fit: Literal["stretch", "letterbox", "crop", "one_side"] = "stretch"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    crop_offset: CropOffset = "floor"
    mode: Annotated[Mode, Field(exclude_if="RGB".__eq__)] = "RGB"
    frames: Annotated[Literal["one", "first"], Field(exclude_if="one".__eq__)] = "one"
    resample: Annotated[Resample, Field(exclude_if="bilinear".__eq__)] = "bilinear"
    icc: Annotated[Literal["ignore", "srgb"], Field(exclude_if="ignore".__eq__)] = "ignore"
    max_aspect: Annotated[
        float | None, Field(ge=1, le=2**15, allow_inf_nan=False, exclude_if=is_none)
    ] = None
    opacity: Annotated[Opacity, Field(exclude_if="white".__eq__)] = "white"

    def check(self) -> None:
        least = max(self.min_side_px, self._grown_side)
        if not self.formats or least * least > self.max_pixels:
            got = f"formats {self.formats}, {least} pixels of a side at least"
            want = f"at least one format, sides of which {self.max_pixels} pixels have room"
            raise DeclarationError("st.Image", got, want)
        held = self.pixels.formats
        if held is not None and not held.issuperset(self.formats):
            got = f"mode {self.mode!r} with formats {self.formats}"
            raise DeclarationError("st.Image", got, f"some of {', '.join(sorted(held))}")
        if self.mode in DEEP and self.icc != "ignore":
            raise DeclarationError("st.Image", f"icc with mode {self.mode!r}", "RGB, L or RGBA")
        if self.mode not in ("RGB", "L") and self.opacity != "white":
            raise DeclarationError("st.Image", f"opacity with mode {self.mode!r}", "RGB or L")
        self._check_fit()

    @property
    def pixels(self) -> PixelMode:
        """What the graph takes of each pixel."""
        return MODES[self.mode]

    @property
    def _drawn_modes(self) -> Mapping[str, tuple[str, ...]]:
        """Pillow's modes of each format that the field takes."""
        if self.mode in DEEP:
            return dict.fromkeys(self.formats, (self.mode,))
        return {form: DRAWN_MODES[form] for form in self.formats}

    def _check_fit(self) -> None:
        """Raise `DeclarationError` where the options of the size contradict each other."""
        fit = self.fit if self.size_px else None
        faults = (
            (self.fit != "stretch" and not fit, f"fit {self.fit!r} without a size", "size_px"),
            (self.fill and fit != "letterbox", "a fill", "one with fit='letterbox' alone"),
            (
                self.crop_offset != "floor" and fit != "crop",
                "a crop_offset",
                "one with fit='crop' alone",
            ),
            (
                fit not in (None, "crop") and self.shorter_side_px,
                f"a shorter_side_px beside fit={fit!r}",
                "size_px alone, or fit='crop'",
            ),
            (
                fit == "crop" and self._grown_side < max(self.size_px or ()),
                f"shorter_side_px {self.shorter_side_px}",
                f"at least {max(self.size_px or (0,))}, so that nothing is filled up",
            ),
            (
                self.longer_side_px
                and (fit or self.longer_side_px < (self.shorter_side_px or math.inf)),
                f"longer_side_px {self.longer_side_px}",
                "a shorter_side_px of at most as many, and no size_px",
            ),
            (
                self.multiple_px
                and fit != "one_side"
                and not (self.longer_side_px and self.multiple_px <= self._least_made),
                f"multiple_px {self.multiple_px}",
                "no more pixels than the shorter side has at least, and a longer_side_px",
            ),
            (
                fit == "one_side" and not self.max_aspect,
                "fit='one_side' without a max_aspect",
                "one, which bounds both sides",
            ),
            (
                fit == "one_side" and self.max_aspect and not min(self._one_side_ends)[0],
                f"size_px {self.size_px} with max_aspect {self.max_aspect}",
                f"sides of which none is rounded to 0 by multiple_px {self.multiple_px or 1}",
            ),
            (
                self._most_made > self.max_pixels,
                f"size_px {self.size_px}",
                f"at most {self.max_pixels} pixels",
            ),
        )
        for is_fault, got, want in faults:
            if is_fault:
                raise DeclarationError("st.Image", got, want)

    @property
    def _grown_side(self) -> int:
        """The pixels that the host stage gives a shorter side, however long the other; else 0."""
        if self.size_px is None or self.fit == "crop":
            return self.shorter_side_px or max(self.size_px or (0,))
        return 0

    @property
    def _least_made(self) -> int:
        """The pixels that a shorter side has at least beside a `longer_side_px`."""
        most = self.longer_side_px or 1
        least = self.shorter_side_px or self.min_side_px
        return min(least, int(most / (self.max_aspect or most)) or 1)

    @property
    def _one_side_ends(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Least and most of the height, and of the width, with `fit="one_side"`."""
        height, width = self.size_px or (1, 1)
        aspect, step = self.max_aspect or 1.0, self.multiple_px or 1
        return (
            ends_of_one_side(height, width, aspect, step),
            ends_of_one_side(width, height, aspect, step),
        )

    @property
    def _most_made(self) -> int:
        """The most pixels of a picture that `size_px` bounds; 0 without it."""
        if self.fit == "one_side":
            (_, height), (_, width) = self._one_side_ends
            step = self.multiple_px or 1
            return max(height, width) * nearest(max(self.size_px or (0,)), step)
        return math.prod(self.size_px) if self.size_px else 0

    @property
    def made_px(self) -> Size | None:
        """Height and width of every picture in the graph, where they are fixed."""
        return None if self.fit == "one_side" else self.size_px

    def placement(self, size: Size) -> Placement:
        """How a picture of this width and height comes to be what the graph takes."""
        if self.size_px is None:
            side = self.shorter_side_px
            if side is None:
                return as_it_is(size)
            most = self.longer_side_px
            if most is None:
                return by_shorter_side(size, side)
            return by_sides(size, side, most, self.multiple_px)
        made = (self.size_px[1], self.size_px[0])
        if self.fit == "crop":
            return centre_cropped(size, made, self._grown_side, self.crop_offset)
        if self.fit == "one_side":
            return by_one_side(size, made, self.multiple_px or 1)
        return letterboxed(size, made) if self.fit == "letterbox" else as_it_is(made)

    @property
    def media_types(self) -> tuple[str, ...]:
        return tuple(MEDIA_TYPES[name] for name in self.formats)

    def told(self, data: bytes) -> str | None:
        from PIL import Image as Pillow

        try:
            with Pillow.open(io.BytesIO(data)) as picture:
                turned = picture.getexif().get(ORIENTATION)
                exif = f", EXIF orientation {turned}" if turned else ""
                return (
                    f"{picture.format} of {picture.width} x {picture.height} pixels, "
                    f"mode {picture.mode}{exif}, {len(data)} bytes"
                )
        except (OSError, ValueError):
            return None

    def breaks(self, option: str, old: Self) -> bool:
        if option == "formats":
            return not set(old.formats) <= set(self.formats)
        if option == "max_bytes":
            return self.max_bytes < old.max_bytes
        if option == "max_pixels":
            return self.max_pixels < old.max_pixels
        if option == "min_side_px":
            return self.min_side_px > old.min_side_px
        # The larger the shorter side is made, the sooner a long picture has too many pixels.
        if option in ("shorter_side_px", "size_px", "fit"):
            return self._grown_side > old._grown_side
        if option == "max_aspect":
            return (self.max_aspect or math.inf) < (old.max_aspect or math.inf)
        if option == "longer_side_px":  # a long picture gets more pixels, and may have too many
            return (self.longer_side_px or math.inf) > (old.longer_side_px or math.inf)
        if option in (
            "multiple_px",
            "fill",
            "crop_offset",
            "resample",
            "icc",
            "opacity",
        ):  # the model's own affair
            return False
        if option == "frames":
            return self.frames == "one"
        if option == "mode":
            return bool(DEEP & {self.mode, old.mode})
        return super().breaks(option, old)

    def want(self) -> str:
        return (
            f"a {' or '.join(self.formats)} file of at most {self.max_bytes} bytes "
            f"and {self.max_pixels} pixels"
        )

    def example(self) -> Any:
        least = self.min_side_px
        side = max(least, min(32, math.isqrt(self.max_pixels)))
        sizes = [
            size
            for size in ((48, 32), (side, side), (least, least))
            if min(size) >= least and self._drawable(size)
        ]
        drawn = [
            draw(*size, (20, 90, 160), form, self._drawn_modes[form][0])
            for size in sizes
            for form in self.formats
        ]
        return base64_text(
            next((data for data in drawn if len(data) <= self.max_bytes), min(drawn, key=len))
        )

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        least = self.min_side_px
        most = max(least, self.max_pixels // least)
        side = some.integers(least, min(most, least + 95)) | some.integers(
            least, min(most, least + 383)
        )
        sizes = some.tuples(side, side).filter(self._drawable)
        colour = some.tuples(*[some.integers(0, 255)] * 3)
        forms = some.sampled_from(
            [(fmt, mode) for fmt in self.formats for mode in self._drawn_modes[fmt]]
        )
        turned = some.sampled_from([1, 6, 3, 8, 2, 4, 5, 7])
        return some.builds(
            lambda size, colour, form, turn: base64_text(
                draw(size[0], size[1], colour, form[0], form[1], turn)
            ),
            sizes,
            colour,
            forms,
            turned,
        )

    def _drawable(self, size: tuple[int, int]) -> bool:
        """Is this shape allowed, and so many pixels, before and after the host's own resizing?"""
        return (
            not self._too_long(size)
            and max(size[0] * size[1], self.placement(size).pixels) <= self.max_pixels
        )

    def _too_long(self, size: tuple[int, int]) -> bool:
        return self.max_aspect is not None and max(size) > self.max_aspect * min(size)

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """The smallest sides, odd and even, long and tall, then further pictures.

        Further pictures are each mode of each format, and a turned picture.
        """
        least, form = self.min_side_px, self.formats[0]
        base = max(least, 32)
        long, short = 4 * base, max(least, base // 2)
        sizes = [
            (least, least),
            (base + 1, base),
            (base, base + 1),
            (base + 15, base + 3),
            (long, short),
            (short, long),
        ]
        if self.size_px is not None:
            height, width = self.size_px
            sizes += [(width, height), (width + 3, height + 3), (height, 2 * width + 1)]
        sizes = [size for size in sizes if min(size) >= least]
        usual: str = self.mode if self.mode in DEEP else "RGB"
        drawn = [(size, form, usual, 1) for size in dict.fromkeys(sizes)]
        drawn += [
            ((base + 1, base + 3), each, mode, 1)
            for each in self.formats
            for mode in self._drawn_modes[each]
        ]
        drawn += [((base + 5, base + 2), form, usual, 6)]
        for place, ((width, height), each, mode, turn) in enumerate(drawn):
            if self._drawable((width, height)):
                data = draw(
                    width, height, (37 * place % 256, 90, 250 - 11 * place), each, mode, turn
                )
                if len(data) <= self.max_bytes:
                    turned = ", turned" if turn > 1 else ""
                    yield Edge(
                        base64_text(data),
                        what=f"a {each} of {width} x {height} pixels, mode {mode}{turned}",
                    )

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        sides = self.made_px or (f"{name}_height", f"{name}_width")
        dtype, channels, *_ = self.pixels
        return (TensorSpec(name=name, dtype=dtype, dims=(*sides, channels)),)

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """Black, as small as may be."""
        least = self.shorter_side_px or self.min_side_px
        sides = self.made_px or (least, least)
        if self.fit == "one_side":
            sides = self._one_side_ends[0][0], self._one_side_ends[1][0]
        dtype, channels, *_ = self.pixels
        return (np.zeros((*sides, channels), dtype),)

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        sides = f"{name}_height", f"{name}_width"
        if self.fit == "one_side":
            return dict(zip(sides, self._one_side_ends, strict=True))
        if self.size_px is not None:
            return {}
        least = self.shorter_side_px or self.min_side_px
        ends = (least, self.max_pixels // least)
        if self.longer_side_px is not None:
            most, least = self.longer_side_px, self._least_made
            # A picture whose shorter side is right when rounded is left as it is: see `by_sides`.
            ends = (least, math.ceil(most * 2 * least / (2 * least - 1)))
            if self.multiple_px is not None:
                ends = (cut_down(ends[0], self.multiple_px), cut_down(ends[1], self.multiple_px))
        return dict.fromkeys(sides, ends)

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        pillow()
        return lambda value: (self.decode(value),)

    def noting_stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        pillow()
        return self.decode_noted

    def decode(self, data: bytes) -> Array:
        """Decode a file to pixels of the field's mode, `(height, width, channels)`.

        Raises `Refusal`, which holds none of the decoder's own text.
        """
        return self.decode_noted(data)[0]

    def decode_noted(self, data: bytes) -> tuple[Array, ImageNote]:
        """As `decode`, with where those pixels lie in the client's picture."""
        picture = self._upright(data)
        size = picture.size
        place = self.placement(size)
        if place.pixels > self.max_pixels:
            raise Refusal(
                "E_IMAGE_SIZE",
                "",
                f"{size[0]} x {size[1]} pixels",
                "sides that are less unlike in length",
            )
        made = place.apply(picture, fill_of(self.mode, self.fill), self.resample)
        return pixels_of(made), place.note(size)

    def _upright(self, data: bytes) -> PillowImage.Image:
        """Decode a file to a picture of the mode, turned where the field applies EXIF."""
        from PIL import Image as Pillow
        from PIL import ImageOps, UnidentifiedImageError

        try:
            picture = self._open(data)
            turned = picture.getexif().get(ORIENTATION) if picture.format == "TIFF" else None
            picture.load()
            if self.exif == "apply":
                picture = ImageOps.exif_transpose(picture)
            # Pillow has turned it: it does so with a TIFF, whoever opens it.
            elif turned in TURNED_BACK:
                picture = picture.transpose(Pillow.Transpose[TURNED_BACK[turned]])
            coloured = in_srgb(picture) if self.icc == "srgb" else picture
            return converted(coloured, self.mode, self.opacity)
        except Pillow.DecompressionBombError:
            raise Refusal("E_PIXELS", "", "too many pixels", f"at most {self.max_pixels}") from None
        except UnidentifiedImageError:
            raise Refusal(
                "E_IMAGE_FORMAT", "", "a file of another kind, or a damaged one", self.want()
            ) from None
        except Refusal:
            raise
        except Exception:  # decoders raise all sorts, struct.error for one: the bytes are at fault
            raise Refusal("E_IMAGE", "", "a damaged or truncated image", "a whole one") from None

    def _open(self, data: bytes) -> PillowImage.Image:
        from PIL import Image as Pillow

        picture = Pillow.open(io.BytesIO(data), formats=self.formats)
        pixels = picture.width * picture.height
        if pixels > self.max_pixels:
            raise Refusal(
                "E_PIXELS",
                "",
                f"{picture.width} x {picture.height} pixels",
                f"at most {self.max_pixels} pixels",
            )
        if min(picture.size) < self.min_side_px:
            raise Refusal(
                "E_IMAGE_SIZE",
                "",
                f"{picture.width} x {picture.height} pixels",
                f"sides of at least {self.min_side_px} pixels",
            )
        if self._too_long(picture.size):
            raise Refusal(
                "E_IMAGE_SIZE",
                "",
                f"{picture.width} x {picture.height} pixels",
                f"sides of which none is more than {self.max_aspect:g} times the other",
            )
        if picture.format == "PNG" and not is_whole_png(data):
            raise Refusal("E_IMAGE", "", "a truncated image", "a whole one")
        check_depth(picture, self.mode)
        if (
            picture.format == "PNG"
            and picture.mode == "RGB"
            and data[PNG_DEPTH] == 16
            and "transparency" in picture.info
        ):
            # Pillow keeps 8 of the 16 bits, so which pixels are transparent is lost.
            raise Refusal(
                "E_IMAGE_FORMAT",
                "",
                "16 bits a channel with a transparent colour",
                "8 bits a channel, or an alpha channel",
            )
        takes_first = self.frames == "first" or picture.format == "MPO"
        if not takes_first and getattr(picture, "n_frames", 1) > 1:
            raise Refusal("E_IMAGE_FRAMES", "", "several frames", "one")
        return picture

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Brightness and contrast from 0 to 1, the file's pixels, and width over height.

        Both are of colours alone, without opacity; those of floats are as the floats are.
        """

        def features(values: Column) -> Mapping[str, Column]:
            seen = [self.decode_noted(value) for value in values]
            pictures = [picture[..., :3] for picture, _ in seen]
            white = self.pixels.white
            return {
                "brightness": [float(picture.mean()) / white for picture in pictures],
                "contrast": [float(picture.std()) / (white / 2) for picture in pictures],
                "pixels": [math.prod(self._open(value).size) for value in values],
                "aspect": [note.width / note.height for _, note in seen],
            }

        return features


def pillow() -> None:
    """Raises `MissingExtra` where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401  (is it installed?)
    except ImportError:
        raise MissingExtra("an image field", "image") from None
    # Odd metadata; the pixels decide, and their number is checked here.
    warnings.filterwarnings("ignore", module="PIL")


def is_whole_png(data: bytes) -> bool:
    """Does a chunk end the picture?

    Bytes after that chunk are no part of the picture (PNG specification, 5.3 and 13.2).
    """
    place = PNG_SIGNATURE_BYTES
    while place + len(PNG_END) <= len(data):
        if data[place : place + len(PNG_END)] == PNG_END:
            return True
        place += len(PNG_END) + int.from_bytes(data[place : place + 4], "big")
    return False


def draw(
    width: int,
    height: int,
    colour: tuple[int, int, int],
    fmt: str,
    mode: str = "RGB",
    orientation: int = 1,
) -> bytes:
    """Make a small test picture, a flat colour with a diagonal gradient, encoded.

    An orientation other than 1 stands in the picture's EXIF, where the format has EXIF.
    """
    from PIL import Image as Pillow

    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * 3
    pixels = ((ramp + np.array(colour)) % 256).astype(np.uint8)
    picture = Pillow.fromarray(pixels)
    if mode == "I;16":
        picture = Pillow.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode == "F":
        gray = np.asarray(picture.convert("L")).astype(np.float32)
        picture = Pillow.fromarray(gray / 16 - 4)  # floats below 0 too
    elif mode in ("RGBA", "LA"):
        picture.putalpha(Pillow.fromarray((ramp[..., 0] % 256).astype(np.uint8)))
    options: dict[str, Any] = {}
    if orientation != 1 and fmt in ("JPEG", "PNG", "WEBP", "TIFF"):
        exif = Pillow.Exif()
        exif[ORIENTATION] = orientation
        options = {"exif": exif}
    sink = io.BytesIO()
    (picture if picture.mode == mode else picture.convert(mode)).save(sink, fmt, **options)
    return sink.getvalue()
