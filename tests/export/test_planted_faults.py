"""The gate's trial: faults planted in small models, and good models of like shape.

Nearly all faults are refused, no good model is.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st
from seatrial_export.gate import gate
from seatrial_export.gate.run_steps import run_steps
from seatrial_export.gate.torch_candidate import TorchCandidate

pytestmark = pytest.mark.slow
MEMO: dict[str, Any] = {}
CALLS = [0]


class Four(st.Row):
    x: st.Tensor[np.float32, 4]


class Series(st.Row):
    x: st.Tensor[np.float32, 2:100]


class Tokens(st.Row):
    x: st.Tensor[np.int64, 2:100]


class Picture(st.Row):
    x: st.Tensor[np.float32, 3, 8:40, 8:40]


class Score(st.Answer):
    score: float


def rows(inputs: type[st.Row]) -> list[dict[str, Any]]:
    """Golden rows: three at least of one shape."""
    chance = np.random.default_rng(0)
    if inputs is Four:
        return [{"x": chance.standard_normal(4).astype(np.float32)} for _ in range(6)]
    if inputs is Tokens:
        return [{"x": chance.integers(0, 9, length)} for length in (5, 5, 5, 9, 12)]
    if inputs is Series:
        return [
            {"x": chance.standard_normal(length).astype(np.float32)} for length in (5, 5, 5, 9, 12)
        ]
    return [
        {"x": chance.standard_normal((3, *size)).astype(np.float32)}
        for size in ((12, 16), (12, 16), (20, 10))
    ]


class Net(nn.Module):
    """A linear layer over what `forward` is given, and a function of its score."""

    def __init__(
        self,
        function: Callable[[Any, Tensor, Tensor], Tensor],
        setup: Callable[[Any], Any] = lambda _self: None,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.function = nn.Linear(4, 1), function
        setup(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.layer(x)[:, 0], x)


class Free(nn.Module):
    """Whatever a function makes of the input."""

    def __init__(
        self,
        function: Callable[[Any, Tensor], Tensor],
        setup: Callable[[Any], Any] = lambda _self: None,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        setup(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Plant(NamedTuple):
    """A model, and what it takes."""

    make: Callable[[], nn.Module]
    inputs: type[st.Row] = Four


def net(function: Any, setup: Any = lambda _self: None) -> Plant:
    return Plant(lambda: Net(function, setup).eval())


def free(inputs: type[st.Row], function: Any, setup: Any = lambda _self: None) -> Plant:
    return Plant(lambda: Free(function, setup).eval(), inputs)


def setting(**values: Any) -> Callable[[Any], None]:
    """Attributes made anew for each model."""

    def setup(self: Any) -> None:
        for name, make in values.items():
            setattr(self, name, make())

    return setup


def first_seen(self: Any, y: Tensor, x: Tensor) -> Tensor:
    if self.first is None:
        self.first = float(x.sum())
    return y + self.first


def first_tensor(self: Any, y: Tensor, x: Tensor) -> Tensor:
    if self.first is None:
        self.first = x.mean(0, keepdim=True).clone()
    return y + self.first.sum()


def counted(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.calls += 1
    return y * 2 if self.calls > 40 else y


def counted_in_buffer(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.seen += 1
    return y + (self.seen > 40)


def counted_in_closure() -> nn.Module:
    calls = 0

    def count(self: Any, y: Tensor, x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return y * 2 if calls > 40 else y

    return Net(count).eval()


def counted_globally(self: Any, y: Tensor, x: Tensor) -> Tensor:
    CALLS[0] += 1
    return y * 2 if CALLS[0] > 4000 else y


def memo_in_global(self: Any, y: Tensor, x: Tensor) -> Tensor:
    MEMO.setdefault(id(self), float(x.sum()))
    return y + MEMO[id(self)]


def default_list(self: Any, y: Tensor, x: Tensor, seen: list[int] = []) -> Tensor:  # noqa: B006  (the planted fault)
    seen.append(len(seen))
    return y * 2 if len(seen) > 4000 else y


class ByDefault(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor, *, memo: dict[str, float] = {}) -> Tensor:  # noqa: B006  (the planted fault)
        memo.setdefault("n", 0)
        memo["n"] += 1
        return self.layer(x)[:, 0]


class ClassCounter(nn.Module):
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return self.layer(x)[:, 0] * (2 if type(self).calls > 40_000 else 1)


def moving_mean(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.mean = 0.9 * self.mean + 0.1 * float(x.mean())
    return y - self.mean


def history(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.seen.append(float(x.sum()))
    return y + (sum(self.seen) if len(self.seen) > 40 else 0)


def hooked() -> nn.Module:
    model = Net(lambda self, y, x: y).eval()
    calls = itertools.count()
    model.layer.register_forward_hook(
        lambda _module, _arguments, answer: answer * 2 if next(calls) > 4000 else answer
    )
    return model


def pre_hook_memo() -> nn.Module:
    model, last = Net(lambda self, y, x: y).eval(), []
    model.layer.register_forward_pre_hook(
        lambda _module, arguments: last.append(float(arguments[0].sum()))
    )
    return model


def weights_move(self: Any, y: Tensor, x: Tensor) -> Tensor:
    self.layer.weight.data.mul_(1.0001)
    return y


def generated(self: Any, y: Tensor, x: Tensor) -> Tensor:
    return y * next(self.numbers)


@functools.cache
def cached_sum(value: float) -> float:
    return value


LOCAL = threading.local()


def by_thread(self: Any, y: Tensor, x: Tensor) -> Tensor:
    return y * getattr(LOCAL, "scale", 1.0)


def thread_scaled() -> nn.Module:
    LOCAL.scale = 3.0
    return Net(by_thread).eval()


FAULTS: dict[str, Plant] = {
    # state
    "a memo of its first input": net(first_seen, setting(first=lambda: None)),
    "a memo that is a tensor": net(first_tensor, setting(first=lambda: None)),
    "a memo in a global": net(memo_in_global),
    "a counter that matters after 40 calls": net(counted, setting(calls=int)),
    "a counter in a buffer": net(
        counted_in_buffer, lambda self: self.register_buffer("seen", torch.zeros(()))
    ),
    "a counter in a buffer that is not kept": net(
        counted_in_buffer,
        lambda self: self.register_buffer("seen", torch.zeros(()), persistent=False),
    ),
    "a counter in a closure": Plant(counted_in_closure),
    "a counter in a global": net(counted_globally),
    "a list as a default that grows": net(default_list),
    "a dict as forward's default": Plant(lambda: ByDefault().eval()),
    "a counter in its class": Plant(lambda: ClassCounter().eval()),
    "a moving mean": net(moving_mean, setting(mean=float)),
    "a history of inputs": net(history, setting(seen=list)),
    "a deque of inputs": net(history, setting(seen=lambda: deque(maxlen=50))),
    "a hook that counts": Plant(hooked),
    "a hook that remembers": Plant(pre_hook_memo),
    "weights that move with each call": net(weights_move),
    "a generator that it steps": net(
        generated, setting(numbers=lambda: itertools.cycle([1.0] * 500 + [2.0]))
    ),
    "a cache of answers that grows": net(lambda self, y, x: y + 0 * cached_sum(float(x.sum()))),
    "rare chance from Python": net(lambda self, y, x: y * 2 if random.random() < 1e-6 else y),
    "rare chance from its own generator": net(
        lambda self, y, x: y * 2 if self.chance.random() < 1e-6 else y,
        setting(chance=lambda: random.Random(0)),
    ),
    "rare chance from numpy": net(lambda self, y, x: y * 2 if np.random.rand() < 1e-6 else y),  # noqa: NPY002  (the planted fault)
    "running statistics that learn": net(
        lambda self, y, x: F.batch_norm(
            y[:, None], self.norm.running_mean, self.norm.running_var, training=True
        )[:, 0],
        setting(norm=lambda: nn.BatchNorm1d(1)),
    ),
    # training mode and chance
    "dropout left on": Plant(
        lambda: nn.Sequential(nn.Linear(4, 1), nn.Dropout(), nn.Flatten(0)).eval().train()
    ),
    "batch norm left on": Plant(
        lambda: nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1).train(), nn.Flatten(0))
    ),
    "functional dropout": net(lambda self, y, x: F.dropout(y)),
    "noise": net(lambda self, y, x: y + torch.randn_like(y)),
    "a permutation of rows": net(lambda self, y, x: y[torch.randperm(y.shape[0])]),
    "a draw of Bernoulli": net(lambda self, y, x: torch.bernoulli(torch.sigmoid(y))),
    # surroundings
    "the hour": net(lambda self, y, x: y * (2 if time.localtime().tm_hour >= 18 else 1)),
    "the time": net(lambda self, y, x: y + (time.time() > 1.9e9)),
    "the year, by datetime": net(lambda self, y, x: y + (datetime.now().year - 2020)),
    "the day of the week": net(lambda self, y, x: y * (1 + datetime.today().weekday())),
    "an environment variable": net(lambda self, y, x: y * len(os.environ.get("PATH", ""))),
    "an environment variable that golden rows do not show": net(
        lambda self, y, x: y.clamp(max=1e6) if os.getenv("PATH") else y
    ),
    "hash() of a word": net(lambda self, y, x: y * (hash("word") % 97)),
    "whether hash() of a word is even": net(lambda self, y, x: y * (1 + hash("word") % 2)),
    "the sign of hash() of a word": net(lambda self, y, x: y if hash("word") > 0 else -y),
    "an object's address": net(lambda self, y, x: y * (id(self) % 8191)),
    "the presence of a card": net(lambda self, y, x: y * (2 if torch.cuda.is_available() else 1)),
    "the number of cards": net(lambda self, y, x: y * (1 + torch.cuda.device_count())),
    "the number of its process": net(lambda self, y, x: y + os.getpid() % 977),
    "the number of cores": net(lambda self, y, x: y * (os.cpu_count() or 1)),
    "the number of threads": net(lambda self, y, x: y * torch.get_num_threads()),
    "whether gradients are on": net(lambda self, y, x: y * (2 if torch.is_grad_enabled() else 1)),
    "the thread it runs on": Plant(thread_scaled),
    # rows that meet
    "a mean over the batch": net(lambda self, y, x: y - y.mean()),
    "softmax over the batch": net(lambda self, y, x: torch.softmax(y, 0)),
    "a maximum over the batch": net(lambda self, y, x: y / y.abs().max()),
    "a running sum over the batch": net(lambda self, y, x: y.cumsum(0)),
    "a sort over the batch": net(lambda self, y, x: y.sort(0).values),
    "a rank in the batch": net(lambda self, y, x: y.argsort(0).argsort(0).float()),
    "the winner of the batch": net(lambda self, y, x: (y == y.max()).float()),
    "the first row": net(lambda self, y, x: y - y[0]),
    "the row before": net(lambda self, y, x: y - y.roll(1, 0)),
    "attention across rows": net(lambda self, y, x: (torch.softmax(x @ x.T, 1) @ x).sum(1)),
    "a flipped batch": net(lambda self, y, x: y.flip(0)),
    "batch norm without statistics": net(
        lambda self, y, x: (
            F.batch_norm(y[:, None], None, None, training=True)[:, 0] if len(y) > 1 else y
        )
    ),
    "top-k over the batch": net(lambda self, y, x: y + y.topk(1, 0).values),
    "unique rows": net(lambda self, y, x: y / y.unique().numel()),
    "quantiles of the batch": net(lambda self, y, x: y - y.median()),
    "scales too large for golden rows to show": net(
        lambda self, y, x: y * 50 / x.abs().clamp(min=50.0).amax()
    ),
    # sizes
    "a batch that is baked in": net(lambda self, y, x: y.reshape(3)),
    "a path that the number of rows decides": net(
        lambda self, y, x: y * 2 if y.shape[0] > 2 else y
    ),
    "a loop over rows": net(lambda self, y, x: torch.stack([y[i] for i in range(y.shape[0])])),
    "a position table that is too short": free(
        Tokens,
        lambda self, x: (self.words(x.clamp(0, 8)) + self.places(torch.arange(x.shape[1]))).sum(
            (1, 2)
        ),
        setting(words=lambda: nn.Embedding(9, 2), places=lambda: nn.Embedding(16, 2)),
    ),
    "a length that is baked in": free(Series, lambda self, x: x.sum(1) / int(np.int64(x.shape[1]))),
    "a length by len()": free(Series, lambda self, x: x.sum(1) / float(np.sqrt(len(x[0])))),
    "pooling that bakes its windows in": free(
        Picture, lambda self, x: F.adaptive_avg_pool2d(x, 7).flatten(1).mean(1)
    ),
    "a picture made to a size by a computed scale": free(
        Picture, lambda self, x: F.interpolate(x, scale_factor=20 / x.shape[2])[:, 0, 0, 0]
    ),
    "a kernel larger than the least picture": free(
        Picture,
        lambda self, x: self.conv(x).amax((1, 2, 3)),
        setting(conv=lambda: nn.Conv2d(3, 1, 10)),
    ),
    "words beyond the table of small lengths": free(Series, lambda self, x: x[:, 4] + x[:, 0]),
    "a value baked in by item()": net(lambda self, y, x: y * x.abs().max().item()),
    "a value baked in by numpy": net(
        lambda self, y, x: y + torch.from_numpy(x.detach().numpy().mean(1))
    ),
    "a path that a value decides": net(lambda self, y, x: y * 2 if float(x[0, 0]) > 0 else y),
    "a list made of values": net(
        lambda self, y, x: torch.tensor([math.tanh(value) for value in y.tolist()])
    ),
    "a size that the data decides": net(lambda self, y, x: y + y[y > 0].sum()),
    # types and values
    "double precision": net(lambda self, y, x: y.double()),
    "half precision": net(lambda self, y, x: y.half()),
    "whole numbers": net(lambda self, y, x: y.long()),
    "a column too many": net(lambda self, y, x: y[:, None]),
    "one number for all rows": net(lambda self, y, x: y.sum()),
    "an operation without an ONNX form": net(lambda self, y, x: torch.special.bessel_j0(y)),
}

NOT_CAUGHT_TODAY: dict[str, tuple[Plant, str]] = {
    "whole numbers that overflow": (
        net(lambda self, y, x: (x[:, 0] * 1e9).to(torch.int32).float() * 0 + y),
        "only rows beyond the golden ones show it",
    ),
    "NaN for large values": (
        net(lambda self, y, x: y.masked_fill(x[:, 0].abs() > 1e3, float("nan"))),
        "golden rows are small",
    ),
    "a clamp that cuts what the contract takes": (
        net(lambda self, y, x: y.clamp(-1e3, 1e3)),
        "it is what the model answers in PyTorch too",
    ),
    "the order of a set": (
        net(
            lambda self, y, x: (
                y * {"alpha": 1, "beta": 2, "gamma": 3}[next(iter({"alpha", "beta", "gamma"}))]
            )
        ),
        (
            "the hash seed of a process cannot be changed: "
            "the fresh process of `seatrial export` finds it"
        ),
    ),
    "the time when it was made": (
        net(
            lambda self, y, x: y * self.made,
            setting(made=lambda: float(time.localtime().tm_hour + 1)),
        ),
        "an attribute like any other: the fresh process of `seatrial export` finds it",
    ),
}
"""Faults that a pipeline which has no file can keep, each with the reason."""


def lazily(self: Any, y: Tensor, x: Tensor) -> Tensor:
    if self.table is None:
        self.table = 3
    return y * self.table


@functools.cache
def constant(width: int) -> float:
    return 1.0 / width


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.layer = (
            nn.Linear(1, 8),
            nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True),
        )
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.lift(x[:, :, None])).mean(1))[:, 0]


GOOD: dict[str, Plant] = {
    "a plain layer": net(lambda self, y, x: y),
    "batch norm at rest": net(
        lambda self, y, x: self.norm(y[:, None])[:, 0], setting(norm=lambda: nn.BatchNorm1d(1))
    ),
    "dropout at rest": net(lambda self, y, x: self.drop(y), setting(drop=nn.Dropout)),
    "a mean within the row": net(lambda self, y, x: y - x.mean(1)),
    "softmax within the row": net(lambda self, y, x: torch.softmax(x, 1)[:, 0]),
    "a sort within the row": net(lambda self, y, x: x.sort(1).values[:, 0]),
    "the largest two of the row": net(lambda self, y, x: x.topk(2, 1).values.sum(1)),
    "a table made at the first call": net(lazily, setting(table=lambda: None)),
    "a cached constant": net(lambda self, y, x: y * constant(x.shape[1])),
    "a choice by value": net(lambda self, y, x: torch.where(y > 0, y * 2, y)),
    "NaN replaced": net(lambda self, y, x: y.nan_to_num(0.0)),
    "tied weights": net(lambda self, y, x: F.linear(x, self.layer.weight)[:, 0] + y),
    "a clock that only measures": net(lambda self, y, x: (time.perf_counter(), y)[1]),
    "a device by what there is": net(
        lambda self, y, x: y.to("cuda" if torch.cuda.is_available() else "cpu")
    ),
    "a buffer that is not kept": net(
        lambda self, y, x: y * self.scale,
        lambda self: self.register_buffer("scale", torch.tensor(2.0), persistent=False),
    ),
    "a global table": net(lambda self, y, x: y * len(TABLE)),
    "double precision inside": net(lambda self, y, x: y.double().exp().log().float()),
    "a mean over an open length": free(Series, lambda self, x: x.mean(1)),
    "words with enough places": free(
        Tokens,
        lambda self, x: (self.words(x.clamp(0, 8)) + self.places(torch.arange(x.shape[1]))).sum(
            (1, 2)
        ),
        setting(words=lambda: nn.Embedding(9, 2), places=lambda: nn.Embedding(100, 2)),
    ),
    "attention within the row": Plant(lambda: Attention().eval(), Series),
    "a convolution over open pictures": free(
        Picture,
        lambda self, x: self.conv(x).amax((1, 2, 3)),
        setting(conv=lambda: nn.Conv2d(3, 1, 3)),
    ),
}
TABLE = ("a", "b", "c")


NEEDS_GRAPH = {
    "torch.onnx.export",
    "opset",
    "category lookup",
    "lint",
    "strip",
    "onnxruntime",
    "other sizes",
    "parity",
    "drawn rows",
    "batch independence",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tried(plant: Plant, *, graph: bool = True) -> str:
    """Return the step that refuses the model; empty if none does, and it may be batched.

    Without `graph`, only the steps that need none are run.
    """
    steps: list[str] = []
    pipeline = st.Pipeline(
        name="plant",
        version="1.0.0",
        inputs=plant.inputs,
        outputs=Score,
        model=plant.make(),
        golden=rows(plant.inputs),
    )
    candidate = TorchCandidate(pipeline)
    try:
        wanted = [step for step in gate.STEPS if graph or step[0] not in NEEDS_GRAPH]
        run_steps(candidate, wanted, gate.WAIVABLE, steps.append)
    except (st.GateError, st.DeclarationError):
        return steps[-1]
    return "" if candidate.batchable else "batch independence"


def test_every_planted_fault_of_these_is_caught() -> None:
    found = {name: tried(plant) for name, plant in FAULTS.items()}
    assert len(found) >= 73
    assert [name for name, step in found.items() if not step] == []


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=reason))
    for name, (_, reason) in NOT_CAUGHT_TODAY.items()
])  # fmt: skip
def test_a_fault_that_the_gate_is_known_to_miss(name: str) -> None:
    assert tried(NOT_CAUGHT_TODAY[name][0])


@pytest.mark.parametrize("name", GOOD)
def test_a_good_model_is_not_refused(name: str) -> None:
    plant = GOOD[name]
    assert tried(plant, graph=plant.inputs is not Four) == ""


def test_the_parts_of_a_finding_are_named() -> None:
    said = {}
    for name in (
        "a counter in a closure",
        "a counter in a buffer",
        "the hour",
        "a position table that is too short",
    ):
        plant = FAULTS[name]
        with pytest.raises(st.GateError) as refused:
            gate.pass_export_gate(
                st.Pipeline(
                    name="plant",
                    version="1.0.0",
                    inputs=plant.inputs,
                    outputs=Score,
                    model=plant.make(),
                    golden=rows(plant.inputs),
                )
            )
        said[name] = str(refused.value)
    assert (
        "variable calls changes with the number of calls" in said["a counter in a closure"]
        or "variable calls outside" in said["a counter in a closure"]
    )
    assert "model.seen" in said["a counter in a buffer"]
    assert "the clock (" in said["the hour"]
    assert "model itself raises at sizes {'x': [" in said["a position table that is too short"]
    assert "narrow the contract" in said["a position table that is too short"]
