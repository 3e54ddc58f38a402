"""Text ranking: how relevant a passage is to a query, as a CrossEncoder scores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_contracts.kinds.truncation import Truncation
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.pairs import longest_chars, rows_of_pairs
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side


class Reranker(nn.Module):
    """A model of transformers with one score, and the activation that CrossEncoder applies."""

    def __init__(self, model: nn.Module, activation: str) -> None:
        super().__init__()
        self.model, self.activation = model, getattr(nn, activation)()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Scores, (batch,)."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        scores: Tensor = self.activation(logits)[:, 0]
        return scores


class CrossEncoderPredict:
    """What `CrossEncoder.predict` answers to the texts themselves."""

    name = f"sentence-transformers {version('sentence-transformers')}, CrossEncoder"

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.folder, self.max_tokens = folder, max_tokens

    @cached_property
    def model(self) -> Any:
        """The model, loaded when it is first asked."""
        from sentence_transformers import CrossEncoder

        return CrossEncoder(
            str(self.folder), device="cpu", local_files_only=True, max_length=self.max_tokens,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )  # fmt: skip

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Scores, float32."""
        pairs = [(row["pair"]["query"], row["pair"]["passage"]) for row in rows]
        scores = self.model.predict(pairs, show_progress_bar=False)
        return [{"score": np.asarray(score, np.float32)} for score in scores]


class TextRanking(Task):
    """See the module."""

    name = "text-ranking"

    def fits(self, folder: Folder) -> bool:
        """A head of sequence classification with one class, and no word of regression."""
        return (
            folder.architecture.endswith("ForSequenceClassification")
            and folder.loaded_config.num_labels == 1
            and folder.loaded_config.problem_type is None
        )

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """Query and passage in, one score out; what is too long is cut as CrossEncoder cuts it."""
        auto, activation = AutoModelForSequenceClassification, activation_of(folder)
        model = folder.model(auto)
        if model.config.num_labels != 1:
            raise fault(folder.path, f"a head of {model.config.num_labels} classes", "one score",
                        "--task text-pair-classification")  # fmt: skip
        text = read_text_side(folder, model)
        options = text.pair_options() | {"cut": "longest", "max_chars": longest_chars(text)}
        bounds: dict[str, Any] = {"ge": 0.0, "le": 1.0} if activation == "Sigmoid" else {}
        return Reading(
            inputs={
                "pair": Field(dict[str, str], TextPair("query", "passage", min_chars=1, **options))
            },
            outputs={
                "score": Field(float, Number(**bounds)),
                "read": Field(dict[str, Any], Truncation(of="pair")),
            },
            module=Part.of(Reranker, model, folder.loads(auto), activation=activation),
            judge=Part.of(CrossEncoderPredict, folder.path, "FOLDER", max_tokens=text.max_tokens),
            rows=rows or rows_of_pairs("query", "passage"),
        )


def activation_of(folder: Folder) -> str:
    """The name in torch.nn of what CrossEncoder applies to logits. Raises `DeclarationError`."""
    named = (
        (folder.config.get("sentence_transformers") or {}).get("activation_fn")
        or folder.config.get("sbert_ce_default_activation_function")
        or folder.sentence_transformers.get("activation_fn")
        or "torch.nn.modules.activation.Sigmoid"
    )
    module, _, name = str(named).rpartition(".")
    if not module.startswith("torch.nn") or name not in ("Sigmoid", "Identity", "Tanh"):
        raise fault(folder.path, f"the activation {str(named)[:60]!r}",
                    "Sigmoid, Identity or Tanh of torch.nn")  # fmt: skip
    return name
