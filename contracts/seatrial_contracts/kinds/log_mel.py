"""Log-mel features: the loudness of a sound in bands of pitch, by frames, made on the host.

A short Fourier transform of a length that is no power of two is 20 dB off in silent bands where a
graph computes it (onnxruntime 1.32); numpy's is exact to its element type.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from seatrial_contracts.declared import Declared
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.kind import Array

MEL_STEP_HZ, MEL_BREAK_HZ = 200 / 3, 1000.0
"""Slaney's scale (Auditory Toolbox, 1998): linear to the break, then 27 steps to 6.4 times it."""
MEL_LOG_STEP = float(np.log(6.4)) / 27
WHISPER_RANGE = 8.0
"""Decades below the loudest value of a clip at which Whisper's features end."""
PREEMPHASIS, POVEY = 0.97, 0.85
"""Kaldi's defaults (feat/feature-window.h): the share of a sample's neighbour, a Hann's power."""
FRAMES_AT_A_TIME = 1024


class LogMel(Declared):
    """`LogMel(n_fft=400, hop_length=160, n_mels=80)`, named as librosa names them.

    The window is a periodic Hann window of `win_length` samples (`n_fft` unless set) in the middle
    of `n_fft`. `center` lets frame `t` lie around sample `t * hop_length`, with `pad_mode` beyond
    the ends. Bands lie from `fmin` to `fmax` (half the rate unless set) on Slaney's scale, or on
    HTK's with `htk=True`, with areas of 1 (`norm="slaney"`) or peaks of 1 (`norm=None`).

    `log` says what becomes of a band's value: `"db"` is `librosa.power_to_db` with `ref=1.0`,
    `amin` and `top_db`; `"natural"` is `log(value + amin)`; `"whisper"` is the decadic logarithm,
    ending 8 below the clip's largest, plus 4, divided by 4, without the last frame, as Whisper's
    feature extractor has it; `None` is the value itself.

    `"kaldi"` makes Kaldi's filter banks, as `torchaudio.compliance.kaldi.fbank` does. Frames are of
    `win_length` samples of the sound alone (`center=False`). Each loses its mean, then 0.97 of the
    sample before from every sample. Its window is a symmetric Hann window or Povey's. Bands are
    triangles on HTK's scale itself (`htk=True, norm=None`), and their values, `amin` at least, are
    natural logarithms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    n_fft: Annotated[int, Field(ge=16, le=2**16, multiple_of=2)] = 400
    hop_length: Annotated[int, Field(ge=1, le=2**16)] = 160
    win_length: Annotated[int, Field(ge=2, le=2**16)] | None = None
    n_mels: Annotated[int, Field(ge=1, le=1024)] = 80
    fmin: Annotated[float, Field(ge=0)] = 0.0
    fmax: Annotated[float, Field(gt=0)] | None = None
    htk: bool = False
    norm: Literal["slaney"] | None = "slaney"
    power: Annotated[float, Field(gt=0, le=4)] = 2.0
    center: bool = True
    pad_mode: Literal["reflect", "constant"] = "reflect"
    window: Annotated[Literal["hann", "povey"], Field(exclude_if="hann".__eq__)] = "hann"
    log: Literal["db", "natural", "whisper", "kaldi"] | None = "db"
    amin: Annotated[float, Field(gt=0)] = 1e-10
    top_db: Annotated[float, Field(gt=0)] | None = 80.0

    def check(self, rate_hz: int) -> None:
        """Raise `DeclarationError` where the options do not fit each other or the rate."""
        top = rate_hz / 2 if self.fmax is None else self.fmax
        window = self.win_length or self.n_fft
        kaldi = self.log == "kaldi"
        faults = (
            (
                kaldi and (self.center or not self.htk or self.norm is not None),
                f"center={self.center}, htk={self.htk}, norm={self.norm!r} with log='kaldi'",
                "center=False, htk=True, norm=None",
            ),
            (
                self.window != "hann" and not kaldi,
                f"window={self.window!r} with log={self.log!r}",
                "log='kaldi' with it",
            ),
            (window > self.n_fft, f"win_length={window}", f"at most n_fft, {self.n_fft}"),
            (top > rate_hz / 2, f"fmax={top:g}", f"at most half the rate, {rate_hz / 2:g} Hz"),
            (self.fmin >= top, f"fmin={self.fmin:g}", f"less than fmax, {top:g} Hz"),
        )
        for is_fault, got, want in faults:
            if is_fault:
                raise DeclarationError("st.LogMel", got, want)

    @property
    def least_samples(self) -> int:
        """From so many samples on there is a frame."""
        before = 0 if self.center else self._frame
        return before + (self.hop_length if self.log == "whisper" else int(self.center))

    def frames(self, samples: int) -> int:
        """How many frames so many samples have."""
        inside = samples if self.center else samples - self._frame
        return inside // self.hop_length + (self.log != "whisper")

    def of(self, samples: Array, rate_hz: int) -> Array:
        """Samples, float32 `(samples,)`, as features, float32 `(frames, n_mels)`."""
        if self.center:
            samples = np.pad(samples, self.n_fft // 2, mode=self.pad_mode)
        windows = np.lib.stride_tricks.sliding_window_view(samples, self._frame)
        windows = windows[:: self.hop_length]
        bands = np.empty((len(windows), self.n_mels))
        window = window_of(self)
        filters = filters_of(self, rate_hz)
        for start in range(0, len(windows), FRAMES_AT_A_TIME):
            some = slice(start, start + FRAMES_AT_A_TIME)
            frames = emphasised(windows[some]) if self.log == "kaldi" else windows[some]
            spectrum = np.fft.rfft(frames * window, self.n_fft)
            squares = spectrum.real**2 + spectrum.imag**2
            bands[some] = (squares if self.power == 2 else squares ** (self.power / 2)) @ filters
        return np.asarray(self._logarithm(bands), np.float32)

    @property
    def _frame(self) -> int:
        """Samples of a frame. Kaldi's has no more than its window; zeros make `n_fft` of it."""
        return self.win_length or self.n_fft if self.log == "kaldi" else self.n_fft

    def _logarithm(self, bands: Array) -> Array:
        if self.log == "whisper":
            levels = np.log10(np.maximum(bands[:-1], self.amin))
            return np.asarray((np.maximum(levels, levels.max() - WHISPER_RANGE) + 4.0) / 4.0)
        if self.log == "kaldi":
            return np.asarray(np.log(np.maximum(bands, self.amin)))
        if self.log == "db":
            levels = 10.0 * np.log10(np.maximum(bands, self.amin))
            return levels if self.top_db is None else np.maximum(levels, levels.max() - self.top_db)
        return np.asarray(np.log(bands + self.amin)) if self.log == "natural" else bands

    def mels(self, hz: Array) -> Array:
        """Pitches on the scale."""
        if self.htk:
            return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
        beyond = np.log(np.maximum(hz, MEL_BREAK_HZ) / MEL_BREAK_HZ) / MEL_LOG_STEP
        return np.asarray(np.minimum(hz, MEL_BREAK_HZ) / MEL_STEP_HZ + beyond)

    def hz(self, mels: Array) -> Array:
        """The same back."""
        if self.htk:
            return np.asarray(700.0 * (10.0 ** (mels / 2595.0) - 1.0))
        at_break = MEL_BREAK_HZ / MEL_STEP_HZ
        beyond = np.exp(MEL_LOG_STEP * (np.maximum(mels, at_break) - at_break))
        return np.asarray(np.minimum(mels, at_break) * MEL_STEP_HZ * beyond)


def emphasised(frames: Array) -> Array:
    """Frames `(frames, samples)` without their means, high pitches emphasised, float64.

    The sample before a frame's first is the first itself (Kaldi, `Preemphasize`).
    """
    centred = frames - frames.mean(axis=1, keepdims=True, dtype=np.float64)
    before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    return np.asarray(centred - PREEMPHASIS * before)


@lru_cache(maxsize=64)
def window_of(mel: LogMel) -> Array:
    """A window of a frame's samples, float64: Kaldi's, or a periodic Hann window in the middle."""
    length = mel.win_length or mel.n_fft
    if mel.log == "kaldi":
        return np.asarray(np.hanning(length) ** (POVEY if mel.window == "povey" else 1))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    before = (mel.n_fft - length) // 2
    return np.pad(hann, (before, mel.n_fft - length - before))


@lru_cache(maxsize=64)
def filters_of(mel: LogMel, rate_hz: int) -> Array:
    """Triangles over the spectrum's lines: float64, `(1 + n_fft // 2, n_mels)`."""
    top = rate_hz / 2 if mel.fmax is None else mel.fmax
    low, high = mel.mels(np.array([mel.fmin, top]))
    ends = np.linspace(low, high, mel.n_mels + 2)
    lines = np.fft.rfftfreq(mel.n_fft, 1 / rate_hz)[:, None]
    if mel.log == "kaldi":
        lines = mel.mels(lines)
    else:
        ends = mel.hz(ends)
    widths = np.diff(ends)
    rising = (lines - ends[:-2]) / widths[:-1]
    falling = (ends[2:] - lines) / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if mel.norm == "slaney":
        filters *= 2.0 / (ends[2:] - ends[:-2])
    return np.asarray(filters)
