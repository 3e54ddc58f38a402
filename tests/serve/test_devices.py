"""onnxruntime on cards, before cards that are not there: never silently on the CPU.

Lanes, CUDA graphs, memory and losses are tried too.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from support.fake_cards import CPU, CUDA, TENSORRT, FakeCards, lost

from seatrial_contracts.errors import ModelError, OutOfMemory, Unavailable
from seatrial_serve.process.clock import now_s
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.onnx import devices as onnx_devices
from seatrial_serve.runtimes.onnx import lanes as onnx_lanes
from seatrial_serve.runtimes.onnx import tensorrt_engines
from seatrial_serve.runtimes.onnx.devices import DevicesRuntime
from seatrial_serve.runtimes.onnx.lanes import GraphLane, PlainLane, SizedLane
from seatrial_serve.runtimes.runtime import Runtime, RuntimeOptions


def parse(text: str) -> bytes:
    return bytes(
        onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["": 20, "ai.onnx.ml": 3]> {text}'
        ).SerializeToString()
    )


DENSE = parse("""g (float[rows, 3] x) => (float[rows, 2] y, int64[rows] best)
    <float[3, 2] w = {1, -1, 2, 0.5, -3, 4}>
    { h = MatMul(x, w) y = Relu(h) best = ArgMax<axis=1, keepdims=0>(y) }""")
LENGTHS = parse("g (float[rows, n] x) => (float[rows, n] y) { y = Relu(x) }")
CONVOLUTION = parse("""g (float[rows, 1, 3, 3] x) => (float[rows, 1, 2, 2] y)
    <float[1, 1, 2, 2] w = {1, -1, 2, 0.5}> { y = Conv(x, w) }""")
ANY_SIZE = parse("""g (float[rows, 1, high, wide] x) => (float[rows, 1, a, b] y)
    <float[1, 1, 2, 2] w = {1, -1, 2, 0.5}> { y = Conv(x, w) }""")
WORDS = parse("""g (string[rows] c, float[rows] x) => (float[rows] y)
    { i = ai.onnx.ml.LabelEncoder<keys_strings=["a", "b"], values_floats=[1.0, 2.0]>(c)
      y = Mul(i, x) }""")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeCards:
    return FakeCards(monkeypatch)


def load(graph: bytes = DENSE, provider: str = CUDA, **options: Any) -> Runtime:
    return runtimes()["onnx"](graph, RuntimeOptions((provider, CPU), **options))


def rows(count: int, seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)}


def expected(feeds: dict[str, Any], graph: bytes = DENSE) -> dict[str, Any]:
    return runtimes()["onnx"](graph, RuntimeOptions()).run(feeds)


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def refused(**options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(**options)
    assert caught.value.code == "E_PROVIDER"
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_the_receipt_says_what_was_asked_and_what_runs(cards: FakeCards) -> None:
    runtime = load()
    assert (runtime.provider, runtime.remote, runtime.healthy) == (CUDA, False, True)
    placement = runtime.placement
    assert placement is not None
    assert (placement.asked, placement.devices, placement.nodes) == (CUDA, (0,), {CUDA: 3})
    assert (placement.cuda_graphs, placement.slots, placement.most_rows, placement.sizes) == (
        False,
        2,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (
            {"libraries": False},
            "asked for CUDAExecutionProvider, but onnxruntime runs it on CPUExecutionProvider",
        ),
        (
            {"present": {1}},
            (
                "asked for device 0 of CUDAExecutionProvider: the device is not there, "
                "or does not work"
            ),
        ),
        (
            {"opens_on": 1},
            "asked for device 0 of CUDAExecutionProvider, but onnxruntime took device 1",
        ),
        (
            {"takes": False},
            "came up but takes none of the graph's nodes; they run on CPUExecutionProvider",
        ),
        ({"lacking": {"MatMul"}}, "has no kernel for MatMul, so onnxruntime runs it on the CPU"),
        ({"failing": {0: MemoryError()}}, "it does not fit into the memory there is"),
    ],
)
def test_what_does_not_really_run_there_is_refused_with_the_reason(
    cards: FakeCards, wrong: dict[str, Any], why: str
) -> None:
    for name, value in wrong.items():
        setattr(cards, name, value)
    assert why in refused()


def test_options_that_a_provider_does_not_take_are_its_reason(cards: FakeCards) -> None:
    assert "does not take these provider options" in refused(
        provider_options=(("gpu_memory", "1"),)
    )


def test_a_provider_that_nobody_knows_and_one_that_is_not_built_in_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "asked for 'CudaExecutionProvider', which onnxruntime does not know" in refused(
        provider="CudaExecutionProvider"
    )
    assert "which this onnxruntime was built without; mend: install the extra gpu" in refused()
    FakeCards(monkeypatch)
    assert load().provider == CUDA


def test_a_graph_that_is_none_is_the_bundles_fault_and_not_the_devices(cards: FakeCards) -> None:
    with pytest.raises(ModelError) as caught:
        load(b"not a graph")
    assert caught.value.code == "E_LOAD"


def test_the_cpu_takes_over_only_where_that_is_allowed_and_the_receipt_says_so(
    cards: FakeCards,
) -> None:
    cards.present = set()
    runtime = load(allow_cpu_fallback=True, provider_options=(("gpu_mem_limit", "9"),))
    placement = runtime.placement
    assert placement is not None
    assert (runtime.provider, placement.asked, placement.devices, placement.slots) == (
        CPU,
        CUDA,
        (),
        None,
    )
    assert_same(runtime.run(rows(3)), expected(rows(3)))


def test_the_devices_options_reach_the_provider(cards: FakeCards) -> None:
    load(
        device_memory_bytes=2**30, provider_options=(("arena_extend_strategy", "kNextPowerOfTwo"),)
    )
    wanted = {
        "device_id": "0",
        "gpu_mem_limit": str(2**30),
        "arena_extend_strategy": "kNextPowerOfTwo",
    }
    wanted |= {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert cards.opened == [(0, wanted)]
    load(provider_options=(("use_tf32", "1"),))
    assert cards.opened[1][1]["use_tf32"] == "1"


def test_answers_stay_as_they_are_whatever_runs_after_them(cards: FakeCards) -> None:
    runtime = load()
    kept = [
        (runtime.run(rows(count, count)), expected(rows(count, count)))
        for count in (2, 5, 700, 1, 300, 4)
    ]
    for found, wanted in kept:
        assert_same(found, wanted)
    assert {how for _, _, how in cards.runs} == {"plain"}


def test_inputs_of_any_length_run(cards: FakeCards) -> None:
    runtime = load(LENGTHS)
    for shape in ((1, 3), (4, 900), (2, 1), (3, 0)):
        feeds = {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}
        assert_same(runtime.run(feeds), expected(feeds, LENGTHS))


def test_lookups_of_words_stay_on_the_cpu_and_the_receipt_counts_them(cards: FakeCards) -> None:
    feeds = {"c": np.array(["b", "a"], object), "x": np.array([3, 4], np.float32)}
    cards.lacking = {"LabelEncoder"}
    runtime = load(WORDS)
    assert_same(runtime.run(feeds), expected(feeds, WORDS))
    assert runtime.placement is not None
    assert runtime.placement.nodes == {CPU: 1, CUDA: 1}


def images(count: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(count).normal(size=(count, 1, 3, 3)).astype(np.float32)}


def test_convolutions_are_planned_once_for_each_size_to_which_batches_are_filled_up(
    cards: FakeCards,
) -> None:
    runtime = load(CONVOLUTION, max_rows=12, device_memory_bytes=500)
    placement = runtime.placement
    assert placement is not None
    assert (placement.sizes, placement.most_rows, placement.slots) == ((1, 2, 4, 8, 12), 12, 2)
    for count in (1, 3, 2, 4, 1, 11, 3, 12, 2, 7, 1, 13):
        assert_same(runtime.run(images(count)), expected(images(count), CONVOLUTION))
    assert cards.planned == [1, 4, 2, 12, 8, 13]
    assert [options["gpu_mem_limit"] for _, options in cards.opened] == ["100"] * 6, (
        "they share what there is"
    )


def test_what_is_settled_needs_no_plan_any_more_and_larger_sizes_are_let_go_of(
    cards: FakeCards,
) -> None:
    runtime = load(CONVOLUTION, max_rows=16)
    for count in (2, 16):
        runtime.run(images(count))
    runtime.warm_up(3)
    assert sorted(cards.planned) == [1, 2, 4, 16]
    for count in (3, 1, 2, 4):
        assert_same(runtime.run(images(count)), expected(images(count), CONVOLUTION))
    assert len(cards.planned) == 4
    runtime.run(images(16))
    assert len(cards.planned) == 5, "its session was gone"
    cards.room_rows = 2
    runtime.warm_up(16)  # no batch of 4 fits: the model serves all the same
    cards.room_rows = None
    cards.planned.clear()
    for count in (2, 4):
        runtime.run(images(count))
    assert cards.planned == [4], "a session that ran out of memory is not kept"


@pytest.mark.usefixtures("_soon")
def test_a_device_that_is_back_has_run_every_size_before_it_is_asked(cards: FakeCards) -> None:
    runtime = load(CONVOLUTION, max_rows=4)
    assert isinstance(runtime, DevicesRuntime)
    runtime.run(images(1))
    runtime.warm_up(4)
    cards.failing[0] = lost()
    with pytest.raises(Unavailable):
        runtime.run(images(3))
    cards.planned.clear()
    cards.failing.clear()
    with runtime._changed:
        assert runtime._changed.wait_for(lambda: len(runtime._free) == 2, 20)
    assert cards.planned == [1, 2, 4]
    assert_same(runtime.run(images(3)), expected(images(3), CONVOLUTION))
    assert cards.planned == [1, 2, 4]
    runtime.close()


@pytest.mark.usefixtures("_soon")
def test_batches_of_each_length_run_on_each_device_and_on_one_that_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = FakeCards(monkeypatch, 2)
    runtime = load(ANY_SIZE, devices=(0, 1))
    assert isinstance(runtime, DevicesRuntime)
    runtime.run(images(1))
    made = [images(1), images(3)]
    cards.runs.clear()
    runtime.warm_up(4, lambda: made)
    assert [(card, rows) for card, rows, _ in cards.runs] == [(0, 1), (0, 3), (1, 1), (1, 3)]
    cards.failing[1] = lost()
    with pytest.raises(Unavailable):
        for _ in range(4):
            runtime.run(images(1))
    cards.runs.clear()
    cards.failing.clear()
    with runtime._changed:
        assert runtime._changed.wait_for(lambda: len(runtime._free) == 4, 20)
    assert [(card, rows) for card, rows, _ in cards.runs] == [(1, 1), (1, 1), (1, 3)]
    runtime.close()


def test_convolutions_over_inputs_of_any_size_run_unfilled_and_the_log_says_what_that_costs(
    cards: FakeCards, caplog: pytest.LogCaptureFixture
) -> None:
    placement = load(ANY_SIZE).placement
    assert placement is not None
    assert (placement.sizes, placement.most_rows) == ((), None)
    assert "planned anew" in caplog.text


def test_a_size_that_finds_no_room_is_out_of_memory_and_not_a_fault_of_the_model(
    cards: FakeCards,
) -> None:
    runtime = load(CONVOLUTION)
    assert_same(runtime.run(images(1)), expected(images(1), CONVOLUTION))
    cards.failing[0] = MemoryError("no room for another session")
    with pytest.raises(OutOfMemory):
        runtime.run(images(2))
    cards.failing.clear()
    assert_same(runtime.run(images(2)), expected(images(2), CONVOLUTION))


def test_a_cuda_graph_is_recorded_once_for_each_power_of_two_and_replayed(cards: FakeCards) -> None:
    runtime = load(cuda_graphs=True, max_rows=12)
    placement = runtime.placement
    assert placement is not None
    assert (placement.cuda_graphs, placement.slots, placement.most_rows) == (True, 1, 12)
    for seed, count in enumerate((1, 3, 4, 3, 9, 12, 2)):
        assert_same(runtime.run(rows(count, seed)), expected(rows(count, seed)))
    ran = [(size, how) for _, size, how in cards.runs if how != "bound"]
    assert [size for size, how in ran if how == "recorded"] == [1, 4, 12, 2]
    assert [size for size, how in ran if how == "replayed"] == [4, 4, 12]


@pytest.mark.parametrize("graph", [LENGTHS, WORDS])
def test_cuda_graphs_are_left_out_where_sizes_vary_and_where_onnxruntime_refuses_them(
    cards: FakeCards, graph: bytes
) -> None:
    placement = load(graph, cuda_graphs=True).placement
    assert placement is not None
    assert (placement.cuda_graphs, placement.most_rows) == (False, None)
    cards.lacking = {"ArgMax"}
    runtime = load(cuda_graphs=True)
    assert runtime.placement is not None
    assert (
        runtime.placement.cuda_graphs,
        runtime.placement.most_rows,
        runtime.placement.slots,
    ) == (False, None, 2)
    assert_same(runtime.run(rows(3)), expected(rows(3)))


def test_tensorrt_is_told_every_size_beforehand_or_refused(cards: FakeCards) -> None:
    runtime = load(provider=TENSORRT, max_rows=16)
    assert runtime.placement is not None
    assert (runtime.provider, runtime.placement.most_rows) == (TENSORRT, 16)
    _, options = cards.opened[0]
    profile = {name: options[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")}
    assert profile == {"min": "x:1x3", "opt": "x:8x3", "max": "x:16x3"}
    assert "must know every size beforehand" in refused(graph=LENGTHS, provider=TENSORRT)
    given = tuple(
        (f"trt_profile_{name}_shapes", f"x:1x{size}")
        for name, size in (("min", 1), ("opt", 8), ("max", 64))
    )
    assert load(LENGTHS, TENSORRT, provider_options=given).provider == TENSORRT


def test_tensorrts_engines_are_kept_by_graph_device_and_versions(
    cards: FakeCards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards.present = {0, 1}
    facts = ["NVIDIA H100, driver 570, TensorRT 101300"]
    monkeypatch.setattr(tensorrt_engines, "machine_facts", lambda: facts[0])

    def folder(graph: bytes = DENSE, **options: Any) -> str:
        load(graph, TENSORRT, cache=tmp_path / "graphs", **options)
        chosen = cards.opened[-1][1]
        assert (chosen["trt_engine_cache_enable"], chosen["trt_timing_cache_path"]) == (
            "1",
            chosen["trt_engine_cache_path"],
        )
        assert Path(chosen["trt_engine_cache_path"]).is_dir()
        return chosen["trt_engine_cache_path"]

    first = folder()
    assert folder() == first
    others = {
        folder(DENSE.replace(b"ArgMax", b"ArgMin")),
        folder(devices=(1,)),
        folder(provider_options=(("trt_fp16_enable", "1"),)),
        folder(max_rows=8),
        folder(data=Path("model.onnx.data"), data_sha256="0" * 64),
        folder(data=Path("model.onnx.data"), data_sha256="1" * 64),
    }
    facts[0] = "NVIDIA H100, driver 580, TensorRT 101300"
    others.add(folder())
    assert len(others | {first}) == 8
    facts[0] = None  # type: ignore[call-overload]
    load(provider=TENSORRT, cache=tmp_path / "graphs")
    assert "trt_engine_cache_enable" not in cards.opened[-1][1]


def test_what_the_driver_says_of_cards_and_versions_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_engines, "DRIVER", tmp_path)
    monkeypatch.setattr(
        tensorrt_engines.ctypes,
        "CDLL",
        lambda name: type("Library", (), {"getInferLibVersion": staticmethod(lambda: 101300)}),
    )
    assert tensorrt_engines.machine_facts() is None
    (tmp_path / "version").write_text("NVRM version: 570.1\nGCC version: 12\n")
    assert tensorrt_engines.machine_facts() is None
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text(
        "Model: \t\t NVIDIA H100\nIRQ: 5\n"
    )
    said = tensorrt_engines.machine_facts()
    assert said is not None
    assert said.splitlines()[:3] == ["NVIDIA H100", "NVRM version: 570.1", "101300"]


def test_devices_take_turns_and_a_batch_waits_where_all_lanes_are_taken(cards: FakeCards) -> None:
    cards.present = {0, 1, 2}
    runtime = load(devices=(2, 0))
    assert runtime.placement is not None
    assert (runtime.placement.devices, runtime.placement.slots) == ((2, 0), 4)
    for _ in range(4):
        runtime.run(rows(1))
    assert [number for number, _, _ in cards.runs] == [2, 0, 2, 0]
    assert isinstance(runtime, DevicesRuntime)
    taken = [runtime._take(now_s() + 9) for _ in range(4)]
    with pytest.raises(Unavailable) as caught:
        runtime.run(rows(1), deadline_s=now_s())
    assert caught.value.code == "E_DEADLINE"
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(runtime.run(rows(2))), daemon=True)
    waiting.start()
    runtime._return(*taken[3])
    waiting.join(20)
    assert_same(found[0], expected(rows(2)))


def test_a_batch_beyond_the_memory_gives_back_what_it_left_so_that_its_half_runs(
    cards: FakeCards,
) -> None:
    runtime = load()
    cards.room_rows = 8
    with pytest.raises(OutOfMemory) as caught:
        runtime.run(rows(9))
    assert (caught.value.code, str(caught.value)) == (
        "E_OOM",
        "this batch needs more memory than there is",
    )
    assert_same(runtime.run(rows(8)), expected(rows(8)))
    cards.room_rows = 0
    with pytest.raises(OutOfMemory):
        runtime.run(rows(1))


@pytest.mark.parametrize("dtype", ["float", "double", "float16", "bool", "int8", "uint8", "int64"])
def test_lanes_bind_as_onnxruntime_itself_wants_it(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """The processor stands for the card; sessions, bindings and values are onnxruntime's own."""
    monkeypatch.setattr(onnx_lanes, "CUDA_DEVICE", "cpu")
    monkeypatch.setattr(onnx_lanes, "shrinking", lambda _: None)
    graph = parse(f"g ({dtype}[rows, 3] x) => ({dtype}[rows, 3] y) {{ y = Identity(x) }}")
    session = ort.InferenceSession(graph, providers=[CPU])
    kind = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    feeds = [(np.arange(3 * count).reshape(count, 3) % 2).astype(kind) for count in (2, 5, 1, 3, 2)]
    for lane in (
        GraphLane(session, 0, (1, 2, 4, 8)),
        SizedLane(session, lambda: session, 0, (1, 2, 4)),
        PlainLane(session, 0),
    ):
        found = [lane.run({"x": array})[0] for array in feeds]
        for array, wanted in zip(found, feeds, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_devices, "RETRY_S", 0.01)
    monkeypatch.setattr(onnx_devices, "LONGEST_RETRY_S", 0.02)


def fails(runtime: Runtime) -> str:
    with pytest.raises(Unavailable) as caught:
        runtime.run(rows(1))
    assert "secret" not in str(caught.value)
    return caught.value.code


@pytest.mark.usefixtures("_soon")
def test_a_lost_device_is_left_out_and_taken_in_again(cards: FakeCards) -> None:
    cards.present = {0, 1}
    runtime = load(devices=(0, 1))
    assert isinstance(runtime, DevicesRuntime)
    assert_same(runtime.run(rows(1)), expected(rows(1)))
    assert runtime.run(rows(1))
    cards.failing[0] = lost()
    cards.runs.clear()
    assert fails(runtime) == "E_RUNTIME_DOWN"
    assert runtime.healthy
    for _ in range(5):
        assert_same(runtime.run(rows(2)), expected(rows(2)))
    assert {number for number, _, _ in cards.runs} == {1}
    cards.failing[1] = lost()
    assert fails(runtime) == "E_RUNTIME_DOWN"
    assert not runtime.healthy
    assert fails(runtime) == "E_RUNTIME_DOWN"  # at once: there is nothing to wait for
    cards.failing.clear()
    with runtime._changed:
        assert runtime._changed.wait_for(lambda: len(runtime._free) == 4, 20)
    assert runtime.healthy
    cards.runs.clear()
    for _ in range(4):
        assert_same(runtime.run(rows(2)), expected(rows(2)))
    assert {number for number, _, _ in cards.runs} == {0, 1}
    runtime.close()


@pytest.mark.parametrize("refusing", [{0}, {1}, {0, 1}])
def test_cards_are_alike_where_one_of_them_refuses_cuda_graphs(
    refusing: set[int], cards: FakeCards
) -> None:
    cards.present, cards.not_recording = {0, 1}, refusing
    runtime = load(cuda_graphs=True, devices=(0, 1))
    assert runtime.placement is not None
    assert (runtime.placement.cuda_graphs, runtime.placement.slots, runtime.placement.sizes) == (
        False,
        4,
        (),
    )
    cards.runs.clear()
    for _ in range(4):
        assert_same(runtime.run(rows(3)), expected(rows(3)))
    assert {(number, how) for number, _, how in cards.runs} == {(0, "plain"), (1, "plain")}
    runtime.close()


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("error", [lost(), TypeError("a driver of another kind")])
def test_a_lost_device_comes_back_with_its_cuda_graphs(error: Exception, cards: FakeCards) -> None:
    cards.present = {0, 1}
    runtime = load(cuda_graphs=True, devices=(0, 1), max_rows=4)
    assert isinstance(runtime, DevicesRuntime)
    cards.failing[0] = lost()
    assert fails(runtime) == "E_RUNTIME_DOWN"
    tried = threading.Event()
    cards.failing = Counting({0: error}, tried)
    assert tried.wait(20), "it is tried while it is not there yet"
    cards.failing.clear()
    with runtime._changed:
        assert runtime._changed.wait_for(lambda: len(runtime._free) == 2, 20)
    cards.runs.clear()
    for _ in range(4):
        assert_same(runtime.run(rows(2)), expected(rows(2)))
    assert {number for number, _, _ in cards.runs} == {0, 1}
    assert {how for _, _, how in cards.runs} <= {"bound", "recorded", "replayed"}
    runtime.close()


class Counting(dict[int, Exception]):
    """What fails on cards; `tried` is set when it was looked up more than once."""

    def __init__(self, failing: dict[int, Exception], tried: threading.Event) -> None:
        super().__init__(failing)
        self._tried, self._looks = tried, 0

    def __getitem__(self, number: int) -> Exception:
        self._looks += 1
        if self._looks > 1:
            self._tried.set()
        return super().__getitem__(number)


@pytest.mark.usefixtures("_soon")
def test_whoever_waits_for_a_lane_is_told_when_the_last_device_is_lost(cards: FakeCards) -> None:
    runtime = load()
    assert isinstance(runtime, DevicesRuntime)
    taken = [runtime._take(now_s() + 9) for _ in range(2)]
    codes: list[str] = []
    waiting = threading.Thread(target=lambda: codes.append(fails(runtime)), daemon=True)
    waiting.start()
    cards.failing[0] = lost()
    runtime._lose(taken[0][1])
    waiting.join(20)
    assert codes == ["E_RUNTIME_DOWN"]
    runtime.close()
