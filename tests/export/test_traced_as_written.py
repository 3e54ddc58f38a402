"""Forward methods as people write them, traced at every batch size: `len`, attention, float64."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.foreign import answers
from torch import Tensor, nn
from torch.nn import functional

import seatrial as st
from seatrial_export.gate.lengths import open_lengths, open_paths
from seatrial_export.gate.replaced import Replaced

QUICK = {
    "fresh process": "the test has no file",
    "surroundings": "not what is tried here",
    "state": "as before",
}


class Tokens(st.Row):
    x: st.Tensor[np.float32, 5, 8]


class Eight(st.Row):
    x: st.Tensor[np.float32, 8]


class Any4(st.Row):
    x: st.Tensor[np.float32, 2:9, 2:9, 4]


class Three(st.Answer):
    y: st.Tensor[np.float32, 3]


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([x, x.new_zeros(len(x), 4)], 1))


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts, self.last = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.parts(x).chunk(3, -1)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.last(seen).mean(1)


class Survival(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.net(x).sigmoid()).cumprod(1)


class Radial(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(3, 8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(x, self.centres))


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.double()).float()


class Checked(nn.Module):
    """As RT-DETRv2 and D-FINE check the sides of their feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(8, 3)
        self.register_buffer("sides", torch.tensor([2, 4]))

    def forward(self, x: Tensor) -> Tensor:
        torch._check_tensor_all(self.get_buffer("sides").prod() == x.shape[1])
        return self.net(x)


class Resized(nn.Module):
    """As DINOv2 and Depth Anything: embeddings of one size, resized for others, and `int`."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.last = nn.Parameter(torch.randn(1, 4, 5, 5)), nn.Linear(4, 3)

    def placed(self, height: int, width: int) -> Tensor:
        if not torch.jit.is_tracing() and height == 5 and width == 5:
            return self.places
        return functional.interpolate(self.places, (height, width), mode="bicubic")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        seen = x.permute(0, 3, 1, 2) + self.placed(height, width)
        grown = functional.interpolate(seen, (int(height * 2), int(width * 2)), mode="bilinear")
        return self.last(grown.mean((2, 3)))


class Series(st.Row):
    x: st.Tensor[np.float32, 2:100]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.sum(1) / int(x.shape[1]))[:, None].expand(-1, 3)


@pytest.mark.slow
def test_int_of_a_size_is_the_size_of_each_row(tmp_path: Path) -> None:
    rows = [{"x": np.arange(size, dtype=np.float32)} for size in (2, 3, 50, 99, 100)]
    pipeline = st.Pipeline(
        name="made", version="1.0.0", inputs=Series, outputs=Three, model=Mean().eval(),
        golden=rows[:2], waive=QUICK,
    )  # fmt: skip
    got = answers(st.export(pipeline, tmp_path), rows, 1)
    assert [float(each["y"][0]) for each in got] == [0.5, 1.0, 24.5, 49.0, 49.5]


@pytest.mark.slow
def test_code_that_has_a_path_of_its_own_at_one_size_is_traced_by_the_one_for_all(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    module, chance = Resized().eval(), np.random.default_rng(0)
    sides = ((5, 5), (2, 9), (5, 7), (8, 5), (9, 9))
    rows = [{"x": chance.normal(size=(*side, 4)).astype(np.float32)} for side in sides]
    bundle = st.export(
        st.Pipeline(
            name="made", version="1.0.0", inputs=Any4, outputs=Three, model=module, golden=rows,
            waive=QUICK,
        ),
        tmp_path,
    )  # fmt: skip
    with torch.no_grad():
        want = np.concatenate([module(torch.tensor(each["x"])[None]) for each in rows])
    got = np.stack([each["y"] for each in answers(bundle, rows, 1)])
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_int_is_pythons_own_again_once_it_is_traced() -> None:
    names = Resized.forward.__globals__
    asked = torch.jit.is_tracing
    with open_paths(Resized()):
        whole = names["int"]
        assert [whole(2.5), whole("7"), whole("11", 2)] == [2, 7, 3]
        assert type(whole(3)) is builtins.int
        assert isinstance(4, whole)
        assert not isinstance(4.0, whole)
        assert issubclass(bool, whole)
        assert torch.jit.is_tracing()
    assert "int" not in names
    assert torch.jit.is_tracing is asked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "row", "shape"),
    [
        (Padded, Eight, (8,)),
        (Attends, Tokens, (5, 8)),
        (Doubled, Eight, (8,)),
        (Survival, Eight, (8,)),
        (Radial, Eight, (8,)),
        (Checked, Eight, (8,)),
    ],
)
def test_it_is_sealed_and_answers_as_in_pytorch(
    model: Any, row: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module, chance = model().eval(), np.random.default_rng(0)
    rows = [{"x": chance.normal(size=shape).astype(np.float32)} for _ in range(6)]
    bundle = st.export(
        st.Pipeline(
            name="made", version="1.0.0", inputs=row, outputs=Three, model=module, golden=rows,
            waive=QUICK,
        ),
        tmp_path,
    )  # fmt: skip
    with torch.no_grad():
        want = module(torch.tensor(np.stack([each["x"] for each in rows])))
    for batch_rows in (1, 4):
        got = np.stack([each["y"] for each in answers(bundle, rows, batch_rows)])
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_len_is_pythons_own_again_once_it_is_traced() -> None:
    names = Padded.forward.__globals__
    with open_lengths(Padded()):
        assert names["len"](torch.zeros(3, 2)) == 3
        assert names["len"]([1, 2]) == 2
        assert "len" not in vars(nn.modules.linear)
    assert "len" not in names
    assert names["__builtins__"]["len"] is builtins.len


@pytest.mark.parametrize("sides", [2, 3, 4])
@pytest.mark.parametrize("masked", ["no mask", "one for all", "one for each"])
def test_attention_is_torchs_own(sides: int, masked: str) -> None:
    torch.manual_seed(0)
    shape = {2: (5, 8), 3: (2, 5, 8), 4: (2, 3, 5, 8)}[sides]
    query, key, value = (torch.randn(shape) for _ in range(3))
    mask = {
        "no mask": None,
        "one for all": torch.rand(5, 5) > 0.2,
        "one for each": torch.rand(*shape[:-2], 5, 5) > 0.2,
    }[masked]
    want = functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3)
    with Replaced():
        got = functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
def test_a_running_product_is_torchs_own(dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = (torch.randn(3, 4, 5) * 2).to(dtype)
    for ask in (lambda: torch.cumprod(values, dim), lambda: values.cumprod(dim=dim)):
        want = ask()
        with Replaced():
            got = ask()
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_distances_are_torchs_own(p: float) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    want = torch.cdist(x, y, p=p)
    with Replaced():
        got = torch.cdist(x, y, p=p)
    torch.testing.assert_close(got, want)
