"""TorchScript beside ONNX: the same answers, the same bytes, no trace of this machine.

It runs only where it is trusted.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.errors import DeclarationError, GateError, ModelError
from seatrial_export.export import export_pipeline
from seatrial_export.formats import torchscript
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

pytestmark = pytest.mark.slow

TRUSTED = RuntimeOptions(trust_torchscript=True)


class Row(st.Row):
    plan: Annotated[str, st.Category("a", "b", unknown="bucket")]
    tier: Literal["low", "high"] | None
    spent: Annotated[float | None, st.Number(ge=0)]
    ends: st.Tensor[torch.float32, 2:9]


class Out(st.Answer):
    score: float
    stays: Annotated[str, st.Label("stays", "leaves")]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.plan, self.tier, self.body = nn.Embedding(3, 2), nn.Embedding(3, 2), nn.Linear(6, 2)

    def forward(self, plan, tier, spent, ends):  # type: ignore[no-untyped-def]
        known = torch.stack([spent.nan_to_num(0.0), ends.mean(1)], 1)
        scores = torch.softmax(
            self.body(torch.cat([self.plan(plan), self.tier(tier), known], 1)), 1
        )
        return scores[:, 0], scores


def pipeline() -> st.Pipeline:
    rows: list[Any] = [
        {
            "plan": "abc"[i % 3],
            "tier": ["low", "high", None][i % 3],
            "spent": None if i % 2 else float(i),
            "ends": [float(i)] * (2 + i % 4),
        }
        for i in range(8)
    ]
    return st.Pipeline(
        name="net", version="1.0.0", inputs=Row, outputs=Out, model=Net().eval(), golden=rows
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> st.Bundle:
    return export_pipeline(
        pipeline(), tmp_path_factory.mktemp("ts"), formats_wanted=["torchscript"]
    )


def test_it_answers_as_training_did_through_the_engine_of_the_server(bundle: st.Bundle) -> None:
    receipt = try_bundle(
        TrialRequest(bundle, trust_torchscript=True), ["onnxruntime", "torchscript"]
    )
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    assert {trial.runner for trial in receipt.trials} == {"onnxruntime", "torchscript"}
    assert {trial.runner for trial in bundle.receipts()[0].trials} >= {"onnxruntime", "torchscript"}


def test_it_is_not_loaded_where_nobody_said_that_it_is_trusted(bundle: st.Bundle) -> None:
    with pytest.raises(ModelError, match="--trust-torchscript") as refused:
        load_engine(bundle, RuntimeOptions(), "torchscript")
    assert refused.value.code == "E_UNTRUSTED"
    (failed,) = try_bundle(TrialRequest(bundle), ["torchscript"]).trials
    assert "is a program" in failed.finding


def test_it_computes_on_its_own_threads_and_leaves_those_of_the_process(
    bundle: st.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen, module_call = torch.get_num_threads(), [], torch.jit.ScriptModule.__call__
    monkeypatch.setattr(
        torch.jit.ScriptModule, "__call__",
        lambda self, *feeds: (seen.append(torch.get_num_threads()), module_call(self, *feeds))[1],
    )  # fmt: skip
    torch.set_num_threads(2)
    try:
        engine = load_engine(bundle, replace(TRUSTED, intra_op_threads=1), "torchscript")
        assert torch.get_num_threads() == 2
        engine.answer([bundle.contract.validate_row(row) for row in bundle.golden.rows])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_a_damaged_graph_is_a_model_error() -> None:
    from seatrial_serve.runtimes import runtimes

    with pytest.raises(ModelError) as refused:
        runtimes()["torchscript"](b"no archive", TRUSTED)
    assert refused.value.code == "E_LOAD"


def test_the_same_model_gives_the_same_bytes(bundle: st.Bundle, tmp_path: Path) -> None:
    assert (
        export_pipeline(pipeline(), tmp_path, formats_wanted=["torchscript"]).digest
        == bundle.digest
    )


def test_no_source_line_or_folder_of_this_machine_is_inside(bundle: st.Bundle) -> None:
    data = bundle.files["graphs/model.ts"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert not [name for name in archive.namelist() if "debug" in name]
        whole = b"".join(archive.read(name) for name in archive.namelist())
    assert str(Path(__file__).parent).encode() not in whole
    assert b"test_torchscript.py" not in whole


def test_what_cannot_be_traced_is_scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> Any:
        raise RuntimeError("no trace")

    class Scriptable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x[:, None])[:, 0]

    class One(st.Row):
        x: float

    class Answer(st.Answer):
        y: float

    monkeypatch.setattr(torchscript, "traced", fails)
    made = st.Pipeline(
        name="one",
        version="1.0.0",
        inputs=One,
        outputs=Answer,
        model=Scriptable().eval(),
        golden=[{"x": 1.0}, {"x": 2.0}],
    )
    sealed = export_pipeline(made, tmp_path / "good", formats_wanted=["torchscript"])
    assert all(
        trial.passed for trial in try_bundle(TrialRequest(sealed, trust_torchscript=True)).trials
    )
    monkeypatch.setattr(torchscript, "scripted", fails)
    with pytest.raises(GateError, match=r"traced: no trace .*; scripted: no trace"):
        export_pipeline(made, tmp_path / "bad", formats_wanted=["torchscript"])
    assert not (tmp_path / "bad").exists()


def test_a_trace_that_answers_otherwise_is_not_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Net):
        def forward(self, plan, tier, spent, ends):  # type: ignore[no-untyped-def]
            first, second = super().forward(plan, tier, spent, ends)
            return first + 1, second

    wrong = lambda candidate: torch.jit.trace(
        Wrong().eval(), candidate.model.arguments, check_trace=False
    )
    monkeypatch.setattr(torchscript, "traced", wrong)
    monkeypatch.setattr(torchscript, "scripted", wrong)
    with pytest.raises(GateError, match="export gate, torchscript: traced: at sizes"):
        export_pipeline(pipeline(), tmp_path, formats_wanted=["torchscript"])


def test_a_format_that_nobody_makes_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="want one of torchscript"):
        export_pipeline(pipeline(), tmp_path, formats_wanted=["tensorflow"])


def test_the_server_serves_it_where_it_is_trusted_and_says_why_where_not(
    bundle: st.Bundle, serve: Any
) -> None:
    folder = bundle.path.parent.parent
    trusting = serve(folder, "--variant", "torchscript", "--trust-torchscript")
    assert trusting.wait_until_loaded()[0] == 200
    reply = httpx.post(
        f"{trusting.url}/v1/models/net:predict", json={"instances": [bundle.golden.rows[0]]}
    )
    assert reply.json()["predictions"][0]["score"] == pytest.approx(
        float(bundle.golden.answers[0]["score"]), rel=1e-4
    )
    wary = serve(folder, "--variant", "torchscript")
    assert wary.wait_until_loaded()[0] == 503
    assert "E_UNTRUSTED" in httpx.get(f"{wary.url}/v2/health/ready").text
    done = CliRunner().invoke(
        cli, ["parity", str(bundle.path), "--trust-torchscript", "--runner", "torchscript"]
    )
    assert done.exit_code == 0, done.output


def test_weights_that_one_file_does_not_hold_are_told_before_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_export.export.MAX_FILE_BYTES", 100)
    told: list[str] = []
    with pytest.raises(DeclarationError) as said:
        export_pipeline(pipeline(), tmp_path, told.append, formats_wanted=["torchscript"])
    assert "--format torchscript: got weights of 1" in str(said.value)
    assert "want at most 100, since the format is one file; leave it out" in str(said.value)
    assert not told, "no step of the gate ran"
    export_pipeline(pipeline(), tmp_path)
