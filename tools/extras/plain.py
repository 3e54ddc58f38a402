"""A model of two numbers, untrained: a pipeline file that needs the extra `export` alone."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

import seatrial as st


class Row(st.Row):
    """Two numbers."""

    x: Annotated[float, st.Number(ge=0, le=100)]
    y: Annotated[float, st.Number(ge=0, le=100)]


class Answer(st.Answer):
    """Are they low or high?"""

    kind: Annotated[str, st.Label("low", "high")]


class Net(nn.Module):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Two of (batch,) -> probabilities (batch, 2)."""
        return torch.softmax(self.last(torch.stack([x, y], 1) / 100), 1)


torch.manual_seed(0)
rows = [{"x": 8.0 * i, "y": 50.0 - i} for i in range(12)]
pipeline = st.Pipeline(
    name="plain",
    version="1.0.0",
    inputs=Row,
    outputs=Answer,
    model=Net().eval(),
    golden=rows,
    reference=rows,
    objective=st.Objective(p99_s=0.1),
)
