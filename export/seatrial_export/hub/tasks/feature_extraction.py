"""Feature extraction: a vector for each token of a text, by an encoder without a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForTextEncoding, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from seatrial_contracts.kinds.tensor import Tensor as TensorKind
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.sentences import TEXTS
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import VOCABULARIES, read_text_side

UNUSED = ("pooler.",)
"""Weights that make one vector of the first token's, which is not answered."""


class Encoder(nn.Module):
    """The last hidden states of an encoder of transformers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors of the tokens, (batch, tokens, size)."""
        made = self.model(input_ids=input_ids, attention_mask=attention_mask)
        vectors: Tensor = made.last_hidden_state
        return vectors


class FeatureExtractionPipeline:
    """What transformers' own pipeline answers to the text itself."""

    name = f"transformers {transformers.__version__}, feature-extraction"

    def __init__(self, folder: Path, auto: str) -> None:
        self.folder, self.auto = folder, auto

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        model = getattr(transformers, self.auto).from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        return transformers.pipeline(
            "feature-extraction", model=model, tokenizer=tokenizer, device="cpu"
        )

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Vectors of the tokens, float32."""
        return [{"features": np.array(self.pipeline(row["text"])[0], np.float32)} for row in rows]


class FeatureExtraction(Task):
    """See the module."""

    name = "feature-extraction"

    def fits(self, folder: Folder) -> bool:
        """An encoder of texts without a head."""
        headless = folder.architecture.endswith("Model") and not folder.generates
        return headless and any((folder.root / name).exists() for name in VOCABULARIES)

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One text in, the vectors of its tokens out."""
        auto = encoder_class(folder)
        model = folder.model(auto, spare=UNUSED)
        text = read_text_side(folder, model)
        size = int(model.config.hidden_size)
        vectors = TensorKind(dtype="float32", dims=(None, size))
        return Reading(
            inputs={"text": Field(str, Text(**text.options()))},
            outputs={"features": Field(np.ndarray, vectors)},
            module=Part.of(Encoder, model, folder.loads(auto)),
            judge=Part.of(FeatureExtractionPipeline, folder.path, "FOLDER", auto=auto.__name__),
            rows=rows or [{"text": text} for text in TEXTS],
            notes=["one vector for each token: --task sentence-similarity answers their mean"],
        )


def encoder_class(folder: Folder) -> Any:
    """The class that loads an encoder alone: T5's AutoModel has a decoder too."""
    has_own = folder.config.get("model_type") in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    return AutoModelForTextEncoding if has_own else AutoModel
