"""A fault planted in one node of a sealed graph is named: node, module, cause.

It can be run again from what is saved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import helper, numpy_helper
from torch import Tensor, nn

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.bundle import Bundle, write_bundle
from seatrial_parity.bisect.bisect import Bisection, bisect
from seatrial_parity.bisect.replay import main as replay_command
from seatrial_parity.bisect.replay import replay
from seatrial_parity.bisect.saved import save
from seatrial_parity.bisect.traced import Traced, trace

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
Edit = Callable[[onnx.ModelProto], None]


class Series(st.Row):
    series: st.Tensor[np.float32, 2:40, 4]


class Value(st.Answer):
    value: float


class Picture(st.Row):
    image: Annotated[bytes, st.Image(formats=("PNG",), min_side_px=10)]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.head = nn.Linear(4, 16), nn.Linear(16, 1)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        # Torch copies the first layer, and the exporter keeps equal weights once.
        for weight in self.body.layers[1].parameters():
            nn.init.normal_(weight, std=0.3)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.body(self.inputs(series)).mean(1))[:, 0]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 8, num_layers=2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.layer(series)[0][:, -1])[:, 0]


class Coarse(nn.Module):
    """A prepare step that rounds."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.round(image[:8, :8].permute(2, 0, 1).to(torch.float32) / 32)


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(144, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))[:, 0]


class Sealed(NamedTuple):
    pipeline: st.Pipeline
    bundle: Bundle
    traced: dict[str, Traced]


def series_pipeline(model: type[nn.Module]) -> st.Pipeline:
    torch.manual_seed(0)
    rows = [
        {"series": RNG.standard_normal((length, 4)).astype(np.float32)}
        for length in (5, 5, 9, 3, 17)
    ]
    name = model.__name__.lower()
    return st.Pipeline(
        name=name, version="1.0.0", inputs=Series, outputs=Value, model=model().eval(), golden=rows
    )


def picture_pipeline() -> st.Pipeline:
    from seatrial_contracts.kinds.image import draw

    torch.manual_seed(0)
    rows = [
        {"image": draw(width, height, (90, 5 * width, 7), "PNG")}
        for width, height in ((20, 30), (11, 12), (31, 17))
    ]
    return st.Pipeline(
        name="pictures",
        version="1.0.0",
        inputs=Picture,
        outputs=Value,
        model=Convolved().eval(),
        prepare=Coarse().eval(),
        golden=rows,
    )


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sealed]:
    """Each pipeline exported and traced once, when it is first asked for."""
    made: dict[str, Sealed] = {}
    makers: Mapping[str, Callable[[], st.Pipeline]] = {
        "attention": lambda: series_pipeline(Attention),
        "recurrent": lambda: series_pipeline(Recurrent),
        "pictures": picture_pipeline,
    }

    def get(name: str) -> Sealed:
        if name not in made:
            pipeline = makers[name]()
            bundle = st.export(pipeline, tmp_path_factory.mktemp(name))
            made[name] = Sealed(pipeline, bundle, trace(pipeline))
        return made[name]

    return get


def edited(bundle: Bundle, folder: Path, edit: Edit, graph: str = "graphs/fp32.onnx") -> Bundle:
    """The bundle sealed again with a graph that was changed."""
    model = onnx.load_from_string(bundle.files[graph])
    edit(model)
    return write_bundle(folder, bundle.manifest, {**bundle.files, graph: model.SerializeToString()})


def found(given: Sealed, bundle: Bundle) -> Bisection:
    return bisect(bundle, bundle.manifest.variants[0], given.pipeline, given.traced)


def node_of(model: onnx.ModelProto, op_type: str, place: int = 0) -> onnx.NodeProto:
    return [node for node in model.graph.node if node.op_type == op_type][place]


def nudge(weight: str) -> Edit:
    """Move the first number of a weight."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
        moved = numpy_helper.to_array(tensor).copy()
        moved.flat[0] += np.float32(0.05)
        tensor.CopyFrom(numpy_helper.from_array(moved, weight))

    return edit


def nudge_of(op_type: str, place: int) -> Edit:
    """The same with the first weight of a node."""
    return lambda model: nudge(node_of(model, op_type, place).input[1])(model)


def floor_for_round(model: onnx.ModelProto) -> None:
    node_of(model, "Round").op_type = "Floor"


def through_half(model: onnx.ModelProto) -> None:
    """Send the value of the first layer's first feed-forward through float16.

    A variant does so too: other nodes, the same names.
    """
    node = node_of(model, "Relu")
    value, nodes = node.output[0], list(model.graph.node)
    node.output[0] = "exact"
    nodes[nodes.index(node) + 1 : nodes.index(node) + 1] = [
        helper.make_node("Cast", ["exact"], ["half"], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], [value], to=onnx.TensorProto.FLOAT),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@pytest.mark.parametrize(
    ("name", "edit", "graph", "operator", "modules", "differs"),
    [
        ("attention", nudge("_head.weight"), "graphs/fp32.onnx", "Gemm", ("model.head",),
         "weight head.weight"),
        ("attention", nudge("_body.layers.1.linear1.bias"), "graphs/fp32.onnx", "Add",
         ("model.body.layers.1.linear1",), "weight body.layers.1.linear1.bias"),
        ("attention", through_half, "graphs/fp32.onnx", "Cast", ("model.body.layers.0",),
         "the operator: Cast, a fresh export has Relu"),
        ("recurrent", nudge_of("LSTM", 1), "graphs/fp32.onnx", "LSTM", ("model.layer",),
         "weight val_"),
        ("pictures", nudge("_body.0.weight"), "graphs/fp32.onnx", "Conv",
         ("model.body.0", "model.body.1"), "weight body.0.weight"),
        ("pictures", floor_for_round, "graphs/prepare.onnx", "Floor", ("prepare",),
         "the operator: Floor, a fresh export has Round"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_named(
    name: str, edit: Edit, graph: str, operator: str, modules: tuple[str, ...], differs: str,
    sealed: Callable[[str], Sealed], tmp_path: Path,
) -> None:  # fmt: skip
    given = sealed(name)
    bisection = found(given, edited(given.bundle, tmp_path, edit, graph))
    departure = bisection.departure
    assert departure is not None, "\n".join(bisection.lines())
    assert departure.node.op_type == operator
    assert departure.origin is not None
    assert departure.origin.modules == modules
    assert departure.origin.line.startswith("test_bisect.py:")
    assert departure.alone is None or not departure.alone.passed
    # A node that the export does not have reads what PyTorch does not.
    assert (departure.alone is None) == (operator == "Cast")
    assert any(differs in each for each in departure.differs)
    assert departure.found.worst_error > departure.found.allowed
    folder = save(given.bundle, bisection, tmp_path / "reports")
    said = replay(folder)
    assert said["the graph's inputs"] == pytest.approx(np.abs(departure.got - departure.want).max())
    assert json.loads((folder / "replay.json").read_text())["modules"] == list(modules)


def test_running_again_what_was_never_saved_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(replay_command, [str(tmp_path / "fp32")])
    assert done.exit_code == 1
    assert "got no replay.json, want a folder that seatrial parity --bisect saved" in done.output


@pytest.mark.parametrize("name", ["attention", "recurrent", "pictures"])
def test_where_nothing_is_planted_every_value_agrees(
    name: str, sealed: Callable[[str], Sealed]
) -> None:
    given = sealed(name)
    bisection = found(given, given.bundle)
    assert bisection.departure is None
    assert bisection.answers.passed
    nodes = len(onnx.load_from_string(given.bundle.files["graphs/fp32.onnx"]).graph.node)
    assert any(f"{nodes} values compared, none departs" in note for note in bisection.notes)


def test_a_weight_that_no_golden_row_needs_is_named_as_different(
    sealed: Callable[[str], Sealed], tmp_path: Path
) -> None:
    given = sealed("pictures")

    def edit(model: onnx.ModelProto) -> None:
        bias = next(tensor for tensor in model.graph.initializer if tensor.name == "_head.bias")
        moved = numpy_helper.to_array(bias) + np.float32(1e-7)  # well within what is allowed
        bias.CopyFrom(numpy_helper.from_array(moved, bias.name))

    bisection = found(given, edited(given.bundle, tmp_path, edit))
    assert bisection.departure is None
    assert any("no value shows it: weight head.bias" in note for note in bisection.notes)


def test_a_graph_of_other_nodes_and_names_is_said_to_match_nothing(
    sealed: Callable[[str], Sealed], tmp_path: Path
) -> None:
    given = sealed("recurrent")

    def edit(model: onnx.ModelProto) -> None:
        """The mean of each series: another model altogether."""
        del model.graph.node[:], model.graph.initializer[:]
        axes = numpy_helper.from_array(np.array([1, 2]), "axes")
        model.graph.initializer.append(axes)
        model.graph.node.append(
            helper.make_node("ReduceMean", ["series", "axes"], ["mean"], keepdims=0)
        )
        model.graph.node.append(helper.make_node("Neg", ["mean"], ["value"]))

    bisection = found(given, edited(given.bundle, tmp_path, edit))
    assert not bisection.answers.passed
    assert any("0 of its" in note or "1 of its" in note for note in bisection.notes)


def test_the_command_names_saves_and_exits_with_1(
    sealed: Callable[[str], Sealed], tmp_path: Path
) -> None:
    given = sealed("pictures")
    planted = edited(given.bundle, tmp_path, nudge("_head.bias"))
    file = tmp_path / "pictures.py"
    file.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_bisect import picture_pipeline as pipeline\n"
    )
    asked = [
        "parity",
        str(planted.path),
        "--pipeline",
        f"{file}:pipeline",
        "--bisect",
        "--out",
        str(tmp_path / "out"),
        "--junit",
        str(tmp_path / "x.xml"),
    ]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 1, done.output
    assert "(Gemm) of the model graph" in done.output
    assert "in      model.head (" in done.output
    assert sorted(path.name for path in (tmp_path / "out" / "fp32").iterdir()) == [
        "node.onnx",
        "replay.json",
        "values.npz",
    ]
    done = CliRunner().invoke(
        cli, ["parity", str(planted.path), "--bisect", "--junit", str(tmp_path / "x.xml")]
    )
    assert "--bisect: got no pipeline" in str(done.exception)
