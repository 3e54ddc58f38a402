"""Token classification: labelled parts of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, AutoTokenizer

from seatrial_contracts.kinds.spans import Spans
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.truncation import Truncation
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.sentences import TEXTS
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side


class Tagger(nn.Module):
    """A model of transformers with the softmax that its pipeline applies."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Probabilities of each token's labels, (batch, tokens, labels)."""
        made = self.model(input_ids=input_ids, attention_mask=attention_mask)
        probabilities: Tensor = made.logits.softmax(-1)
        return probabilities


class TokenClassificationPipeline:
    """What transformers' own pipeline answers to the text itself, with neighbours joined."""

    name = f"transformers {transformers.__version__}, token-classification"

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.folder, self.max_tokens = folder, max_tokens

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        model = AutoModelForTokenClassification.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(
            self.folder, local_files_only=True, model_max_length=self.max_tokens
        )
        return transformers.pipeline(
            "token-classification", model=model, tokenizer=tokenizer, device="cpu"
        )

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The parts of each text as clients see them: without white space at their ends."""
        answers = []
        for row in rows:
            text, parts = row["text"], []
            for each in self.pipeline(text, aggregation_strategy="simple"):
                part = text[each["start"] : each["end"]]
                start = each["start"] + len(part) - len(part.lstrip())
                part = part.strip()
                place = {"start": start, "end": start + len(part), "text": part}
                if part:
                    label = {"label": each["entity_group"], "score": float(each["score"])}
                    parts.append(label | place)
            answers.append({"parts": parts})
        return answers


class TokenClassification(Task):
    """See the module."""

    name = "token-classification"

    def fits(self, folder: Folder) -> bool:
        """A head of token classification."""
        return folder.architecture.endswith("ForTokenClassification")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One text in, its labelled parts out; what is too long is cut as the pipeline cuts it."""
        auto = AutoModelForTokenClassification
        model = folder.model(auto)
        text = read_text_side(folder, model)
        return Reading(
            inputs={"text": Field(str, Text(**text.cut_options()))},
            outputs={
                "parts": Field(list[dict[str, Any]], Spans(*folder.labels, of="text")),
                "read": Field(dict[str, Any], Truncation(of="text")),
            },
            module=Part.of(Tagger, model, folder.loads(auto)),
            judge=Part.of(
                TokenClassificationPipeline, folder.path, "FOLDER", max_tokens=text.max_tokens
            ),
            rows=rows or [{"text": text} for text in TEXTS if text],
        )
