"""Weights that parametrizations make are baked into a copy, and the module stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from seatrial_export.wrappers import baked


@pytest.mark.parametrize(
    "norm",
    [parametrizations.weight_norm, parametrizations.spectral_norm],
    ids=["weight", "spectral"],
)
def test_the_module_that_was_given_still_answers(norm: object) -> None:
    torch.manual_seed(0)
    layers = [parametrizations.weight_norm(nn.Linear(4, 4)), norm(nn.Linear(4, 3))]  # type: ignore[operator]
    model, x = nn.Sequential(*layers).eval(), torch.randn(2, 4)
    want = model(x)
    made = baked(model)
    assert made is not model
    assert not any(map(parametrize.is_parametrized, made.modules()))
    torch.testing.assert_close(made(x), want)
    torch.testing.assert_close(model(x), want)
    assert all(map(parametrize.is_parametrized, model))


def test_a_module_without_parametrizations_is_itself() -> None:
    model = nn.Linear(4, 3).eval()
    assert baked(model) is model
