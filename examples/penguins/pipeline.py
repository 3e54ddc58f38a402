"""Penguins: a tabular model from raw rows, with missing cells, words and calibrated probabilities.

Seal it:  seatrial export examples/penguins/pipeline.py:pipeline --out bundles
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from palmerpenguins import load_penguins
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st

SPECIES = ("Adelie", "Chinstrap", "Gentoo")
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year")


class Penguin(st.Row):
    """One measured penguin; `| None` is a cell that may be missing."""

    island: Literal["Biscoe", "Dream", "Torgersen"]
    sex: Literal["female", "male"] | None
    bill_length_mm: Annotated[float | None, st.Number(ge=10, le=100, unit="mm")]
    bill_depth_mm: Annotated[float | None, st.Number(ge=5, le=50, unit="mm")]
    flipper_length_mm: Annotated[float | None, st.Number(ge=100, le=300, unit="mm")]
    body_mass_g: Annotated[float | None, st.Number(ge=1000, le=10000, unit="g")]
    year: Annotated[int, st.Number(ge=2000, le=2030)]


class Species(st.Answer):
    """The species, with a calibrated probability for each."""

    species: Annotated[str, st.Label(*SPECIES)]


class PenguinNet(nn.Module):
    """Impute, scale, embed and classify: all of it is in the graph, so nothing is written twice."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(NUMBERS)))
        self.register_buffer("std", torch.ones(len(NUMBERS)))
        self.island = nn.Embedding(3, 4)
        self.sex = nn.Embedding(3, 4)  # female, male, missing
        self.body = nn.Sequential(
            nn.Linear(8 + 2 * len(NUMBERS), 64),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 3),
        )

    def logits(self, island: Tensor, sex: Tensor, **numbers: Tensor) -> Tensor:
        """Scores before the softmax, (batch, 3)."""
        values = torch.stack([numbers[name].to(torch.float32) for name in NUMBERS], 1)
        missing = torch.isnan(values)
        scaled = torch.where(missing, torch.zeros_like(values), (values - self.mean) / self.std)
        return self.body(
            torch.cat([self.island(island), self.sex(sex), scaled, missing.to(torch.float32)], 1)
        )

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
        """Probabilities, (batch, 3)."""
        numbers = (bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g, year)
        return torch.softmax(
            self.logits(island, sex, **dict(zip(NUMBERS, numbers, strict=True))), 1
        )


def load_rows() -> tuple[list[dict[str, Any]], list[str]]:
    """344 raw rows as a client would send them, 19 cells missing, and their species."""
    frame = load_penguins()
    rows = (
        frame.drop(columns="species")
        .astype(object)
        .where(frame.drop(columns="species").notna(), None)
    )
    return [
        {name: row[name] for name in Penguin.model_fields} for row in rows.to_dict("records")
    ], frame["species"].tolist()


def split(rows: list[Any], labels: list[str], seed: int = 0) -> tuple[Any, ...]:
    """Split rows, seeded and stratified: 80% to train, 20% to test and calibrate.

    Returns rows and labels of each part.
    """
    train, test, train_y, test_y = train_test_split(
        rows, labels, test_size=0.2, stratify=labels, random_state=seed
    )
    return train, train_y, test, test_y


def codes(labels: list[str]) -> Tensor:
    """Species as class numbers."""
    return torch.tensor([SPECIES.index(label) for label in labels])


def train(net: PenguinNet, feeds: dict[str, Tensor], target: Tensor, epochs: int = 100) -> None:
    """Fit statistics and weights, from the training part alone.

    The classes are weighted by how rare they are.
    """
    values = torch.stack([feeds[name].to(torch.float32) for name in NUMBERS], 1)
    net.mean.copy_(values.nanmean(0))
    net.std.copy_((values - net.mean).square().nanmean(0).sqrt().clamp(min=1e-6))
    weight = len(target) / (3 * torch.bincount(target, minlength=3))
    optimiser = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-4)
    net.train()
    for _ in range(epochs):
        optimiser.zero_grad()
        F.cross_entropy(net.logits(**feeds), target, weight=weight).backward()
        optimiser.step()
    net.eval()


def sample(row: dict[str, Any], label: str | None = None) -> st.Sample:
    """Make a sample of a row, with its species, where it is known, and its slices.

    The slices are the row's island, and the fields that it lacks.
    """
    lacks = "missing cells" if None in row.values() else "whole"
    return st.Sample(row, truth=label and {"species": label}, slices=(row["island"], lacks))


def golden_samples(rows: list[dict[str, Any]], labels: list[str]) -> list[st.Sample]:
    """Each pattern of missing cells, every tenth row, and the bounds of every range."""
    known = [sample(row, label) for row, label in zip(rows, labels, strict=True)]
    patterns = {tuple(value is None for value in one.row.values()): one for one in reversed(known)}
    low = {
        "island": "Biscoe",
        "sex": None,
        "bill_length_mm": 10.0,
        "bill_depth_mm": 5.0,
        "flipper_length_mm": 100.0,
        "body_mass_g": 1000.0,
        "year": 2000,
    }
    high = {
        "island": "Torgersen",
        "sex": "male",
        "bill_length_mm": 100.0,
        "bill_depth_mm": 50.0,
        "flipper_length_mm": 300.0,
        "body_mass_g": 10000.0,
        "year": 2030,
    }
    nothing = {**low, **dict.fromkeys(NUMBERS[:-1])}
    return [*patterns.values(), *known[::10], *map(sample, (low, high, nothing))]


def refused_rows(good: dict[str, Any]) -> list[st.Refused]:
    """What must never be answered."""
    changes: list[tuple[dict[str, Any], str]] = [
        ({"island": "Atlantis"}, "E_CATEGORY"),
        ({"island": ""}, "E_CATEGORY"),
        ({"island": None}, "E_MISSING"),
        ({"sex": "dream"}, "E_CATEGORY"),
        ({"bill_length_mm": 412.0}, "E_RANGE"),
        ({"bill_length_mm": "39.1"}, "E_TYPE"),
        ({"bill_length_mm": True}, "E_TYPE"),
        ({"body_mass_g": -1}, "E_RANGE"),
        ({"year": 2007.5}, "E_TYPE"),
        ({"year": None}, "E_MISSING"),
        ({"wings": 2}, "E_UNKNOWN_FIELD"),
    ]
    return [st.Refused({**good, **change}, code) for change, code in changes]


def pipeline() -> st.Pipeline:
    """Train, report and declare."""
    torch.manual_seed(0)
    # More threads sum in another order, and the weights would differ in their last bits.
    torch.set_num_threads(1)
    rows, labels = load_rows()
    train_x, train_y, test_x, test_y = split(rows, labels)
    net = PenguinNet().eval()
    good = next(row for row in rows if None not in row.values())
    declared = st.Pipeline(
        name="penguins",
        version="1.0.0",
        inputs=Penguin,
        outputs=Species,
        model=net,
        golden=golden_samples(rows, labels),
        held_out=list(map(sample, test_x, test_y)),
        temperature=True,
        promise=st.Promise(accuracy=0.9, min_slice_rows=10),
        refused=refused_rows(good),
        reference=train_x,
        objective=st.Objective(p99_s=0.05),
    )
    train(net, declared.encode(train_x), codes(train_y))
    winners = declared.call(declared.encode(test_x))["species"].argmax(1)
    print(
        f"penguins: accuracy {(winners == codes(test_y)).float().mean():.3f} "
        f"on {len(test_y)} rows not trained on"
    )
    return declared
