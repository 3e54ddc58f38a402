"""Bags of embeddings are traced as a lookup and a sum, which is what torch documents of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seatrial_export.gate.replaced import Replaced


@pytest.mark.parametrize("padding", [None, 0, 2, -1])
@pytest.mark.parametrize(("mode", "weighted"), [("sum", True), ("sum", False), ("mean", False)])
def test_an_opened_bag_answers_as_torch_does(
    mode: Any, weighted: bool, padding: int | None
) -> None:
    torch.manual_seed(0)
    bag = nn.EmbeddingBag(5, 3, mode=mode, padding_idx=padding)
    nn.init.normal_(bag.weight)
    items = torch.tensor([[0, 1, 2], [2, 2, 2], [0, 0, 4], [4, 4, 4]])
    weights = torch.rand(4, 3) if weighted else None
    with torch.no_grad():
        want = bag(items, per_sample_weights=weights)
        with Replaced():
            got = bag(items, per_sample_weights=weights)
    torch.testing.assert_close(got, want)


def test_other_bags_stay_torchs_own() -> None:
    bag = nn.EmbeddingBag(5, 3, mode="max")
    flat = torch.tensor([0, 1, 2, 4]), torch.tensor([0, 2])
    with torch.no_grad(), Replaced():
        assert bag(*flat).shape == (2, 3)
        assert bag(torch.tensor([[0, 1]])).shape == (1, 3)
