"""Foreign graphs that must not be sealed, or not as they claim.

Each is refused with its cause and its mend, and nothing is written.
"""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from support.foreign import adopt, answers, findings, parsed, refused

import seatrial as st
from seatrial.main import cli
from seatrial_export.adopt.foreign import read_onnx


class Pair(st.Row):
    x: st.Tensor[np.float32, 2]


class PairOut(st.Answer):
    y: st.Tensor[np.float32, 2]


PAIRS = [{"x": [float(i), -1.0]} for i in range(9)]
TWICE = "g (float[n, 2] x) => (float[n, 2] y) { y = Add(x, x) }"


def body(operators: str, opset: int = 17) -> onnx.ModelProto:
    return parsed(f"g (float[n, 2] x) => (float[n, 2] y) {{ {operators} }}", opset)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (body("y = custom.ops.Secret(x)"),
         "operators: operators outside the ONNX standard: custom.ops.Secret"),
        (body("r = RandomNormalLike(x) y = Add(x, r)"), "draws random numbers: RandomNormalLike"),
        (body("h = Bernoulli(x) y = Add(x, h)"), "draws random numbers: Bernoulli"),
        (body("t = Constant<value = bool {1}>() r = Constant<value = float {0.5}>() "
              "y = Dropout(x, r, t)"),
         "Dropout '' is in training mode"),
        (body("s = Constant<value = float[2] {1.0, 1.0}>() "
              "y, m, v = BatchNormalization<training_mode=1>(x, s, s, s, s)"),
         "BatchNormalization '' is in training mode"),
        (body("s = Constant<value = float[2] {1.0, 1.0}>() "
              "y, m, v, p, q = BatchNormalization(x, s, s, s, s)", opset=9),
         "BatchNormalization '' is in training mode"),
        (body("m = ReduceMean<axes=[0]>(x) y = Sub(x, m)"),
         "rows apart: ReduceMean '' runs over the rows of the batch"),
        (body("y = Softmax<axis=0>(x)"), "rows apart: Softmax '' runs over the rows of the batch"),
        (body("y = Relu(x)", opset=6), "the graph asks for opset 6, supported are 7 to"),
        (body("y = Relu(x)", opset=99), "the graph asks for opset 99, supported are 7 to"),
        (body("y = Reluu(x)"), "structure: not a valid ONNX graph: No Op registered for Reluu"),
        (body("y = Add(x, nowhere)"), "structure: not a valid ONNX graph"),
        (body("s = Shape(x) t = Gather(s, zero) u = Add(x, x) y = Reshape(u, four)"),
         "structure: not a valid ONNX graph"),
        (body("z = Sub(x, x) y = Div(x, z)"), "golden row 0, output 'y': got NaN or an infinity"),
        (body("y = Log(x)"), "golden row 0, output 'y': got NaN or an infinity"),
    ],
)  # fmt: skip
def test_a_graph_that_must_not_be_served_is_refused(
    model: onnx.ModelProto, words: str, tmp_path: Path
) -> None:
    said = refused(model, tmp_path, Pair, PairOut, PAIRS)
    assert words in said
    assert "mend: " in said


def test_a_random_operator_in_a_branch_is_found(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("RandomNormal", [], ["r"], shape=[1, 2])],
        "b",
        [],
        [helper.make_tensor_value_info("r", 1, [1, 2])],
    )
    model = body("c = Constant<value = bool {1}>() y = Relu(x)")
    model.graph.node.insert(
        1, helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    )
    assert "draws random numbers: RandomNormal" in refused(model, tmp_path, Pair, PairOut, PAIRS)


def test_a_batch_baked_into_the_middle_of_a_graph_is_found(tmp_path: Path) -> None:
    model = body("s = Constant<value = int64[2] {1, 2}>() y = Reshape(x, s)")
    assert "output 'y' has sizes [1, 2]: the batch is not its first" in refused(
        model, tmp_path, Pair, PairOut, PAIRS
    )
    sealed = adopt(model, tmp_path, Pair, PairOut, PAIRS, batchable=False)
    assert sealed.manifest.batchable is False
    assert answers(sealed, PAIRS)[3]["y"].tolist() == [3.0, -1.0]


def test_an_answer_that_does_not_grow_with_the_batch_is_found(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("z", 1, [None, 2])
    first = helper.make_graph([helper.make_node("Gather", ["x", "i"], ["z"])], "first", [], [value])
    whole = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "whole", [], [value])
    model = body(
        "c = Constant<value = bool {1}>() i = Constant<value = int64[1] {0}>() y = Relu(z)"
    )
    model.graph.node.insert(
        2, helper.make_node("If", ["c"], ["z"], then_branch=first, else_branch=whole)
    )
    assert "output 'y' has shape [1, 2] for 2 rows" in refused(
        model, tmp_path, Pair, PairOut, PAIRS
    )


def test_rows_that_meet_each_other_are_sealed_where_the_user_says_so(tmp_path: Path) -> None:
    bundle = adopt(
        body("m = ReduceMax<axes=[0]>(x) y = Sub(x, m)"),
        tmp_path,
        Pair,
        PairOut,
        PAIRS,
        batchable=False,
    )
    assert bundle.manifest.batchable is False


def test_rows_that_depend_on_extreme_mates_alone_are_never_batched_and_said_so(
    tmp_path: Path,
) -> None:
    model = body(
        "l = Constant<value = float {50.0}>() f = Flatten<axis=0>(x) m = ReduceMax<keepdims=0>(f)"
        " h = Max(m, l) d = Div(x, h) y = Mul(d, x)"
    )
    bundle = adopt(
        model, tmp_path, Pair, PairOut, PAIRS, waive={"lint": "to be found by the last step"}
    )
    assert bundle.manifest.batchable is False
    assert "rows depend on each other" in findings(bundle)


def test_an_answer_other_than_the_references_is_refused_with_its_place(tmp_path: Path) -> None:
    wrong = lambda rows: np.stack([row["x"] * (2 if row["x"][0] < 7 else 2.1) for row in rows])
    said = refused(TWICE, tmp_path, Pair, PairOut, PAIRS, training_side=wrong)
    assert (
        "parity: onnxruntime departs from the reference at batch size 1: sample 8, output 'y'[0]"
        in said
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda rows: np.zeros((3, 2)), "got answers to 3 rows, want one for each of 9"),
        (lambda rows: np.zeros((9, 3)), "got shape (3,), want (2,)"),
        (lambda rows: {"z": np.zeros((9, 2))},
         "got a mapping of z, want arrays with the rows first, for y"),
        (lambda rows: (1, 2), "got 2 values"),
        (lambda rows: np.full((9, 2), np.nan), "golden row 0, output 'y': got NaN"),
        (lambda rows: np.full((9, 2), "a"), "got elements of type str"),
        (lambda rows: [[1.0], [2.0, 3.0]], "got answers to 2 rows"),
        (lambda rows: None, "the reference's answer, output 'y'"),
    ],
)  # fmt: skip
def test_a_reference_that_does_not_answer_as_promised_is_told(
    answer: Callable[..., Any], words: str, tmp_path: Path
) -> None:
    assert words in refused(TWICE, tmp_path, Pair, PairOut, PAIRS, training_side=answer)


def test_without_a_reference_the_receipt_and_the_manifest_say_so(tmp_path: Path) -> None:
    own = adopt(TWICE, tmp_path / "own", Pair, PairOut, PAIRS)
    assert own.manifest.origin.source == "adopted"
    assert own.manifest.origin.reference == "none"
    assert "no independent reference" in findings(own)
    judged = adopt(
        TWICE,
        tmp_path / "judged",
        Pair,
        PairOut,
        PAIRS,
        training_side=lambda rows: np.stack([2 * row["x"] for row in rows]),
    )
    assert judged.manifest.origin.reference == "callable"
    assert findings(judged).strip() == ""


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        (PAIRS[:1], "adoption golden: got 1 row,"),
        ([*PAIRS, {"x": [1.0]}], "adoption golden, input 'x', row 9: got shape [1]"),
        ([*PAIRS, {"y": 1}], "row 9"), ([*PAIRS, 7], "row 9"),
    ],
)  # fmt: skip
def test_golden_rows_that_the_contract_refuses_are_named(
    golden: list[Any], words: str, tmp_path: Path
) -> None:
    assert words in refused(TWICE, tmp_path, Pair, PairOut, golden)


def with_weights(folder: Path, location: str, length: int = 8) -> Path:
    """A graph whose weights lie in a file of that name."""
    folder.mkdir(exist_ok=True)
    model = body("y = Mul(x, w)")
    tensor = numpy_helper.from_array(np.array([3.0, 5.0], np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


WEIGHTS = np.array([3.0, 5.0], np.float32).tobytes()


def test_weights_beside_the_model_are_brought_inside(tmp_path: Path) -> None:
    path = with_weights(tmp_path / "m", "weights.bin")
    (tmp_path / "m" / "weights.bin").write_bytes(WEIGHTS)
    bundle = adopt(read_onnx(path), tmp_path / "out", Pair, PairOut, PAIRS)
    assert WEIGHTS in bundle.files["graphs/fp32.onnx"]
    assert answers(bundle, PAIRS)[2]["y"].tolist() == [6.0, -5.0]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../secret.bin", "outside the model's folder"),
        ("{absolute}", "outside the model's folder"),
        ("link.bin", "outside the model's folder, behind a link"),
        ("a/../../secret.bin", "outside the model's folder"),
        ("..\\\\secret.bin", "outside the model's folder"),
        ("C:secret.bin", "outside the model's folder"),
        ("missing.bin",
         "the file 'missing.bin' with weights 'w' is missing, too short or no plain file"),
        ("short.bin", "too short"), (".", "no plain file"),
        ("", "no plain file"),
    ],
)  # fmt: skip
def test_weights_outside_the_models_folder_are_refused(
    location: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHTS)
    path = with_weights(tmp_path / "m", location.format(absolute=tmp_path / "secret.bin"))
    (tmp_path / "m" / "link.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "m" / "short.bin").write_bytes(WEIGHTS[:5])
    with pytest.raises(st.GateError) as said:
        read_onnx(path)
    assert "external data" in str(said.value)
    assert words in str(said.value)
    assert str(tmp_path) not in str(said.value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("model.onnx", b"", "a file without operators or outputs"),
        ("model.onnx", b"\x00\xff" * 50, "no ONNX model"),
        ("model.json", b"<html>", "no ONNX model"),
        ("model.pkl", b"\x80\x04", "a pickle, which is a program"),
        ("none/model.onnx", None, "no file"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_model_is_told(
    name: str, data: bytes | None, words: str, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(st.DeclarationError) as said:
        read_onnx(tmp_path / name)
    assert words in str(said.value)


def test_notes_and_paths_of_whoever_made_the_graph_are_gone(tmp_path: Path) -> None:
    model = body("y = Relu(x)")
    secret = f"/home/{getpass.getuser()}/{socket.gethostname()}/train.py"
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = model.graph.input[
        0
    ].doc_string = secret
    model.metadata_props.add(key="source", value=secret)
    model.graph.node[0].metadata_props.add(key="stack", value=secret)
    model.producer_name, model.producer_version, model.domain = f"tool {secret}", "7.1", secret
    bundle = adopt(model, tmp_path, Pair, PairOut, PAIRS)
    assert not [
        path
        for path in bundle.path.rglob("*")
        if path.is_file() and b"train.py" in path.read_bytes() and path.name != "manifest.json"
    ]
    assert "/" not in bundle.manifest.origin.producer
    assert bundle.manifest.origin.producer.startswith("tool ")


def test_names_inside_the_graph_that_look_like_a_folder_of_this_machine_are_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    model = parsed(TWICE)
    model.graph.node[0].name = f"{tmp_path}/model/Add"
    adopt(model, tmp_path / "out", Pair, PairOut, PAIRS)


def test_a_name_inside_the_graph_may_be_that_of_a_field(tmp_path: Path) -> None:
    model = parsed("g (float[n, 2] a) => (float[n, 2] b) { x = Neg(a) y = Neg(x) b = Add(y, x) }")
    assert answers(adopt(model, tmp_path, Pair, PairOut, PAIRS), PAIRS)[2]["y"].tolist() == [
        0.0,
        0.0,
    ]


def test_the_same_graph_gives_the_same_digest(tmp_path: Path) -> None:
    first, second = (adopt(TWICE, tmp_path / name, Pair, PairOut, PAIRS) for name in ("a", "b"))
    assert first.digest == second.digest


FILES = {
    "rows.py": (
        "import numpy as np\nimport seatrial as st\nclass Rows(st.Row):\n"
        "    x: st.Tensor[np.float32, 2]\nclass Out(st.Answer):\n    y: st.Tensor[np.float32, 2]\n"
    ),
    "bare.py": (
        "import numpy as np\nimport seatrial as st\nclass Rows(st.Row):\n"
        "    x: st.Tensor[np.float32, 2]\n"
    ),
    "two.py": "from rows import *\nclass More(st.Answer):\n    z: float\n",
    "reference.py": (
        "import numpy as np\ndef twice(rows):\n"
        "    return np.stack([2 * row['x'] for row in rows])\n"
        "def fails(rows):\n    return rows[0]['z']\nnumber = 7\n"
    ),
    "bad.jsonl": '{"x": [1, 2]}\n{"x": [1, 2}\n',
    "rows.jsonl": "".join(json.dumps(row) + "\n" for row in PAIRS),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a user has it, and the command line standing in it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "model.onnx").write_bytes(parsed(TWICE).SerializeToString())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_line_seals_a_file_and_inspect_says_where_it_comes_from(folder: Path) -> None:
    command = [
        "adopt",
        "model.onnx",
        "--contract",
        "rows.py:Rows",
        "--golden",
        "rows.jsonl",
        "--out",
        "out",
    ]
    done = CliRunner().invoke(cli, [*command, "--reference", "reference.py:twice", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["path"] == "out/model/1.0.0"
    assert facts["batchable"] is True
    assert facts["warnings"] == []
    shown = CliRunner().invoke(cli, ["inspect", facts["path"]]).output
    assert "adopted; reference: a function of the user's" in " ".join(shown.split())
    own = CliRunner().invoke(cli, [*command, "--version", "1.0.1"])
    assert "warning: no independent reference" in own.output
    since = CliRunner().invoke(cli, [*command, "--version", "1.0.2", "--since", facts["path"]])
    assert since.exit_code == 0, since.output
    assert (folder / "out" / "model" / "1.0.2" / "RELEASE_NOTES.md").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "none.onnx"}, "no file"), ({"--contract": "none.py:Rows"}, "no file 'none.py'"),
        ({"--contract": "rows.py:Out"}, "want a class derived from st.Row"),
        ({"--contract": "rows.py:None_"}, "no 'None_' in the file"),
        ({"--contract": "bare.py:Rows"},
         "no class derived from st.Answer, want one beside the rows"),
        ({"--contract": "two.py:Rows"}, "several: Out, More"),
        ({"--answers": "rows.py:Rows"}, "want a class derived from st.Answer"),
        ({"--golden": "bad.jsonl"}, "no JSON at line 2"),
        ({"--golden": "none.jsonl"}, "No such file"),
        ({"--reference": "reference.py:number"}, "want a function"),
        ({"--reference": "reference.py:fails"}, "line 5: got KeyError"),
        ({"--rename": "y"}, "want GRAPH_NAME=FIELD"), ({"--name": "../up"}, "adoption name"),
        ({"--version": "1"}, "adoption version"),
        ({"model": "reference.py:number"}, "want a fitted scikit-learn estimator"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_told_and_nothing_is_written(
    change: dict[str, str], words: str, folder: Path
) -> None:
    asked = {
        "model": "model.onnx",
        "--contract": "rows.py:Rows",
        "--golden": "rows.jsonl",
        "--out": "out",
    } | change
    model = asked.pop("model")
    done = CliRunner().invoke(
        cli, ["adopt", model, *(part for pair in asked.items() for part in pair)]
    )
    assert isinstance(done.exception, st.SeatrialError)
    assert words in str(done.exception)
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_adopting_needs_no_torch() -> None:
    code = (
        "import sys, seatrial as st; st.adopt_model, st.Adoption; print([name for name in "
        "('torch', 'onnxscript', 'sklearn', 'skl2onnx') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
