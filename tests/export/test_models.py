"""Models of many kinds, from declaration to a loaded engine.

All answer from raw rows as PyTorch does, at sizes never traced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import seatrial as st
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.runtimes.runtime import RuntimeOptions

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)


class Series(st.Row):
    series: st.Tensor[np.float32, 2:200, 4]


class Value(st.Answer):
    value: float


class ValueAndCode(st.Answer):
    value: float
    code: st.Tensor[np.float32, 8]


def series(*lengths: int) -> list[dict[str, Any]]:
    return [
        {"series": RNG.standard_normal((length, 4)).astype(np.float32)}
        for length in lengths or (5, 5, 5, 9, 3, 17, 17, 2)
    ]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.layer = kind(4, 8, batch_first=True, **options)
        self.head = nn.Linear(16 if options.get("bidirectional") else 8, 1)

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.layer(series)[0][:, -1])[:, 0]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.head = nn.Linear(4, 16), nn.Linear(16, 1)
        self.body = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2, enable_nested_tensor=False
        )

    def forward(self, series: Tensor) -> Tensor:
        return self.head(self.body(self.inputs(series)).mean(1))[:, 0]


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.value, self.coder = (
            nn.Conv1d(4, 8, 3, padding=1),
            nn.Linear(8, 1),
            nn.Linear(8, 8),
        )

    def forward(self, series: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.conv(series.transpose(1, 2))).mean(2)
        return {"code": self.coder(x), "value": self.value(x)[:, 0]}


def check(
    model: nn.Module,
    folder: Path,
    inputs: type[st.Row],
    outputs: type[st.Answer],
    golden: list[Any],
    fresh: list[Any],
    **options: Any,
) -> st.Bundle:
    """Seal, load, pass the load gate, and compare answers to PyTorch's.

    The gate never saw the rows; they are answered alone and together.
    """
    torch.manual_seed(0)
    pipeline = st.Pipeline(
        name="kind",
        version="1.0.0",
        inputs=inputs,
        outputs=outputs,
        model=model.eval(),
        golden=golden,
        **options,
    )
    engine = load_engine(st.open_bundle(st.export(pipeline, folder).path), RuntimeOptions())
    assert all(trial.passed for trial in pass_load_gate(engine).trials)
    for batch_rows in (1, 5):
        found = st.compare_outputs(
            pipeline.answer(fresh), engine.answer(fresh, batch_rows), pipeline.tolerance
        )
        assert found.passed, str(found)
    return engine.bundle


@pytest.mark.parametrize(
    "model",
    [
        Recurrent(nn.LSTM),
        Recurrent(nn.GRU),
        Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
        Recurrent(nn.GRU, bidirectional=True),
        Attention(),
    ],
    ids=["lstm", "gru", "two-layer bidirectional lstm", "bidirectional gru", "transformer"],
)
def test_a_sequence_model_answers_at_every_length(model: nn.Module, tmp_path: Path) -> None:
    bundle = check(model, tmp_path, Series, Value, series(), series(2, 40, 40, 7, 199))
    assert bundle.manifest.batchable


def test_a_plain_rnn_of_open_length_is_told_what_to_use_instead(tmp_path: Path) -> None:
    with pytest.raises(st.SeatrialError, match=r"(?s)nn.RNN 'layer'.*use nn.GRU or nn.LSTM"):
        check(Recurrent(nn.RNN), tmp_path, Series, Value, series(), series(3))


def test_several_outputs_come_by_name_in_any_order(tmp_path: Path) -> None:
    bundle = check(Convolution(), tmp_path, Series, ValueAndCode, series(), series(8, 60))
    assert [field.name for field in bundle.contract.outputs] == ["value", "code"]


class Image(st.Row):
    image: st.Tensor[np.float32, 3, 16:128, 16:128]


def test_a_fully_convolutional_model_takes_images_of_open_sides(tmp_path: Path) -> None:
    body = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1),
    )
    model = nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 1), nn.Flatten(0))
    rows = lambda *sizes: [
        {"image": RNG.standard_normal((3, *size)).astype(np.float32)} for size in sizes
    ]
    check(
        model,
        tmp_path,
        Image,
        Value,
        rows((20, 30), (20, 30), (16, 16), (40, 17)),
        rows((16, 100), (127, 16), (127, 16)),
    )


class Mixed(st.Row):
    ratio: Annotated[float | None, st.Number(ge=0, le=1)]
    count: int
    flag: bool
    word: Annotated[str, st.Category("a", "b", unknown="bucket")]
    maybe: Literal["yes", "no"] | None


class MixedNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.maybe, self.head = nn.Embedding(3, 4), nn.Embedding(3, 4), nn.Linear(12, 1)

    def forward(
        self, ratio: Tensor, count: Tensor, flag: Tensor, word: Tensor, maybe: Tensor
    ) -> Tensor:
        numbers = torch.stack(
            [
                ratio.nan_to_num(-1.0),
                torch.isnan(ratio).float(),
                count.float().clamp(-1e3, 1e3),
                flag.float(),
            ],
            1,
        )
        return self.head(torch.cat([numbers, self.word(word), self.maybe(maybe)], 1))[:, 0]


def mixed(count: int) -> list[dict[str, Any]]:
    words = ("a", "b", "unheard of", "ß")
    return [
        {
            "ratio": None if i % 3 == 0 else i / count,
            "count": i - 5,
            "flag": i % 2 == 0,
            "word": words[i % 4],
            "maybe": (None, "yes", "no")[i % 3],
        }
        for i in range(count)
    ]


def test_words_are_looked_up_inside_the_graph_missing_and_unknown_ones_too(tmp_path: Path) -> None:
    bundle = check(MixedNet(), tmp_path, Mixed, Value, mixed(12), mixed(40))
    model = onnx.load_from_string(bundle.files["graphs/fp32.onnx"])
    assert [node.op_type for node in model.graph.node].count("LabelEncoder") == 2
    assert {value.name for value in model.graph.input} == {
        "ratio",
        "count",
        "flag",
        "word",
        "maybe",
    }


class Unlucky(st.Row):
    linear: st.Tensor[np.float32, 10, 4]
    weight: float


class UnluckyAnswer(st.Answer):
    relu: float
    linear_1: st.Tensor[np.float32, 8]


class UnluckyNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.linear, self.layer = (
            nn.Parameter(torch.ones(8)),
            nn.Linear(8, 1),
            nn.LSTM(4, 8, batch_first=True),
        )

    def forward(self, linear: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        code = self.layer(linear)[0][:, -1] * self.weight
        return torch.relu(self.linear(code)[:, 0]) * weight, code


def test_fields_may_be_named_like_the_exporters_own_values(tmp_path: Path) -> None:
    rows = lambda count: [
        {"linear": RNG.standard_normal((10, 4)).astype(np.float32), "weight": 1.5}
        for _ in range(count)
    ]
    check(UnluckyNet(), tmp_path, Unlucky, UnluckyAnswer, rows(4), rows(6))


class Same(st.Answer):
    first: st.Tensor[np.float32, 4]
    second: st.Tensor[np.float32, 4]


class Four(st.Row):
    x: st.Tensor[np.float32, 4]


def test_a_model_may_give_its_input_back_twice(tmp_path: Path) -> None:
    class Echo(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    rows = [{"x": row} for row in RNG.standard_normal((5, 4)).astype(np.float32)]
    check(Echo(), tmp_path, Four, Same, rows, rows)


PREPARED = Annotated[bytes, st.Image(formats=("PNG",), min_side_px=4)]


class File(st.Row):
    image: PREPARED
    gain: float


class Halve(nn.Module):
    """Any picture to 4 x 4 gray; it keeps the name of what it takes."""

    def forward(self, image: Tensor) -> Tensor:
        gray = image.to(torch.float32).mean(2)[None, None] / 255
        return nn.functional.interpolate(gray, size=(4, 4), mode="bilinear", antialias=True)[0, 0]


class Brightness(nn.Module):
    def forward(self, gain: Tensor, image: Tensor) -> Tensor:
        return image.mean((1, 2)) * gain


def test_prepare_runs_per_row_and_rows_of_any_size_share_a_batch(tmp_path: Path) -> None:
    from seatrial_contracts.kinds.image import draw

    rows = [
        {"image": draw(*size, (10 * i, 40, 90), "PNG"), "gain": 1.0 + i}
        for i, size in enumerate([(9, 9), (30, 20), (5, 80), (64, 64), (4, 4)])
    ]
    bundle = check(Brightness(), tmp_path, File, Value, rows, rows[::-1], prepare=Halve().eval())
    assert bundle.manifest.prepare is not None
    engine = load_engine(bundle, RuntimeOptions())
    encoded = [engine.encode(engine.contract.validate_row(row)) for row in bundle.golden.rows]
    assert len({engine.batch_key(row) for row in encoded}) == 1
