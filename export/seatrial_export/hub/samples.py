"""Sounds between a file and a model of transformers: what graphs and judges share.

A pipeline file carries these in text.
"""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor


def samples_of(data: bytes, rate_hz: int) -> Any:
    """A file as one channel of float32 samples: soundfile's, their mean, by soxr at this rate."""
    samples, own = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mixed = samples.mean(axis=1, dtype=np.float32)
    return mixed if own == rate_hz else soxr.resample(mixed, own, rate_hz, quality="HQ")


class Levels(nn.Module):
    """From features to `input_values`: 0 behind a sound's own frames, then minus mean, by spread.

    That is the order of `ASTFeatureExtractor`.
    """

    def __init__(self, mean: float, spread: float) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread

    def forward(self, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """(batch, frames, mels), float32."""
        return (audio * audio_mask[:, :, None] - self.mean) / self.spread


class Heard:
    """A model of transformers and its feature extractor, loaded when they are first asked."""

    def __init__(self, folder: Path, auto: Any) -> None:
        self.folder, self.auto = folder, auto

    @cached_property
    def extractor(self) -> Any:
        """The feature extractor."""
        return AutoFeatureExtractor.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def model(self) -> Any:
        """In float32."""
        return self.auto.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()
