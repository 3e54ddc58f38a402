"""The form of a row with packed columns: found by name, sent, refused, and asked from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import create_model
from support import browsers
from support.browsers import Opened
from support.made import bundle_of

import seatrial as st
from seatrial_contracts.golden import Golden

pytestmark = [pytest.mark.slow, browsers.NEEDED]

WIDTH = 60
SENSOR = (float | None, ...)


class Out(st.Answer):
    total: float


def graph() -> bytes:
    """The sum of what is there, and the level."""
    value, node = helper.make_tensor_value_info, helper.make_node
    nodes = [
        node("IsNaN", ["readings"], ["_holes"]),
        node("Where", ["_holes", "_zero", "readings"], ["_there"]),
        node("ReduceSum", ["_there", "_last"], ["_sum"], keepdims=0),
        node("Add", ["_sum", "level"], ["total"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([1]), "_last"),
        onnx.numpy_helper.from_array(np.float32(0), "_zero"),
    ]
    made = helper.make_graph(
        nodes,
        "wide",
        [
            value("readings", TensorProto.FLOAT, ["batch", WIDTH]),
            value("level", TensorProto.FLOAT, ["batch"]),
        ],
        [value("total", TensorProto.FLOAT, ["batch"])],
        initializer=constants,
    )
    model: Any = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def test_columns_are_found_by_name_sent_and_refused_at_their_place(
    tmp_path: Path, serve: Callable[..., Any], opened: Opened
) -> None:
    fields: dict[str, Any] = {f"sensor_{n}": SENSOR for n in range(WIDTH)}
    packed = create_model("Rows", __base__=st.Row, __cls_kwargs__={"packed": "readings"}, **fields)
    wide = st.contract_from_rows(packed, Out)

    class Level(st.Row):
        level: float

    level = st.contract_from_rows(Level, Out)
    contract = wide.model_copy(update={"inputs": (*wide.inputs, *level.inputs)})
    row = {f"sensor_{n}": 1.0 for n in range(WIDTH)} | {"level": 0.5}
    golden = Golden((row,), ({"total": np.float32(WIDTH + 0.5)},))
    bundle_of(tmp_path, contract, golden, ("onnx", graph()), {}, "wide")
    server = serve(tmp_path)
    assert server.wait_until_loaded()[0] == 200, "".join(server.log)
    page = opened(server.url, "wide")
    search = page.get_by_label("readings", exact=True).first
    assert page.get_by_text("24 of 60 columns are shown").is_visible()
    search.fill("sensor_42")
    assert page.get_by_text("1 of 60 columns").is_visible()
    page.get_by_label("sensor_42", exact=True).fill("2.5")
    search.fill("sensor_7")
    page.get_by_label("sensor_7", exact=True).fill("")
    page.get_by_role("button", name="Predict").click()
    page.locator(".answer", has_text="61").wait_for()  # 60.5, 1.5 more and 1 less

    search.fill("sensor_42")
    page.get_by_label("sensor_42", exact=True).fill("no number")
    search.fill("sensor_1")
    page.get_by_role("button", name="Predict").click()
    page.get_by_text("got a string of 9 characters").first.wait_for()
    assert search.input_value() == "sensor_42"
    assert page.get_by_label("sensor_42", exact=True).get_attribute("aria-invalid") == "true"
    page.get_by_label("sensor_42", exact=True).fill("2.5")

    page.locator(".lines summary", has_text="tritonclient").click()
    code = page.locator(".lines details", has_text="tritonclient").locator("code")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.lines code')]"
        ".some((one) => one.textContent.includes('\"readings\": np.array'))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.text_content() or ""],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "61." in ran.stdout
    page.get_by_text("each of them").click()
    page.get_by_role("row").filter(has_text="sensor_59").first.wait_for()
