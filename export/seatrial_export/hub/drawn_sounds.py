"""Sounds of our own for golden rows, where a user gives none: tones that rise, in noise."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile

DRAWN = (
    (0.30, 8_000, "WAV", 1), (0.22, 16_000, "FLAC", 1), (0.45, 8_000, "WAV", 2),
    (0.25, 11_025, "WAV", 1), (0.60, 8_000, "FLAC", 1), (0.35, 8_000, "WAV", 1),
)  # fmt: skip
"""Seconds, rate in Hz, format and channels."""


def sound_file(seconds: float, rate_hz: int, form: str, channels: int, seed: int) -> bytes:
    """A sound from a seed."""
    some = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    pitches = some.uniform(120, rate_hz / 4, channels)
    sweep = 1 + some.uniform(0, 0.8) * times[:, None] / seconds
    tones = 0.3 * np.sin(2 * np.pi * pitches * times[:, None] * sweep)
    noise = some.normal(0, 0.04, tones.shape)
    sink = io.BytesIO()
    soundfile.write(sink, (tones + noise).clip(-1, 1), rate_hz, format=form, subtype="PCM_16")
    return sink.getvalue()


@cache
def sounds() -> list[bytes]:
    """The files."""
    return [sound_file(*drawn, seed=place) for place, drawn in enumerate(DRAWN)]
