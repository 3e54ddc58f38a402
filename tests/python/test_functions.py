"""From a data frame to a served bundle in Python: each step is a function with its result."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pytest
from support.animals import ROWS
from support.toys import toy_bundle

import seatrial as st

PIPELINE = """
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import nn

import seatrial as st


class Animal(st.Row):
    island: Literal["Biscoe", "Dream"]
    mass: Annotated[float | None, st.Number(ge=0, le=100)]


class Size(st.Answer):
    size: float


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 1)

    def forward(self, island, mass):
        seen = torch.stack([mass.nan_to_num(0.0), mass.isnan().float(), island.float()], 1)
        return self.line(seen / 10)[:, 0]


FRAME = pd.DataFrame({"island": ["Biscoe", "Dream"] * 8, "mass": [None, 2.5, 0, 100] * 4})


def pipeline(version="1.0.0", seed=0, **more):
    torch.manual_seed(seed)
    return st.Pipeline(
        name="sizes", version=version, inputs=Animal, outputs=Size, model=Net().eval(),
        **({"golden": FRAME, "held_out": FRAME.head(4), "reference": FRAME} | more),
    )
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sizes") / "sizes.py"
    path.write_text(PIPELINE)
    return path


@pytest.fixture(scope="module")
def made(file: Path) -> Iterator[dict[str, Any]]:
    """What the file defines."""
    spec = importlib.util.spec_from_file_location("sizes", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sizes", module)
        spec.loader.exec_module(module)
        yield module.__dict__


@pytest.fixture(scope="module")
def sealed(file: Path, made: dict[str, Any]) -> st.Bundle:
    steps: list[str] = []
    bundle = st.export(made["pipeline"](), file.parent / "bundles", steps.append)
    assert "seal" in " ".join(steps)
    return bundle


def test_export_seals_the_rows_of_a_frame_with_its_gaps(
    sealed: st.Bundle, made: dict[str, Any]
) -> None:
    assert isinstance(sealed, st.Bundle)
    assert len(sealed.golden.rows) == 16
    assert sealed.golden.rows[0] == {"island": "Biscoe", "mass": None}
    assert sealed.receipts()[0].passed
    pipeline = made["pipeline"]()
    found = sealed.predict(made["FRAME"])["size"]
    answers = [answer["size"] for answer in pipeline.answer(pipeline.reference_rows)]
    np.testing.assert_allclose(found, np.array(answers), rtol=1e-5)
    feeds = pipeline.encode(made["FRAME"])
    np.testing.assert_allclose(found, pipeline.model(**feeds).detach(), rtol=1e-5)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, list])
def test_rows_frames_of_both_libraries_and_samples_declare_the_same(
    made: dict[str, Any], make: Any
) -> None:
    rows = [{"island": "Dream", "mass": 1.5}, {"island": "Biscoe", "mass": float("nan")}]
    golden = make(rows)
    if make is list:
        golden = [st.Sample(rows[0]), rows[1]]
    pipeline = made["pipeline"](golden=golden, reference=golden, held_out=())
    want = [{"island": "Dream", "mass": 1.5}, {"island": "Biscoe", "mass": None}]
    assert [sample.row for sample in pipeline.golden_samples] == want
    assert [getattr(row, "row", row) for row in pipeline.reference_rows] == want


@pytest.mark.parametrize(
    ("golden", "told"),
    [
        (lambda frame: frame.assign(mass=400), "pipeline golden, input 'mass', row 0: got 400,"),
        (lambda frame: frame.assign(island=None), "input 'island', row 0: got None, want one of"),
        (lambda frame: frame.assign(wings=2), "pipeline golden, frame: got columns that"),
        (lambda frame: [{"island": "Dreem", "mass": 1.0}] * 2, "row 0: got 'Dreem', want one of"),
    ],
)
def test_a_golden_row_that_is_refused_is_shown(
    made: dict[str, Any], golden: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(st.Refusal, match="golden") as refused:
        st.export(made["pipeline"](golden=golden(made["FRAME"])), tmp_path)
    assert told in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_parity_gives_its_receipt(sealed: st.Bundle, file: Path, made: dict[str, Any]) -> None:
    tried = st.parity(sealed, f"{file}:pipeline")
    assert tried.passed
    assert tried.findings == ()
    assert {trial.runner for trial in tried.receipt.trials} >= {"pytorch", "onnxruntime"}
    assert tried.path.parent.parent == sealed.path
    other = st.parity(sealed.path, made["pipeline"](seed=1), runners=["pytorch"])
    assert not other.passed
    assert all("pytorch" in finding for finding in other.findings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.path = Path()  # type: ignore[misc]
    with pytest.raises(st.DeclarationError, match="nosuch"):
        st.parity(sealed, runners=["nosuch"])


def test_diff_gives_what_changed(sealed: st.Bundle, made: dict[str, Any], tmp_path: Path) -> None:
    newer = st.export(made["pipeline"]("1.1.0", seed=1), tmp_path, since=sealed)
    found = st.diff(sealed.path, newer)
    assert found.may_replace
    assert found.moved.largest > 0
    assert all(version in found.notes for version in ("1.0.0", "1.1.0"))
    assert len(repr(found)) < 200
    same = st.diff(sealed, sealed)
    assert same.moved.largest == 0
    with pytest.raises(st.DeclarationError, match="two of one model"):
        st.diff(sealed, toy_bundle(tmp_path / "toys"))


def test_quantize_gives_the_new_version_or_says_that_there_is_none(
    sealed: st.Bundle, made: dict[str, Any], tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int | None]] = []
    found = st.quantize(
        sealed,
        ["fp16"],
        out=tmp_path,
        rows=made["FRAME"],
        progress=lambda *step: steps.append(step),
    )
    assert found.bundle is not None
    assert found.bundle.version == "1.0.1"
    assert [variant.name for variant in found.bundle.manifest.variants] == ["fp32", "fp16"]
    assert steps
    row = {"island": "Dream", "mass": 50.0}
    half, full = (found.bundle.predict(row, variant=name)["size"] for name in ("fp16", "fp32"))
    assert half == pytest.approx(full, rel=1e-2)
    with pytest.raises(st.DeclarationError, match="a budget becomes the promise"):
        st.quantize(sealed, budget="cosine>=0.9", promise="cosine>=0.9", out=tmp_path)


def test_serve_answers_in_a_thread_and_leaves_the_process_as_it_was(animals: st.Bundle) -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with st.serve(animals.path.parent.parent, grpc=True, metrics=True) as server:
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200
        assert server.grpc is not None
        assert server.metrics_url is not None
        assert "seatrial" in httpx.get(server.metrics_url).text
        with st.Client(server.url) as client:
            assert client.predict(ROWS) == animals.predict(ROWS)
    assert before == (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count())
    assert "seatrial-server" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_a_server_that_cannot_serve_says_why_and_leaves_nothing_running(
    animals: st.Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(st.DeclarationError, match="no such folder"):
        st.serve(tmp_path / "nosuch")
    with pytest.raises(st.DeclarationError, match="did you mean http_port"):
        st.serve(animals, htp_port=1)
    with pytest.raises(st.DeclarationError, match="in a thread of this process"):
        st.serve(animals, workers=2)
    with st.serve(animals) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(st.DeclarationError, match=str(port)):
            st.serve(animals, http_port=port, metrics=True)
    monkeypatch.undo()  # the graph is no ONNX graph: nothing of this installation runs it
    with pytest.raises(st.ModelError, match=r"animals 1\.0\.0: no runtime for graphs of format"):
        st.serve(animals)
    assert "seatrial-server" not in {thread.name for thread in threading.enumerate()}
