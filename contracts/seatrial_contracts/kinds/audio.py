"""A sound: an encoded file, decoded on the host to samples of one rate, or to log-mel features."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.kinds.file_kind import FileKind, base64_text
from seatrial_contracts.kinds.kind import Array, Column, Edge, Features, Stage, TensorSpec
from seatrial_contracts.kinds.log_mel import LogMel
from seatrial_contracts.kinds.row_mark import Mark, mark_specs, marks
from seatrial_contracts.kinds.sound import (
    FILE_RATES_HZ,
    MEDIA_TYPES,
    SUBTYPES,
    Bounds,
    Format,
    Sound,
    checked,
    decode_sound,
    draw_sound,
    either,
    sound_libraries,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

VARIANCE_FLOOR = 1e-7
"""As in transformers' `Wav2Vec2FeatureExtractor`."""
SILENT, CLIPPED = 10 ** (-60 / 20), 1 - 2**-12
"""Samples below the first are silence (-60 dBFS), from the second on they are cut at full scale."""
SILENCE_DBFS = -120.0
MOST_SECONDS = 4 * 3600.0
MOST_DRAWN_BYTES = 2**21
"""Of a sound that is drawn for tests: as long as a row may be, where that is no more."""
DRAWN_RATES_HZ = {
    "WAV": (8_000, 11_025, 44_100, 48_000, 192_000),
    "FLAC": (8_000, 22_050, 44_100, 96_000),
    "OGG": (8_000, 16_000, 44_100, 48_000),
    "MP3": (8_000, 16_000, 22_050, 44_100, 48_000),
}
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)


class Audio(FileKind):
    """`Annotated[bytes, Audio(rate_hz=16_000, max_seconds=30)]`.

    A file is decoded whole to float32 by soundfile, its channels are mixed to their mean, and soxr
    (`"HQ"`) resamples to `rate_hz`. `clip` lets samples end at -1 and 1, which Vorbis, Opus and
    files of floats overshoot. `normalize` then makes each row of its own mean 0 and variance 1
    (`"mean_variance"`, as `Wav2Vec2FeatureExtractor` does), or of peak 1 (`"peak"`).

    It enters the graph as float32 `(batch, samples)`, padded with 0 behind the longest of the
    batch, or to `max_seconds` with `padding="max_length"`. `<field>_length`, int64, `(batch,)`,
    says how many samples are the row's own; with `mark="mask"`, `<field>_mask`, bool,
    `(batch, samples)`, does; with `mark="none"`, for `padding="max_length"` alone, nothing does.

    `log_mel=LogMel(...)` makes features of the samples: float32 `(batch, frames, mels)`, with
    lengths and masks of frames.
    """

    too_large: ClassVar[str] = "E_AUDIO_BYTES"
    kind: Literal["audio"] = "audio"
    formats: Annotated[tuple[Format, ...], Field(strict=False, max_length=16)] = (
        "WAV", "FLAC", "OGG", "MP3",
    )  # fmt: skip
    rate_hz: Annotated[int, Field(ge=FILE_RATES_HZ[0], le=FILE_RATES_HZ[1])] = 16_000
    max_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = 30.0
    min_seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS)] = 0.0
    max_channels: Annotated[int, Field(ge=1, le=64)] = 2
    clip: bool = False
    normalize: Literal["mean_variance", "peak"] | None = None
    padding: Literal["longest", "max_length"] = "longest"
    mark: Mark = "length"
    log_mel: Annotated[LogMel | None, Field(strict=False)] = None

    def check(self) -> None:
        if self.log_mel is not None:
            self.log_mel.check(self.rate_hz)
        least, most = self.least_samples, self.most_samples
        loose = self.mark == "none" and self.padding != "max_length"
        faults = (
            (not self.formats, "no formats", f"some of {', '.join(MEDIA_TYPES)}"),
            (least > most, f"sounds of {least} to {most} samples", "max_seconds for the shortest"),
            (loose, "mark='none'", "padding='max_length' with it: rows of unlike length are alike"),
        )
        for is_fault, got, want in faults:
            if is_fault:
                raise DeclarationError("st.Audio", got, want)

    @property
    def media_types(self) -> tuple[str, ...]:
        return tuple(MEDIA_TYPES[name] for name in self.formats)

    @property
    def least_samples(self) -> int:
        """Of a row, at `rate_hz`."""
        least = max(1, math.ceil(self.min_seconds * self.rate_hz))
        return least if self.log_mel is None else max(least, self.log_mel.least_samples)

    @property
    def most_samples(self) -> int:
        """Of a row, at `rate_hz`."""
        return round(self.max_seconds * self.rate_hz)

    def want(self) -> str:
        size = f"{either(self.formats)} file of at most {self.max_bytes} bytes"
        if not self.min_seconds:
            return f"a {size} and {self.max_seconds:g} seconds"
        return f"a {size}, {self.min_seconds:g} to {self.max_seconds:g} seconds long"

    def breaks(self, option: str, old: Self) -> bool:
        if option == "formats":
            return not set(old.formats) <= set(self.formats)
        if option in ("max_bytes", "max_seconds", "max_channels"):
            return bool(getattr(self, option) < getattr(old, option))
        if option in ("min_seconds", "log_mel", "rate_hz"):
            return self.least_samples * old.rate_hz > old.least_samples * self.rate_hz
        if option in ("clip", "normalize", "padding", "mark"):  # the model's own affair
            return False
        return super().breaks(option, old)

    def tensors(self, name: str) -> tuple[TensorSpec, ...]:
        whole = self.padding == "max_length"
        most = self._steps(self.most_samples)
        side: int | str = most if whole else f"{name}_{self._step}"
        bands = () if self.log_mel is None else (self.log_mel.n_mels,)
        pad = None if whole else 0
        sound = TensorSpec(name=name, dtype="float32", dims=(side, *bands), pad=pad)
        return (sound, *mark_specs(self.mark, name, side, padded=not whole))

    @property
    def _step(self) -> str:
        return "samples" if self.log_mel is None else "frames"

    def _steps(self, samples: int) -> int:
        """Samples, or the frames that they make."""
        return samples if self.log_mel is None else self.log_mel.frames(samples)

    def sizes(self, name: str) -> Mapping[str, tuple[int, int]]:
        if self.padding == "max_length":
            return {}
        ends = self._steps(self.least_samples), self._steps(self.most_samples)
        return {f"{name}_{self._step}": ends}

    def stage(self, name: str, files: Mapping[str, bytes]) -> Stage:
        sound_libraries()
        return lambda value: self._entering(self.decode(value))

    def filler(self, stage: Stage) -> tuple[Any, ...]:
        """Silence, as short as may be."""
        return self._entering(self._levelled(np.zeros(self.least_samples, np.float32)))

    def decode(self, data: bytes) -> Array:
        """Decode a file to samples at `rate_hz`, float32 `(samples,)`, normalised as declared.

        Raises `Refusal`, which holds none of the decoder's own text.
        """
        sound = self.sound(data)
        samples = checked(sound.at(self.rate_hz))
        if len(samples) < self.least_samples:
            got = f"{sound.seconds:.3g} seconds"
            want = f"at least {self.least_samples / self.rate_hz:.3g}"
            raise Refusal("E_AUDIO_SHORT", "", got, want)
        return self._levelled(samples[: self.most_samples])

    def sound(self, data: bytes) -> Sound:
        """A file as it is, mixed to one channel at its own rate. Raises `Refusal`."""
        return decode_sound(data, Bounds(self.formats, self.max_seconds, self.max_channels))

    def _levelled(self, samples: Array) -> Array:
        if self.clip:
            samples = samples.clip(-1.0, 1.0)
        if self.normalize == "mean_variance":
            spread = np.sqrt(samples.var() + VARIANCE_FLOOR)
            return np.asarray((samples - samples.mean()) / spread, np.float32)
        peak = np.abs(samples).max() if self.normalize == "peak" else 0.0
        return np.asarray(samples / peak, np.float32) if peak else samples

    def _entering(self, samples: Array) -> tuple[Any, ...]:
        """What enters the graph of a row's samples, for each of `tensors`."""
        count = self._steps(len(samples))
        if self.padding == "max_length":
            samples = np.pad(samples, (0, self.most_samples - len(samples)))
        made = samples if self.log_mel is None else self.log_mel.of(samples, self.rate_hz)
        return (made, *marks(self.mark, len(made), count))

    def features(self, name: str, files: Mapping[str, bytes], stage: Stage | None) -> Features:
        """Loudness (RMS, in dBFS), seconds, and the shares of silent and of clipped samples."""

        def features(values: Column) -> Mapping[str, Column]:
            sounds = [self.sound(value) for value in values]
            levels = [np.abs(sound.samples) for sound in sounds]
            return {
                "loudness": [loudness_dbfs(sound.samples) for sound in sounds],
                "seconds": [sound.seconds for sound in sounds],
                "silence": [float((level < SILENT).mean()) for level in levels],
                "clipping": [float((level >= CLIPPED).mean()) for level in levels],
            }

        return features

    def told(self, data: bytes) -> str | None:
        try:
            import soundfile

            with soundfile.SoundFile(io.BytesIO(data)) as file:
                return (
                    f"{file.format} ({file.subtype}) of {file.frames / file.samplerate:.3f} s, "
                    f"{file.samplerate} Hz, channels: {file.channels}, {len(data)} bytes"
                )
        except (ImportError, RuntimeError):
            return None

    def example(self) -> Any:
        """A tone of a tenth of a second, or of as long as may be."""
        samples = min(max(self.least_samples, self.rate_hz // 10), self.most_samples)
        form = "WAV" if "WAV" in self.formats else self.formats[0]
        rate = self._file_rate(form)
        frames = math.ceil(samples * rate / self.rate_hz)
        return base64_text(draw_sound(self._held(frames, rate), rate, fmt=form))

    def _file_rate(self, form: str) -> int:
        """The field's own rate, or one that the format has."""
        rates = DRAWN_RATES_HZ[form]
        return self.rate_hz if form in ("WAV", "FLAC") or self.rate_hz in rates else rates[-1]

    def _held(self, frames: int, rate: int) -> int:
        """So many frames of a file of this rate, or as many as the field takes."""
        least = math.ceil((self.least_samples - 0.5) * rate / self.rate_hz)
        return min(max(1, least, frames), max(1, int(self.max_seconds * rate)))

    def strategy(self) -> SearchStrategy[Any]:
        from hypothesis import strategies as some

        forms = [
            (form, subtype, rate)
            for form in self.formats
            for subtype in SUBTYPES[form]
            for rate in (OPUS_RATES_HZ if subtype == "OPUS" else DRAWN_RATES_HZ[form])
        ]
        return some.builds(
            lambda form, samples, channels, level, pitch: base64_text(
                draw_sound(
                    self._held(samples, form[2]), form[2], fmt=form[0], subtype=form[1],
                    channels=channels, level=level, pitch_hz=pitch,
                )
            ),
            some.sampled_from(forms),
            some.integers(1, 800) | some.integers(1, 8000),
            some.integers(1, min(self.max_channels, 2)),
            some.sampled_from([0.5, 1.0, 0.01, 0.0]),
            some.sampled_from([440.0, 50.0, 3000.0]),
        )  # fmt: skip

    def edges(self, stage: Stage) -> Iterator[Edge]:
        """The shortest and the longest, silence and full scale, then each format and odd rates."""
        form, subtype = self.formats[0], SUBTYPES[self.formats[0]][0]
        rate = self._file_rate(form)
        tenth = self._held(rate // 10, rate)
        drawn: list[tuple[str, str, int, int, int, float]] = [
            (form, subtype, rate, self._held(1, rate), 1, 0.5),
            (form, subtype, rate, tenth, 1, 0.0),
            (form, subtype, rate, tenth, 1, 1.0),
            (form, subtype, rate, self._held(int(self.max_seconds * rate), rate), 1, 0.25),
            (form, subtype, rate, self._held(rate // 7 + 1, rate), self.max_channels, 0.5),
        ]
        for known in self.formats:
            drawn += [
                (known, other, place, self._held(place // 9 + 1, place), 1, 0.7)
                for other in SUBTYPES[known]
                for place in ((48_000,) if other == "OPUS" else (self._file_rate(known),))
            ]
            drawn += [
                (known, SUBTYPES[known][0], odd, self._held(odd // 13 + 1, odd), 1, 0.3)
                for odd in DRAWN_RATES_HZ[known]
            ]
        for each, subtype, rate, frames, channels, level in drawn:
            if frames * channels * 2 > MOST_DRAWN_BYTES or (channels > 2 and each == "MP3"):
                continue
            data = draw_sound(
                frames, rate, fmt=each, subtype=subtype, channels=channels, level=level
            )
            if len(data) <= self.max_bytes:
                what = (
                    f"a {each} ({subtype}) of {frames} samples at {rate} Hz, channels: {channels}, "
                    f"peak {level:g}"
                )
                yield Edge(base64_text(data), what=what)


def loudness_dbfs(samples: Array) -> float:
    """The root mean square against full scale, in dB: -3.01 for a sine of peak 1."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return max(SILENCE_DBFS, 10 * math.log10(power)) if power > 0 else SILENCE_DBFS
