"""Checkpoints as people have them: each is taken and proven, or refused with cause and mend.

The judge is PyTorch: the module that a checkpoint was made of, called by the test itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.foreign import answers, findings
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import seatrial as st

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
F32 = np.float32
QUICK = {
    "fresh process": "the test has no file",
    "surroundings": "not what is tried here",
    "state": "as before",
}


class Eight(st.Row):
    x: st.Tensor[np.float32, 8]


class EightDouble(st.Row):
    x: st.Tensor[np.float64, 8]


class Scores(st.Answer):
    y: st.Tensor[np.float32, 3]


class ScoresDouble(st.Answer):
    y: st.Tensor[np.float64, 3]


def rows(dtype: Any = F32) -> list[dict[str, Any]]:
    made = np.random.default_rng(5).standard_normal((6, 8)).astype(dtype)
    return [{"x": row} for row in made]


def net() -> nn.Sequential:
    """A few layers with a norm between them, seeded."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(),
        nn.Linear(16, 3),
    ).eval()  # fmt: skip


class Autocast(nn.Module):
    """A module whose forward asks for a type of 16 bits, by autocast or by its own casts."""

    def __init__(self, how: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.how, self.dtype = net(), how, dtype
        if how == "casts":
            self.net.to(dtype)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "autocast":
            with torch.autocast("cpu", dtype=self.dtype):
                return self.net(x).float()
        if self.how == "decorated":
            return torch.autocast("cpu", dtype=self.dtype)(self.net)(x).float()
        return self.net(x.to(self.dtype)).float()


def seal(model: Any, folder: Path, **options: Any) -> st.Bundle:
    declared: dict[str, Any] = {
        "name": "m", "version": "1.0.0", "inputs": Eight, "outputs": Scores, "golden": rows(),
        "waive": QUICK, **options,
    }  # fmt: skip
    bundle = st.export(st.Pipeline(model=model, **declared), folder)
    return st.open_bundle(bundle.path)


def asked(bundle: st.Bundle, golden: Any, batch_rows: int = 4) -> np.ndarray[Any, Any]:
    plain = [{"x": row["x"].tolist()} for row in golden]
    return np.stack([answer["y"] for answer in answers(bundle, plain, batch_rows)])


def told(model: nn.Module, golden: Any) -> np.ndarray[Any, Any]:
    """What the float32 module itself answers."""
    with torch.no_grad():
        return model(torch.as_tensor(np.stack([row["x"] for row in golden]))).numpy()


def same_net() -> nn.Module:
    return net()


TAKEN: dict[str, tuple[Callable[[], Any], Callable[[], nn.Module], str]] = {
    "compiled": (lambda: torch.compile(net()), net, ""),
    "compiled within": (lambda: nn.Sequential(torch.compile(net()), nn.Identity()).eval(), net, ""),
    "data parallel": (lambda: nn.DataParallel(net()), net, ""),
    "data parallel within": (lambda: nn.Sequential(nn.DataParallel(net())).eval(), net, ""),
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(net()), net, ""),
    "bfloat16": (
        lambda: net().bfloat16(), lambda: net().bfloat16().float(),
        "the weights of bfloat16 were raised to float32; its own answers differ",
    ),
    "float16": (
        lambda: net().half(), lambda: net().half().float(),
        "the weights of float16 were raised to float32; its own answers differ",
    ),
    "compiled bfloat16": (
        lambda: torch.compile(net().bfloat16()), lambda: net().bfloat16().float(),
        "the weights of bfloat16 were raised",
    ),
    "autocast": (
        lambda: Autocast("autocast", torch.bfloat16), net,
        "what it computes in bfloat16 was raised to float32; its own answers differ",
    ),
    "autocast float16": (
        lambda: Autocast("autocast", torch.float16), net, "what it computes in float16 was raised",
    ),
    "autocast as a decorator": (
        lambda: Autocast("decorated", torch.bfloat16), net, "what it computes in bfloat16",
    ),
    "casts of its own": (
        lambda: Autocast("casts", torch.bfloat16), lambda: net().bfloat16().float(),
        "the weights of bfloat16 were raised",
    ),
    "float64": (lambda: net().double(), lambda: net().double(), "float64, sealed in float32"),
    "weight norm": (lambda: normed(parametrizations.weight_norm), None, ""),
    "spectral norm": (lambda: normed(parametrizations.spectral_norm), None, ""),
    "orthogonal": (lambda: normed(parametrizations.orthogonal), None, ""),
    "old weight norm": (lambda: normed(nn.utils.weight_norm), None, ""),
    "old spectral norm": (lambda: normed(nn.utils.spectral_norm), None, ""),
    "pruned": (lambda: normed(pruned), None, ""),
    "scripted": (lambda: torch.jit.script(net()), net, ""),
    "traced": (lambda: torch.jit.trace(net(), torch.zeros(2, 8)), net, ""),
    "frozen TorchScript": (lambda: torch.jit.freeze(torch.jit.script(net())), net, ""),
    "exported": (lambda: exported(net()), net, ""),
    "exported, its module": (lambda: exported(net()).module(), net, ""),
    "exported bfloat16": (
        lambda: exported(net().bfloat16(), torch.bfloat16), lambda: net().bfloat16().float(),
        "the weights of bfloat16 were raised",
    ),
}  # fmt: skip


def pruned(layer: nn.Module) -> nn.Module:
    from torch.nn.utils import prune

    return prune.l1_unstructured(layer, "weight", amount=0.4)


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 3)).eval()


def exported(model: nn.Module, dtype: torch.dtype = torch.float32) -> Any:
    example = torch.zeros(2, 8, dtype=dtype)
    return torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


@pytest.mark.parametrize("kind", TAKEN)
def test_a_checkpoint_is_taken_and_its_answers_are_those_of_its_module(
    kind: str, tmp_path: Path
) -> None:
    make, judge, said = TAKEN[kind]
    model = make()
    bundle = seal(model, tmp_path)
    judged = (judge or make)()
    golden = rows()
    if kind == "float64":
        golden = [{"x": row["x"].astype(np.float64)} for row in golden]
    want = told(judged, golden)
    for batch_rows in (1, 4):
        got = asked(bundle, rows(), batch_rows)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)
    assert said in findings(bundle)
    if not said:
        assert "raised" not in findings(bundle)
