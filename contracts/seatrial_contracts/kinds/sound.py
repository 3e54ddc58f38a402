"""A sound file to one channel of float32 samples, by soundfile and soxr; and sounds for tests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from seatrial_contracts.errors import MissingExtra, Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.sound_bytes import HIDDEN_SAMPLES, extent_of, format_of

if TYPE_CHECKING:
    import soundfile

Format = Literal["WAV", "FLAC", "OGG", "MP3"]
MEDIA_TYPES = {"WAV": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg"}
SUBTYPES = {
    "WAV": ("PCM_16", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    "FLAC": ("PCM_16", "PCM_24", "PCM_S8"),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_III",),
}
"""How samples may be coded in each format, by libsndfile's names."""
FILE_RATES_HZ = (1_000, 384_000)
"""The least and the most of a file's own rate."""
RESAMPLING = "HQ"
"""soxr's quality, the same that librosa has as `soxr_hq`."""
MOST_LEVEL = 2.0**32
"""Of a WAV of floats, even one that has whole numbers of 32 bits. Squares of it are in float32."""
BLOCK_VALUES = 2**22
"""Samples of all channels that are decoded at a time: 16 MiB of float32."""


class Bounds(NamedTuple):
    """What a sound may be like."""

    formats: tuple[str, ...]
    max_seconds: float
    max_channels: int


class Sound(NamedTuple):
    """A decoded file."""

    samples: Array
    """float32, one channel: the mean of all."""
    rate_hz: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate_hz

    def at(self, rate_hz: int) -> Array:
        """The samples at another rate, float32: `len(samples) * rate / own rate`, rounded."""
        import soxr

        if self.rate_hz == rate_hz or not len(self.samples):
            return self.samples
        made: Array = soxr.resample(self.samples, self.rate_hz, rate_hz, quality=RESAMPLING)
        return made


def sound_libraries() -> None:
    """Raises `MissingExtra` where soundfile or soxr is not installed."""
    try:
        import soundfile  # noqa: F401  (is it installed?)
        import soxr  # noqa: F401  (is it installed?)
    except ImportError:
        raise MissingExtra("an audio field", "audio") from None


def decode_sound(data: bytes, bounds: Bounds) -> Sound:
    """Decode a whole file.

    What the file says of itself is held to the bounds before any sample is decoded. Raises
    `Refusal`, which holds none of the decoder's own text.
    """
    import soundfile

    fmt = format_of(data)
    if fmt not in bounds.formats:
        got = "a file of another kind, or a damaged one"
        raise Refusal("E_AUDIO_FORMAT", "", got, f"a {either(bounds.formats)} file")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check(file, data, fmt, bounds)
            samples = _mixed(file, fmt)
    except soundfile.SoundFileError:
        raise Refusal("E_AUDIO", "", "a damaged or truncated file", "a whole one") from None
    return Sound(samples, file.samplerate)


def either(words: Sequence[str]) -> str:
    """Words for people: "WAV, FLAC or MP3"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def checked(samples: Array) -> Array:
    """The same. Raises `Refusal` where a sample is no finite number, or beyond any scale."""
    ends = (samples.min(), samples.max()) if len(samples) else (0.0, 0.0)  # NaN if there is one
    if not np.isfinite(ends).all():
        raise Refusal("E_NONFINITE", "", "samples that are no finite numbers", "finite ones")
    if max(-ends[0], ends[1]) > MOST_LEVEL:
        raise Refusal("E_RANGE", "", f"samples beyond {MOST_LEVEL:g}", "samples around -1 to 1")
    return samples


def _check(file: soundfile.SoundFile, data: bytes, fmt: str, bounds: Bounds) -> None:
    """Raise `Refusal` for what is known before a sample is decoded."""
    if file.subtype not in SUBTYPES[fmt]:
        want = f"one of {', '.join(SUBTYPES[fmt])}"
        raise Refusal("E_AUDIO_FORMAT", "", f"a {fmt} file that is coded in another way", want)
    if file.channels > bounds.max_channels:
        want = f"at most {bounds.max_channels}"
        raise Refusal("E_AUDIO_CHANNELS", "", f"{file.channels} channels", want)
    least, most = FILE_RATES_HZ
    if not least <= file.samplerate <= most:
        raise Refusal("E_AUDIO_RATE", "", f"{file.samplerate} Hz", f"{least} to {most} Hz")
    most = int(bounds.max_seconds * file.samplerate)
    extent = extent_of(data, fmt, most + 2 * HIDDEN_SAMPLES)
    estimated = fmt == "MP3" and (extent.said or 0) > file.frames + HIDDEN_SAMPLES
    said = file.frames if fmt == "MP3" else extent.said or file.frames
    if fmt == "FLAC" and extent.said is None:
        raise Refusal("E_AUDIO", "", "a FLAC that does not say its length", "one that says it")
    if max(said, file.frames) > most:
        got, want = f"{said / file.samplerate:.2f} seconds", f"at most {bounds.max_seconds:g}"
        raise Refusal("E_AUDIO_LENGTH", "", got, want)
    if not extent.whole or (fmt == "MP3" and file.frames > (extent.said or 0)):
        raise Refusal("E_AUDIO", "", "a truncated file", "a whole one")
    if estimated:  # and libsndfile would read no more than it estimates
        got = "an MP3 of varying bit rate that does not say its length"
        raise Refusal("E_AUDIO", "", got, "one with a Xing header")


def _mixed(file: soundfile.SoundFile, fmt: str) -> Array:
    """All samples, the mean of the channels."""
    if file.channels == 1 or fmt == "MP3":  # of which only the whole is read rightly
        return _mean(file.read(dtype="float32", always_2d=True))
    block = max(1, BLOCK_VALUES // file.channels)
    if file.frames <= block:
        return _mean(_read(file, file.frames))
    mixed = np.empty(file.frames, np.float32)
    for start in range(0, file.frames, block):
        part = mixed[start : start + block]
        part[:] = _mean(_read(file, len(part)))
    return mixed


def _read(file: soundfile.SoundFile, frames: int) -> Array:
    """So many more. Raises `Refusal` where there are fewer."""
    read: Array = file.read(frames, dtype="float32", always_2d=True)
    if len(read) != frames:
        raise Refusal("E_AUDIO", "", "a truncated file", "a whole one")
    return read


def _mean(samples: Array) -> Array:
    """The mean of the channels, `(samples, channels)`, as `numpy.mean` has it, a channel a time."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    mixed = samples[:, 0].copy()
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        for channel in range(1, samples.shape[1]):
            mixed += samples[:, channel]
    mixed /= np.float32(samples.shape[1])
    return mixed


def draw_sound(
    frames: int, rate_hz: int, *, fmt: str = "WAV", subtype: str | None = None, channels: int = 1,
    level: float = 0.5, pitch_hz: float = 440.0,
) -> bytes:  # fmt: skip
    """Make a sound for tests: a tone that stands a little higher in each further channel.

    `level` is its peak; 0 is silence. Samples are the same each time; an OGG's bytes are not, since
    libsndfile draws its serial number.
    """
    times = np.arange(frames)[:, None] / rate_hz
    pitches = pitch_hz * (1 + np.arange(channels) / 4)
    samples = (level * np.sin(2 * np.pi * pitches * times + 0.3)).astype(np.float32)
    return encode_sound(samples, rate_hz, fmt, subtype)


def encode_sound(
    samples: Array, rate_hz: int, fmt: str = "WAV", subtype: str | None = None
) -> bytes:
    """Samples, float32 `(samples,)` or `(samples, channels)`, as a file."""
    import soundfile

    sink = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(
        sink, "w", rate_hz, channels, format=fmt, subtype=subtype or SUBTYPES[fmt][0]
    ) as file:
        for start in range(0, len(samples), 2**16):  # a Vorbis encoder takes little at a time
            file.write(samples[start : start + 2**16])
    return sink.getvalue()
