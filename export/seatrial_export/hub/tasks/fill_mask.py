"""Fill-mask: the tokens that may stand in the one place that a text masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoTokenizer

from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import fault
from seatrial_export.hub.folder import Folder
from seatrial_export.hub.sentences import SENTENCES
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side

SHOWN = 5
"""As many tokens as transformers' pipeline answers."""


class MaskFiller(nn.Module):
    """A model of transformers, its softmax at the place of the mask."""

    def __init__(self, model: nn.Module, mask_id: int) -> None:
        super().__init__()
        self.model, self.mask_id = model, mask_id

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Probabilities of the tokens, (batch, tokens of the vocabulary)."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        place = (input_ids == self.mask_id).to(torch.int32).argmax(1)
        at = place[:, None, None].expand(-1, 1, logits.shape[-1])
        probabilities: Tensor = logits.gather(1, at)[:, 0].softmax(-1)
        return probabilities


class FillMaskPipeline:
    """What transformers' own pipeline answers to the text itself."""

    name = f"transformers {transformers.__version__}, fill-mask"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, loaded when it is first asked."""
        model = AutoModelForMaskedLM.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        return transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Probabilities in the order of the vocabulary."""
        answers, size = [], self.pipeline.model.config.vocab_size
        for row in rows:
            scores = np.zeros(size, np.float32)
            for each in self.pipeline(row["text"], top_k=size):
                scores[each["token"]] = each["score"]
            answers.append({"token": scores})
        return answers


class FillMask(Task):
    """See the module."""

    name = "fill-mask"

    def fits(self, folder: Folder) -> bool:
        """A head of masked language modelling."""
        return folder.architecture.endswith("ForMaskedLM")

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """A text with one mask in, the tokens of the vocabulary out, the best five shown."""
        auto = AutoModelForMaskedLM
        model = folder.model(auto)
        text = read_text_side(folder, model)
        mask = text.tokenizer.mask_token
        if mask is None:
            raise fault(folder.path, "a tokenizer without a mask", "one with a mask_token")
        words = words_of(text.tokenizer, int(model.config.vocab_size))
        options = text.options() | {"special": "take", "holds": mask, "min_chars": len(mask)}
        return Reading(
            inputs={"text": Field(str, Text(**options))},
            outputs={"token": Field(str, Label(*words, top=min(SHOWN, len(words))))},
            module=Part.of(
                MaskFiller, model, folder.loads(auto), mask_id=int(text.tokenizer.mask_token_id)
            ),
            judge=Part.of(FillMaskPipeline, folder.path, "FOLDER"),
            rows=rows or [{"text": each} for each in masked(mask)],
            notes=[f"a text holds {mask} once"],
        )


def words_of(tokenizer: Any, size: int) -> list[str]:
    """The vocabulary in the order of its ids, as its file spells it."""
    found = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    words = [word or f"[id {place}]" for place, word in enumerate(found)]
    return [*words, *(f"[id {place}]" for place in range(len(words), size))]


def masked(mask: str) -> list[str]:
    """Sentences of our own with another word of each masked."""
    texts = []
    for place, sentence in enumerate(SENTENCES):
        words = sentence.split(" ")
        words[(place * 3 + 1) % len(words)] = mask
        texts.append(" ".join(words))
    return texts
