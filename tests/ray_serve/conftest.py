"""A real Ray Serve by either of its proxies, and small bundles for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from onnx import numpy_helper
from support.foreign import adopt, parsed
from support.real_ray import PYTHON, Cluster, open_cluster

import seatrial as st
from seatrial_serve.deploy.ray import ENVIRONMENT

PROXY = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "seatrial_ray.proxy:middlewares"}
"""Ray's own proxy, as `docs/how-to/ray.md` starts it."""
SIDE, TIMES = 1024, 48
"""Of the slow model: its matrix, and how often a row goes through it."""


class Point(st.Row):
    x: Annotated[float, st.Number(ge=-100, le=100)]


class Line(st.Answer):
    y: float


@pytest.fixture(scope="module", params=[ENVIRONMENT, PROXY], ids=["haproxy", "proxy"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, lines: Path
) -> Iterator[Cluster]:
    """A Ray by HAProxy, then one by Ray's own proxy."""
    if not PYTHON.exists():
        pytest.skip("Ray's environment is not here: make test-ray")
    log = tmp_path_factory.mktemp("ray") / "log"
    with open_cluster(request.param, st.open_bundle(lines / "line/1.0.0"), log) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model `line` of two versions: 1.0.0 doubles, 2.0.0 triples."""
    folder = tmp_path_factory.mktemp("lines")
    golden = [{"x": float(x)} for x in range(-4, 5)]
    for version, factor in (("1.0.0", 2), ("2.0.0", 3)):
        graph = f"g (float[n] x) => (float[n] y) <float k = {{{factor}}}> {{ y = Mul(x, k) }}"
        adopt(graph, folder, Point, Line, golden, name="line", version=version)
    return folder


@pytest.fixture(scope="session")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model `line` of two variants: `fp16` rounds 1.1, by which it multiplies."""
    folder = tmp_path_factory.mktemp("halved")
    golden = [{"x": float(x)} for x in range(-4, 5)]
    graph = "g (float[n] x) => (float[n] y) <float k = {1.1}> { y = Mul(x, k) }"
    adopt(graph, folder, Point, Line, golden, name="line", version="1.0.0", variants=["fp16"])
    return folder


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that takes some 10 ms for a row, and shall take 100."""
    folder = tmp_path_factory.mktemp("slow")
    made = np.random.default_rng(0)
    weights = (made.normal(size=(SIDE, SIDE)) / SIDE**0.5).astype(np.float32)
    parts = {"w": weights, "ones": np.ones((1, SIDE), np.float32), "last": np.array([1])}
    steps = " ".join(f"t{i + 1} = MatMul(t{i}, w)" for i in range(TIMES))
    text = (
        "g (float[n] x) => (float[n] y) { column = Unsqueeze(x, last) t0 = MatMul(column, ones) "
        f"{steps} y = ReduceMean <keepdims = 0> (t{TIMES}, last) }}"
    )
    graph = parsed(text, opset=18)
    graph.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in parts.items())
    golden = [{"x": float(x)} for x in range(-4, 5)]
    objective = st.Objective(p99_s=0.1)
    adopt(graph, folder, Point, Line, golden, name="slow", version="1.0.0", objective=objective)
    return folder
