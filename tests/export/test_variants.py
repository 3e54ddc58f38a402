"""Variants on tiny graphs: what each recipe computes, and which graphs it refuses.

Its bytes depend on its arguments alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization.calibrate import HistogramCollector
from support.properties import drawing

import seatrial as st
from seatrial_export.graphs.session import Session
from seatrial_export.variants import parse_recipe, parse_recipes, recipes
from seatrial_export.variants.entropy import least_divergent_bound
from seatrial_export.variants.original import Original
from seatrial_export.variants.ranges import RangeRule

FLOAT = onnx.TensorProto.FLOAT
Arrays = Mapping[str, Any]


def graph(
    nodes: list[onnx.NodeProto], weights: Arrays, x: list[Any], y: list[Any]
) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, x)],
        [helper.make_tensor_value_info("y", FLOAT, y)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def matmul(weight: np.ndarray) -> onnx.ModelProto:
    return graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mul")],
        {"w": weight},
        ["batch", "tokens", weight.shape[0]],
        ["batch", "tokens", weight.shape[1]],
    )


def network(seed: int = 0, inside: int = 64) -> onnx.ModelProto:
    """x (batch, 32) through two layers, as `nn.Linear` is exported, and a bias."""
    chance = np.random.default_rng(seed)
    weights = {
        "a": chance.normal(size=(inside, 32)).astype(np.float32),
        "a_bias": chance.normal(size=inside).astype(np.float32),
        "b": chance.normal(size=(inside, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "a", "a_bias"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "b"], ["y"], name="second"),
    ]
    return graph(nodes, weights, ["batch", 32], ["batch", 4])


def rows(count: int = 32, seed: int = 1) -> list[dict[str, np.ndarray]]:
    chance = np.random.default_rng(seed)
    return [{"x": chance.normal(size=(1, 32)).astype(np.float32)} for _ in range(count)]


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(Session(model).run({"x": x})["y"])


@drawing(40)
@given(
    x=some.lists(
        some.lists(some.floats(-1e4, 1e4, width=32), min_size=8, max_size=8), min_size=1, max_size=5
    ),
    seed=some.integers(0, 99),
)
def test_a_per_token_product_is_the_rounded_one_that_numpy_computes(
    x: list[list[float]], seed: int
) -> None:
    weight = np.random.default_rng(seed).normal(size=(8, 6)).astype(np.float32)
    tokens = np.array(x, np.float32)[None]
    low, high = tokens.min(-1, keepdims=True), tokens.max(-1, keepdims=True)
    scale = np.maximum(high - low, np.float32(1e-12)) / np.float32(204)
    q = np.clip(np.rint((tokens - low) / scale), 0, 204)
    columns = np.abs(weight).max(0) / 80
    want = (scale.astype(np.float64) * q + low) @ (np.rint(weight / columns) * columns)
    got = run(parse_recipe("int8_per_token").transform(Original(matmul(weight))), tokens)
    np.testing.assert_allclose(
        got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(tokens).max()))
    )


def extreme(*shape: int) -> np.ndarray:
    """Return weights of 1 and -1 by output channel, those after the second by chance.

    They are at the ends of 8 bits, without rounding.
    """
    weight = np.ones(shape, np.float32)
    weight[1] = -1
    weight[2:] = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), weight[2:].shape)
    return weight


OPERATORS: dict[str, tuple[onnx.ModelProto, tuple[int, ...]]] = {
    "MatMul": (matmul(extreme(16, 96).T.copy()), (4, 96)),
    "Gemm": (
        graph(
            [helper.make_node("Gemm", ["x", "w"], ["y"], name="mul", transB=1)],
            {"w": extreme(16, 96)},
            ["batch", 96],
            ["batch", 16],
        ),
        (96,),
    ),
    **{
        name: (
            graph(
                [helper.make_node(operator, ["x", "w"], ["y"], name="mul", **options)],
                {"w": weight},
                ["batch", 16, 6, 6],
                ["batch", None, None, None],
            ),
            (16, 6, 6),
        )
        for name, operator, weight, options in (
            ("Conv", "Conv", extreme(16, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
            ("Conv 1x1", "Conv", extreme(16, 16, 1, 1), {}),
            ("Conv in groups", "Conv", extreme(16, 4, 3, 3), {"group": 4}),
            ("Conv by channel", "Conv", extreme(16, 1, 3, 3), {"group": 16}),
            ("ConvTranspose", "ConvTranspose", extreme(16, 16, 2, 2), {}),
        )
    },
}


@pytest.mark.parametrize("low", [0, -1])
@pytest.mark.parametrize(
    "kind",
    [
        "int8",
        "int8:calibration=percentile,percentile=100",
        "int8_dynamic",
        "int8_per_token",
        "int8_weights",
        "int4_weights:block=16",
    ],
)
def test_sums_of_the_largest_whole_numbers_are_exact_on_every_processor(
    kind: str, low: int
) -> None:
    """x86 without VNNI adds two products of u8 and s8 in 16 bits and saturates.

    2 * 255 * 127 would be about halved.
    """
    for name, (model, shape) in OPERATORS.items():
        if "Conv" in name and kind in ("int8_dynamic", "int8_per_token"):
            continue
        x = np.random.default_rng(1).integers(0, 2, (7, *shape)).astype(np.float32) + np.float32(
            low
        )
        x[0] = low or 1
        made = parse_recipe(kind).transform(
            Original(model, [{"x": row[None]} for row in x], batchable=False)
        )
        want = ReferenceEvaluator(model).run(None, {"x": x})[0]
        rounding = (
            np.ptp([*want.ravel(), 0]) / 255
            if kind.partition(":")[0] == "int8"
            else 1e-5 * np.abs(want).max()
        )
        # Alone and together are kernels of their own.
        for rows in (
            slice(0, 7),
            slice(0, 1),
            slice(1, 2),
        ):
            assert np.abs(run(made, x[rows]) - want[rows]).max() <= rounding, name


def test_a_kept_convolution_among_quantised_ones_keeps_its_weights_in_fp32() -> None:
    """onnxruntime would round the weights to 8 bits of one scale.

    All but the largest, which only meet zeros, would be 0.
    """
    chance = np.random.default_rng(0)
    weights = {name: chance.uniform(0.5, 1, (8, 8, 1, 1)).astype(np.float32) for name in "abc"}
    weights["a"][0], weights["b"][:, 0] = 0, 1e4
    nodes = [helper.make_node("Conv", [x, w], [y], name=w) for x, w, y in ("xap", "pbq", "qcy")]
    x = chance.uniform(0, 1, (20, 8, 4, 4)).astype(np.float32)
    model = graph(nodes, weights, ["batch", 8, 4, 4], ["batch", 8, 4, 4])
    made = parse_recipe("int8:keep=b").transform(Original(model, [{"x": row[None]} for row in x]))
    np.testing.assert_allclose(run(made, x), run(model, x), rtol=0.05)
    onnx.checker.check_model(made, full_check=True)


@drawing(25)
@given(mate=some.lists(some.floats(width=32), min_size=32, max_size=32))
def test_a_row_s_answer_is_the_same_to_the_bit_whatever_its_mates_are(mate: list[float]) -> None:
    made = parse_recipe("int8_per_token").transform(Original(network()))
    x = rows(1)[0]["x"]
    with np.errstate(over="ignore"):
        among = run(made, np.concatenate([np.array([mate, mate], np.float32), x]))
    np.testing.assert_array_equal(among[-1], run(made, np.concatenate([x, x, x]))[-1])


def test_a_token_of_equal_numbers_and_one_of_zeros_are_exact_but_for_the_weights() -> None:
    weight = np.eye(4, dtype=np.float32)
    made = parse_recipe("int8_per_token").transform(Original(matmul(weight)))
    tokens = np.array([[[7.0] * 4, [0.0] * 4, [-3.0] * 4]], np.float32)
    np.testing.assert_allclose(run(made, tokens), tokens, rtol=1e-6)


@pytest.mark.parametrize("kind", ["int8_per_token", "int4_weights", "int8_weights", "fp16"])
def test_a_graph_of_an_older_opset_is_raised_where_the_variant_needs_it(kind: str) -> None:
    old = network()
    old.opset_import[0].version = 15
    x = np.concatenate([row["x"] for row in rows()])
    want = run(old, x)
    got = run(parse_recipe(kind).transform(Original(old)), x)
    assert np.abs(got - want).max() < 0.2 * np.abs(want).max()


@pytest.mark.parametrize(
    "kind",
    [
        "fp16",
        "int8",
        "int8:calibration=percentile",
        "int8:calibration=entropy",
        "int8_weights",
        "int4_weights:block=16",
        "int8_per_token",
    ],
)
def test_every_recipe_answers_near_fp32_and_gives_the_same_bytes_twice(kind: str) -> None:
    recipe = parse_recipe(kind)
    made = [recipe.transform(Original(network(), rows())) for _ in range(2)]
    recipe.check(Original(network(), rows()))
    assert made[0].SerializeToString(deterministic=True) == made[1].SerializeToString(
        deterministic=True
    )
    x = np.concatenate([row["x"] for row in rows(8, seed=2)])
    want, got = run(network(), x), run(made[0], x)
    cosine = (want * got).sum() / np.linalg.norm(want) / np.linalg.norm(got)
    assert cosine > (0.98 if "int4" in kind or "entropy" in kind else 0.999)
    assert str(parse_recipe(str(recipe))) == str(recipe)


def test_a_kept_node_stays_as_it_was() -> None:
    original = Original(network(), rows())
    for kind in ("int8", "int8_weights", "int4_weights", "int8_per_token"):
        kept = parse_recipe(f"{kind}:keep=first").transform(original)
        assert [node.input[1] for node in kept.graph.node if node.op_type == "Gemm"] == ["a"], kind
        np.testing.assert_array_equal(
            numpy_helper.to_array(next(w for w in kept.graph.initializer if w.name == "a")),
            original.weight("a"),
        )


def test_a_table_is_looked_up_in_8_bits_row_by_row() -> None:
    table = (
        np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
        * np.logspace(-3, 3, 50, dtype=np.float32)[:, None]
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["y"]),
    ]
    original = Original(graph(nodes, {"table": table}, ["batch"], ["batch", 16]))
    made = parse_recipe("int8_weights").transform(original)
    got = run(made, np.arange(50, dtype=np.float32))
    assert (np.abs(got - table).max(1) <= np.abs(table).max(1) / 253).all()
    assert len(made.SerializeToString()) < len(original.model.SerializeToString()) / 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("int7", "an unknown name, want one of fp16, int4_weights, int8"),
        ("int8:calibration=median", "option 'calibration'.*'median'"),
        ("int8:bits=4", "one of name, keep, calibration"),
        ("int8:minmax", "options as name=value"), ("int4_weights:block=7", "option 'block'"),
        ("int8:name=A b", "option 'name'"),
    ],
)  # fmt: skip
def test_a_variant_that_is_none_is_told_what_there_is(kind: str, words: str) -> None:
    with pytest.raises(st.DeclarationError, match=words):
        parse_recipe(kind)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("int8_per_token", "a graph without MatMul or Gemm"),
        ("int8", "a graph without Conv, MatMul or Gemm"),
        ("int8_weights", "a graph without constant weights"),
        ("int4_weights", "divide into blocks"), ("fp16", "a graph without float weights"),
        ("int8_dynamic", "a model whose rows run together, want one sealed with batchable=False"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_have_a_variant_is_told_why(kind: str, words: str) -> None:
    relu = graph([helper.make_node("Relu", ["x"], ["y"])], {}, ["batch", 4], ["batch", 4])
    with pytest.raises(st.DeclarationError, match=words):
        parse_recipe(kind).check(Original(relu, rows()))


def test_dynamic_int8_is_for_models_whose_rows_never_run_together() -> None:
    original = Original(network(), batchable=False)
    recipe = parse_recipe("int8_dynamic")
    recipe.check(original)
    x = rows(1)[0]["x"]
    want = run(network(), x)
    np.testing.assert_allclose(
        run(recipe.transform(original), x), want, rtol=0, atol=0.02 * np.abs(want).max()
    )


def test_a_node_to_keep_that_is_not_there_and_a_name_for_two_are_refused() -> None:
    with pytest.raises(
        st.DeclarationError,
        match="keep: got 'third', want nodes that it would change: first, second",
    ):
        parse_recipe("int8_per_token:keep=third").check(Original(network()))
    with pytest.raises(st.DeclarationError, match="variant 'int8': got a name that is taken"):
        parse_recipes([st.Int8(), "int8:calibration=percentile"], ["fp32"])
    assert [
        recipe.variant for recipe in parse_recipes([st.Int8(), st.Int8(name="other")], ["fp32"])
    ] == [
        "int8",
        "other",
    ]


def test_nodes_without_names_get_some() -> None:
    model = network()
    for node in model.graph.node:
        node.name = ""
    assert list(Original(model).linears) == ["Gemm_0", "MatMul_2"]


def test_a_range_by_entropy_is_about_onnxruntime_s_own() -> None:
    values = np.random.default_rng(0).standard_t(4, 20_000).astype(np.float32)
    bound = float(np.abs(values).max())
    counts, edges = np.histogram(values, 512, (-bound, bound))
    theirs = HistogramCollector.get_entropy_threshold(
        None, (counts, edges.astype(np.float32), values.min(), values.max(), bound), 128
    )  # type: ignore[arg-type]
    assert least_divergent_bound(counts, edges, 128) == pytest.approx(float(theirs[1]), rel=0.25)


def test_ranges_cut_outliers_off_and_never_exceed_what_was_seen() -> None:
    feeds = [*rows(40), {"x": np.full((1, 32), 50, np.float32)}]
    original = Original(network(), feeds)
    widths = [
        np.ptp(original.ranges(RangeRule(method=method, percentile=99), ("Gemm",))["x"])
        for method in ("minmax", "percentile", "entropy")
    ]
    assert widths[0] > 50
    assert max(widths[1:]) <= widths[0]
    assert widths[1] < widths[0]


def test_recipes_are_found_by_looking_into_their_folder() -> None:
    assert set(recipes()) == {
        "fp16",
        "int8",
        "int8_dynamic",
        "int8_per_token",
        "int8_weights",
        "int4_weights",
    }
