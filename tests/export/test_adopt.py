"""Fitting contracts to foreign graphs: each field goes where the graph takes it.

If it does not, one message lists both sides.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image, ImageOps
from support.foreign import adopt, answers, findings, opset_of, parsed, refused

import seatrial as st
from seatrial_contracts.kinds.pixel_mode import rgb

RNG = np.random.default_rng(0)
ONNX_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


class Plain(st.Row):
    a: float
    b: Annotated[int, st.Number(ge=0, le=99)]
    c: bool


class Pair(st.Row):
    x: st.Tensor[np.float32, 2]


class Score(st.Answer):
    score: float


class PairOut(st.Answer):
    y: st.Tensor[np.float32, 2]


class Three(st.Answer):
    columns: st.Tensor[np.float32, 3]


class Kind(st.Answer):
    kind: Annotated[str, st.Label("cat", "dog")]


PLAIN = [{"a": 0.5 * i, "b": i, "c": i % 2 == 0} for i in range(9)]
PAIRS = [{"x": [float(i), -1.0]} for i in range(9)]
TWICE = "g (float[n, 2] x) => (float[n, 2] y) { y = Add(x, x) }"


def test_fields_become_the_columns_of_a_matrix_in_the_contracts_order(tmp_path: Path) -> None:
    bundle = adopt(
        "g (float[N, 3] X) => (float[N, 3] Y) { Y = Identity(X) }", tmp_path, Plain, Three, PLAIN
    )
    got = answers(bundle, PLAIN, batch_rows=4)
    assert [answer["columns"].tolist() for answer in got] == [
        [row["a"], row["b"], row["c"]] for row in PLAIN
    ]
    assert bundle.manifest.batchable


def test_fields_go_to_columns_of_their_names_however_these_are_spelled(tmp_path: Path) -> None:
    model = parsed(
        "g (double[N, 1] q, bool[N, 1] C, int64[N, 1] B) => (double[N, 1] s) { b = Cast<to=11>(B) "
        "c = Cast<to=11>(C) h = Mul(q, b) s = Add(h, c) }"
    )
    rename(model.graph, "q", "a (mm)")

    class Row(st.Row):
        a_mm: float
        b: int
        c: bool

    rows = [{"a_mm": row["a"], "b": row["b"], "c": row["c"]} for row in PLAIN]
    got = answers(adopt(model, tmp_path, Row, Score, rows), rows)
    assert [float(answer["score"]) for answer in got] == [
        row["a_mm"] * row["b"] + row["c"] for row in rows
    ]


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Names that ONNX text cannot hold."""
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = new if name == old else name


class Mixed(st.Row):
    town: Literal["Graz", "Linz"]
    size: float
    street: Literal["a", "b"] | None
    age: Annotated[int | None, st.Number(ge=0, le=120)]


MIXED: list[dict[str, Any]] = [
    {"town": "Graz", "size": 1.5, "street": "b", "age": 3},
    {"town": "Linz", "size": 2.5, "street": None, "age": 40},
    {"town": "Linz", "size": -1.0, "street": "a", "age": 41},
]


def test_words_and_numbers_go_to_the_matrix_of_their_sort(tmp_path: Path) -> None:
    model = """g (float[N, 2] numbers, string[N, 2] words) => (float[N, 4] all)
    { codes = ai.onnx.ml.LabelEncoder<keys_strings=["Graz", "Linz", "a", "b", ""],
        values_floats=[1.0, 2.0, 3.0, 4.0, 5.0]>(words)
      all = Concat<axis=1>(codes, numbers) }"""

    class All(st.Answer):
        all: st.Tensor[np.float32, 4]

    got = answers(adopt(model, tmp_path, Mixed, All, MIXED), MIXED, batch_rows=3)
    assert [answer["all"].tolist() for answer in got] == [
        [1, 4, 1.5, 3],
        [2, 5, 2.5, 40],
        [2, 3, -1, 41],
    ]


def test_words_enter_as_their_codes_where_the_graph_takes_numbers(tmp_path: Path) -> None:
    class All(st.Answer):
        all: st.Tensor[np.float32, 4]

    model = "g (float[N, 4] X) => (float[N, 4] Y) { Y = Identity(X) }"
    got = answers(adopt(model, tmp_path, Mixed, All, MIXED), MIXED, batch_rows=3)
    assert [answer["all"].tolist() for answer in got] == [
        [0, 1.5, 1, 3],
        [1, 2.5, 2, 40],
        [1, -1, 0, 41],
    ]


TOKENIZER = b"""{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
 "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
 "post_processor": null, "decoder": null, "model": {"type": "WordLevel",
 "vocab": {"?": 0, "a": 1, "ship": 2, "sails": 3}, "unk_token": "?"}}"""


class Said(st.Row):
    text: Annotated[str, st.Text(tokenizer=TOKENIZER)]


SAID = [{"text": text} for text in ("a ship", "sails", "a ship sails", "ship ship ship ship")]


def test_a_text_enters_a_language_model_by_the_names_that_such_models_have(tmp_path: Path) -> None:
    model = """g (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask,
      int64[batch, sequence] token_type_ids) => (float[batch] mean)
    <int64[1] axis = {1}> {
      kept = Mul(input_ids, attention_mask) whole = Add(kept, token_type_ids)
      sum = ReduceSum<keepdims=0>(whole, axis)
      count = ReduceSum<keepdims=0>(attention_mask, axis)
      top = Cast<to=1>(sum) below = Cast<to=1>(count) mean = Div(top, below) }"""
    got = answers(adopt(model, tmp_path, Said, Score, SAID), SAID, batch_rows=4)
    assert [float(answer["score"]) for answer in got] == [1.5, 3.0, 2.0, 2.0]


def test_a_graph_that_takes_token_ids_alone_never_reads_the_mask_and_is_not_batched_where_padding_counts(  # noqa: E501  (a test's name is a sentence)
    tmp_path: Path,
) -> None:
    model = """g (int32[batch, sequence] tokens) => (float[batch] mean) <int64[1] axis = {1}> {
      floats = Cast<to=1>(tokens) mean = ReduceMean<keepdims=0, axes=[1]>(floats) }"""
    said = refused(model, tmp_path, Said, Score, SAID)
    assert "departs from the file as it was made at batch size" in said
    assert "--rows-alone" in said
    sealed = adopt(model, tmp_path, Said, Score, SAID, batchable=False)
    assert [float(answer["score"]) for answer in answers(sealed, SAID)] == [1.5, 3.0, 2.0, 2.0]


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",))]


def png(height: int, width: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def pixels(file: bytes) -> Any:
    return np.asarray(rgb(ImageOps.exif_transpose(Image.open(io.BytesIO(file)))), np.float32)


def test_an_image_enters_a_graph_of_pixels_as_it_is(tmp_path: Path) -> None:
    rows = [{"photo": png(*size)} for size in ((8, 8), (8, 8), (5, 9))]
    model = (
        "g (uint8[n, h, w, 3] image_tensor) => (float[n] mean) { f = Cast<to=1>(image_tensor) "
        "mean = ReduceMean<keepdims=0, axes=[1, 2, 3]>(f) }"
    )
    got = answers(adopt(model, tmp_path, Photo, Score, rows), rows)
    assert [float(answer["score"]) for answer in got] == pytest.approx(
        [pixels(row["photo"]).mean() for row in rows], rel=1e-5
    )


def test_inputs_whose_names_say_nothing_are_told_apart_by_their_shapes(tmp_path: Path) -> None:
    class Listing(st.Row):
        photo: Annotated[bytes, st.Image(formats=("PNG",))]
        mask: st.Tensor[np.bool_, 2]
        rooms: float
        size: float

    rows = [
        {"photo": png(4, 4), "mask": [True, i > 1], "rooms": float(i), "size": 10.0 * i}
        for i in range(4)
    ]
    model = parsed("""g (float[n, 2] p, bool[n, 2] q, uint8[n, h, w, 3] r) => (float[n] y)
    <int64[1] axis = {1}> {
      floats = Cast<to=1>(r) light = ReduceMean<keepdims=0, axes=[1, 2, 3]>(floats)
      on = Cast<to=1>(q) kept = Mul(p, on) sum = ReduceSum<keepdims=0>(kept, axis)
      y = Add(sum, light) }""")
    got = answers(adopt(model, tmp_path, Listing, Score, rows), rows)
    want = [
        pixels(row["photo"]).mean() + row["rooms"] + row["size"] * row["mask"][1] for row in rows
    ]
    assert [float(answer["score"]) for answer in got] == pytest.approx(want, rel=1e-5)


def test_a_step_that_comes_as_a_graph_prepares_each_row(tmp_path: Path) -> None:
    rows = [{"photo": png(*size)} for size in ((8, 8), (8, 8), (5, 9))]
    step = parsed(
        "p (uint8[h, w, 3] image) => (float[3] channels) { f = Cast<to=1>(image) "
        "channels = ReduceMean<keepdims=0, axes=[0, 1]>(f) }"
    )
    model = "g (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }"
    bundle = adopt(
        model,
        tmp_path,
        Photo,
        Three,
        rows,
        prepare=step,
        training_side=lambda given: -np.stack([pixels(row["photo"]).mean((0, 1)) for row in given]),
    )
    assert bundle.manifest.prepare is not None
    assert answers(bundle, rows)[2]["columns"] == pytest.approx(
        -pixels(rows[2]["photo"]).mean((0, 1)), rel=1e-5
    )
    said = refused(
        "g (float[n, 3] x) => (float[n, 3] y) { y = Neg(x) }",
        tmp_path / "other",
        Plain,
        Three,
        PLAIN,
        prepare=step,
    )
    assert (
        "prepare: the step takes image uint8 [h, w, 3], of one row the contract gives: "
        "a float32 []; b int64 []; c bool []"
    ) in said


def test_tensors_of_open_sizes_stay_open(tmp_path: Path) -> None:
    class Open(st.Row):
        x: st.Tensor[np.float32, 2, 1:50]

    rows = [{"x": RNG.standard_normal((2, length)).astype(np.float32)} for length in (3, 3, 7)]
    model = (
        "g (float[batch, 2, time] signal) => (float[batch] level) { "
        "level = ReduceMax<keepdims=0, axes=[1, 2]>(signal) }"
    )
    got = answers(adopt(model, tmp_path, Open, Score, rows), rows, batch_rows=2)
    assert [answer["score"] for answer in got] == [row["x"].max() for row in rows]
    assert "'x' is [rows, 2, x_1], the graph's input 'signal' is [batch, 2, 9]" in refused(
        model.replace("time", "9"), tmp_path / "other", Open, Score, rows
    )


CLASSIFIER = """g (float[n, 2] x) => (string[n] label, {type} scores) {{
  label, raw = ai.onnx.ml.LinearClassifier<classlabels_strings=["cat", "dog"],
    coefficients=[1.0, 0.0, 0.0, 1.0], intercepts=[0.0, 0.5], post_transform="SOFTMAX">(x)
  scores = {last}(raw) }}"""


def test_a_label_is_the_output_that_has_a_score_for_each_class(tmp_path: Path) -> None:
    bundle = adopt(
        CLASSIFIER.format(type="float[n, 2]", last="Identity"), tmp_path, Pair, Kind, PAIRS
    )
    expected = [
        np.exp([row["x"][0], row["x"][1] + 0.5]) / np.exp([row["x"][0], row["x"][1] + 0.5]).sum()
        for row in PAIRS
    ]
    assert np.stack([answer["kind"] for answer in answers(bundle, PAIRS)]) == pytest.approx(
        np.stack(expected), rel=1e-5
    )


def test_maps_from_class_to_score_become_the_scores(tmp_path: Path) -> None:
    model = parsed(CLASSIFIER.format(type="float[n, 2]", last="Identity"))
    model.graph.node[1].CopyFrom(
        onnx.helper.make_node(
            "ZipMap", ["raw"], ["scores"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog"]
        )
    )
    model.graph.output[1].type.CopyFrom(
        onnx.helper.make_sequence_type_proto(
            onnx.helper.make_map_type_proto(
                onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(1, [])
            )
        )
    )
    plain = adopt(
        CLASSIFIER.format(type="float[n, 2]", last="Identity"),
        tmp_path / "plain",
        Pair,
        Kind,
        PAIRS,
    )
    mapped = adopt(model, tmp_path / "mapped", Pair, Kind, PAIRS)
    assert [row["kind"].tolist() for row in answers(mapped, PAIRS)] == [
        row["kind"].tolist() for row in answers(plain, PAIRS)
    ]


def test_classes_in_another_order_than_the_graphs_are_refused(tmp_path: Path) -> None:
    class Turned(st.Answer):
        kind: Annotated[str, st.Label("dog", "cat")]

    said = refused(
        CLASSIFIER.format(type="float[n, 2]", last="Identity"), tmp_path, Pair, Turned, PAIRS
    )
    assert "'kind' has the classes dog, cat, the graph has cat, dog, in this order" in said


def test_a_graph_for_one_row_is_sealed_and_never_batched(tmp_path: Path) -> None:
    bundle = adopt(TWICE.replace("n, 2", "1, 2"), tmp_path, Pair, PairOut, PAIRS)
    assert bundle.manifest.batchable is False
    assert "the graph takes one row at a time: batchable is false" in findings(bundle)
    assert [answer["y"].tolist() for answer in answers(bundle, PAIRS)] == [
        [2 * i, -2] for i in range(9)
    ]


def test_a_graph_without_a_batch_takes_a_row_as_a_whole(tmp_path: Path) -> None:
    class State(st.Row):
        chunk: st.Tensor[np.float32, 4]
        state: st.Tensor[np.float32, 2, 1, 3]
        rate: int

    class Next(st.Answer):
        level: float
        state_out: st.Tensor[np.float32, 2, 1, 3]

    rows = [
        {"chunk": [1.0, 2.0, 3.0, float(i)], "state": np.full((2, 1, 3), i, np.float32), "rate": i}
        for i in range(3)
    ]
    model = """g (float[batch, samples] chunk, float[2, batch, 3] state, int64 rate)
      => (float[batch, 1] out, float[2, batch, 3] next)
    <int64[1] axis = {1}> {
      hz = Cast<to=1>(rate) next = Add(state, hz) out = ReduceSum<keepdims=1>(chunk, axis) }"""
    bundle = adopt(model, tmp_path, State, Next, rows)
    got = answers(bundle, rows)
    assert [float(answer["level"]) for answer in got] == [6.0, 7.0, 8.0]
    assert [answer["state_out"].tolist() for answer in got] == [
        np.full((2, 1, 3), 2 * i).tolist() for i in range(3)
    ]
    assert bundle.manifest.batchable is False


def test_a_batch_of_four_baked_in_is_refused(tmp_path: Path) -> None:
    said = refused(TWICE.replace("n, 2", "4, 2"), tmp_path, Pair, PairOut, PAIRS)
    assert (
        "'x' [4, 2] takes exactly 4 rows at once; export it with an open batch, "
        "or with a batch of 1"
    ) in said


def test_names_that_say_nothing_are_told_by_the_user(tmp_path: Path) -> None:
    class Two(st.Row):
        left: st.Tensor[np.float32, 2]
        right: st.Tensor[np.float32, 2]

    rows = [{"left": [1.0, float(i)], "right": [4.0, 2.0]} for i in range(5)]
    model = parsed("g (float[n, 2] p, float[n, 2] q) => (float[n, 2] y) { y = Sub(p, q) }")
    rename(model.graph, "p", "input.1")
    rename(model.graph, "q", "0")
    assert "nothing in the contract is meant for the graph's input 'input.1'" in refused(
        model, tmp_path / "a", Two, PairOut, rows
    )
    renamed = {"0": "left", "input.1": "right"}
    assert answers(adopt(model, tmp_path, Two, PairOut, rows, renamed=renamed), rows)[3][
        "y"
    ].tolist() == [3.0, -1.0]
    assert "the graph has no 'r'" in refused(
        model, tmp_path / "b", Two, PairOut, rows, renamed={"r": "left"}
    )
    assert "the contract has no 'up'" in refused(
        model, tmp_path / "c", Two, PairOut, rows, renamed={"0": "up"}
    )


def test_whole_numbers_go_to_a_narrower_type_only_within_their_bounds(tmp_path: Path) -> None:
    class Wide(st.Row):
        n: int

    class Narrow(st.Row):
        n: Annotated[int, st.Number(ge=-5, le=1000)]

    class Whole(st.Answer):
        m: int

    model = "g (int32[b] n) => (int32[b] m) { m = Add(n, n) }"
    rows = [{"n": n} for n in (1, -5, 7)]
    assert [
        int(answer["m"]) for answer in answers(adopt(model, tmp_path, Narrow, Whole, rows), rows)
    ] == [2, -10, 14]
    assert (
        "'n' is int64, the graph's input 'n' is int32, which does not hold all its values"
        in refused(model, tmp_path / "other", Wide, Whole, rows)
    )


class Wrong(st.Answer):
    y: st.Tensor[np.float32, 3]


class Also(st.Answer):
    y: st.Tensor[np.float32, 2]
    z: float


class Other(st.Row):
    x: st.Tensor[np.float32, 2]
    more: float


class Worded(st.Row):
    x: Literal["a", "b"]


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "golden", "words"),
    [
        (TWICE, Pair, Wrong, PAIRS,
         "the graph's output 'y' is float32 [n, 2], 'y' is float32 [rows, 3]"),
        (TWICE, Pair, Also, PAIRS, "nothing in the graph is the output 'z'"),
        (TWICE, Other, PairOut, [{"x": [1.0, 2.0], "more": 1.0}] * 2,
         "the graph has no input for 'more'"),
        (TWICE, Plain, PairOut, PLAIN,
         "3 fields (a, b, c) are left for the graph's input 'x' [n, 2]"),
        ("g (string[n] x) => (string[n] y) { y = Identity(x) }", Worded, Score,
         [{"x": "a"}, {"x": "b"}],
         "the graph's output 'y' is string [n], 'score' is float32 [rows]"),
        ("g (int64[n, 2] x) => (int64[n, 2] y) { y = Add(x, x) }", Pair, PairOut, PAIRS,
         "'x' is float32, the graph's input 'x' is int64, which does not hold all its values"),
        ("g (float[n, 2] x) => (float[n, 2] y, float[n, 2] z) { y = Neg(x) z = Abs(x) }", Pair,
         Three, PAIRS, "nothing in the graph is the output 'columns'"),
        ("g (float[n, 2] x, float[n] w) => (float[n, 2] y) { y = Neg(x) }", Pair, PairOut, PAIRS,
         "nothing in the contract is meant for the graph's input 'w'"),
    ],
)  # fmt: skip
def test_a_contract_that_does_not_fit_is_refused_with_both_sides(
    model: str,
    inputs: type[st.Row],
    outputs: type[st.Answer],
    golden: list[Any],
    words: str,
    tmp_path: Path,
) -> None:
    said = refused(model, tmp_path, inputs, outputs, golden)
    assert f"it does not fit the graph: {words}" in said
    for side in ("contract gives: ", "graph takes: ", "graph answers: ", "contract answers: "):
        assert side in said


def test_outputs_of_one_shape_are_told_apart_by_name_alone(tmp_path: Path) -> None:
    model = "g (float[n, 2] x) => (float[n, 2] up, float[n, 2] down) { up = Exp(x) down = Neg(x) }"

    class Down(st.Answer):
        down: st.Tensor[np.float32, 2]

    assert answers(adopt(model, tmp_path, Pair, Down, PAIRS), PAIRS)[2]["down"].tolist() == [
        -2.0,
        1.0,
    ]
    assert "any of 'up', 'down' could be the output 'y'" in refused(
        model, tmp_path / "other", Pair, PairOut, PAIRS
    )


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("test_single_relu_model", Pair, PairOut),
        ("test_shrink", None, None),
        ("test_sign_model", None, None),
    ],
)
def test_onnx_own_test_models_answer_as_onnx_says(
    name: str, inputs: Any, outputs: Any, tmp_path: Path
) -> None:
    folder = ONNX_DATA / "simple" / name
    given, want = (
        numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"{which}_0.pb"))
        for which in ("input", "output")
    )
    if inputs is None:

        class Whole(st.Row):
            x: st.Tensor[np.float32, given.size]

        class Out(st.Answer):
            y: st.Tensor[np.float32, given.size]

        inputs, outputs = Whole, Out
    evaluator = ReferenceEvaluator(onnx.load(folder / "model.onnx"))
    rows = [{"x": given.ravel()}, {"x": -given.ravel()}]

    def reference(rows: list[dict[str, Any]]) -> Any:
        return np.stack(
            [evaluator.run(None, {"x": row["x"].reshape(given.shape)})[0].ravel() for row in rows]
        )

    sealed = st.adopt_model(
        st.Adoption.of_onnx(
            folder / "model.onnx",
            name=name,
            version="1.0.0",
            inputs=inputs,
            outputs=outputs,
            golden=rows,
            training_side=reference,
        ),
        tmp_path,
    )
    got = answers(st.open_bundle(sealed.path), rows)
    assert got[0]["y"].tolist() == want.ravel().tolist()


@pytest.mark.slow
def test_a_network_of_an_old_opset_whose_weights_are_inputs_too_is_adopted(tmp_path: Path) -> None:
    class Picture(st.Row):
        pixels: st.Tensor[np.float32, 3, 224, 224]

    class Classes(st.Answer):
        softmax: st.Tensor[np.float32, 1000, 1, 1]

    rows = [{"pixels": RNG.standard_normal((3, 224, 224)).astype(np.float32)} for _ in range(2)]
    path = ONNX_DATA / "light" / "light_squeezenet.onnx"
    bundle = st.adopt_model(
        st.Adoption.of_onnx(
            path, name="squeeze", version="1.0.0", inputs=Picture, outputs=Classes, golden=rows
        ),
        tmp_path,
    )
    assert bundle.manifest.origin.producer.startswith("onnx-caffe2")
    assert opset_of(bundle) == 9
    assert len(onnx.load_from_string(bundle.files["graphs/fp32.onnx"]).graph.input) == 1


TREES = """g (float[n, 2] x) => (int64[n] label, float[n, 2] scores) {
  label, scores = ai.onnx.ml.TreeEnsembleClassifier<classlabels_int64s=[0, 1],
    post_transform="NONE",
    nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2],
    nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0],
    nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0],
    nodes_falsenodeids=[2, 0, 0],
    class_treeids=[0, 0, 0, 0], class_nodeids=[1, 1, 2, 2], class_ids=[0, 1, 0, 1],
    class_weights=[0.8, 0.2, 0.1, 0.9]>(x) }"""


def test_the_label_of_a_classifier_of_trees_follows_from_its_scores_or_is_refused(
    tmp_path: Path,
) -> None:
    class Which(st.Answer):
        label: int

    class Scored(st.Answer):
        scores: Annotated[str, st.Label("0", "1")]

    said = refused(TREES, tmp_path / "a", Pair, Which, PAIRS)
    assert "contradicts its scores in onnxruntime" in said
    assert "st.Label" in said
    got = answers(adopt(TREES, tmp_path / "b", Pair, Scored, PAIRS), PAIRS, batch_rows=4)
    assert [int(answer["scores"].argmax()) for answer in got] == [
        int(row["x"][0] > 0.5) for row in PAIRS
    ]


def test_nothing_stands_between_the_contract_and_an_input_that_fits(tmp_path: Path) -> None:
    bundle = adopt(TWICE, tmp_path, Pair, PairOut, PAIRS)
    graph = onnx.load_from_string(bundle.files["graphs/fp32.onnx"]).graph
    assert graph.node[0].op_type == "Add"
    assert list(graph.node[0].input) == ["x", "x"]
