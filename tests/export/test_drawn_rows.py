"""Faults planted where no golden row looks.

A plant is a reference in numpy, a graph in ONNX text that departs from the reference, and a
contract that takes the row.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import onnx
import pytest
from annotated_types import Interval
from support.foreign import adopt, findings, parsed

import seatrial as st
from seatrial_contracts.drawn_rows import draw_rows
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.kinds.image import draw
from seatrial_contracts.kinds.pixel_mode import rgb

F32 = np.float32


class Bounded(st.Row):
    x: Annotated[float, st.Number(ge=-10, le=100)]


class Missing(st.Row):
    a: Annotated[float | None, st.Number(ge=0, le=10)]
    b: Annotated[float | None, st.Number(ge=0, le=10)]


class Ids(st.Row):
    i: Annotated[int, st.Number(ge=0, le=6)]


class Words(st.Row):
    w: Literal["a", "b", "c", "d"] | None


class Unknown(st.Row):
    w: Annotated[str, st.Category("a", "b", "c", unknown="bucket")]


class Flags(st.Row):
    f: bool
    g: bool


class Big(st.Row):
    n: Annotated[int, st.Number(ge=0, le=2**60)]


class Series(st.Row):
    x: st.Tensor[F32, 2:20]


class Ranged(st.Row):
    x: st.Tensor[F32, 4, Interval(ge=-5, le=5)]


class Basket(st.Row):
    items: st.Tensor[np.int64, 2:6, Interval(ge=0, le=6)]


class Visits(st.Row):
    n: Annotated[int | None, st.Number(ge=0, le=1000)]


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",))]


class Score(st.Answer):
    y: float


class Count(st.Answer):
    y: int


class Three(st.Answer):
    y: st.Tensor[F32, 3]


class Plant(NamedTuple):
    """A right answer in numpy, and a graph that departs from it somewhere."""

    inputs: type[st.Row]
    golden: list[dict[str, Any]]
    reference: Callable[[dict[str, Any]], Any]
    graph: str | onnx.ModelProto
    outputs: type[st.Answer] = Score
    prepare: str | None = None


def numbers(reference: Callable[[Any], Any], body: str) -> Plant:
    golden = [{"x": float(value)} for value in (1, 2, 3, 5, 8, 13)]
    graph = f"g (float[n] x) => (float[n] y) {{ {body} }}"
    return Plant(Bounded, golden, lambda row: reference(F32(row["x"])), graph)


def missing(reference: Callable[[Any, Any], Any], body: str) -> Plant:
    golden = [{"a": float(a), "b": float(b)} for a, b in ((1, 2), (3, 4), (5, 1))]
    nan = lambda value: F32(np.nan if value is None else value)
    graph = f"g (float[n] a, float[n] b) => (float[n] y) {{ {body} }}"
    return Plant(Missing, golden, lambda row: reference(nan(row["a"]), nan(row["b"])), graph)


def table(rows: int, body: str = "y = Gather(t, i)") -> Plant:
    values = ", ".join(f"{value}.0" for value in range(rows))
    graph = f"g (int64[n] i) => (float[n] y) <float[{rows}] t = {{{values}}}> {{ {body} }}"
    return Plant(Ids, [{"i": i} for i in (1, 2, 3)], lambda row: F32(row["i"]), graph)


def words(
    inputs: type[st.Row],
    known: dict[str, int],
    default: int,
    right: dict[str | None, int],
    other: int = -1,
) -> Plant:
    graph = parsed(
        "g (string[n] w) => (float[n] y) { c = ai.onnx.ml.LabelEncoder(w) y = Cast<to=1>(c) }"
    )
    attributes = {
        "keys_strings": list(known),
        "values_int64s": list(known.values()),
        "default_int64": default,
    }
    graph.graph.node[0].attribute.extend(
        onnx.helper.make_attribute(*pair) for pair in attributes.items()
    )
    return Plant(
        inputs, [{"w": "a"}, {"w": "b"}], lambda row: F32(right.get(row["w"], other)), graph
    )


def flags(body: str) -> Plant:
    graph = f"g (bool[n] f, bool[n] g_) => (float[n] y) {{ {body} }}".replace("g_", "g")
    golden = [{"f": True, "g": False}, {"f": False, "g": True}, {"f": False, "g": False}]
    return Plant(Flags, golden, lambda row: F32(row["f"] and row["g"]), graph)


def big(reference: Callable[[int], int], body: str) -> Plant:
    graph = f"g (int64[n] n_) => (int64[n] y) {{ {body} }}".replace("n_", "n").replace("[n]", "[N]")
    return Plant(
        Big,
        [{"n": n} for n in (3, 30, 300)],
        lambda row: np.int64(reference(row["n"])),
        graph,
        Count,
    )


def series(body: str) -> Plant:
    golden = [{"x": [1.0, 2.0, 4.0, 3.0]}, {"x": [0.0, 1.0, 2.0, 5.0, 6.0, 2.0]}]
    graph = f"g (float[n, s] x) => (float[n] y) {{ {body} }}"
    return Plant(Series, golden, lambda row: np.asarray(row["x"], F32).max(), graph)


def ranged(body: str) -> Plant:
    golden = [{"x": [1.0, 2.0, -1.0, 0.5]}, {"x": [0.0, -2.0, 1.0, 2.0]}]
    graph = f"g (float[n, 4] x) => (float[n] y) {{ {body} y = ReduceSum<keepdims=0>(c, one) }}"
    graph = graph.replace("y) {", "y) <int64[1] one = {1}> {", 1)
    return Plant(Ranged, golden, lambda row: np.asarray(row["x"], F32).sum(dtype=F32), graph)


def basket(body: str) -> Plant:
    graph = (
        "g (int64[n, k] items) => (float[n] y) <float[6] t = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}, "
        f"int64[1] one = {{1}}> {{ {body} v = Gather(t, i) y = ReduceSum<keepdims=0>(v, one) }}"
    )
    golden = [{"items": [1, 2]}, {"items": [3, 4, 5]}]
    return Plant(Basket, golden, lambda row: F32(np.sum(row["items"])), graph)


def visits(body: str) -> Plant:
    graph = f"g (float[n] n_) => (float[n] y) {{ {body} }}".replace("n_", "n").replace("[n]", "[N]")
    answer = lambda row: F32(-1 if row["n"] is None else row["n"])
    return Plant(Visits, [{"n": 3}, {"n": 40}, {"n": 7}], answer, graph)


def pixels(file: bytes) -> Any:
    from io import BytesIO

    from PIL import Image, ImageOps

    return np.asarray(rgb(ImageOps.exif_transpose(Image.open(BytesIO(file)))), F32)


def photo(step: str) -> Plant:
    golden = [
        {"photo": draw(32, 32, (9, 90, 30), "PNG")},
        {"photo": draw(40, 24, (90, 9, 30), "PNG")},
    ]
    prepare = f"p (uint8[h, w, 3] image) => (float[3] channels) {{ f = Cast<to=1>(image) {step} }}"
    graph = "g (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }"
    return Plant(
        Photo, golden, lambda row: -pixels(row["photo"]).mean((0, 1)), graph, Three, prepare
    )


CONST = "Constant<value = float {%s}>()"
FAULTS = {
    "a clamp at 0.9 of the upper bound": numbers(
        lambda x: x * 2, f"m = {CONST % '90.0'} t = {CONST % '2.0'} c = Min(x, m) y = Mul(c, t)"
    ),
    "a clamp at 0.9 of the lower bound": numbers(
        lambda x: x * 2, f"m = {CONST % '-9.0'} t = {CONST % '2.0'} c = Max(x, m) y = Mul(c, t)"
    ),
    "a branch at zero and below": numbers(lambda x: x, "y = Relu(x)"),
    "another answer at the bound alone": numbers(
        lambda x: x,
        f"m = {CONST % '100.0'} o = {CONST % '1.0'} z = {CONST % '0.0'} e = Equal(x, m) "
        "w = Where(e, o, z) y = Add(x, w)",
    ),
    "another answer next to the bound": numbers(
        lambda x: x,
        f"l = {CONST % '99.99998'} m = {CONST % '100.0'} o = {CONST % '1.0'} z = {CONST % '0.0'} "
        "i = Greater(x, l) k = Less(x, m) e = And(i, k) w = Where(e, o, z) y = Add(x, w)",
    ),
    "a branch between the bounds": numbers(
        lambda x: x,
        f"m = {CONST % '40.0'} o = {CONST % '1.0'} z = {CONST % '0.0'} e = Greater(x, m) "
        "w = Where(e, o, z) y = Add(x, w)",
    ),
    "a branch for zero alone": numbers(
        lambda x: x, f"m = {CONST % '0.0'} o = {CONST % '7.0'} e = Equal(x, m) y = Where(e, o, x)"
    ),
    "a branch for a missing value": missing(
        lambda a, b: np.nan_to_num(a) + np.nan_to_num(b),
        f"z = {CONST % '0.0'} o = {CONST % '1.0'} i = IsNaN(a) j = IsNaN(b) c = Where(i, o, a) "
        "d = Where(j, z, b) y = Add(c, d)",
    ),
    "a branch for all values missing": missing(
        lambda a, b: np.nan_to_num(a) + np.nan_to_num(b),
        f"z = {CONST % '0.0'} o = {CONST % '1.0'} i = IsNaN(a) j = IsNaN(b) c = Where(i, z, a) "
        "d = Where(j, z, b) s = Add(c, d) k = And(i, j) y = Where(k, o, s)",
    ),
    "a missing value taken for the bound": missing(
        lambda a, b: np.nan_to_num(a) + np.nan_to_num(b),
        f"z = {CONST % '10.0'} o = {CONST % '0.0'} i = IsNaN(a) j = IsNaN(b) c = Where(i, o, a) "
        "d = Where(j, z, b) y = Add(c, d)",
    ),
    "a table one row short": table(6),
    "a table one row short that counts from its end": table(
        6, "o = Constant<value = int64 {6}>() m = Mod(i, o) y = Gather(t, m)"
    ),
    "a table that begins at one": table(
        7, "o = Constant<value = int64 {1}>() m = Max(i, o) y = Gather(t, m)"
    ),
    "a category with another's code": words(
        Words,
        {"a": 0, "b": 1, "c": 2, "d": 2, "": 4},
        -1,
        {"a": 0, "b": 1, "c": 2, "d": 3, None: 4},
    ),
    "a missing category with another's code": words(
        Words,
        {"a": 0, "b": 1, "c": 2, "d": 3, "": 0},
        -1,
        {"a": 0, "b": 1, "c": 2, "d": 3, None: 4},
    ),
    "unknown words with a known one's code": words(
        Unknown, {"a": 0, "b": 1, "c": 2}, 0, {"a": 0, "b": 1, "c": 2}, other=3
    ),
    "a space that makes no other word": words(
        Unknown, {"a": 0, "b": 1, "c": 2, "a ": 0}, 3, {"a": 0, "b": 1, "c": 2}, other=3
    ),
    "two flags together": flags(
        "y = Constant<value = float {0.0}>() ".replace("y = ", "z = ")
        + "a = Cast<to=1>(f) y = Mul(a, z)"
    ),
    "whole numbers through float32": big(
        lambda n: n // 3,
        f"t = {CONST % '3.0'} a = Cast<to=1>(n_) q = Div(a, t) r = Floor(q) y = Cast<to=7>(r)",
    ),
    "whole numbers through float64": big(
        lambda n: n + 1,
        "o = Constant<value = double {1.0}>() a = Cast<to=11>(n_) s = Add(a, o) y = Cast<to=7>(s)",
    ),
    "only the first ten of a series": series(
        "s = Constant<value = int64[1] {0}>() e = Constant<value = int64[1] {10}>() "
        "a = Constant<value = int64[1] {1}>() c = Slice(x, s, e, a) "
        "y = ReduceMax<axes=[1], keepdims=0>(c)"
    ),
    "a series that is never below zero": series(
        "r = Relu(x) y = ReduceMax<axes=[1], keepdims=0>(r)"
    ),
    "a prepare that is off by one at odd widths": photo(
        "s = Shape(image) o = Constant<value = int64 {1}>() w = Gather(s, o) "
        "t = Constant<value = int64 {2}>() k = Mod(w, t) q = Sub(w, k) "
        "u = Constant<value = int64[1] {0}>() v = Unsqueeze(q, u)"
        " z = Constant<value = int64[1] {0}>() a = Constant<value = int64[1] {1}>() "
        "c = Slice(f, z, v, a) channels = ReduceMean<keepdims=0, axes=[0, 1]>(c)"
    ),
    "a prepare that is off by one at odd heights": photo(
        "s = Shape(image) o = Constant<value = int64 {0}>() w = Gather(s, o) "
        "t = Constant<value = int64 {2}>() k = Mod(w, t) q = Sub(w, k) "
        "u = Constant<value = int64[1] {0}>() v = Unsqueeze(q, u)"
        " z = Constant<value = int64[1] {0}>() a = Constant<value = int64[1] {0}>() "
        "c = Slice(f, z, v, a) channels = ReduceMean<keepdims=0, axes=[0, 1]>(c)"
    ),
    "a clamp at 0.9 of a tensor's bound": ranged(f"m = {CONST % '4.5'} c = Min(x, m)"),
    "a clamp at 0.9 of a tensor's lower bound": ranged(f"m = {CONST % '-4.5'} c = Max(x, m)"),
    "a table one row short for the items of a list": basket(
        "m = Constant<value = int64 {5}>() i = Min(items, m)"
    ),
    "a table one row short that a list wraps": basket(
        "m = Constant<value = int64 {6}>() i = Mod(items, m)"
    ),
    "a missing whole number taken for zero": visits(
        f"z = {CONST % '0.0'} i = IsNaN(n_) y = Where(i, z, n_)"
    ),
    "a clamp at 0.9 of a whole number's bound": visits(
        f"z = {CONST % '-1.0'} m = {CONST % '900.0'} i = IsNaN(n_) w = Where(i, z, n_) "
        "y = Min(w, m)"
    ),
    "a prepare that looks at one pixel of the least": photo(
        "s = Constant<value = int64[1] {1}>() e = Constant<value = int64[1] {99999}>() "
        "a = Constant<value = int64[1] {0}>() c = Slice(f, s, e, a) "
        "m = ReduceMean<keepdims=0, axes=[0, 1]>(f) k = ReduceMax<keepdims=0>(c) z = Sub(k, k) "
        "channels = Add(m, z)"
    ),
}


def adopted(plant: Plant, folder: Path, **options: Any) -> st.Bundle:
    answers = lambda rows: np.stack([plant.reference(row) for row in rows])
    prepare = {} if plant.prepare is None else {"prepare": parsed(plant.prepare)}
    return adopt(
        plant.graph,
        folder,
        plant.inputs,
        plant.outputs,
        plant.golden,
        training_side=answers,
        **prepare,
        **options,
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_where_no_golden_row_looks_is_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(st.GateError) as said:
        adopted(FAULTS[name], tmp_path)
    assert said.value.step == "drawn rows", str(said.value)
    assert "input" in str(said.value)
    adopted(FAULTS[name], tmp_path, waive={"drawn rows": "golden rows alone do not show it"})


def test_rows_drawn_are_the_same_for_the_same_contract_and_hold_every_edge(tmp_path: Path) -> None:
    class Row(st.Row):
        a: Annotated[float | None, st.Number(ge=0.1, lt=5)]
        n: Annotated[int | None, st.Number(gt=3, le=9)]
        w: Annotated[str | None, st.Category("p", "q", unknown="bucket")]
        t: st.Tensor[F32, 2:9]

    front = HostStage(st.contract_from_rows(Row, Score), {})
    known = [
        {"a": 1.0, "n": 5, "w": "p", "t": [1.0, 2.0]},
        {"a": None, "n": None, "w": None, "t": [0.0, 0.0]},
    ]
    rows = draw_rows(front, known)
    assert rows == draw_rows(front, known)
    assert len(rows) < 400
    assert all(front.refusal_code(each.row) is None for each in rows)
    held = {name: {repr(each.row[name]) for each in rows} for name in Row.model_fields}
    assert {
        "None",
        repr(float(F32(0.1))),
        repr(float(np.nextafter(F32(0.1), F32(1)))),
        "1.0",
    } <= held["a"]
    assert {repr(float(np.nextafter(F32(5), F32(0))))} <= held["a"]
    assert {"None", "4", "5", "9", "8"} <= held["n"]
    assert {"None", "'p'", "'q'", "'p '", "'P'"} <= held["w"]
    assert {2, 3, 7, 9} <= {len(each.row["t"]) for each in rows}
    assert any(all(each.row[name] is None for name in ("a", "n", "w")) for each in rows)
    assert any(each.row["a"] is None and each.row["n"] is not None for each in rows)


def test_a_right_graph_passes_and_its_receipt_counts_the_rows_drawn(tmp_path: Path) -> None:
    bundle = adopted(numbers(lambda x: x * 2, f"t = {CONST % '2.0'} y = Mul(x, t)"), tmp_path)
    [trial] = [trial for receipt in bundle.receipts() for trial in receipt.trials if trial.drawn]
    assert trial.rows >= 12
    assert (trial.passed, trial.finding) == (True, "")


def test_a_row_at_which_the_reference_raises_is_named_with_the_mend(tmp_path: Path) -> None:
    def raises(rows: list[dict[str, Any]]) -> Any:
        return np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][row["i"]] for row in rows], F32)

    plant = table(6)
    with pytest.raises(st.GateError) as said:
        adopt(
            plant.graph, tmp_path, plant.inputs, plant.outputs, plant.golden, training_side=raises
        )
    assert "the contract takes what the reference does not, input 'i' at 6: IndexError" in str(
        said.value
    )
    assert "narrow the contract" in str(said.value)


class UpToTen(st.Row):
    x: Annotated[float, st.Number(ge=0, le=10)]


def differences(factor: float) -> Plant:
    """x - 10, times a million: in numpy after the products, in the graph before.

    The graph is off by `factor`.
    """
    million = F32(1e6)
    body = f"m = {CONST % factor} t = {CONST % '10.0'} d = Sub(x, t) y = Mul(d, m)"
    graph = f"g (float[n] x) => (float[n] y) {{ {body} }}"
    return Plant(UpToTen, [{"x": 10.0}] * 2, lambda row: F32(row["x"]) * million - F32(1e7), graph)


def test_rounding_where_sums_cancel_is_no_departure_and_a_fault_there_is(tmp_path: Path) -> None:
    assert "rounding, error" in findings(adopted(differences(1e6), tmp_path))
    with pytest.raises(st.GateError, match="where no golden row looks"):
        adopted(differences(1.001e6), tmp_path / "other")
