"""Model repositories for Triton, judged by Triton's own protobuf.

Where Triton itself is there, it judges them too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as some
from support.foreign import adopt
from support.made import bundle_of
from support.real_triton import RealTriton, needs_triton
from support.toys import fake_runtimes, toy_bundle
from tritonclient.grpc import model_config_pb2 as pb

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import write_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.golden import Golden
from seatrial_contracts.manifest import version_key
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle
from seatrial_serve.runtimes.triton_naming import triton_version
from seatrial_serve.runtimes.triton_types import wide
from seatrial_serve.triton.config import Placing, raw_config
from seatrial_serve.triton.exchange import read_columns
from seatrial_serve.triton.repository import write_repository
from seatrial_serve.triton.warm_up import raw_tensors

EXAMPLES = ("penguins", "digits", "sentences")
VERSIONS = (
    some.tuples(*[some.integers(0, 999)] * 3)
    .filter(any)
    .map(lambda parts: ".".join(map(str, parts)))
)


def config_of(repository: Path, name: str) -> Any:
    return text_format.Parse(
        (repository / name / "config.pbtxt").read_text("utf-8"), pb.ModelConfig()
    )


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> st.Bundle:
    fake_runtimes(monkeypatch)
    return toy_bundle(tmp_path / "bundles")


@given(VERSIONS, VERSIONS)
def test_versions_keep_their_order_as_whole_numbers(one: str, other: str) -> None:
    assert (version_key(one) < version_key(other)) == (triton_version(one) < triton_version(other))


@pytest.mark.parametrize("version", ["0.0.0", "1.1000.0", "1.0.1000"])
def test_a_version_that_triton_cannot_have_is_refused(version: str) -> None:
    with pytest.raises(DeclarationError, match="version for Triton"):
        triton_version(version)


def test_a_bundle_becomes_an_ensemble_of_its_front_and_its_graph(
    toy: st.Bundle, tmp_path: Path
) -> None:
    assert write_repository([toy], tmp_path / "repo", Placing()) == [
        "toy",
        "toy_front",
        "toy_graph",
    ]
    whole, front, graph = (
        config_of(tmp_path / "repo", name) for name in ("toy", "toy_front", "toy_graph")
    )
    assert [(step.model_name, step.model_version) for step in whole.ensemble_scheduling.step] == [
        ("toy_front", 1000000),
        ("toy_graph", 1000000),
    ]
    assert (front.backend, graph.backend) == ("python", "onnxruntime")
    assert [(each.name, each.data_type, list(each.dims)) for each in graph.input] == [
        ("x", pb.TYPE_FP32, [1]),
        ("word", pb.TYPE_STRING, [1]),
    ]
    assert all(each.HasField("reshape") and not each.reshape.shape for each in graph.input)
    assert [list(each.dims) for each in graph.output] == [[1], [2]]
    assert graph.dynamic_batching.preferred_batch_size[0] >= 1
    assert {
        each.parameters["seatrial_digest.1000000"].string_value for each in (whole, front, graph)
    } == {toy.digest}
    assert graph.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU
    assert (tmp_path / "repo" / "toy_graph" / "1000000" / "model.onnx").read_bytes() == toy.files[
        "graphs/toy.fake"
    ]


class FakeRequest:
    """What Triton's Python backend hands over, as far as tensors are read from it."""

    def __init__(self, **arrays: Any) -> None:
        self.tensors = [
            SimpleNamespace(name=lambda name=name: name, as_numpy=lambda array=array: array)
            for name, array in arrays.items()
        ]

    def inputs(self) -> list[Any]:
        return self.tensors


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64"]
)
def test_a_whole_number_that_would_wrap_in_its_type_reaches_the_front_and_is_refused_there(
    dtype: str,
) -> None:
    kinds = {"x": st.Number(dtype=dtype), "ids": st.Tensor(dtype=dtype, dims=(2,))}
    contract = st.Contract(
        schema=1,
        inputs=tuple({"name": name, "kind": kind} for name, kind in kinds.items()),
        outputs=({"name": "y", "kind": st.Number(dtype="float32")},),
    )
    assert wide(kinds["x"].datatype) == ("UINT64" if dtype == "uint64" else "INT64")
    limits, taken = np.iinfo(dtype), np.uint64 if dtype == "uint64" else np.int64
    ends = np.array([[limits.min], [limits.max]], taken)
    columns = read_columns(FakeRequest(x=ends, ids=np.hstack([ends, ends])), contract)
    assert columns["x"].dtype == columns["ids"].dtype == dtype
    assert columns["x"].tolist() == [limits.min, limits.max]
    for beyond in (limits.min - 1, limits.max + 1):
        if np.iinfo(taken).min <= beyond <= np.iinfo(taken).max:
            for request in (
                FakeRequest(x=np.array([[1], [beyond]], taken), ids=np.ones((2, 2), taken)),
                FakeRequest(x=np.ones((2, 1), taken), ids=np.array([[1, 1], [1, beyond]], taken)),
            ):
                with pytest.raises(st.Refusal, match=rf"row 1: got {beyond}, want") as refused:
                    read_columns(request, contract)
                assert refused.value.code == "E_RANGE"


def test_dates_and_padded_tensors_come_to_the_front_stage_as_over_v2() -> None:
    inputs = (
        {"name": "day", "kind": st.Date()},
        {"name": "at", "kind": st.DateTime(v2="BYTES")},
        {"name": "walk", "kind": st.Tensor(dims=((0, 4), 2), pad=0, missing="nan")},
        {"name": "bits", "kind": st.Tensor(dtype="int4", dims=(2,))},
    )
    outputs = ({"name": "score", "kind": st.Number(dtype="float32")},)
    contract = st.Contract(schema=1, inputs=inputs, outputs=outputs)
    given: dict[str, Any] = {
        "day": np.array([[0], [19_782]]),
        "at": np.array([[b"1970-01-01T00:00:01Z"], [b"1970-01-01T01:00:02+01:00"]], object),
        "walk": np.full((2, 3, 2), np.nan, np.float32),
        "walk_length": np.array([[0], [3]]),
        "bits": np.array([[-8, 7], [0, 1]]),
    }
    columns = read_columns(FakeRequest(**given), contract)
    assert [list(columns["day"]), list(columns["at"])] == [[0, 19_782], [10**6, 2 * 10**6]]
    assert [len(row) for row in columns["walk"]] == [0, 3]
    assert columns["bits"].dtype == np.int8
    with pytest.raises(st.Refusal, match="input 'bits', row 1: got 8 at"):
        read_columns(FakeRequest(**given | {"bits": np.array([[0, 0], [8, 0]])}), contract)


def test_raw_inputs_of_small_whole_numbers_are_64_bits_in_the_configuration_and_in_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    bundle = toy_bundle(tmp_path)
    small = tuple(
        {"name": name, "kind": st.Number(dtype=name)}
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32")
    )
    rest = (
        {"name": "long", "kind": st.Number(dtype="uint64")},
        {"name": "half", "kind": st.Number(dtype="int8", nullable=True)},
    )
    contract = st.Contract(schema=1, inputs=small + rest, outputs=bundle.contract.outputs)
    raw = raw_config(
        "toy", {1: SimpleNamespace(contract=contract, manifest=bundle.manifest, digest="d")}
    )
    assert [each.data_type for each in raw.input] == [pb.TYPE_INT64] * 6 + [
        pb.TYPE_UINT64,
        pb.TYPE_FP32,
    ]


def test_warm_up_names_files_that_are_there(toy: st.Bundle, tmp_path: Path) -> None:
    write_repository([toy], tmp_path / "repo", Placing())
    inputs = config_of(tmp_path / "repo", "toy_graph").model_warmup[0].inputs
    assert sorted(inputs) == ["word", "x"]
    files = {
        name: (tmp_path / "repo" / "toy_graph" / "warmup" / each.input_data_file)
        for name, each in inputs.items()
    }
    assert files["word"].read_bytes() == b"\x01\x00\x00\x00b"
    assert len(files["x"].read_bytes()) == 4


def test_warm_up_takes_a_row_that_is_nowhere_empty(tmp_path: Path) -> None:
    class Basket(st.Row):
        items: Annotated[list[int], st.Items(max_items=3)]

    class Sum(st.Answer):
        y: float

    contract, answers = st.contract_from_rows(Basket, Sum), ({"y": np.float32(0)},) * 2
    graph = "fake", b"made"
    rows = {"items": []}, {"items": [7, 8]}
    bundle = bundle_of(tmp_path / "some", contract, Golden(rows, answers), graph, {}, "basket")
    assert {name: array.tolist() for name, (_, array) in raw_tensors(bundle).items()} == {
        "items": [7, 8]
    }
    none = bundle_of(tmp_path / "none", contract, Golden((rows[0],) * 2, answers), graph, {}, "no")
    assert raw_tensors(none) == {}


def test_a_card_and_its_accelerators_are_named(toy: st.Bundle, tmp_path: Path) -> None:
    for name in ("tensorrt", "cuda"):
        write_repository(
            [toy],
            tmp_path / name,
            Placing(device="gpu", accelerator=name, instances=2, max_wait_s=0.005),
        )
        config = config_of(tmp_path / name, "toy_graph")
        assert (config.instance_group[0].kind, config.instance_group[0].count) == (
            pb.ModelInstanceGroup.KIND_GPU,
            2,
        )
        assert [
            each.name
            for each in config.optimization.execution_accelerators.gpu_execution_accelerator
        ] == [name]
        assert config.dynamic_batching.max_queue_delay_microseconds == 5000
        assert (
            config_of(tmp_path / name, "toy_front").instance_group[0].kind
            == pb.ModelInstanceGroup.KIND_CPU
        )
    write_repository([toy], tmp_path / "plain", Placing(device="gpu"))
    (cuda,) = config_of(
        tmp_path / "plain", "toy_graph"
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, cuda.parameters["use_tf32"]) == ("cuda", "0"), (
        "float32 as the golden rows were promised"
    )


def test_rows_that_must_stay_alone_are_not_batched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runtimes(monkeypatch)
    write_repository([toy_bundle(tmp_path, batchable=False)], tmp_path / "repo", Placing())
    config = config_of(tmp_path / "repo", "toy_graph")
    assert config.max_batch_size == 1
    assert not config.HasField("dynamic_batching")


def test_two_versions_stand_in_one_model_on_python_and_not_in_an_ensemble(
    toy: st.Bundle, tmp_path: Path
) -> None:
    newer = toy_bundle(tmp_path / "bundles", version="1.2.0")
    with pytest.raises(DeclarationError, match="an ensemble names its steps' versions"):
        write_repository([toy, newer], tmp_path / "repo", Placing())
    write_repository([toy, newer], tmp_path / "repo", Placing(backend="python"))
    assert list(config_of(tmp_path / "repo", "toy").version_policy.specific.versions) == [
        1000000,
        1002000,
    ]


def test_a_model_that_is_there_is_not_overwritten(toy: st.Bundle, tmp_path: Path) -> None:
    write_repository([toy], tmp_path / "repo", Placing())
    with pytest.raises(DeclarationError, match="model 'toy'"):
        write_repository([toy], tmp_path / "repo", Placing())


def test_the_command_refuses_an_accelerator_without_a_card(toy: st.Bundle) -> None:
    done = CliRunner().invoke(cli, ["triton", str(toy.path), "--accelerator", "tensorrt"])
    assert "--device gpu" in str(done.exception)


@pytest.fixture(scope="module")
def ensembles(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ensembles of all examples.

    Their graphs run on the Python backend: no package holds Triton's onnxruntime backend.
    """
    folder = tmp_path_factory.mktemp("triton")
    bundles = [st.open_bundle(examples / name / "1.0.0") for name in EXAMPLES]
    write_repository(bundles, folder / "ensembles", Placing())
    write_repository(bundles, folder / "python", Placing(backend="python"))
    for name in EXAMPLES:
        shutil.rmtree(folder / "ensembles" / f"{name}_graph")
        (folder / "python" / f"{name}_graph").rename(folder / "ensembles" / f"{name}_graph")
    return folder / "ensembles"


@pytest.fixture(scope="module")
def triton(ensembles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTriton]:
    with RealTriton(ensembles, tmp_path_factory.mktemp("log") / "triton.log") as running:
        yield running


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_raw_rows_pass_through_an_ensemble_in_real_triton_and_bad_ones_are_refused(
    name: str, examples: Path, triton: RealTriton
) -> None:
    bundle = st.open_bundle(examples / name / "1.0.0")
    receipt = try_bundle(
        TrialRequest(bundle, triton=triton.url, triton_grpc=triton.grpc),
        ["triton http", "triton grpc"],
    )
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    assert {trial.runner for trial in receipt.trials} == {"triton http", "triton grpc"}
    assert {trial.provider for trial in receipt.trials} == {"ensemble"}
    assert all(
        sum(trial.refusals for trial in receipt.trials if trial.runner == runner)
        for runner in ("triton http", "triton grpc")
    )


@needs_triton
@pytest.mark.slow
def test_two_versions_of_a_whole_bundle_answer_in_real_triton(
    examples: Path, tmp_path: Path
) -> None:
    shutil.copytree(
        examples / "penguins",
        tmp_path / "bundles" / "penguins",
        ignore=shutil.ignore_patterns("receipts"),
    )
    old = st.open_bundle(tmp_path / "bundles" / "penguins" / "1.0.0")
    manifest = old.manifest.model_copy(update={"version": "1.1.0"})
    new = write_bundle(tmp_path / "bundles", manifest, old.files)
    write_repository([old, new], tmp_path / "repo", Placing(backend="python", instances=2))
    with RealTriton(tmp_path / "repo", tmp_path / "triton.log") as triton:
        for bundle in (old, new):
            asked = TrialRequest(bundle, triton=triton.url, triton_grpc=triton.grpc)
            receipt = try_bundle(asked, ["triton http", "triton grpc"])
            assert [trial.finding for trial in receipt.trials if not trial.passed] == []


@needs_triton
@pytest.mark.slow
def test_a_number_beyond_its_small_type_is_refused_by_real_triton_over_json(
    tmp_path: Path,
) -> None:
    class Small(st.Row):
        age: Annotated[int, st.Number(dtype="uint8")]
        ids: st.Tensor[np.int8, 2]

    class Sum(st.Answer):
        y: float

    graph = (
        "g (uint8[n] age, int8[n, 2] ids) => (float[n] y) { a = Cast<to=1>(age) "
        "b = Cast<to=1>(ids) s = ReduceSum<keepdims=0, noop_with_empty_axes=0>(b, axis) "
        "y = Add(a, s) }"
    ).replace("(float[n] y) {", "(float[n] y) <int64[1] axis = {1}> {")
    golden = [{"age": 44, "ids": [1, -2]}, {"age": 255, "ids": [127, -128]}]
    bundle = adopt(graph, tmp_path / "bundles", Small, Sum, golden)
    write_repository([bundle], tmp_path / "repo", Placing(backend="python"))

    def asked(age: int, first: int) -> httpx.Response:
        values = {"age": [age], "ids": [first, -2]}
        inputs = [
            {"name": name, "shape": [1, len(data)], "datatype": "INT64", "data": data}
            for name, data in values.items()
        ]
        url = f"{triton.url}/v2/models/foreign/infer"
        return httpx.post(url, json={"inputs": inputs}, timeout=60)

    with RealTriton(tmp_path / "repo", tmp_path / "triton.log") as triton:
        assert asked(44, 1).json()["outputs"][0]["data"] == [43.0]
        for age, first, said in ((300, 1, "got 300, want"), (44, 130, "got 130, want")):
            reply = asked(age, first)
            assert reply.status_code >= 400
            assert said in reply.text
