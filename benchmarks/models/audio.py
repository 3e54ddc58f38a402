"""Ten seconds of sound from file to samples, beside soundfile and soxr alone.

    python benchmarks/models/audio.py

Both take turns in this process, which has one thread, by its CPU time. The host stage also checks
the file against its contract; the libraries read it, mix its channels and resample it to 16 kHz.
The last column is the host stage with log-mel features.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
import soxr

import seatrial as st
from seatrial_contracts.kinds.sound import encode_sound

SECONDS, TURNS, RATE_HZ = 10, 30, 16_000
FILES = (
    ("WAV", "PCM_16", 48_000, 2),
    ("WAV", "FLOAT", 44_100, 1),
    ("WAV", "PCM_16", 16_000, 1),
    ("FLAC", "PCM_16", 44_100, 2),
    ("OGG", "VORBIS", 44_100, 2),
    ("OGG", "OPUS", 48_000, 1),
    ("MP3", "MPEG_LAYER_III", 44_100, 2),
)


def by_libraries(data: bytes) -> Any:
    """Read, mix, resample."""
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mixed = samples[:, 0] if samples.shape[1] == 1 else samples[:, 0] * 0.5 + samples[:, 1] * 0.5
    return mixed if rate_hz == RATE_HZ else soxr.resample(mixed, rate_hz, RATE_HZ)


def took_ms(does: Callable[[bytes], Any], data: bytes) -> float:
    """Of one call."""
    start = time.process_time()
    does(data)
    return (time.process_time() - start) * 1e3


def main() -> None:
    """Print a line for each sort of file."""
    chance = np.random.default_rng(0)
    plain = st.Audio(rate_hz=RATE_HZ).stage("clip", {})
    features = st.Audio(rate_hz=RATE_HZ, log_mel=st.LogMel()).stage("clip", {})
    print("| file | libraries, ms | host stage, ms | ratio | with log-mel, ms |")
    print("|---|---|---|---|---|")
    for form, subtype, rate_hz, channels in FILES:
        sound = (0.2 * chance.standard_normal((SECONDS * rate_hz, channels))).astype(np.float32)
        data = encode_sound(sound, rate_hz, form, subtype)
        does = (by_libraries, plain, features)
        times = [[took_ms(each, data) for each in does] for _ in range(TURNS)]
        theirs, ours, mel = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(own / their for their, own, _ in times)
        what = f"{form} {subtype}, {rate_hz / 1000:g} kHz, channels: {channels}"
        print(f"| {what} | {theirs:.2f} | {ours:.2f} | {ratio:.2f} | {mel:.2f} |")


if __name__ == "__main__":
    main()
