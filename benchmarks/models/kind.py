"""A kind of model to try, and what kinds are made of: layers, contracts, rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Interval
from torch import nn

import seatrial as st

F32 = np.float32
Chance = np.random.Generator
Draw = Callable[[Chance], dict[str, Any]]


class Kind(NamedTuple):
    """How a model is made, what its contract takes and answers, and rows as clients send them."""

    make: Callable[[], Any]
    inputs: type[st.Row]
    outputs: type[st.Answer]
    draw: Draw


class Net(nn.Module):
    """Layers by name, and what forward does with them."""

    def __init__(self, does: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self.does = does
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self.does(self, x)


class TwoInputs(Net):
    def forward(self, a: Any, b: Any) -> Any:
        return self.does(self, a, b)


class Table(Net):
    """A model of single fields."""

    def forward(self, age: Any, income: Any, town: Any, member: Any) -> Any:
        return self.does(self, age, income, town, member)


def row(**hints: Any) -> type[st.Row]:
    return type("In", (st.Row,), {"__annotations__": hints})


def out(**hints: Any) -> type[st.Answer]:
    return type("Out", (st.Answer,), {"__annotations__": hints})


def many(*shape: Any) -> type[st.Answer]:
    return out(y=st.Tensor[(F32, *shape)])


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise(widths):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def normal(*shape: int, name: str = "x") -> Draw:
    return lambda chance: {name: chance.standard_normal(shape).astype(F32).tolist()}


def series(least: int, most: int, *sides: int) -> Draw:
    def draw(chance: Chance) -> dict[str, Any]:
        length = int(chance.integers(least, most + 1))
        return {"x": chance.standard_normal((length, *sides)).astype(F32).tolist()}

    return draw


def ids(least: int, most: int, count: int) -> Draw:
    return lambda chance: {
        "x": chance.integers(0, count, int(chance.integers(least, most + 1))).tolist()
    }


def picture(least: int, most: int) -> Draw:
    return lambda chance: {
        "x": chance.random(
            (3, int(chance.integers(least, most + 1)), int(chance.integers(least, most + 1))), F32
        ).tolist()
    }


def cells(chance: Chance) -> dict[str, Any]:
    return {
        "age": float(chance.integers(18, 90)),
        "income": None if chance.random() < 0.2 else float(F32(chance.uniform(0, 1e5))),
        "town": str(chance.choice(TOWNS)),
        "member": bool(chance.random() < 0.5),
    }


TOWNS = ("Graz", "Linz", "Wien")
ONE, SCORE = row(x=st.Tensor[F32, 8]), out(y=float)
IDS = row(x=st.Tensor[np.int64, 2:24, Interval(ge=0, lt=50)])
SERIES, CHANNELS = row(x=st.Tensor[F32, 8:64]), row(x=st.Tensor[F32, 8:64, 3])
PICTURE, OPEN = row(x=st.Tensor[F32, 3, 32, 32]), row(x=st.Tensor[F32, 3, 24:64, 24:64])
CELLS = row(
    age=Annotated[float, st.Number(ge=18, le=90)],
    income=Annotated[float | None, st.Number(ge=0, le=1e5)],
    town=Literal[TOWNS],
    member=bool,
)
LABEL = out(y=Annotated[str, st.Label("no", "perhaps", "yes")])
KINDS: dict[str, Kind] = {}


def eight(name: str, does: Any, outputs: type[st.Answer] = SCORE, **layers: Any) -> None:
    """A kind over eight numbers."""
    KINDS[name] = Kind(
        lambda: Net(does, **{k: v() for k, v in layers.items()}).eval(), ONE, outputs, normal(8)
    )


def over(name: str, inputs: Any, draw: Draw, outputs: Any, does: Any, **layers: Any) -> None:
    """A kind over other inputs."""
    KINDS[name] = Kind(
        lambda: Net(does, **{k: v() for k, v in layers.items()}).eval(), inputs, outputs, draw
    )
