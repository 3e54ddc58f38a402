"""A bundle that embeds texts, whose graph is a few lines of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

import seatrial as st
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.golden import Golden
from seatrial_contracts.kinds.kind import Array
from support.made import bundle_of, made_bundle

SIZE, CUT, TOKENS = 16, 8, 12
LETTERS = "abcdefghijklmnopqrstuvwxyz: "
PROMPTS = {"query": "q: ", "passage": "p: "}
ROWS: list[dict[str, Any]] = [
    {"text": text} for text in ("a", "ship", "sea trial", "keel", "mast", "sail", "rope", "deck")
]


def letter_tokenizer() -> bytes:
    """A token for each letter, between [CLS] and [SEP]."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = Split("", "isolated")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer.to_str().encode()


TOKENIZER = letter_tokenizer()
TABLE = np.random.default_rng(0).normal(size=(4 + len(LETTERS), SIZE)).astype(np.float32)


class Text(st.Row):
    text: Annotated[
        str, st.Text(tokenizer=TOKENIZER, max_chars=40, max_tokens=TOKENS, special="words")
    ]


def embedding(**options: Any) -> st.Embedding:
    """The kind that these bundles answer."""
    known: dict[str, Any] = {
        "normalized": True, "dimensions": (CUT,), "prompts": PROMPTS, "of": "text",
        "forms": ("float32", "float16", "int8", "uint8", "binary", "ubinary"),
    }  # fmt: skip
    return st.Embedding(SIZE, **(known | options))


def embed(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Mean of the letters' rows of the table, of length 1."""
    ids, mask = feeds["text_ids"], feeds["text_mask"][..., None]
    vectors = (TABLE[ids] * mask).sum(1) / mask.sum(1)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {"vector": vectors.astype(np.float32)}


def vector_of(text: str) -> Array:
    """What the graph answers to a text, by the table alone."""
    ids = [2, *(4 + LETTERS.index(letter) for letter in text), 3]
    vector = TABLE[ids].mean(0)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def contract_of(kind: st.Embedding, row: type[st.Row] = Text) -> st.Contract:
    """Of texts that are answered by this kind, with what an export would fill in."""

    class Vector(st.Answer):
        vector: Annotated[list[float], kind]

    answers = [{"vector": vector_of(row["text"])} for row in ROWS]
    return st.contract_from_rows(row, Vector).sealed(answers, answers)


CONTRACT = contract_of(embedding())


def embedding_bundle(
    folder: Path, monkeypatch: pytest.MonkeyPatch, contract: st.Contract = CONTRACT, **options: Any
) -> Bundle:
    """Write the bundle."""
    files = {"front/text.tokenizer.json": TOKENIZER}
    return made_bundle(folder, monkeypatch, contract, embed, ROWS, files, **options)


def torch_pipeline(**options: Any) -> st.Pipeline:
    """The same model in PyTorch, with reference rows and held-out rows."""
    import torch

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding.from_pretrained(torch.from_numpy(TABLE))

        def forward(self, text_ids: torch.Tensor, text_mask: torch.Tensor) -> torch.Tensor:
            mask = text_mask.unsqueeze(2).float()
            summed = (self.table(text_ids) * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(summed, dim=1)

    class Vector(st.Answer):
        vector: Annotated[list[float], embedding(**options)]

    words = [a + b for a in ("ab", "keel", "sea", "mast", "deck") for b in LETTERS]
    rows = [{"text": word} for word in words]
    return st.Pipeline(
        name="made", version="1.0.0", inputs=Text, outputs=Vector, model=Mean().eval(),
        golden=ROWS, reference=rows[::2], held_out=rows[1::2],
    )  # fmt: skip


def seal_embedding(folder: Path, name: str = "sentences") -> Bundle:
    """Write the bundle with a real graph, which does as `embed` does."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    steps = [
        node("Gather", ["table", "text_ids"], ["letters"]),
        node("Cast", ["text_mask"], ["float_mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["float_mask", "last"], ["mask"]),
        node("Mul", ["letters", "mask"], ["kept"]),
        node("ReduceSum", ["kept", "tokens"], ["summed"], keepdims=0),
        node("LpNormalization", ["summed"], ["vector"], axis=1, p=2),
    ]
    ids = [
        helper.make_tensor_value_info(each, TensorProto.INT64, ["batch", "text_tokens"])
        for each in ("text_ids", "text_mask")
    ]
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", SIZE])
    weights = {"table": TABLE, "last": np.array([2]), "tokens": np.array([1])}
    kept = [numpy_helper.from_array(array, each) for each, array in weights.items()]
    graph = onnx.helper.make_model(
        helper.make_graph(steps, "g", ids, [vector], kept),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    golden = Golden(tuple(ROWS), tuple({"vector": vector_of(row["text"])} for row in ROWS))
    files = {"front/text.tokenizer.json": TOKENIZER}
    return bundle_of(folder, CONTRACT, golden, ("onnx", graph.SerializeToString()), files, name)
