"""The lines to copy for tritonclient, of rows with objects, lists, durations and missing values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support import browsers
from support.browsers import Opened
from support.made import bundle_of

import seatrial as st
from seatrial_contracts.golden import Golden

pytestmark = [pytest.mark.slow, browsers.NEEDED]


class Line(st.Row):
    price: float
    kind: Literal["tea", "soup"]


class Address(st.Row):
    zip: int
    since: date


class Order(st.Row):
    address: Address
    lines: Annotated[list[Line], st.Items(max_items=3)]
    wait: timedelta
    at: datetime
    paid: bool | None


class Out(st.Answer):
    total: float
    days: int
    micros: int
    moment: int


CONTRACT = st.contract_from_rows(Order, Out)
ROW: dict[str, Any] = {
    "address": {"zip": 150, "since": "1969-12-30"},
    "lines": [{"price": 2.5, "kind": "tea"}, {"price": 3.0, "kind": "soup"}],
    "wait": "-P1DT2H0.5S",
    "at": "2026-03-01T12:00:00.250001+02:00",
    "paid": None,
}
ANSWER = {
    "total": np.float32(5.5),
    "days": np.int64(-2),
    "micros": np.int64(-(26 * 3600 * 10**6 + 500_000)),
    "moment": np.int64(1_772_359_200_250_001),
}


def graph() -> bytes:
    """The sum of the prices, and three numbers as they come."""
    sides: dict[str, list[Any]] = {"lines_price": ["items"], "lines_mask": ["items"]}
    sides["lines_kind"] = ["items"]
    types = {"string": TensorProto.STRING, "bool": TensorProto.BOOL, "int64": TensorProto.INT64}
    value, node = helper.make_tensor_value_info, helper.make_node
    inputs = [
        value(spec.name, types.get(spec.dtype, TensorProto.FLOAT),
              ["batch", *sides.get(spec.name, [])])
        for spec in CONTRACT.tensors
    ]  # fmt: skip
    outputs = [
        value(name, TensorProto.FLOAT if name == "total" else TensorProto.INT64, ["batch"])
        for name in ANSWER
    ]
    nodes = [
        node("Cast", ["lines_mask"], ["_there"], to=TensorProto.FLOAT),
        node("Mul", ["lines_price", "_there"], ["_prices"]),
        node("ReduceSum", ["_prices", "_last"], ["total"], keepdims=0),
        node("Identity", ["address_since"], ["days"]),
        node("Identity", ["wait"], ["micros"]),
        node("Identity", ["at"], ["moment"]),
    ]
    last = onnx.numpy_helper.from_array(np.array([1]), "_last")
    made = helper.make_graph(nodes, "orders", inputs, outputs, initializer=[last])
    model: Any = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def test_the_lines_for_tritonclient_ask_the_same_of_objects_lists_and_times(
    tmp_path: Path, serve: Callable[..., Any], opened: Opened
) -> None:
    golden = Golden((ROW,), ({name: np.asarray(value) for name, value in ANSWER.items()},))
    bundle_of(tmp_path, CONTRACT, golden, ("onnx", graph()), {}, "orders")
    server = serve(tmp_path)
    assert server.wait_until_loaded()[0] == 200
    page = opened(server.url, "orders")
    page.get_by_label("address", exact=True).fill('{"zip": 150, "since": "1969-12-30"}')
    lines = '[{"price": 2.5, "kind": "tea"}, {"price": 3.0, "kind": "soup"}]'
    page.get_by_label("lines", exact=True).fill(lines)
    page.get_by_label("wait", exact=True).fill(ROW["wait"])
    page.get_by_label("paid", exact=True).select_option(label="– missing –")
    page.locator(".lines summary", has_text="tritonclient").click()
    code = page.locator(".lines details", has_text="tritonclient").locator("code")
    page.wait_for_function(
        "(text) => [...document.querySelectorAll('.lines code')]"
        ".some((one) => one.textContent.includes(text))",
        arg="-93600500000",
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.text_content()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    assert (said["total"], said["days"]) == ("[[5.5]]", "[[-2]]")
    assert said["micros"] == "[[-93600500000]]"
    assert "paid" not in code.text_content()
