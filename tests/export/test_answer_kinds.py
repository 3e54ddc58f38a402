"""Labels by their best, quantiles, rankings, terms and float16: exported, served, in parity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
import torch
import tritonclient.grpc as over_grpc
from support.word_tokenizer import word_tokenizer
from torch import Tensor, nn

import seatrial as st
from seatrial_parity.fuzz.side import Side
from seatrial_parity.runners.http import HttpRunner
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

pytestmark = pytest.mark.slow
CLASSES = tuple(f"sku {place}" for place in range(1000))
LEVELS = (0.1, 0.5, 0.9)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Ada", "saw", "東京"]


class Row(st.Row):
    x: float
    half: st.Tensor[torch.float16, 4]
    items: st.Tensor[np.float32, 1:20]


class Found(st.Answer):
    sku: Annotated[str, st.Label(*CLASSES)]
    side: Annotated[str, st.Label("left", "right")]
    tags: Annotated[list[str], st.Labels("new", "old")]
    price: Annotated[dict[str, float], st.Quantiles(*LEVELS)]
    ahead: Annotated[
        dict[str, list[float]], st.Forecast(horizon=5, quantiles=LEVELS, rearrange=True)
    ]
    ranked: Annotated[list[dict[str, float]], st.Ranking(top=3)]
    terms: Annotated[list[dict[str, float]], st.SparseEmbedding(64, threshold=0.25)]
    doubled: st.Tensor[torch.float16, 4]
    spelt: Annotated[str, st.Transcript(tokenizer=word_tokenizer(WORDS), max_ids=6)]


class Options(st.Options):
    top_k: Annotated[int, st.Option(3, ge=1, le=20)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.sku, self.price, self.ahead = nn.Linear(1, 1000), nn.Linear(1, 3), nn.Linear(1, 15)
        self.terms = nn.Linear(1, 64)

    def forward(self, x: Tensor, half: Tensor, items: Tensor) -> tuple[Tensor, ...]:
        x = x[:, None]
        side = torch.softmax(torch.cat([x, -x], 1), 1)
        price = torch.cumsum(torch.nn.functional.softplus(self.price(x)), 1)
        ahead = self.ahead(x).reshape(-1, 5, 3)
        sku = torch.softmax(3 * self.sku(x), 1)
        terms = torch.log1p(torch.relu(self.terms(x)))
        spelt = (torch.arange(6) + (3 * x).round().long()).clamp(-1, len(WORDS) - 1)
        return sku, side, side, price, ahead, items * 2 - x, terms, half * 2, spelt


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> st.Bundle:
    some = np.random.default_rng(0)
    rows = [
        {
            "x": float(some.normal()),
            "half": some.normal(size=4).astype(np.float16).tolist(),
            "items": some.normal(size=size).astype(np.float32).tolist(),
        }
        for size in (1, 2, 3, 7, 19, 20)
    ]
    pipeline = st.Pipeline(
        name="kinds", version="1.0.0", inputs=Row, outputs=Found, options=Options,
        model=Net().eval(), golden=[st.Sample(row, truth={"tags": ["new"]}) for row in rows],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("kinds")
    return st.export(pipeline, folder)


def test_every_kind_is_in_parity_over_every_way(
    bundle: st.Bundle, serve: Callable[..., Any]
) -> None:
    server = serve(bundle.path.parent.parent)
    status, body = server.wait_until_loaded()
    assert status == 200, body
    asked = TrialRequest(bundle, url=server.url, grpc=server.grpc)
    trials = try_bundle(asked).trials
    assert {trial.runner for trial in trials} >= {"onnxruntime", "http v1", "v2 binary", "grpc"}
    assert not [f"{trial.runner}: {trial.finding}" for trial in trials if trial.finding]

    with HttpRunner(bundle, server.url) as runner:
        side = Side(bundle, runner, bundle.contract.tolerance)
        row, want = bundle.golden.rows[4], bundle.golden.answers[4]
        [got] = side.answers([row]) or []
        assert not side.difference(row, want, got)
        for name in ("sku", "terms"):
            assert side.difference(row, want | {name: np.roll(want[name], 1)}, got)

    reply = httpx.post(
        f"{server.url}/v1/models/kinds:predict",
        json={"instances": [bundle.golden.rows[4]], "parameters": {"top_k": 2}},
    )
    [told] = reply.json()["predictions"]
    assert told["sku"]["label"] == CLASSES[int(want["sku"].argmax())]
    assert [each["index"] for each in told["ranked"]] == np.argsort(-want["ranked"])[:2].tolist()
    heaviest = np.argsort(-want["terms"])[:2]
    assert [each["index"] for each in told["terms"]] == sorted(heaviest.tolist())
    assert list(told["price"].values()) == sorted(told["price"].values())
    words = [WORDS[place] for place in want["spelt"] if place > 3]
    assert told["spelt"].split() == words

    client = over_grpc.InferenceServerClient(server.grpc)
    inputs = []
    for name, datatype, dtype in (
        ("x", "FP32", "f4"),
        ("half", "FP16", "f2"),
        ("items", "FP32", "f4"),
    ):
        values = np.atleast_2d(np.array(bundle.golden.rows[4][name], dtype))
        inputs.append(over_grpc.InferInput(name, values.shape, datatype))
        inputs[-1].set_data_from_numpy(values)
    outputs = [over_grpc.InferRequestedOutput("sku", class_count=2),
               over_grpc.InferRequestedOutput("doubled")]  # fmt: skip
    found = client.infer("kinds", inputs, outputs=outputs)
    client.close()
    first = found.as_numpy("sku")[0, 0].decode().split(":")
    assert first[1:] == [str(int(want["sku"].argmax())), told["sku"]["label"]]
    assert np.array_equal(found.as_numpy("doubled")[0], want["doubled"])
