"""Bundles of any contract, with a Python function in place of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.golden import Golden
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.manifest import Manifest, Variant
from seatrial_contracts.profile import DriftFeatures
from seatrial_serve.inference import engine
from seatrial_serve.runtimes.fake import FakeRuntime

Function = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Batched tensors of the contract to the batched tensors of its answers."""


def made_bundle(
    folder: Path, monkeypatch: pytest.MonkeyPatch, contract: Contract, function: Function,
    rows: Sequence[Mapping[str, Any]], files: Mapping[str, bytes] | None = None,
    name: str = "made",
) -> Bundle:  # fmt: skip
    """Write a bundle whose graph is `function`, with these golden rows and its answers to them.

    `files` are those that the host stage needs.
    """
    front = HostStage(contract, files or {})
    answers = []
    for row in rows:
        encoded = front.encode_row(contract.validate_row(row))
        outputs = function(collate(front.specs, [encoded]))
        answers.append({name: np.asarray(array[0]) for name, array in outputs.items()})
    golden = Golden(tuple(rows), tuple(answers))
    fake_runtime(monkeypatch, contract, function)
    return bundle_of(folder, contract, golden, ("fake", b"made"), files or {}, name)


def bundle_of(
    folder: Path, contract: Contract, golden: Golden, graph: tuple[str, bytes],
    files: Mapping[str, bytes], name: str,
) -> Bundle:  # fmt: skip
    """Write a bundle of one graph (its format, its bytes); its profile is of its golden rows."""
    profile = DriftFeatures(HostStage(contract, files)).profile(
        [contract.validate_row(row) for row in golden.rows], golden.answers
    )
    form, data = graph
    variant = Variant(name="fp32", format=form, graph=f"graphs/fp32.{form}")
    manifest = Manifest(
        schema=1, name=name, version="1.0.0", batchable=True, variants=(variant,),
        files={},
    )  # fmt: skip
    return write_bundle(
        folder,
        manifest,
        {
            CONTRACT: contract.to_json(),
            PROFILE: profile.to_json(),
            variant.graph: data,
            **files,
            **golden.to_files(),
        },
    )


def fake_runtime(
    monkeypatch: pytest.MonkeyPatch, contract: st.Contract, function: Function
) -> FakeRuntime:
    """Let graphs of format "fake" be run by a function."""
    runtime = FakeRuntime(
        function,
        inputs={spec.name: spec.dtype for spec in contract.tensors},
        outputs=[tensor.name for tensor in contract.answer_tensors],
    )
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": lambda _graph, _options: runtime})
    return runtime
