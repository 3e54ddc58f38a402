"""State that clients give back: hidden states, and past keys of no length, judged by PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.foreign import adopt, answers
from support.parity import hold_to_parity
from support.running import run_app
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.state import answer_names, graph_answer
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository

F32 = np.float32


class Step(st.Row):
    x: st.Tensor[np.float32, 3]
    state: st.Tensor[np.float32, 2, 5]


class Stepped(st.Answer):
    score: float
    state: st.Tensor[np.float32, 2, 5]


class Cells(nn.Module):
    """Two GRU cells, one over the other; the state is that of both, `(batch, 2, 5)`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.GRUCell(3, 5), nn.GRUCell(5, 5), nn.Linear(5, 1)
        self.eval()

    def forward(self, x: Tensor, state: Tensor) -> dict[str, Tensor]:
        first = self.first(x, state[:, 0])
        second = self.second(first, state[:, 1])
        return {"score": self.head(second)[:, 0], "state": torch.stack([first, second], 1)}


class Attend(st.Row):
    x: st.Tensor[np.float32, 4]
    keys: st.Tensor[np.float32, st.Size("past", 0, 32), 4]
    values: st.Tensor[np.float32, st.Size("past", 0, 32), 4]


class Attended(st.Answer):
    y: st.Tensor[np.float32, 4]
    keys: st.Tensor[np.float32, None, 4]
    values: st.Tensor[np.float32, None, 4]


class OneStep(nn.Module):
    """Attention of one new position over those that went before, none at first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))
        self.eval()

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keys = torch.cat([keys, self.key(x)[:, None]], 1)
        values = torch.cat([values, self.value(x)[:, None]], 1)
        weights = (self.query(x)[:, None] @ keys.transpose(1, 2) / 2).softmax(-1)
        return (weights @ values)[:, 0], keys, values


def drawn(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(F32)


def cells(**options: Any) -> st.Pipeline:
    golden = [{"x": drawn(3) * scale, "state": drawn(2, 5) * scale} for scale in (1, -1, 0, 2)]
    declared: dict[str, Any] = {"name": "cells", "version": "1.0.0", "golden": golden, **options}
    return st.Pipeline(inputs=Step, outputs=Stepped, model=Cells(), **declared)


def attention() -> st.Pipeline:
    golden = [
        {"x": drawn(4) * (1 + past), "keys": drawn(past, 4), "values": drawn(past, 4) * 2}
        for past in (0, 3, 1, 0, 7, 3)
    ]
    return st.Pipeline(
        name="attention", version="1.0.0", inputs=Attend, outputs=Attended, model=OneStep(),
        golden=golden,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make", [cells, attention])
def test_a_state_comes_and_goes_by_every_way(make: Any, tmp_path: Path) -> None:
    hold_to_parity(make(), tmp_path)


@pytest.mark.slow
async def test_a_client_that_gives_the_state_back_walks_as_the_module_does(tmp_path: Path) -> None:
    bundle = st.export(cells(), tmp_path)
    module, state = Cells(), torch.zeros(1, 2, 5)
    async with run_app(tmp_path) as running:
        held: Any = [[0.0] * 5] * 2
        for place in range(6):
            x = drawn(3) + place
            with torch.no_grad():
                want = module(torch.as_tensor(x)[None], state)
            state = want["state"]
            reply = await running.ask([{"x": x.tolist(), "state": held}], bundle.name)
            held = reply.json()["predictions"][0]["state"]
            np.testing.assert_allclose(held, state[0].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
async def test_past_keys_of_unlike_length_run_beside_each_other(tmp_path: Path) -> None:
    st.export(attention(), tmp_path)
    module = OneStep()
    pasts = [0, 2, 0, 5, 2, 0]
    rows = [{"x": drawn(4), "keys": drawn(past, 4), "values": drawn(past, 4)} for past in pasts]
    async with run_app(tmp_path) as running:
        sent = [{name: value.tolist() for name, value in row.items()} for row in rows]
        for length in (0, 2):
            some = [row for row, past in zip(sent, pasts, strict=True) if past == length]
            reply = await running.ask(some, "attention")
            assert reply.status_code == 200, reply.text
            for row, got in zip(some, reply.json()["predictions"], strict=True):
                given = [torch.tensor(row[name]).reshape(1, -1, 4) for name in ("keys", "values")]
                with torch.no_grad():
                    want = module(torch.tensor([row["x"]]), *given)
                for name, value in zip(("y", "keys", "values"), want, strict=True):
                    np.testing.assert_allclose(got[name], value[0], rtol=1e-5, atol=1e-6)


def test_a_field_that_comes_out_as_something_else_is_refused() -> None:
    class Otherwise(st.Answer):
        state: st.Tensor[np.int64, 2, 5]

    with pytest.raises(st.DeclarationError, match=r"output 'state': got the name of an input"):
        st.contract_from_rows(Step, Otherwise)


def test_the_graph_has_a_name_of_its_own_for_what_comes_out() -> None:
    contract = st.contract_from_rows(Step, Stepped)
    assert contract.graph_answers == {"score": "score", "state": "state.out"}
    assert answer_names(["score", "state.out"], {"x", "state"}) == ["score", "state"]
    assert answer_names(["hidden.out"], {"x"}) == ["hidden.out"], "a foreign name"
    assert graph_answer("y", {"x"}) == "y"


@pytest.mark.slow
def test_drift_looks_at_a_state_where_it_goes_in(tmp_path: Path) -> None:
    golden = [{"x": drawn(3) * scale, "state": drawn(2, 5) * scale} for scale in (1, -1, 0, 2)]
    bundle = st.export(cells(reference=golden), tmp_path)
    assert {name.partition(".")[0] for name in bundle.profile.inputs} == {"x", "state"}
    assert {name.partition(".")[0] for name in bundle.profile.outputs} == {"score"}


@pytest.mark.slow
def test_the_state_of_an_onnx_file_has_one_name(tmp_path: Path) -> None:
    graph = """g (float[n, 3] x, float[n, 3] h) => (float[n, 3] y, float[n, 3] hN)
        { hN = Add(x, h)  y = Relu(hN) }"""

    class Given(st.Row):
        x: st.Tensor[np.float32, 3]
        h: st.Tensor[np.float32, 3]

    class Gives(st.Answer):
        y: st.Tensor[np.float32, 3]
        h: st.Tensor[np.float32, 3]

    rows = [{"x": [1.0, -2.0, 3.0], "h": [0.5, 0.5, 0.5]}, {"x": [0.0] * 3, "h": [1.0, -1.0, 0.0]}]
    bundle = adopt(graph, tmp_path, Given, Gives, rows, renamed={"hN": "h"})
    for row, got in zip(rows, answers(bundle, rows, 2), strict=True):
        want = np.add(row["x"], row["h"])
        np.testing.assert_allclose(got["h"], want)
        np.testing.assert_allclose(got["y"], np.maximum(want, 0))


@pytest.mark.slow
def test_triton_calls_the_state_that_comes_out_otherwise(tmp_path: Path) -> None:
    bundle = st.export(cells(), tmp_path)
    write_repository([st.open_bundle(bundle.path)], tmp_path / "repository", Placing())
    for model, outputs in (("cells", 2), ("cells_graph", 1)):
        text = (tmp_path / "repository" / model / "config.pbtxt").read_text()
        assert text.count('"state.out"') == (3 if outputs == 2 else 1), text
        assert 'name: "state"' in text
