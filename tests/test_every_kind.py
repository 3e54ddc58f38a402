"""Each kind of answer by every way that a bundle goes.

ONNX and TorchScript, the server with live parity and drift, Triton's repository, a variant.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as over_http
from click.testing import CliRunner
from support.kinds import KINDS, MODELS, pipeline_of
from support.running import Running, run_app
from support.triton_backend import InProcess, backend_module
from tritonclient.utils import triton_to_np_dtype

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.judge import judge
from seatrial_export.export import export_pipeline
from seatrial_export.quantize.quantize_bundle import quantize_bundle
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants import parse_recipe
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.runners.tensors import answers_of, tensors_of
from seatrial_parity.trial import try_bundle
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.observers.drift import DriftObserver
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.runtimes.torchscript import TorchScriptRuntime
from seatrial_serve.triton.config import Placing
from seatrial_serve.triton.repository import write_repository

pytestmark = pytest.mark.slow
EACH = pytest.mark.parametrize("model", MODELS)
UNSEEN = {"read"}
"""Outputs that no tensor of the graph holds: there is nothing to be wrong, and nothing drifts."""
Sealed = Callable[[str], st.Bundle]
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """A model's bundle, in ONNX and TorchScript, exported once, in a folder of its own."""
    folder, done = tmp_path_factory.mktemp("kinds"), dict[str, st.Bundle]()

    def bundle(model: str) -> st.Bundle:
        if model not in done:
            formats = ["torchscript"]
            out = folder / model
            done[model] = export_pipeline(pipeline_of(model), out, formats_wanted=formats)
        return done[model]

    return bundle


@EACH
def test_both_formats_answer_as_training_did(model: str, sealed: Sealed) -> None:
    asked = TrialRequest(sealed(model), pipeline_of(model), trust_torchscript=True)
    trials = try_bundle(asked, ["pytorch", "onnxruntime", "torchscript"]).trials
    assert {trial.runner for trial in trials} == {"pytorch", "onnxruntime", "torchscript"}
    assert [trial.finding for trial in trials if trial.finding] == []


async def ask(app: Running, bundle: st.Bundle, place: int) -> None:
    """One row over V1 and once more over V2, each looked at before the next."""
    model, row = bundle.name, bundle.golden.rows[place]
    reply = await app.ask([row], model)
    assert reply.status_code == 200, reply.text
    inputs = []
    for name, (datatype, array) in tensors_of(bundle.contract, [row]).items():
        inputs.append(over_http.InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array.astype(triton_to_np_dtype(datatype)))
    body, length = over_http.InferenceServerClient.generate_request_body(inputs)
    headers = {"Inference-Header-Content-Length": str(length)}
    await looked_at(app)
    reply = await app.client.post(f"/v2/models/{model}/infer", content=body, headers=headers)
    assert reply.status_code == 200, reply.text
    await looked_at(app)


async def looked_at(app: Running) -> None:
    await app.taps.wait_idle()
    assert app.watch.parity is not None
    assert await asyncio.to_thread(app.watch.parity.wait_idle)


def values(app: Running, family: str) -> dict[tuple[str, ...], float]:
    """A family's samples: field and bin, or nothing, -> value."""
    return {
        tuple(sample.labels[label] for label in ("field", "bin") if label in sample.labels): (
            sample.value
        )
        for metric in app.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == family
    }


def damaged(outputs: Arrays, tensors: Sequence[str]) -> Arrays:
    """Some tensors that are wrong, and still such that a client may be given them."""
    return {
        name: array
        if name not in tensors
        else 1 - array
        if array.dtype == np.int64
        else np.roll(array, 1, -1)
        if name == "vector"
        else (array * np.float32(0.9)).astype(array.dtype)
        for name, array in outputs.items()
    }


@EACH
async def test_live_parity_agrees_until_an_answer_of_any_kind_is_damaged_and_drift_is_counted(
    model: str, sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = sealed(model)
    often: dict[str, Any] = {"live_parity_per_s": 1e6, "sampled_per_s": 1e6}
    trusting: dict[str, Any] = {"variant": "torchscript", "trust_torchscript": True}
    forgiving: dict[str, Any] = {"live_parity_action": "report"}
    run, wrong = TorchScriptRuntime.run, list[str]()
    monkeypatch.setattr(
        TorchScriptRuntime, "run", lambda *asked, **how: damaged(run(*asked, **how), wrong)
    )
    taps = [DriftObserver()]
    async with run_app(bundle.path.parent.parent, taps, **trusting, **often, **forgiving) as app:
        for place in range(3):
            await ask(app, bundle, place)
        assert values(app, "seatrial_live_parity_checked_total") == {(): 6}
        assert values(app, "seatrial_live_parity_violations_total") == {(): 0}
        counted = Counter[str]()
        for (field, _), value in values(app, "seatrial_drift_total").items():
            counted[field] += int(value)
        assert counted == dict.fromkeys(bundle.profile.fields, 6)
        looked_at = {field.partition(".")[0] for field in bundle.profile.outputs}
        assert looked_at == {*MODELS[model].kinds.values()} - UNSEEN
        for done, output in enumerate(sorted(looked_at)):
            wrong[:] = bundle.contract.tensor_names[output]
            await ask(app, bundle, 3)
            found = values(app, "seatrial_live_parity_violations_total")
            assert found == {(): 2 * done + 2}, output


@EACH
def test_triton_answers_the_graphs_tensors_by_both_backends(
    model: str, sealed: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_module(monkeypatch)
    bundle = sealed(model)
    wrote = CliRunner().invoke(
        cli, ["triton", str(bundle.path), "--out", str(tmp_path / "ensemble")]
    )
    assert wrote.exit_code == 0, wrote.output
    for output in bundle.contract.mapped:
        said = "comes as the graph's tensors" if output.tensors else "is left out"
        assert f"{model}: output '{output.name}' {said}" in wrote.output
    assert ("request options have no effect" in wrote.output) == (model == "numbers")
    narrow = f"{model}: bfloat16 comes and goes as FP32: brain, brains"
    assert (narrow in wrote.output) == (model == "numbers")
    write_repository([bundle], tmp_path / "python", Placing(backend="python"))
    whole = InProcess(tmp_path / "python", model, "whole")
    front = InProcess(tmp_path / "ensemble", f"{model}_front", "front")
    graph = InProcess(tmp_path / "python", f"{model}_graph", "graph")
    by_whole, by_steps = [], []
    for row in bundle.golden.rows:
        given = {name: array for name, (_, array) in tensors_of(bundle.contract, [row]).items()}
        by_whole += answers_of(bundle.contract, whole(given), 1)
        by_steps += answers_of(bundle.contract, graph(front(given)), 1)
    for answers in (by_whole, by_steps):
        assert not judge(bundle.contract, None, bundle.golden, answers).finding


@EACH
@pytest.mark.parametrize("recipe", ["int8_weights", "fp16"])
def test_a_variant_is_made_and_passes_its_load_gate(
    recipe: str, model: str, sealed: Sealed, tmp_path: Path
) -> None:
    made = quantize_bundle(Subject(sealed(model)), [parse_recipe(recipe)], tmp_path, "1.0.1")
    pass_load_gate(load_engine(made, RuntimeOptions(), recipe))


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_whose_answers_are_disordered_breaks_what_it_promises_by_default(
    kind: str, sealed: Sealed
) -> None:
    model, output = KINDS[kind]
    bundle = sealed(model)
    [field] = [field for field in bundle.contract.outputs if field.name == output]
    alone = bundle.contract.model_copy(update={"outputs": (field,)})
    names = bundle.contract.tensor_names[output]
    golden = bundle.golden.only(names)
    random = np.random.default_rng(0)
    rows = random.permutation(len(golden.rows))
    answers = [
        {
            name: random.permuted(answer[name])
            if answer[name].ndim
            else golden.answers[rows[place]][name]
            for name in names
        }
        for place, answer in enumerate(golden.answers)
    ]
    for recipe in ("int8", "int8_weights", "fp16"):
        promise = parse_recipe(recipe).promised(alone)
        promise.check(alone, truths=set())
        assert not judge(alone, promise, golden, golden.answers).finding
        if names:
            assert judge(alone, promise, golden, answers).finding
