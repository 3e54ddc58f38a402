"""The main job on real input: train, seal, open, pass the load gate.

A damaged bundle is refused.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import seatrial as st
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.runtimes.runtime import RuntimeOptions


@pytest.mark.slow
def test_penguins_are_sealed_and_pass_the_load_gate_and_one_flipped_bit_is_refused(
    tmp_path: Path,
) -> None:
    bundle = st.export(st.load_pipeline("examples/penguins/pipeline.py:pipeline"), tmp_path)
    admitted = pass_load_gate(load_engine(st.open_bundle(bundle.path), RuntimeOptions()))
    assert all(trial.passed for trial in admitted.trials)
    graph = bundle.path / "graphs" / "fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    with pytest.raises(st.BundleError, match=r"fp32\.onnx"):
        st.open_bundle(bundle.path)
