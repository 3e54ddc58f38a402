"""What a sound file says of its own length, and whether all of it came, by its bytes alone.

libsndfile reads a file that was cut as a shorter one, and an MP3 whose length is estimated as far
as the estimate goes. Both without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

STREAMED = 0x7FFF0000
"""From this size on, a WAV's writer did not know it: ffmpeg and sox leave such marks in a pipe."""
PAGE_HEAD, PAGE_SEGMENTS = 27, 26
"""Bytes of an Ogg page before its table of segments; where their number stands (RFC 3533, 6)."""
ID3_HEAD = 10
MPEG_RATES_HZ = (44100, 48000, 32000)
"""Of MPEG 1 (ISO/IEC 11172-3, 2.4.2.3); MPEG 2 has half of them, 2.5 a quarter."""
LAYER_3_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By MPEG's version; 2.5 has those of 2 (ISO/IEC 13818-3, 2.4.2.3). 0 is a rate not said."""
MPEG_GRANULE = 576
HIDDEN_SAMPLES = 5 * 2 * MPEG_GRANULE
"""More than an encoder's delay and padding are, and the frame that holds them: LAME, ffmpeg."""


class Extent(NamedTuple):
    """How many sample frames a file's own structure makes out."""

    said: int | None
    """What the file claims to hold; None where only a decoder can tell."""
    whole: bool
    """Did all come that it claims?"""


def extent_of(data: bytes, fmt: str, most: int) -> Extent:
    """What the bytes of a file of this format say; more than `most` samples are not counted."""
    return _mp3(data, most) if fmt == "MP3" else EXTENTS[fmt](data)


def format_of(data: bytes) -> str | None:
    """The format as a file's first bytes have it; None for others than ours."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] == b"fLaC":
        return "FLAC"
    if data[:4] == b"OggS":
        return "OGG"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2):
        return "MP3"
    return None


def _wav(data: bytes) -> Extent:
    place, block = 12, 0
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8
        if name == b"fmt " and place + 14 <= len(data):
            block = int.from_bytes(data[place + 12 : place + 14], "little")
        if name == b"data":
            there = len(data) - place
            if size >= STREAMED:
                return Extent(there // block if block else None, True)
            return Extent(size // block if block else None, size <= there)
        place += size + size % 2
    return Extent(None, False)


def _flac(data: bytes) -> Extent:
    """The total of STREAMINFO (RFC 9639, 8.2): 36 bits, 0 where the writer did not know."""
    said = int.from_bytes(data[21:26], "big") & (1 << 36) - 1
    return Extent(said or None, said > 0)


def _ogg(data: bytes) -> Extent:
    place = 0
    while data[place : place + 4] == b"OggS":
        segments = data[place + PAGE_SEGMENTS : place + PAGE_SEGMENTS + 1]
        table = data[place + PAGE_HEAD : place + PAGE_HEAD + (segments[0] if segments else 0)]
        end = place + PAGE_HEAD + len(table) + sum(table)
        if not segments or len(table) < segments[0] or end > len(data):
            return Extent(None, False)
        place = end
    return Extent(None, not b"OggS".startswith(data[place : place + 4]) or place == len(data))


def _mp3(data: bytes, most: int) -> Extent:
    """The samples of all frames, an encoder's own delay and padding among them."""
    place = 0
    while data[place : place + 3] == b"ID3" and place + ID3_HEAD <= len(data):
        size = 0
        for byte in data[place + 6 : place + ID3_HEAD]:
            size = size << 7 | byte & 0x7F
        place += ID3_HEAD + size
    samples = 0
    while place + 4 <= len(data) and samples <= most:
        head = data[place : place + 4]
        version = {3: 1, 2: 2, 0: 2}.get(head[1] >> 3 & 3)
        if head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or version is None:
            break
        kbits, rate = head[2] >> 4, head[2] >> 2 & 3
        if not 0 < kbits < 15 or rate == 3:
            break
        rate_hz = MPEG_RATES_HZ[rate] >> {3: 0, 2: 1, 0: 2}[head[1] >> 3 & 3]
        of_frame = MPEG_GRANULE * (2 if version == 1 else 1)
        size = of_frame // 8 * LAYER_3_KBITS[version][kbits] * 1000 // rate_hz + (head[2] >> 1 & 1)
        if place + size > len(data):
            return Extent(samples, False)
        samples += of_frame
        place += size
    return Extent(samples, True)


EXTENTS: Mapping[str, Callable[[bytes], Extent]] = {"WAV": _wav, "FLAC": _flac, "OGG": _ogg}
