"""On a real card: golden rows, refusals, memory, and figures.

No figure is claimed before it is measured. Run it: make test-gpu
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import seatrial as st
from seatrial_contracts.errors import ModelError, OutOfMemory
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.inference.load_gate import LoadGate, pass_load_gate
from seatrial_serve.runtimes import runtimes
from seatrial_serve.runtimes.runtime import RuntimeOptions

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
ON_CPU, ON_CARD = RuntimeOptions((CPU,)), RuntimeOptions((CUDA,))
EXAMPLES = ("penguins", "digits", "sentences", "photos")
SIZES = (1, 2, 4, 8, 16, 32, 64)
SECONDS_EACH = 0.5
LARGE = """<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[n] y)
    <int64[2] s = {-1, 1}, int64[1] big = {1000000}, int64[1] m = {1}>
    { a = Reshape(x, s) r = Concat<axis=0>(m, big) t = Expand(a, r) u = Relu(t)
      y = ReduceMax<keepdims=0>(u, m) }"""
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]


@pytest.fixture(scope="session", autouse=True)
def _card() -> None:
    try:
        runtimes()["onnx"](large(), ON_CARD)
    except ModelError as error:
        pytest.skip(f"no card here: {error}")


def large() -> bytes:
    """A graph that takes 4 MB for each row, twice."""
    return bytes(onnx.parser.parse_model(LARGE).SerializeToString())


def engine_of(examples: Path, name: str, options: RuntimeOptions) -> Engine:
    return load_engine(st.open_bundle(examples / name / "1.0.0"), options)


def rows_per_second(engine: Engine, size: int) -> float:
    """Of batches of one golden row, the best of five rounds, after some that do not count."""
    row = engine.encode(engine.contract.validate_row(engine.bundle.golden.rows[0]))
    batch = [[row] * size]
    for _ in range(5):
        engine.run(batch)
    best = 0.0
    for _ in range(5):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS_EACH / 5:
            engine.run(batch)
            count += 1
        best = max(best, count * size / (time.perf_counter() - start))
    return best


def assert_alike(found: Engine, wanted: Engine) -> None:
    """The golden rows' answers, alone and in batches."""
    rows = found.bundle.golden.rows
    for size in (1, 3, 8):
        for one, other in zip(found.answer(rows, size), wanted.answer(rows, size), strict=True):
            for field, value in other.items():
                np.testing.assert_allclose(one[field], value, rtol=1e-4, atol=1e-5)


def print_table(title: str, columns: dict[str, Engine], sizes: tuple[int, ...] = SIZES) -> None:
    print(
        f"\n{title}, rows/s\n| rows in a batch | {' | '.join(columns)} |\n"
        f"|---|{'---|' * len(columns)}"
    )
    for size in sizes:
        rates = [f"{rows_per_second(engine, size):,.0f}" for engine in columns.values()]
        print(f"| {size} | {' | '.join(rates)} |")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_passes_its_load_gate_on_the_card(examples: Path, name: str) -> None:
    engine = engine_of(examples, name, ON_CARD)
    admitted = pass_load_gate(engine)
    assert (engine.provider, all(trial.passed for trial in admitted.trials)) == (CUDA, True)
    worst = max(trial.worst_error or 0.0 for trial in admitted.trials)
    print(f"\n{name}: worst error {worst:.1e}, {engine.placement}")


def test_a_server_on_the_card_passes_the_golden_rows_over_http(
    examples: Path, serve: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve(examples, "--providers", CUDA)
    status, said = server.wait_until_loaded(300)
    assert status == 200, said
    for name in EXAMPLES:
        ask = [
            sys.executable,
            "-m",
            "seatrial",
            "parity",
            str(examples / name / "1.0.0"),
            "--url",
            server.url,
            "--runner",
            "http v1",
        ]
        done = subprocess.run(
            [*ask, "--junit", str(tmp_path / "junit.xml")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert CUDA[:4] in done.stdout


def test_a_card_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="device 99") as refused:
        runtimes()["onnx"](large(), replace(ON_CARD, devices=(99,)))
    assert refused.value.code == "E_PROVIDER"


def test_memory_that_runs_out_is_told_apart_and_half_the_batch_runs() -> None:
    runtime = runtimes()["onnx"](large(), replace(ON_CARD, device_memory_bytes=600 * 2**20))
    rows = np.arange(100, dtype=np.float32)
    for _ in range(3):
        with pytest.raises(OutOfMemory):
            runtime.run({"x": rows})
        np.testing.assert_array_equal(runtime.run({"x": rows[:50]}, outlier=True)["y"], rows[:50])


@pytest.mark.parametrize("name", ["digits", "sentences"])
def test_a_card_against_the_processor(examples: Path, name: str) -> None:
    processor, card = engine_of(examples, name, ON_CPU), engine_of(examples, name, ON_CARD)
    assert_alike(card, processor)
    print_table(name, {"processor, 1 thread": processor, "card": card})


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_what_a_batch_of_another_size_costs_once_each_size_has_run(
    examples: Path, name: str
) -> None:
    engine = engine_of(examples, name, ON_CARD)
    assert engine.placement is not None
    assert engine.placement.sizes == SIZES, "a session for each"
    gate = LoadGate(engine)
    gate.set_outlier_limit(gate.run(), SIZES[-1])
    row = engine.encode(engine.contract.validate_row(engine.bundle.golden.rows[0]))
    took: list[tuple[int, float]] = []
    for size in (1, 33, 2, 17, 3, 64, 1, 5):
        start = time.perf_counter()
        engine.run([[row] * size])
        took.append((size, (time.perf_counter() - start) * 1e3))
    print(
        f"\n{name}, ms of one batch after another: "
        f"{', '.join(f'{size}: {ms:.1f}' for size, ms in took)}"
    )


def test_cuda_graphs_on_and_off(examples: Path) -> None:
    off, on = (
        engine_of(examples, "digits", replace(ON_CARD, cuda_graphs=graphs))
        for graphs in (False, True)
    )
    assert on.placement is not None
    assert on.placement.cuda_graphs
    assert_alike(on, off)
    print_table("digits", {"launched one by one": off, "recorded": on})


def test_tensorrts_first_and_second_start(examples: Path, tmp_path: Path) -> None:
    options = replace(ON_CARD, providers=(TENSORRT, CUDA), cache=tmp_path / "graphs", max_rows=32)

    def start() -> tuple[float, Engine]:
        begin = time.perf_counter()
        engine = engine_of(examples, "digits", options)
        pass_load_gate(engine)
        return time.perf_counter() - begin, engine

    try:
        first_s, _ = start()
    except ModelError as error:
        pytest.skip(f"no TensorRT here: {error}")
    second_s, engine = start()
    print(f"\ndigits on TensorRT: first start {first_s:.1f} s, second {second_s:.1f} s")
    assert list((tmp_path / "engines").glob("*/*.engine")), "no engine was kept"
    print_table(
        "digits", {"TensorRT": engine, "CUDA": engine_of(examples, "digits", ON_CARD)}, (1, 8, 32)
    )


def test_one_card_against_two_behind_one_batcher(examples: Path) -> None:
    try:
        runtimes()["onnx"](large(), replace(ON_CARD, devices=(0, 1)))
    except ModelError as error:
        pytest.skip(f"no second card here: {error}")
    for devices in ((0,), (0, 1)):
        engine = engine_of(examples, "digits", replace(ON_CARD, devices=devices))
        assert engine.placement is not None
        assert engine.placement.devices == devices
        with ThreadPoolExecutor(engine.slots) as pool:
            rates = pool.map(
                lambda _, engine=engine: rows_per_second(engine, 32), range(engine.slots or 1)
            )
        print(
            f"\ndigits, batches of 32 from {engine.slots} threads on {devices}: "
            f"{sum(rates):,.0f} rows/s"
        )
