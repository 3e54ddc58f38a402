"""A PyTorch model over vocabularies goes through the gate, is served, and keeps its answers."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from support.servers import Server
from torch import nn

import seatrial as st
from seatrial_contracts.errors import DeclarationError
from seatrial_export.export import export_pipeline
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

pytestmark = pytest.mark.slow

PRODUCTS = [f"product {place}" for place in range(20_000)]
"""More than a graph looks up: the host does."""
COLOURS = ["red", "gr\u00fcn", "\u9752"]
IDS = [10**12 + 7 * place for place in range(500)]


class Tier(enum.IntEnum):
    LOW = 10
    HIGH = 20


class Out(st.Answer):
    score: float


def row_class(folder: Path) -> type[st.Row]:
    for name, entries in (("products", PRODUCTS), ("ids", IDS), ("colours", COLOURS)):
        text = "".join(f"{entry}\n" for entry in entries)
        (folder / f"{name}.txt").write_text(text, "utf-8")
    products = st.Category(file=str(folder / "products.txt"), unknown="hash", buckets=16)

    class Row(st.Row):
        product: Annotated[str, products]
        user: Annotated[int | None, st.Category(file=str(folder / "ids.txt"), unknown="bucket")]
        tier: Tier = Tier.LOW
        shop: Annotated[int, st.Category(unknown="hash", buckets=8)]
        colour: Annotated[str | None, st.Category(file=str(folder / "colours.txt"))] = "red"

    return Row


class Net(nn.Module):
    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tables = nn.ModuleList(nn.Embedding(size, 4) for size in sizes)
        self.last = nn.Linear(20, 1)

    def forward(self, product, user, tier, shop, colour):  # type: ignore[no-untyped-def]
        codes = (product, user, tier, shop, colour)
        seen = [table(code) for table, code in zip(self.tables, codes, strict=True)]
        return self.last(torch.cat(seen, 1))[:, 0]


ROWS: list[dict[str, Any]] = [
    {"product": "product 7", "user": IDS[3], "tier": Tier.HIGH, "shop": 5, "colour": None},
    {"product": "product 19999", "user": None, "shop": -(2**60)},
    {"product": "none of them", "user": 5, "tier": 10, "shop": 0, "colour": "\u9752"},
    {"product": "\u5e06", "user": IDS[-1], "tier": 20, "shop": 2**62},
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> st.Pipeline:
    rows = row_class(tmp_path_factory.mktemp("files"))
    contract = st.contract_from_rows(rows, Out)
    sizes = [field.kind.codes_count for field in contract.inputs]  # type: ignore[attr-defined]
    assert sizes == [20_016, 502, 2, 8, 4]
    return st.Pipeline(
        name="shop", version="1.0.0", inputs=rows, outputs=Out, model=Net(sizes).eval(),
        golden=ROWS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(pipeline: st.Pipeline, tmp_path_factory: pytest.TempPathFactory) -> st.Bundle:
    folder = tmp_path_factory.mktemp("models")
    return export_pipeline(pipeline, folder, formats_wanted=["torchscript"])


def test_a_model_over_vocabularies_answers_as_training_by_every_way(
    pipeline: st.Pipeline, bundle: st.Bundle
) -> None:
    opened = st.open_bundle(bundle.path)
    assert [spec.dtype for spec in opened.contract.tensors] == [
        "int64", "int64", "int64", "int64", "string"
    ]  # fmt: skip
    server = Server(bundle.path.parent.parent)
    try:
        assert server.wait_until_loaded()[0] == 200, "".join(server.log)
        receipt = try_bundle(
            TrialRequest(opened, pipeline=pipeline, url=server.url, grpc=server.grpc)
        )
    finally:
        server.stop()
    every = {"pytorch", "onnxruntime", "http v1", "v2 json", "v2 binary", "grpc"}
    assert every <= {trial.runner for trial in receipt.trials}
    failed = [f"{trial.runner}: {trial.finding}" for trial in receipt.trials if not trial.passed]
    assert [finding for finding in failed if "--trust-torchscript" not in finding] == []
    scripted = load_engine(opened, RuntimeOptions(trust_torchscript=True), "torchscript")
    got = [answer["score"] for answer in scripted.answer(opened.golden.rows)]
    assert np.allclose(got, [answer["score"] for answer in pipeline.answer(ROWS)], atol=1e-6)


def test_a_torch_module_gets_no_plain_text() -> None:
    class Row(st.Row):
        note: Annotated[str, st.Text()]

    pipeline = st.Pipeline(
        name="note", version="1.0.0", inputs=Row, outputs=Out, model=nn.Identity(),
        golden=[{"note": "a"}, {"note": "b"}],
    )  # fmt: skip
    with pytest.raises(DeclarationError, match="torch has no strings"):
        _ = pipeline.arguments
