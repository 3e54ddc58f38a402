"""Text feature extraction: the texts' tower of a two-tower model (CLIP, SigLIP).

Its vectors lie in one space with those of `image_feature_extraction.py`: what a picture shows is
the text whose vector has the largest cosine with the picture's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.truncation import Truncation
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.sentences import TEXTS
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side

FILLED_UP = ("siglip", "siglip2")
"""Model types that were trained on texts filled up to the maximum, without a mask of it."""


class MaskedTextTower(nn.Module):
    """The texts' tower of a model that takes a mask."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors of length 1, (batch, size)."""
        made = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        vectors: Tensor = made.pooler_output
        unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
        return unit


class FilledTextTower(nn.Module):
    """The texts' tower of a model that sees texts filled up to `max_tokens`."""

    def __init__(self, model: nn.Module, max_tokens: int, pad_id: int) -> None:
        super().__init__()
        self.model: Any = model
        self.max_tokens, self.pad_id = max_tokens, pad_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """Vectors of length 1, (batch, size)."""
        rest = input_ids.new_full((input_ids.shape[0], self.max_tokens), self.pad_id)
        filled = torch.cat([input_ids, rest], 1)[:, : self.max_tokens]
        vectors: Tensor = self.model.get_text_features(input_ids=filled).pooler_output
        unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
        return unit


class TextFeatures:
    """What transformers' tokenizer and model make of the text itself."""

    name = f"transformers {transformers.__version__}, get_text_features"

    def __init__(self, folder: Path, max_tokens: int, *, filled: bool) -> None:
        self.folder, self.max_tokens, self.filled = folder, max_tokens, filled

    @cached_property
    def model(self) -> Any:
        """The model, loaded when it is first asked."""
        return AutoModel.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when it is first asked."""
        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Vectors of length 1, float32."""
        names = ("input_ids",) if self.filled else ("input_ids", "attention_mask")
        answers = []
        for row in rows:
            feeds = self.tokenizer(
                row["text"], padding="max_length" if self.filled else True, truncation=True,
                max_length=self.max_tokens, return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                made = self.model.get_text_features(**{name: feeds[name] for name in names})
            vector = np.asarray(made.pooler_output[0], np.float32)
            answers.append({"embedding": vector / np.linalg.norm(vector)})
        return answers


class TextFeatureExtraction(Task):
    """See the module."""

    name = "text-feature-extraction"

    def fits(self, folder: Folder) -> bool:  # noqa: ARG002  (the signature of every task)
        """Never: a folder of two towers is one of pictures unless a task is named."""
        return False

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One text in, one vector out."""
        model = folder.model(AutoModel)
        config = model.config.get_text_config()
        filled = model.config.model_type in FILLED_UP
        text = read_text_side(folder, model, config.max_position_embeddings)
        options = text.options() | {"overflow": "truncate"}
        if filled:
            options["model_inputs"] = ("input_ids",)
        more = {"max_tokens": text.max_tokens, "pad_id": text.pad_id} if filled else {}
        size = getattr(model.config, "projection_dim", None) or config.projection_size
        return Reading(
            inputs={"text": Field(str, Text(**options))},
            outputs={
                "embedding": Field(list[float], Embedding(int(size), normalized=True)),
                "read": Field(dict[str, Any], Truncation(of="text")),
            },
            module=Part.of(
                FilledTextTower if filled else MaskedTextTower, model, folder.loads(AutoModel),
                **more,
            ),
            judge=Part.of(
                TextFeatures, folder.path, "FOLDER", max_tokens=text.max_tokens, filled=filled
            ),
            rows=rows or [{"text": text} for text in TEXTS],
        )  # fmt: skip
