"""Images, texts and sounds: cases 67 to 81, and 120 to 126."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import PngImagePlugin
from refusals.case import CANARY, Case, request, v1
from refusals.sealed import base64_row, picture

from seatrial_contracts.kinds.sound import draw_sound, encode_sound


def photo(data: bytes, media: str = "image/png") -> bytes:
    """The file itself as the body."""
    return request("/v1/models/photo:predict", data, {"Content-Type": media})


def scan(data: bytes, media: str = "image/png") -> bytes:
    """A file for the model of 16-bit gray."""
    return request("/v1/models/scan:predict", data, {"Content-Type": media})


def note(text: str) -> bytes:
    return v1({"instances": [{"text": text}]}, "note")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", *more: bytes) -> bytes:
    """A PNG of one bit for each pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(more)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def frames(fmt: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    first, second = (Pillow.fromarray(np.full((6, 8, 3), shade, np.uint8)) for shade in (0, 200))
    first.save(sink, fmt, save_all=True, append_images=[second], **options)
    return sink.getvalue()


def with_text(size: int) -> bytes:
    about = PngImagePlugin.PngInfo()
    about.add_text(CANARY, "a" * size, zip=True)
    return picture(pnginfo=about)


def sound(data: bytes, media: str = "audio/wav") -> bytes:
    """The recording itself as the body."""
    return request("/v1/models/sound:predict", data, {"Content-Type": media})


def wav(claimed: int, held: int, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """Silence of 16 bits a sample; its header claims so many bytes."""
    block = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * block, block, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", 36 + claimed) + b"WAVE" + chunks + bytes(held)


JPEG = picture("JPEG", (64, 64))
PNG = picture(size=(64, 64))
CMYK = picture("JPEG", mode="CMYK")
TONE = np.sin(np.arange(4_000) / 5).astype(np.float32)
WAV, FLAC, OGG, MP3 = (encode_sound(TONE, 16_000, form) for form in ("WAV", "FLAC", "OGG", "MP3"))
CASES = [
    Case("67 gray of 16 bits where it is declared", scan(picture(mode="I;16")), 200),
    Case("67 8 bits where 16 are declared", scan(picture(mode="L")), 415, "E_IMAGE_FORMAT"),
    Case("67 colour where gray is declared", scan(picture()), 415, "E_IMAGE_FORMAT"),
    Case(
        "67 floats where 16 bits are declared",
        scan(picture("TIFF", mode="F"), "image/tiff"),
        415,
        "E_IMAGE_FORMAT",
    ),
    Case("67 no image", photo(b"no image " + CANARY.encode()), 415, "E_IMAGE_FORMAT"),
    Case("67 HTML", photo(b"<html>" + PNG), 415, "E_IMAGE_FORMAT"),
    Case("67 a PNG's first bytes and nothing else", photo(PNG[:8]), 415, "E_IMAGE_FORMAT"),
    Case("68 a cut JPEG", photo(JPEG[: len(JPEG) // 2], "image/jpeg"), 400, "E_IMAGE"),
    Case("68 a PNG cut before its end", photo(PNG[:-12]), 400, "E_IMAGE"),
    Case("68 a cut PNG", photo(PNG[:-30]), 400, "E_IMAGE"),
    Case(
        "68 a GIF cut in its second frame (found by atheris)",
        photo(
            base64.b64decode(
                "R0lGODdhCAAGAAAAAAAAAAAAAAAAAAAAAAAALAAAgQAAAAAAMAEAUgAASUZGOCwAAAA="
            ),
            "image/gif",
        ),
        400,
        "E_IMAGE",
    ),
    Case("69 a pixel bomb", photo(png(13_300, 13_300, bytes(1663 * 13_300))), 413, "E_PIXELS"),
    Case("70 0 x 0", photo(png(0, 0)), 415, "E_IMAGE_FORMAT"),
    Case("70 1 x 100,000", photo(png(1, 100_000, bytes(200_000))), 200),
    Case("70 1 x 2,000,000", photo(png(1, 2_000_000)), 413, "E_PIXELS"),
    Case("71 SVG", photo(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"), 415),
    Case(
        "71 EPS", photo(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"), 415, "E_IMAGE_FORMAT"
    ),
    Case("71 FITS", photo(b"SIMPLE  =                    T".ljust(2880)), 415, "E_IMAGE_FORMAT"),
    Case("71 a format that the contract leaves out", photo(picture("BMP")), 415, "E_IMAGE_FORMAT"),
    Case("72 an animated GIF", photo(frames("GIF"), "image/gif"), 400, "E_IMAGE_FRAMES"),
    Case("72 an animated WebP", photo(frames("WEBP"), "image/webp"), 400, "E_IMAGE_FRAMES"),
    Case("72 an animated PNG", photo(frames("PNG")), 400, "E_IMAGE_FRAMES"),
    Case("72 a TIFF of two pages", photo(frames("TIFF"), "image/tiff"), 400, "E_IMAGE_FRAMES"),
    Case("73 CMYK", photo(CMYK, "image/jpeg"), 200),
    Case("73 a palette", photo(picture(mode="P")), 200),
    Case("73 16 bits", photo(picture(mode="I;16")), 200),
    Case("74 a bomb in a PNG's text", photo(with_text(50_000_000)), 400, "E_IMAGE"),
    Case(
        "74 a bomb in a PNG's colour profile",
        photo(png(8, 8, bytes(16), chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(50_000_000))))),
        400,
        "E_IMAGE",
    ),
    *(
        Case(f"75 base64 {name}", v1({"instances": [{"image": value}]}, "photo"), 400, "E_BASE64")
        for name, value in (
            ("with a space", "iVBO Rw0K"),
            ("with a line break", "iVBO\nRw0K"),
            ("for URLs", "_-_-"),
            ("without padding", "iVBORw0KG"),
            ("with too much padding", "iVBORw0K===="),
        )
    ),
    Case(
        "75 more bytes than allowed",
        v1({"instances": [base64_row(bytes(1_100_000))]}, "photo"),
        413,
        "E_IMAGE_BYTES",
    ),
    *(
        Case(
            f"76 {value[:5]} as image",
            v1({"instances": [{"image": value}]}, "photo"),
            400,
            "E_BASE64",
        )
        for value in ("http://127.0.0.1/a.png", "file:///etc/passwd", "data:image/png;base64,iVBO")
    ),
    Case("76 a number as image", v1({"instances": [{"image": 7}]}, "photo"), 400, "E_TYPE"),
    Case("120 no sound", sound(b"no sound " + CANARY.encode()), 415, "E_AUDIO_FORMAT"),
    Case("120 a picture", sound(PNG), 415, "E_AUDIO_FORMAT"),
    Case("120 an image type", sound(WAV, "image/png"), 415, "E_CONTENT_TYPE"),
    Case("120 ADPCM", sound(encode_sound(TONE, 8_000, "WAV", "IMA_ADPCM")), 415, "E_AUDIO_FORMAT"),
    Case("121 a cut WAV", sound(WAV[:-9]), 400, "E_AUDIO"),
    Case("121 a cut FLAC", sound(FLAC[: len(FLAC) // 2], "audio/flac"), 400, "E_AUDIO"),
    Case("121 a cut OGG", sound(OGG[: len(OGG) - 9], "audio/ogg"), 400, "E_AUDIO"),
    Case("121 a cut MP3", sound(MP3[: len(MP3) // 2], "audio/mpeg"), 400, "E_AUDIO"),
    Case("122 a WAV that claims an hour", sound(wav(115_200_000, 900)), 413, "E_AUDIO_LENGTH"),
    Case(
        "122 a FLAC of twenty minutes of silence",
        sound(draw_sound(9_600_000, 8_000, fmt="FLAC", level=0), "audio/flac"),
        413,
        "E_AUDIO_LENGTH",
        grows_mb=16,
    ),
    Case("123 no samples", sound(wav(0, 0)), 400, "E_AUDIO_SHORT"),
    Case("123 one sample", sound(wav(2, 2)), 200),
    Case("123 a sample of which resampling leaves none", sound(wav(2, 2, 48_000)), 400),
    Case("124 192 kHz", sound(wav(38_400, 38_400, 192_000)), 200),
    Case("124 500 kHz", sound(wav(20, 20, 500_000)), 400, "E_AUDIO_RATE"),
    Case("124 8 channels", sound(wav(160, 160, channels=8)), 400, "E_AUDIO_CHANNELS"),
    Case(
        "125 NaN in a WAV of floats",
        sound(encode_sound(TONE * np.nan, 16_000, "WAV", "FLOAT")),
        400,
        "E_NONFINITE",
    ),
    Case("126 more bytes than allowed", sound(wav(1_100_000, 1_100_000)), 413, "E_AUDIO_BYTES"),
    Case("77 a text beyond its characters", note("a" * 2001), 400, "E_TEXT_LIMIT"),
    Case("77 a text beyond its tokens", note("sea " * 300), 400, "E_TOKENS"),
    Case("77 a text of 3 MB", note("a" * 3_000_000), 400, "E_TEXT_LIMIT"),
    Case("78 2,000 combining marks", note("e" + "\u0301" * 1999), 200),
    Case("78 emoji joined by zero width joiners", note("👩\u200d" * 100), 200),
    Case("78 right to left, unassigned", note("\u202e\u0378" * 100), 200),
    Case("79 what makes regular expressions slow", note("a" * 1999 + "!"), 200, within_s=2),
    Case("24 NUL in a text", note("sea\0trial"), 200),
    Case("81 a formula is text", note("=cmd()"), 200),
]
