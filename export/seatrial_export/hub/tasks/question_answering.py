"""Extractive question answering: the part of a passage that answers a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from seatrial_contracts.kinds.extract import Extract
from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_contracts.kinds.truncation import Truncation
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.pairs import rows_of_pairs
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side


class Answerer(nn.Module):
    """A model of transformers, its two logits of each token side by side."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Logits of where an answer begins and ends, (batch, tokens, 2)."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        made = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return torch.stack([made.start_logits, made.end_logits], -1)


class QuestionAnsweringModel:
    """What transformers' tokenizer and model answer to the two texts themselves.

    transformers 5 has no pipeline of this task: the logits are compared, and which part of the
    passage they choose is `st.Extract`'s.
    """

    name = f"transformers {transformers.__version__}, AutoModelForQuestionAnswering"

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.folder, self.max_tokens = folder, max_tokens

    @cached_property
    def model(self) -> Any:
        """The model, loaded when it is first asked."""
        return AutoModelForQuestionAnswering.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        ).eval()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded when it is first asked."""
        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Logits of each token."""
        answers = []
        for row in rows:
            question, passage = row["pair"]["question"], row["pair"]["context"]
            feeds = self.tokenizer(
                question, passage, truncation="only_second", max_length=self.max_tokens,
                return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                made = self.model(**feeds)
            logits = torch.stack([made.start_logits[0], made.end_logits[0]], -1)
            answers.append({"answers": np.asarray(logits, np.float32)})
        return answers


class QuestionAnswering(Task):
    """See the module."""

    name = "question-answering"

    def fits(self, folder: Folder) -> bool:
        """A head of question answering."""
        return folder.architecture.endswith("ForQuestionAnswering")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """Question and context in, the best part of the context out; it is cut if too long."""
        auto = AutoModelForQuestionAnswering
        model = folder.model(auto)
        text = read_text_side(folder, model)
        options = text.pair_options() | {"cut": "second", "max_chars": text.cut_chars}
        pair = TextPair("question", "context", min_chars=1, **options)
        return Reading(
            inputs={"pair": Field(dict[str, str], pair)},
            outputs={
                "answers": Field(list[dict[str, Any]], Extract(of="pair", text="context")),
                "read": Field(dict[str, Any], Truncation(of="pair", text="context")),
            },
            module=Part.of(Answerer, model, folder.loads(auto)),
            judge=Part.of(
                QuestionAnsweringModel, folder.path, "FOLDER", max_tokens=text.max_tokens
            ),
            rows=rows or rows_of_pairs("question", "context"),
        )
