"""What a folder says of its sounds: the feature extractor, as options of `st.Audio`.

The options are read off the extractor's attributes, and held to what it makes of some sounds.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.kinds.audio import Audio
from seatrial_contracts.kinds.log_mel import LogMel
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.drawn_sounds import sounds
from seatrial_export.hub.faults import MEND_DOWNLOAD, fault
from seatrial_export.hub.folder import Folder, quiet, told
from seatrial_export.hub.samples import Levels, samples_of

MOST_SECONDS = 30.0
"""Of a sound, where the model has no length of its own."""
LEAST_FRAMES = 3
"""Of the convolutions: so many are traced for every length from there on."""
CLOSE = 1e-4
"""Of the largest value. Whisper's extractor computes in float32 what `st.LogMel` has in float64."""
KALDI_FLOOR = 2.0**-23
"""The least value of a band, as transformers has it: what float32 has between 1 and the next."""
ALONE = "this model was trained without a mask of padding: rows are never batched"
UNREAD = tuple(
    f"{name}.masked_spec_embed"
    for name in (
        "wav2vec2", "wav2vec2_conformer", "hubert", "wavlm", "unispeech", "unispeech_sat", "sew",
        "sew_d", "data2vec_audio",
    )
)  # fmt: skip
"""A weight that training alone reads; many folders do not have it."""
MEND = "write a pipeline with st.Audio and st.LogMel, or compute the features in the graph"


@dataclass(frozen=True)
class AudioSide:
    """The feature extractor of a folder, and what makes the same of a file."""

    extractor: Any
    audio: Mapping[str, Any]
    """Options of `st.Audio`."""
    alone: bool = False
    """Does padding change what the model answers?"""
    levels: Mapping[str, float] | None = None
    """Options of `Levels`, where the model takes what these make of features."""

    @property
    def spectrum(self) -> bool:
        """Does the model take features of a fixed number of frames, and not samples?"""
        return "log_mel" in self.audio

    @property
    def kind(self) -> Audio:
        """The field."""
        return Audio(**self.audio)


def read_audio_side(folder: Folder) -> AudioSide:
    """The feature extractor of a folder.

    Raises `DeclarationError` where there is none, or none that `st.Audio` can be.
    """
    extractor = load_extractor(folder)
    name = type(extractor).__name__
    read = {
        "Wav2Vec2FeatureExtractor": waves,
        "WhisperFeatureExtractor": whisper,
        "ASTFeatureExtractor": filter_banks,
    }.get(name)
    if read is None:
        raise odd(folder, extractor, "features that st.LogMel does not make")
    side = read(folder, extractor)
    check_made(folder, side)
    return side


def load_extractor(folder: Folder) -> Any:
    """The folder's feature extractor."""
    from transformers import AutoFeatureExtractor

    if not folder.preprocessor and not folder.file("processor_config.json"):
        raise fault(
            folder.path, "no preprocessor_config.json", "a feature extractor", MEND_DOWNLOAD
        )
    try:
        with quiet():
            return AutoFeatureExtractor.from_pretrained(folder.root, local_files_only=True)
    except Exception as error:  # transformers' own kinds, of no common class
        got = f"a feature extractor that transformers does not load: {told(error)}"
        raise fault(folder.path, got, "preprocessor_config.json", MEND_DOWNLOAD) from error


def waves(folder: Folder, extractor: Any) -> AudioSide:
    """Samples as they are, or of mean 0 and variance 1.

    With a group norm in its first convolution a model was trained without a mask, and padding
    changes its answers: rows of such a model are never batched.
    """
    config = folder.loaded_config
    least = samples_for(LEAST_FRAMES, config.conv_kernel, config.conv_stride)
    audio: dict[str, Any] = {
        "rate_hz": extractor.sampling_rate,
        "min_seconds": math.ceil(1000 * least / extractor.sampling_rate) / 1000,
        "max_seconds": MOST_SECONDS,
        "mark": "mask",
    }
    if extractor.do_normalize:
        audio["normalize"] = "mean_variance"
    return AudioSide(extractor, audio, alone=config.feat_extract_norm == "group")


def samples_for(frames: int, kernels: Any, strides: Any) -> int:
    """How many samples convolutions without padding make so many frames of."""
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        frames = (frames - 1) * stride + kernel
    return int(frames)


def whisper(folder: Folder, extractor: Any) -> AudioSide:
    """Log-mel features of a clip that is filled up to the model's length."""
    if getattr(extractor, "dither", 0.0):
        raise odd(folder, extractor, "noise of its own (dither)")
    mel = LogMel(
        n_fft=extractor.n_fft, hop_length=extractor.hop_length, n_mels=extractor.feature_size,
        log="whisper",
    )  # fmt: skip
    audio: dict[str, Any] = {
        "rate_hz": extractor.sampling_rate, "max_seconds": float(extractor.chunk_length),
        "padding": "max_length", "mark": "none", "log_mel": mel,
    }  # fmt: skip
    return AudioSide(extractor, audio)


def filter_banks(folder: Folder, extractor: Any) -> AudioSide:  # noqa: ARG001  (as the others')
    """Kaldi's filter banks of a clip that is filled up to the model's length.

    The extractor's windows are Hann windows of 25 ms, each 10 ms, at the rate that it has 400 and
    160 samples for. A sound that the extractor would cut is too long.
    """
    mel = LogMel(
        n_fft=512, win_length=400, hop_length=160, n_mels=extractor.num_mel_bins, fmin=20.0,
        center=False, htk=True, norm=None, log="kaldi", amin=KALDI_FLOOR,
    )  # fmt: skip
    rate, frames = extractor.sampling_rate, extractor.max_length
    audio: dict[str, Any] = {
        "rate_hz": rate, "max_seconds": (400 + 160 * frames - 1) / rate,
        "padding": "max_length", "mark": "mask", "log_mel": mel,
    }  # fmt: skip
    mean, spread = (extractor.mean, 2 * extractor.std) if extractor.do_normalize else (0.0, 1.0)
    return AudioSide(extractor, audio, levels={"mean": float(mean), "spread": float(spread)})


def check_made(folder: Folder, side: AudioSide) -> None:
    """Raise `DeclarationError` where kind and extractor make other values of a sound."""
    try:
        side.kind.check()
    except DeclarationError as error:
        raise odd(folder, side.extractor, f"what st.Audio refuses: {told(error)}") from None
    rate, stage = side.kind.rate_hz, side.kind.stage("audio", {})
    for place, data in enumerate(sounds()):
        samples = samples_of(data, rate)
        with quiet():
            made = side.extractor(samples, sampling_rate=rate, return_tensors="np")
        entered = stage(data)
        want = made["input_features"][0].T if "input_features" in made else made["input_values"][0]
        got = np.asarray(entered[0])
        if side.levels is not None:
            got = Levels(**side.levels)(*(torch.from_numpy(each)[None] for each in entered))[0]
            got = got.numpy()
        if got.shape != want.shape:
            raise odd(folder, side.extractor, f"{list(want.shape)} values, not {list(got.shape)}")
        apart = float(np.abs(got - want).max())
        if apart > CLOSE * max(1.0, float(np.abs(want).max())):
            raise odd(folder, side.extractor, f"values that are {apart:.2g} apart (sound {place})")


def odd(folder: Folder, extractor: Any, what: str) -> DeclarationError:
    """An extractor that `st.Audio` cannot be."""
    name = type(extractor).__name__
    want = "samples, Whisper's log-mel features, or AST's filter banks, as st.Audio makes them"
    return fault(folder.path, f"{name}, which makes {what}", want, MEND)


def rows_of_sounds() -> list[RawRow]:
    """Rows of our own, of a field `audio`."""
    return [{"audio": binascii.b2a_base64(sound, newline=False).decode()} for sound in sounds()]
