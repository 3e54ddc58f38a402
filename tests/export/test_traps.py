"""Each measured trap of exporting, and how the gate catches it.

The gate names the trap, with its cause and its mend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import pytest
import torch
from support.foreign import opset_of
from torch import Tensor, nn
from torch.nn import functional as F

import seatrial as st
from seatrial_export.gate import strip
from seatrial_export.gate.strip import check_leaks, strip_model

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)


class Four(st.Row):
    x: st.Tensor[np.float32, 4]


class Picture(st.Row):
    x: st.Tensor[np.float32, 3, 16:64, 16:64]


class Score(st.Answer):
    score: float


class Pair(st.Answer):
    pair: st.Tensor[np.float32, 2]


def fours(count: int = 9) -> list[dict[str, Any]]:
    return [{"x": row} for row in RNG.standard_normal((count, 4)).astype(np.float32)]


def pictures(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    return [
        {"x": RNG.standard_normal((3, *size)).astype(np.float32)}
        for size in sizes or ((20, 30), (20, 30), (32, 17))
    ]


def seal(
    model: nn.Module,
    folder: Path,
    *,
    inputs: type[st.Row] = Four,
    outputs: type[st.Answer] = Score,
    **options: Any,
) -> st.Bundle:
    torch.manual_seed(0)
    golden = options.pop("golden", None) or fours()
    return st.export(
        st.Pipeline(
            name="trap",
            version="1.0.0",
            inputs=inputs,
            outputs=outputs,
            model=model,
            golden=golden,
            **options,
        ),
        folder,
    )


def caught(model: nn.Module, folder: Path, **options: Any) -> str:
    """What the gate says; nothing may have been written."""
    with pytest.raises(st.SeatrialError) as refused:
        seal(model, folder, **options)
    assert not list(folder.rglob("manifest.json"))
    assert "mend: " in str(refused.value) or "want " in str(refused.value)
    return str(refused.value)


class Forward(nn.Module):
    """A linear layer and a function after it."""

    def __init__(self, function: Any, width: int = 4) -> None:
        super().__init__()
        self.layer, self.norm, self.function = nn.Linear(width, 1), nn.BatchNorm1d(1), function
        self.weights = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.layer(x))[:, 0]


def test_training_mode_left_on_in_one_child_is_named(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Linear(4, 8), nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 1)), nn.Flatten(0)
    ).eval()
    model[1][0].train()
    assert "in training mode: model.1.0" in caught(model, tmp_path)


def test_functional_dropout_shows_in_two_runs(tmp_path: Path) -> None:
    said = caught(Forward(lambda self, y: F.dropout(y, 0.5)).eval(), tmp_path)
    assert "two runs" in said
    assert "F.dropout" in said


def test_functional_batch_norm_in_training_mode_shows_in_the_state(tmp_path: Path) -> None:
    def norm(self: Forward, y: Tensor) -> Tensor:
        return F.batch_norm(y, self.norm.running_mean, self.norm.running_var, training=True)

    said = caught(Forward(norm).eval(), tmp_path)
    assert "state" in said
    assert "norm.running_mean" in said


def test_batch_norm_without_running_statistics_shows_in_the_row_among_others(
    tmp_path: Path,
) -> None:
    said = caught(
        Forward(lambda self, y: F.batch_norm(y, None, None, training=True)).eval(),
        tmp_path,
        batchable=True,
    )
    assert "row in batch" in said or "Expected more than 1 value" in said


@pytest.mark.parametrize("branch", [
    lambda self, y: y * 2 if y.shape[0] > 2 else y,
    lambda self, y: torch.stack([y[i] * (i + 1) / (i + 1) for i in range(y.shape[0])]),
])  # fmt: skip
def test_a_baked_shape_branch_is_caught_with_its_line(branch: Any, tmp_path: Path) -> None:
    said = caught(Forward(branch).eval(), tmp_path)
    assert "torch.export" in said or "row in batch" in said
    assert "x.shape" in said or "rows of its batch" in said


def test_a_static_batch_is_caught(tmp_path: Path) -> None:
    said = caught(Forward(lambda self, y: y.reshape(3, 1)).eval(), tmp_path)
    assert "export gate" in said


def test_a_static_batch_is_caught_by_the_graph_even_where_torch_export_is_waived(
    tmp_path: Path,
) -> None:
    said = caught(
        Forward(
            lambda self, y: y + torch.zeros(int(y.shape[0]), 1) if y.shape[0] == 3 else y
        ).eval(),
        tmp_path,
        waive={"torch.export": "for the test"},
    )
    assert "export gate" in said


class Pooled(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.conv, self.head, self.side = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Linear(4 * side * side, 1),
            side,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.conv(x), self.side).flatten(1))[:, 0]


def test_adaptive_pooling_that_bakes_in_the_traced_size_is_caught_at_other_sizes(
    tmp_path: Path,
) -> None:
    said = caught(Pooled(7).eval(), tmp_path, inputs=Picture, golden=pictures())
    assert "export gate" in said
    assert any(word in said for word in ("other sizes", "torch.export", "torch.onnx.export"))


def test_adaptive_pooling_to_one_pixel_is_right_at_every_size(tmp_path: Path) -> None:
    assert seal(Pooled(1).eval(), tmp_path, inputs=Picture, golden=pictures()).manifest.batchable


def test_an_opset_that_the_exporter_raises_silently_is_caught(tmp_path: Path) -> None:
    assert "opset 13 was asked for, the exporter wrote 18" in caught(
        nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval(), tmp_path, opset=13
    )


@pytest.mark.parametrize("opset", [18, 20, 22])
def test_an_opset_that_is_honoured_is_in_graph_and_manifest(opset: int, tmp_path: Path) -> None:
    bundle = seal(nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval(), tmp_path, opset=opset)
    model = onnx.load_from_string(bundle.files["graphs/fp32.onnx"])
    assert (
        [entry.version for entry in model.opset_import if entry.domain == ""]
        == [opset]
        == [opset_of(bundle)]
    )


def test_noise_in_forward_is_caught_in_two_runs_and_in_the_graph(tmp_path: Path) -> None:
    noisy = Forward(lambda self, y: y + 0.1 * torch.randn_like(y)).eval()
    assert "two runs" in caught(noisy, tmp_path)
    assert "draws random numbers: RandomNormal" in caught(
        noisy,
        tmp_path,
        waive=dict.fromkeys(("two runs", "state", "row in batch", "surroundings"), "for the test"),
    )


@pytest.mark.parametrize("cross", [
    lambda self, y: y - y.mean(0, keepdim=True), lambda self, y: torch.softmax(y, 0),
    lambda self, y: y / y.abs().max(), lambda self, y: y.cumsum(0),
])  # fmt: skip
def test_an_operator_across_rows_is_caught(cross: Any, tmp_path: Path) -> None:
    assert "a row's answer depends on the other rows of its batch" in caught(
        Forward(cross).eval(), tmp_path
    )
    said = caught(Forward(cross).eval(), tmp_path, waive={"row in batch": "for the test"})
    assert "rows apart" in said


def test_a_model_that_says_it_sees_all_rows_is_sealed_and_never_batched(tmp_path: Path) -> None:
    bundle = seal(
        Forward(lambda self, y: y - y.mean(0, keepdim=True) * 0.5).eval(), tmp_path, batchable=False
    )
    assert bundle.manifest.batchable is False


class OneScale(nn.Module):
    """One scale for all rows of a batch, as dynamic int8 has it.

    Its step is too small for golden rows alike to show it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().nan_to_num(posinf=1e30).clamp(min=50.0).flatten().amax(0)
        return self.layer(torch.round(x / scale * 1e6) * scale / 1e6)[:, 0]


def test_rows_that_depend_only_on_extreme_mates_are_sealed_as_not_batchable_and_said_so(
    tmp_path: Path,
) -> None:
    bundle = seal(
        OneScale().eval(),
        tmp_path,
        waive={"lint": "the planted fault is to be found by the last step"},
    )
    assert bundle.manifest.batchable is False
    assert bundle.manifest.waivers == {"lint": "the planted fault is to be found by the last step"}
    assert any(
        "rows depend on each other" in trial.finding
        for receipt in bundle.receipts()
        for trial in receipt.trials
    )


def test_a_size_that_depends_on_the_data_is_caught(tmp_path: Path) -> None:
    said = caught(Forward(lambda self, y: y + y[y > 0].sum()).eval(), tmp_path, batchable=False)
    assert "export gate" in said


def test_no_path_user_or_source_line_is_left_in_any_file(tmp_path: Path) -> None:
    bundle = seal(nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval(), tmp_path)
    everything = b"".join(path.read_bytes() for path in bundle.path.rglob("*") if path.is_file())
    for trace in (
        str(Path.cwd()),
        str(Path.home()),
        str(tmp_path),
        "test_traps",
        "site-packages",
        "stack_trace",
        "metadata_props",
    ):
        assert trace.encode() not in everything, trace


def test_a_leaked_path_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20]> g (float[n] x) => (float[n] y) { y = Relu(x) }'
    )
    model.graph.node[0].metadata_props.add(
        key="pkg.torch.onnx.stack_trace", value="/home/somebody/model.py"
    )
    model.graph.node[0].doc_string = "/home/somebody"
    model.graph.input[0].doc_string = "/home/somebody"
    monkeypatch.setattr(strip, "folders_here", lambda: {"/home/somebody"})
    with pytest.raises(
        st.SeatrialError,
        match=r"'graphs/fp32\.onnx' holds '/home/somebody', a path, user or host name",
    ):
        check_leaks("graphs/fp32.onnx", model.SerializeToString())
    strip_model(model)
    check_leaks("graphs/fp32.onnx", model.SerializeToString())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/marie/net.py", "/marie"), ("marie@laptop", "marie@"),
        ("C:\\Users\\marie", "\\marie"), ("marie", ""), ("submarie/x", ""),
        ("marie_7", ""), ("/mariean/x", ""), ("marie-2/x", ""),
    ],
)  # fmt: skip
def test_a_login_name_counts_as_a_whole_part_of_a_path_in_what_we_write(
    text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strip, "folders_here", set)
    monkeypatch.setattr(strip, "names_here", lambda: {"marie"})
    check_leaks("golden/rows.jsonl", text.encode(), written_by_user=True)
    if not told:
        check_leaks("graphs/fp32.onnx", text.encode())
        return
    with pytest.raises(st.SeatrialError) as refused:
        check_leaks("graphs/fp32.onnx", text.encode())
    assert f"holds '{told}'" in str(refused.value)


def test_a_category_that_is_called_as_the_user_is_sealed_and_a_folder_of_the_export_is_told_unless_waived(  # noqa: E501  (a test's name is a sentence)
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Word(st.Row):
        word: Annotated[str, st.Category("marie", "paul", unknown="bucket")]

    class Codes(nn.Module):
        def forward(self, word: Tensor) -> Tensor:
            return word.to(torch.float32)

    monkeypatch.setattr(strip, "names_here", lambda: {"marie"})
    monkeypatch.setattr(strip, "folders_here", lambda: {"/srv/training"})
    options: dict[str, Any] = {"inputs": Word, "golden": [{"word": "marie"}, {"word": "paul"}]}
    assert seal(Codes().eval(), tmp_path / "a", **options)
    options["golden"] = [*options["golden"], {"word": "/srv/training/x"}]
    said = caught(Codes().eval(), tmp_path / "b", **options)
    assert "'golden/rows.jsonl' holds '/srv/training'" in said
    waive = {"local traces golden/rows.jsonl": "the rows are paths"}
    assert seal(Codes().eval(), tmp_path / "c", **options, waive=waive).manifest.waivers == waive
    said = caught(
        Codes().eval(),
        tmp_path / "d",
        **options,
        waive={"local traces golden/row.jsonl": "misspelt"},
    )
    assert "golden/rows.jsonl" in said


def test_a_model_that_takes_other_arguments_is_told_which(tmp_path: Path) -> None:
    class Other(nn.Module):
        def forward(self, image: Tensor, scale: Tensor) -> Tensor:
            return image * scale

    assert "got parameters image, scale, want forward(self, x)" in caught(Other().eval(), tmp_path)


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        (lambda x: x.sum(), Score),
        (lambda x: (x[:, 0], x[:, 1]), Score),
        (lambda x: [1.0], Score),
        (lambda x: x, Pair),
        (lambda x: x[:, 0].double(), Score),
    ],
)
def test_an_answer_that_is_not_as_declared_is_told(
    answer: Any, outputs: type[st.Answer], tmp_path: Path
) -> None:
    class Answers(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return answer(x)

    with pytest.raises(st.SeatrialError) as refused:
        seal(Answers().eval(), tmp_path, outputs=outputs)
    assert "one" in str(refused.value) or "shape" in str(refused.value)


def test_a_golden_row_that_the_contract_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(st.Refusal, match="input 'x'"):
        seal(
            nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval(),
            tmp_path,
            golden=[*fours(2), {"x": np.ones(5, np.float32)}],
        )


def test_an_operation_without_onnx_form_is_named(tmp_path: Path) -> None:
    class Erfinv(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x).sum(1)

    said = caught(Erfinv().eval(), tmp_path)
    assert "torch.onnx.export" in said
    assert "bessel_j0" in said
    assert "\x1b" not in said


def test_a_waiver_needs_a_known_step(tmp_path: Path) -> None:
    with pytest.raises(st.DeclarationError, match="want steps among"):
        seal(
            nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval(),
            tmp_path,
            waive={"parity": "no time"},
        )
