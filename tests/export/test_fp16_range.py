"""fp16 beyond its range: numbers above 65504 stay in fp32, or the variant is refused.

The refusal comes before any golden row is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from support import foreign
from torch import nn

import seatrial as st
from seatrial_export.quantize.make_variants import make_variants
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants import parse_recipe
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

pytestmark = pytest.mark.slow


class Spent(st.Row):
    spent: Annotated[float | None, st.Number(ge=0)]
    age: Annotated[float, st.Number(ge=0, le=100)]


class Billed(st.Row):
    spent: Annotated[float, st.Number(ge=0, le=1e6)]
    age: Annotated[float, st.Number(ge=0, le=100)]


class Narrow(st.Row):
    spent: Annotated[float, st.Number(ge=0, le=1000)]
    age: Annotated[float, st.Number(ge=0, le=100)]


class Score(st.Answer):
    score: float


class Logged(nn.Module):
    """Large numbers meet a logarithm before any weight."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, spent: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.body(torch.stack([spent.nan_to_num(0.0).log1p(), age / 100], 1)).squeeze(1)


class Scaled(Logged):
    """They are scaled."""

    def forward(self, spent: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.body(torch.stack([spent / 1e6, age / 100], 1)).squeeze(1)


class Squared(Logged):
    """They overflow inside, though the field itself does not."""

    def forward(self, spent: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.body(torch.stack([(spent * spent).log1p(), age / 100], 1)).squeeze(1)


def sealed(model: type[Logged], inputs: type[st.Row], folder: Path) -> st.Bundle:
    torch.manual_seed(0)
    rows = [{"spent": 9.5 * i, "age": 5.0 * i} for i in range(8)]
    pipeline = st.Pipeline(
        name="spent",
        version="1.0.0",
        inputs=inputs,
        outputs=Score,
        model=model().eval(),
        golden=rows,
        variants=["fp16"],
    )
    return st.open_bundle(st.export(pipeline, folder).path)


@pytest.mark.parametrize(
    ("model", "inputs", "most"),
    [(Logged, Spent, 1e9), (Scaled, Billed, 1e6), (Squared, Narrow, 1000.0)],
)
def test_numbers_beyond_16_bits_stay_in_fp32_and_the_answer_is_fp32s(
    model: type[Logged], inputs: type[st.Row], most: float, tmp_path: Path
) -> None:
    bundle = sealed(model, inputs, tmp_path)
    rows = [{"spent": most * share, "age": 50.0} for share in (1e-6, 0.01, 0.3, 1.0)]
    want, got = (
        [
            float(answer["score"])
            for answer in load_engine(bundle, RuntimeOptions(), variant).answer(rows, 4)
        ]
        for variant in ("fp32", "fp16")
    )
    assert got == pytest.approx(want, rel=5e-3, abs=5e-3 * max(map(abs, want)))
    assert np.isfinite(got).all()


WHOLE = """g (float[n, 2] x) => (float[n, 1] score)
  <float[2, 3] w = {0.5, 0.25, -0.5, 1.0, 0.5, 0.25}, float[3, 1] v = {0.5, 0.25, 0.125}> {
  h = MatMul(x, w) r = Relu(h) score = MatMul(r, v) }"""


def test_a_model_whose_weights_all_meet_such_numbers_is_refused_as_fp16_with_the_cure(
    tmp_path: Path,
) -> None:
    rows = [{"spent": 9.5 * i, "age": 5.0 * i} for i in range(8)]
    bundle = foreign.adopt(WHOLE, tmp_path, Billed, Score, rows)
    with pytest.raises(st.SeatrialError) as said:
        make_variants(Subject(bundle), [parse_recipe("fp16")])
    assert "numbers beyond 65504 at" in str(said.value)
    assert "bound the fields, st.Number(ge=0, le=1000)" in str(said.value)
