"""Foreign graphs for the tests of adopting.

They are written as ONNX text, sealed in process, refused without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

import seatrial as st
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.runtimes.runtime import RuntimeOptions

HEADER = '<ir_version: 8, opset_import: ["": {opset}, "ai.onnx.ml": 3, "custom.ops": 1]>'


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    """`g (float[n, 2] x) => (float[n, 2] y) { y = Relu(x) }` as a model."""
    return onnx.parser.parse_model(f"{HEADER.replace('{opset}', str(opset))}\n{text}")


def adopt(
    model: onnx.ModelProto | str,
    folder: Path,
    inputs: type[st.Row],
    outputs: type[st.Answer],
    golden: Sequence[dict[str, Any]],
    **options: Any,
) -> st.Bundle:
    """Seal it, and open what was sealed."""
    graph = parsed(model) if isinstance(model, str) else model
    declared: dict[str, Any] = {"name": "foreign", "version": "1.0.0", **options}
    sealed = st.adopt_model(
        st.Adoption(graph=graph, inputs=inputs, outputs=outputs, golden=golden, **declared), folder
    )
    return st.open_bundle(sealed.path)


def refused(*arguments: Any, **options: Any) -> str:
    """What the gate says; nothing may have been written."""
    folder: Path = arguments[1]
    with pytest.raises(st.SeatrialError) as said:
        adopt(*arguments, **options)
    assert not list(folder.rglob("*"))
    return str(said.value)


def answers(
    bundle: st.Bundle, rows: Sequence[dict[str, Any]], batch_rows: int = 1
) -> list[dict[str, Array]]:
    """What the serving side answers."""
    return load_engine(bundle, RuntimeOptions()).answer(rows, batch_rows)


def opset_of(bundle: st.Bundle) -> int:
    """The opset that the fp32 graph needs, as the manifest says."""
    needs = bundle.manifest.variant("fp32").needs
    assert needs is not None
    return needs.opset


def findings(bundle: st.Bundle) -> str:
    """What the receipt warns of."""
    return " ".join(trial.finding for receipt in bundle.receipts() for trial in receipt.trials)
