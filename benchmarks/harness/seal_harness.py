"""Seal the benchmark harness's own models as bundles, and write its inputs as V1 bodies.

python benchmarks/harness/seal_harness.py HARNESS OUT

HARNESS is the folder that holds the harness's models.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import seatrial as st

NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year")


class Penguin(st.Row):
    """As the harness sends it."""

    island: Literal["Biscoe", "Dream", "Torgersen"]
    sex: Literal["female", "male"] | None
    bill_length_mm: float | None
    bill_depth_mm: float | None
    flipper_length_mm: float | None
    body_mass_g: float | None
    year: float


class Scores(st.Answer):
    """Three scores."""

    output: st.Tensor[np.float32, 3]


class Tabular(nn.Module):
    """The harness's imputing, scaling and one-hot, in front of its network."""

    def __init__(self, body: nn.Module, stats: dict[str, dict[str, float]]) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", torch.tensor([stats[name]["mean"] for name in NUMBERS]))
        self.register_buffer("std", torch.tensor([stats[name]["std"] for name in NUMBERS]))

    def forward(
        self,
        island: Tensor,
        sex: Tensor,
        bill_length_mm: Tensor,
        bill_depth_mm: Tensor,
        flipper_length_mm: Tensor,
        body_mass_g: Tensor,
        year: Tensor,
    ) -> Tensor:
        """Scores, (batch, 3)."""
        values = torch.stack(
            [bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g, year], 1
        )
        missing = torch.isnan(values)
        scaled = torch.where(missing, torch.zeros_like(values), (values - self.mean) / self.std)
        numbers = torch.stack([scaled, missing.to(torch.float32)], 2).flatten(1)
        words = [nn.functional.one_hot(island, 3), nn.functional.one_hot(sex, 3)[:, :2]]
        return self.body(torch.cat([numbers, *(word.to(torch.float32) for word in words)], 1))


class Photo(st.Row):
    """A JPEG; Pillow brings its shorter side to 256 pixels."""

    photo: Annotated[bytes, st.Image(formats=("JPEG",), shorter_side_px=256)]


class Ten(st.Answer):
    """Ten scores."""

    output: st.Tensor[np.float32, 10]


class Crop(nn.Module):
    """Centre crop and ImageNet's normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1))

    def forward(self, photo: Tensor) -> Tensor:
        """uint8 (height, width, 3) -> float32 (3, 224, 224)."""
        top, left = (photo.shape[0] - 224) // 2, (photo.shape[1] - 224) // 2
        crop = photo[top : top + 224, left : left + 224]
        # First: a mean along the last side costs onnxruntime ten times as much.
        pixels = crop.permute(2, 0, 1).to(torch.float32)
        return (pixels / 255 - self.mean) / self.std


def text_row(tokenizer: Path) -> type[st.Row]:
    """A sentence, cut at 128 tokens."""
    kind = st.Text(tokenizer=tokenizer, max_tokens=128, overflow="truncate")
    return type(
        "Sentence",
        (st.Row,),
        {"__annotations__": {"text": Annotated[str, kind]}, "__module__": __name__},
    )


class ByField(nn.Module):
    """The harness's embedder, under the names that the contract gives its tensors."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Unit vectors, (batch, 384)."""
        return self.body(text_ids, text_mask)


class Embedding(st.Answer):
    """384 numbers."""

    output: st.Tensor[np.float32, 384]


def build(harness: Path, out: Path) -> dict[str, tuple[nn.Module, list[Any]]]:
    """Take the harness's networks and inputs from its own builders, just before it exports them."""
    sys.path.insert(0, str(harness))
    import models
    import workload

    networks: dict[str, nn.Module] = {}
    models.export = lambda model, *rest: networks.__setitem__(rest[-1].stem, model.eval())
    workload.MODELS = out
    items = {
        "tabular": models.penguins(out),
        "text": models.sentences(out),
        "image": models.pictures(out),
    }
    return {name: (networks[name], items[name]) for name in items}


def main(harness: Path, out: Path) -> None:
    """Seal the three, and write the bodies."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = build(harness, folder)
        stats = json.loads((folder / "tabular.json").read_text())
        tabular, text, image = parts["tabular"], parts["text"], parts["image"]
        pipelines = (
            st.Pipeline(
                name="tabular",
                version="1.0.0",
                inputs=Penguin,
                outputs=Scores,
                limits=st.Limits(max_rows=16_384),
                model=Tabular(tabular[0], stats).eval(),
                golden=tabular[1],
            ),
            st.Pipeline(
                name="text",
                version="1.0.0",
                inputs=text_row(folder / "tokenizer.json"),
                outputs=Embedding,
                model=ByField(text[0]).eval(),
                golden=[{"text": item} for item in text[1][:16]],
            ),
            st.Pipeline(
                name="image",
                version="1.0.0",
                inputs=Photo,
                outputs=Ten,
                model=image[0],
                prepare=Crop().eval(),
                golden=[{"photo": item} for item in image[1][:6]],
            ),
        )
        for pipeline in pipelines:
            bundle = st.export(pipeline, out / "bundles")
            print(f"{bundle.name}: {bundle.size_bytes / 1e6:.2f} MB")
    for name, items in (("tabular", tabular[1]), ("text", [{"text": item} for item in text[1]])):
        (out / "bodies" / name).mkdir(parents=True, exist_ok=True)
        for place, row in enumerate(items):
            (out / "bodies" / name / f"{place:03}").write_text(json.dumps({"instances": [row]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
