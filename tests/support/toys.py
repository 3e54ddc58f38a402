"""Small bundles made by hand, with a Python function in place of a graph.

They need no torch, no onnxruntime, and only milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.golden import Golden, Refused
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.profile import DriftFeatures, Profile
from seatrial_serve.inference import engine
from seatrial_serve.runtimes.fake import FakeRuntime

Feeds = Mapping[str, Array]
ROWS: list[dict[str, Any]] = [{"x": float(i), "word": "a" if i % 2 else "b"} for i in range(9)]


class Toy(st.Row):
    x: Annotated[float, st.Number(ge=-100, le=100)]
    word: Literal["a", "b"]


class Twice(st.Answer):
    twice: float
    pair: st.Tensor[np.float32, 2]


def answer(feeds: Feeds) -> dict[str, Array]:
    """The toy model: twice x, and x beside 1 for the word "a"."""
    is_a = (feeds["word"] == "a").astype(np.float32)
    return {"twice": feeds["x"] * 2, "pair": np.stack([feeds["x"], is_a], 1)}


def toy_golden(rows: Sequence[dict[str, Any]] = ROWS) -> Golden:
    answers = tuple(
        {
            "twice": np.float32(row["x"] * 2),
            "pair": np.array([row["x"], row["word"] == "a"], np.float32),
        }
        for row in rows
    )
    return Golden(
        tuple(rows),
        answers,
        (
            Refused({"x": 101.0, "word": "a"}, "E_RANGE"),
            Refused({"x": 1.0, "word": "c"}, "E_CATEGORY"),
        ),
    )


def toy_files(golden: Golden | None = None, limits: st.Limits | None = None) -> dict[str, bytes]:
    contract = st.contract_from_rows(Toy, Twice, limits=limits)
    return {
        CONTRACT: contract.to_json(),
        PROFILE: toy_profile(contract).to_json(),
        "graphs/toy.fake": b"twice",
        **(golden or toy_golden()).to_files(),
    }


def toy_profile(contract: st.Contract) -> Profile:
    golden = toy_golden()
    return DriftFeatures(HostStage(contract, {})).profile(golden.rows, golden.answers)


def toy_manifest(name: str = "toy", version: str = "1.0.0", batchable: bool = True) -> Manifest:
    variant = Variant(name="fp32", format="fake", graph="graphs/toy.fake")
    return Manifest(
        schema=1,
        name=name,
        version=version,
        batchable=batchable,
        variants=(variant,),
        files={},
    )


def toy_bundle(
    folder: Path, *, golden: Golden | None = None, limits: st.Limits | None = None, **manifest: Any
) -> Bundle:
    return write_bundle(folder, toy_manifest(**manifest), toy_files(golden, limits))


def fake_runtimes(
    monkeypatch: pytest.MonkeyPatch, function: Callable[[Feeds], dict[str, Array]] = answer
) -> FakeRuntime:
    """Let graphs of format "fake" be run by a function; return the runtime.

    The runtime keeps the size of every batch.
    """
    runtime = FakeRuntime(
        function, inputs={"x": "float32", "word": "string"}, outputs=["twice", "pair"]
    )
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
    return runtime
