"""Sentence similarity: the vector of a text, by the modules of sentence-transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.truncation import Truncation
from seatrial_contracts.sample import RawRow
from seatrial_export.hub.faults import check_pickled, fault
from seatrial_export.hub.folder import Folder, quiet, told
from seatrial_export.hub.sentences import TEXTS
from seatrial_export.hub.task import Field, Part, Reading, Task
from seatrial_export.hub.text import read_text_side

OWN = "sentence_transformers."
"""How the types of modules.json begin that are no code of the folder's."""
UNUSED = ("pooler.",)
"""Weights of a transformer that no module of sentence-transformers reads."""


class Embedder(nn.Module):
    """The transformer, and what sentence-transformers puts behind it: pooling, Dense, Normalize."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.transformer = model[0].model
        self.others = nn.ModuleList([*model][1:])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors, (batch, size)."""
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask)
        features: dict[str, Any] = {"token_embeddings": hidden[0], "attention_mask": attention_mask}
        for module in self.others:
            features = module(features)
        vectors: Tensor = features["sentence_embedding"]
        return vectors


class SentenceTransformerEncode:
    """What `SentenceTransformer.encode` answers to the text itself, without a prompt."""

    name = f"sentence-transformers {version('sentence-transformers')}, SentenceTransformer"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def model(self) -> Any:
        """The model, loaded when it is first asked."""
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(self.folder), device="cpu", local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )  # fmt: skip

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Vectors, float32."""
        texts = [row["text"] for row in rows]
        vectors = self.model.encode(texts, prompt="", show_progress_bar=False)
        return [{"embedding": np.asarray(vector, np.float32)} for vector in vectors]


class SentenceSimilarity(Task):
    """See the module."""

    name = "sentence-similarity"

    def fits(self, folder: Folder) -> bool:
        """A folder with modules, of which the second makes one vector of the tokens'."""
        return len(folder.modules) > 1

    def read(self, folder: Folder, rows: Sequence[RawRow]) -> Reading:
        """One text in, one vector out; prompts are an option of the request."""
        check_modules(folder)
        model = loaded(folder)
        transformer = model[0].model
        folder.model(type(transformer), spare=UNUSED)
        text = read_text_side(folder, transformer, model.max_seq_length)
        prompts = {name: each for name, each in model.prompts.items() if each}
        notes = []
        if prompts and any(getattr(each, "include_prompt", True) is False for each in model):
            got = "pooling without the prompt (include_prompt false)"
            mend = "write the pipeline with --write, and pool yourself"
            raise fault(folder.path, got, "pooling of all tokens", mend)
        default = model.default_prompt_name
        if default in prompts:
            notes.append(
                f"the prompt '{default}' stands before a text unless a request chooses another: "
                '"parameters": {"prompt": "none"}'
            )
        kind = Embedding(
            model.get_embedding_dimension(),
            **({"normalized": True} if is_normalized(model) else {}),
            of="text",
            **({"prompts": prompts} if prompts else {}),
            **({"default_prompt": default} if default in prompts else {}),
        )
        return Reading(
            inputs={"text": Field(str, Text(**text.cut_options()))},
            outputs={
                "embedding": Field(list[float], kind),
                "read": Field(dict[str, Any], Truncation(of="text")),
            },
            module=Part.of(Embedder, model, "SentenceTransformerEncode(FOLDER).model"),
            judge=Part.of(SentenceTransformerEncode, folder.path, "FOLDER"),
            rows=rows or [{"text": text} for text in TEXTS],
            notes=notes,
        )


def loaded(folder: Folder) -> Any:
    """The folder as sentence-transformers loads it. Raises `DeclarationError`."""
    with quiet():
        try:
            return SentenceTransformerEncode(folder.path).model.eval()
        except Exception as error:  # its own kinds, and transformers'
            got = f"{type(error).__name__} of sentence-transformers: {told(error)}"
            raise fault(folder.path, got, "a folder that SentenceTransformer loads") from error


def check_modules(folder: Folder) -> None:
    """Raise `DeclarationError` for modules of a folder's own code, and for pickled weights."""
    for module in folder.modules:
        kind = str(module.get("type", ""))
        if not kind.startswith(OWN):
            raise fault(
                folder.path, f"modules.json with {kind[:60]!r}, remote code",
                "modules of sentence-transformers itself", "no code of a folder is run",
            )  # fmt: skip
        check_pickled(folder.path, folder.path / str(module.get("path", "")))


def is_normalized(model: nn.Sequential) -> bool:
    """Is the last module the one that makes vectors of length 1?"""
    return type(model[len(model) - 1]).__name__ == "Normalize"
