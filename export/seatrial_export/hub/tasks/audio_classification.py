"""Audio classification: the class of a sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from torch import Tensor, nn
from transformers import AutoModelForAudioClassification

from seatrial_contracts.kinds.label import Label
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.samples import Heard, Levels, samples_of
from seatrial_export.hub.sounds import ALONE, UNREAD, read_audio_side, rows_of_sounds
from seatrial_export.hub.task import Field, Part, Reading, Task


class WaveClassifier(nn.Module):
    """A model of transformers that takes samples."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Probabilities of the classes, (batch, classes)."""
        logits = self.model(input_values=audio, attention_mask=audio_mask.long()).logits
        scores: Tensor = logits.softmax(-1)
        return scores


class SpectrumClassifier(nn.Module):
    """A model of transformers that takes log-mel features of a fixed number of frames."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor) -> Tensor:
        """Probabilities of the classes, (batch, classes)."""
        scores: Tensor = self.model(input_features=audio.transpose(1, 2)).logits.softmax(-1)
        return scores


class FilterBankClassifier(nn.Module):
    """A model of transformers that takes filter banks of a fixed number of frames."""

    def __init__(self, model: nn.Module, **levels: float) -> None:
        super().__init__()
        self.levels, self.model = Levels(**levels), model

    def forward(self, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Probabilities of the classes, (batch, classes)."""
        logits = self.model(input_values=self.levels(audio, audio_mask)).logits
        scores: Tensor = logits.softmax(-1)
        return scores


class AudioClassificationPipeline:
    """What transformers' own pipeline answers to a file, read by soundfile and soxr."""

    name = f"transformers {transformers.__version__}, audio-classification"

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self.heard, self.labels = Heard(folder, AutoModelForAudioClassification), labels

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        return transformers.pipeline(
            "audio-classification", model=self.heard.model, feature_extractor=self.heard.extractor,
            device="cpu",
        )  # fmt: skip

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Probabilities in the order of the classes."""
        answers = []
        for row in rows:
            samples = samples_of(row["audio"], self.heard.extractor.sampling_rate)
            answered = self.pipeline(samples, top_k=len(self.labels))
            found = {each["label"]: each["score"] for each in answered}
            scores = np.array([found[label] for label in self.labels], np.float32)
            answers.append({"label": scores})
        return answers


class AudioClassification(Task):
    """See the module."""

    name = "audio-classification"

    def fits(self, folder: Folder) -> bool:
        """A head over a whole sound; of some families it is called one of sequences."""
        named = folder.architecture
        return named.endswith("ForAudioClassification") or (
            named.endswith("ForSequenceClassification")
            and bool(
                folder.preprocessor.get("feature_extractor_type")
                or folder.file("processor_config.json").get("feature_extractor")
            )
        )

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One sound in, its class out."""
        auto = AutoModelForAudioClassification
        side = read_audio_side(folder)
        made: type[nn.Module] = SpectrumClassifier if side.spectrum else WaveClassifier
        if side.levels is not None:
            made = FilterBankClassifier
        return Reading(
            inputs={"audio": Field(bytes, side.kind)},
            outputs={"label": Field(str, Label(*folder.labels))},
            module=Part.of(
                made, folder.model(auto, spare=UNREAD), folder.loads(auto), **side.levels or {}
            ),
            judge=Part.of(AudioClassificationPipeline, folder.path, "FOLDER", labels=folder.labels),
            rows=rows or rows_of_sounds(),
            notes=[ALONE] if side.alone else [],
            batchable=not side.alone,
        )
