"""Small seeded models that answer each kind of answer, by what their rows are: `pipeline_of`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import annotated_types
import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st
from support.pictures import encoded
from support.word_tokenizer import word_tokenizer

ROWS = 24
SHORT = annotated_types.Interval(ge=-2, le=2)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]
TOKENIZER = word_tokenizer(WORDS)
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
CLASSES = tuple(f"sku {place}" for place in range(40))
FOLDER = TemporaryDirectory()
CLASSES_FILE = Path(FOLDER.name) / "classes.txt"
CLASSES_FILE.write_text("\n".join(CLASSES), "utf-8")
PICTURE_PX, GRID_PX, CELLS = (32, 48), (16, 24), 4 * 6


class Numbers(st.Row):
    x: st.Tensor[np.float32, 4, SHORT]
    half: st.Tensor[np.float16, 4, SHORT]
    brain: st.Tensor[torch.bfloat16, 4, SHORT]
    items: st.Tensor[np.float32, 1:9, SHORT]


class Texts(st.Row):
    text: Annotated[
        str, st.Text(tokenizer=TOKENIZER, max_tokens=12, overflow="truncate", max_chars=100)
    ]
    pair: Annotated[
        dict[str, str],
        st.TextPair(
            "query", "passage", tokenizer=TOKENIZER, max_tokens=16, cut="second", max_chars=100
        ),
    ]


class Photo(st.Row):
    photo: Annotated[
        bytes, st.Image(formats=("PNG",), size_px=PICTURE_PX, fit="letterbox", max_pixels=10_000)
    ]


class OfNumbers(st.Answer):
    best: Annotated[str, st.Label(*CLASSES, top=3)]
    filed: Annotated[str, st.Label(file=str(CLASSES_FILE))]
    tags: Annotated[list[str], st.Labels("new", "old", "red")]
    vector: Annotated[
        list[float],
        st.Embedding(16, normalized=True, dimensions=(8,), forms=("float32", "int8", "binary")),
    ]
    today: Annotated[dict[str, float], st.Quantiles(0.1, 0.5, 0.9)]
    ahead: Annotated[dict[str, list[float]], st.Forecast(horizon=4, quantiles=(0.1, 0.9))]
    ranked: Annotated[list[dict[str, float]], st.Ranking(top=3)]
    halves: st.Tensor[np.float16, 4]
    brains: st.Tensor[torch.bfloat16, 4]


class OfTexts(st.Answer):
    names: Annotated[list[dict[str, Any]], st.Spans(*LABELS, of="text", aggregate="first")]
    read: Annotated[dict[str, Any], st.Truncation(of="text")]
    found: Annotated[list[dict[str, Any]], st.Extract(of="pair", top=2, null_threshold=0.0)]
    relevance: Annotated[float, st.Number(ge=0, le=1)]
    said: Annotated[str, st.Transcript(tokenizer=TOKENIZER)]


class OfPhotos(st.Answer):
    things: Annotated[
        list[dict[str, Any]],
        st.Detections("a", "b", on="photo", candidates=CELLS, boxes="cxcywh", threshold=0.4),
    ]
    ground: Annotated[dict[str, Any], st.Mask("sky", "sea", on="photo", grid_px=GRID_PX)]
    seen: Annotated[dict[str, Any], st.Mask("sky", "sea", on="photo", logits=True, grid_px=GRID_PX)]
    parts: Annotated[dict[str, Any], st.Segments("a", "b", on="photo", queries=3, threshold=0.4)]
    depth: Annotated[dict[str, Any], st.Picture(on="photo", bits=16, grid_px=GRID_PX)]


class NumbersNet(nn.Module):
    """Two layers over four numbers, and two over each item by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Tanh())
        self.best, self.tags, self.vector = nn.Linear(16, 40), nn.Linear(16, 3), nn.Linear(16, 16)
        self.today, self.ahead, self.halves = nn.Linear(16, 3), nn.Linear(16, 8), nn.Linear(16, 4)
        self.item = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: Tensor, half: Tensor, brain: Tensor, items: Tensor) -> dict[str, Tensor]:
        seen = self.body(x)
        best = self.best(seen).softmax(1)
        return {
            "best": best,
            "filed": best,
            "tags": torch.sigmoid(self.tags(seen)),
            "vector": F.normalize(self.vector(seen)),
            "today": torch.cumsum(F.softplus(self.today(seen)), 1),
            "ahead": torch.cumsum(F.softplus(self.ahead(seen).reshape(-1, 4, 2)), 2),
            "ranked": self.item(items.unsqueeze(2)).squeeze(2),
            "halves": self.halves(self.body(half.float())).half(),
            "brains": self.halves(self.body(brain.float())).bfloat16(),
        }


class TextsNet(nn.Module):
    """Looks at each token and at the mean of its row."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces, self.types = nn.Embedding(len(WORDS), 24), nn.Embedding(2, 24)
        self.names, self.found, self.relevance = (nn.Linear(24, outputs) for outputs in (5, 2, 1))
        self.said = nn.Embedding.from_pretrained(torch.eye(len(WORDS)).roll(3, 1))

    def forward(
        self, text_ids: Tensor, text_mask: Tensor, pair_ids: Tensor, pair_mask: Tensor,
        pair_types: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        text, pair = self.pieces(text_ids), self.pieces(pair_ids) + self.types(pair_types)
        whole = mean(pair, pair_mask)
        return {
            "names": self.names(text + mean(text, text_mask)).softmax(2),
            "found": self.found(pair + whole),
            "relevance": torch.sigmoid(self.relevance(whole)).flatten(),
            "said": self.said(text_ids)[..., 4:].argmax(2) + 4,
        }


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Of the tokens that are there, `(batch, 1, size)`."""
    real = mask.unsqueeze(2).float()
    return (tokens * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)


class PhotosNet(nn.Module):
    """Three numbers for each cell of 2 x 2 pixels, a box for each of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU())
        self.grid, self.cells = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 6, 4, 4)
        self.parts, self.queries = nn.Conv2d(8, 3, 1), nn.Linear(8, 9)
        y, x = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
        self.register_buffer("centres", torch.stack([x, y], -1).reshape(1, CELLS, 2) * 8 + 4.0)

    def forward(self, photo: Tensor) -> dict[str, Tensor]:
        seen = self.body(photo.permute(0, 3, 1, 2).float() / 255)
        grid, cells = self.grid(seen), self.cells(seen).flatten(2).transpose(1, 2)
        place = self.centres + 8 * torch.tanh(cells[..., 2:4])
        return {
            "things_boxes": torch.cat([place, 16 * torch.sigmoid(cells[..., :2]) + 4], 2),
            "things_scores": torch.sigmoid(2 * cells[..., 4:]),
            "ground": grid[:, :2].argmax(1),
            "seen": grid[:, :2],
            "parts_logits": 4 * self.queries(seen.mean((2, 3))).unflatten(1, (3, 3)),
            "parts_masks": 4 * self.parts(seen),
            "depth": torch.sigmoid(grid[:, 2]),
        }


def some_numbers(random: np.random.Generator) -> dict[str, Any]:
    drawn = lambda size, dtype: random.uniform(-2, 2, size).astype(dtype).tolist()
    items = int(random.integers(1, 9))
    return {
        "x": drawn(4, np.float32), "half": drawn(4, np.float16), "brain": drawn(4, np.float32),
        "items": drawn(items, np.float32),
    }  # fmt: skip


def some_texts(random: np.random.Generator) -> dict[str, Any]:
    words = lambda most: "  ".join(random.choice(WORDS[4:], random.integers(0, most)))
    return {"text": words(16), "pair": {"query": words(4), "passage": words(20)}}


def some_photo(random: np.random.Generator) -> dict[str, Any]:
    height, width = random.integers(5, 60, 2)
    return {"photo": encoded(Pillow.fromarray(random.integers(0, 256, (height, width, 3), "u1")))}


class Model(NamedTuple):
    """What a pipeline is made of."""

    row: type[st.Row]
    answer: type[st.Answer]
    net: type[nn.Module]
    draw: Callable[[np.random.Generator], dict[str, Any]]
    kinds: Mapping[str, str]
    """Kind of answer -> the output that is of it."""


MODELS = {
    "numbers": Model(
        Numbers, OfNumbers, NumbersNet, some_numbers,
        {
            "Label by its best": "best", "Label of a file": "filed", "Labels": "tags",
            "Embedding": "vector", "Quantiles": "today", "Forecast": "ahead",
            "Ranking": "ranked", "float16": "halves", "bfloat16": "brains",
        },
    ),
    "texts": Model(
        Texts, OfTexts, TextsNet, some_texts,
        {
            "Spans": "names", "Truncation": "read", "Extract": "found",
            "of a TextPair": "relevance", "Transcript": "said",
        },
    ),
    "photos": Model(
        Photo, OfPhotos, PhotosNet, some_photo,
        {
            "Detections": "things", "Mask of ids": "ground", "Mask of logits": "seen",
            "Segments": "parts", "Picture": "depth",
        },
    ),
}  # fmt: skip
KINDS = {
    kind: (name, output) for name, each in MODELS.items() for kind, output in each.kinds.items()
}


@cache
def pipeline_of(model: str) -> st.Pipeline:
    """Its pipeline, with 24 golden rows, which are its reference rows too."""
    made, random = MODELS[model], np.random.default_rng(3)
    rows = [made.draw(random) for _ in range(ROWS)]
    torch.manual_seed(7)
    return st.Pipeline(
        name=model, version="1.0.0", inputs=made.row, outputs=made.answer,
        model=made.net().eval(), golden=rows, reference=rows,
    )  # fmt: skip
