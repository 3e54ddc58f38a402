"""Models as people have them.

They are wrapped, of another type, changing their inputs, in whole numbers, with answers of any
form.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from support.foreign import answers
from torch import Tensor, nn

import seatrial as st

pytestmark = pytest.mark.slow
F32 = np.float32
QUICK = {
    "fresh process": "the test has no file",
    "surroundings": "not what is tried here",
    "state": "as before",
}


class Four(st.Row):
    x: st.Tensor[np.float32, 4]


class Whole(st.Row):
    n: Annotated[int, st.Number(ge=0, le=100)]


class Score(st.Answer):
    y: float


class Free(nn.Module):
    """Whatever a function makes of the input."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.function = nn.Linear(4, 1), function
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def fours() -> list[dict[str, Any]]:
    return [{"x": np.random.default_rng(seed).standard_normal(4).astype(F32)} for seed in range(4)]


def wholes() -> list[dict[str, Any]]:
    return [{"n": value} for value in (1, 2, 5)]


def seal(
    model: nn.Module,
    folder: Path,
    inputs: type[st.Row] = Four,
    outputs: type[st.Answer] = Score,
    golden: Any = None,
    **options: Any,
) -> st.Bundle:
    declared: dict[str, Any] = {"waive": QUICK, **options}
    pipeline = st.Pipeline(
        name="m",
        version="1.0.0",
        inputs=inputs,
        outputs=outputs,
        model=model,
        golden=golden or fours(),
        **declared,
    )
    return st.open_bundle(st.export(pipeline, folder).path)


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).eval()


def test_wrappers_are_taken_off_and_the_answers_are_the_modules_own(tmp_path: Path) -> None:
    inner = line()
    for place, wrapped in enumerate(
        (
            torch.compile(inner),
            nn.DataParallel(inner),
            torch.optim.swa_utils.AveragedModel(nn.DataParallel(inner)),
        )
    ):
        pipeline = st.Pipeline(
            name="m", version="1.0.0", inputs=Four, outputs=Score, model=wrapped, golden=fours()
        )
        assert isinstance(pipeline.model, nn.Sequential)
        want = [inner(torch.as_tensor(row["x"])[None]).detach().numpy() for row in fours()]
        assert [float(answer["y"]) for answer in pipeline.answer(fours())] == [
            float(value[0]) for value in want
        ], place


def test_an_answer_of_another_type_is_told_the_cast(tmp_path: Path) -> None:
    with pytest.raises(st.DeclarationError, match=r"got bfloat16 .* return y\.float\(\)"):
        seal(Free(lambda self, x: self.layer(x)[:, 0].bfloat16()), tmp_path)


class PeftModel(nn.Module):
    """As PEFT's own: the tuner is called by it, and calls the module with its adapters."""

    def __init__(self, tuner: nn.Module) -> None:
        super().__init__()
        self.base_model = tuner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_model(*args, **kwargs)


class BaseTuner(PeftModel):
    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.model = model


class Tuner(BaseTuner):
    """One of the kinds of adapters."""


PeftModel.__module__, BaseTuner.__module__ = "peft.peft_model", "peft.tuners.tuners_utils"


def declared(model: nn.Module) -> st.Pipeline:
    return st.Pipeline(
        name="m", version="1.0.0", inputs=Four, outputs=Score, model=model, golden=fours()
    )


def test_adapters_of_peft_stay_in_the_module_and_added_prompts_are_refused_by_name() -> None:
    inner = line()
    wrapped = torch.compile(PeftModel(Tuner(nn.DataParallel(inner))))
    assert declared(wrapped).model is inner
    with pytest.raises(st.DeclarationError, match="PEFT's PeftModel, whose prompts are added"):
        declared(PeftModel(inner))


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_are_refused_by_name_with_the_variant_that_replaces_them() -> None:
    model = torch.ao.quantization.quantize_dynamic(line(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(st.DeclarationError) as said:
        declared(model)
    assert "pipeline model.0: got a quantised layer, torch.ao.nn.quantized.dynamic.Linear" in str(
        said.value
    )
    assert "variants=['int8_per_token']" in str(said.value)


class Int8Tensor(Tensor):
    """Weights of a class of their own, as torchao has them."""


def test_weights_of_a_class_without_onnx_form_are_named(tmp_path: Path) -> None:
    model = Free(lambda self, x: torch.special.bessel_j0(self.layer(x)[:, 0]))
    model.layer.weight = nn.Parameter(model.layer.weight.detach().as_subclass(Int8Tensor))
    with pytest.raises(st.GateError) as said:
        seal(model, tmp_path)
    assert "bessel_j0 has no ONNX form: aten.special_bessel_j0 at test_any_model.py:" in str(
        said.value
    )
    assert "model.layer.weight is of the class" in str(said.value)
    assert "before its weights were quantised" in str(said.value)


@pytest.mark.parametrize(
    ("does", "cause", "mend"),
    [
        (lambda y, x: y if x[0, 0] < 99 else -y, "a value of the rows decides", "torch.where"),
        (lambda y, x: y * int(x[0, 0]), "a value of the rows decides", "torch.where"),
        (
            lambda y, x: torch.from_numpy(np.tanh(y.detach().numpy())),
            "leaves torch for numpy",
            "torch's own",
        ),
    ],
)
def test_what_cannot_be_traced_is_told_by_its_cause(
    does: Any, cause: str, mend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(st.GateError) as said:
        seal(Free(lambda self, x: does(self.layer(x)[:, 0], x)), tmp_path)
    assert said.value.step == "torch.export"
    assert cause in said.value.cause
    assert mend in said.value.mend
    assert "arg0_1" not in "".join(capsys.readouterr())


def test_an_exception_of_the_models_own_is_told_with_no_guess(tmp_path: Path) -> None:
    with pytest.raises(st.GateError) as said:
        seal(Free(lambda self, x: {}["key"]), tmp_path)
    assert "KeyError" in str(said.value)
    assert "test_any_model.py:" in str(said.value)
    assert "any number of rows" not in str(said.value)


@pytest.mark.parametrize(
    "change", [lambda x: x.relu_(), lambda x: x.sub_(0.5), lambda x: x.clamp_(0, 1).mul_(2)]
)
def test_a_model_that_changes_its_input_answers_the_rows_as_they_were_given(
    change: Any, tmp_path: Path
) -> None:
    rows, model = fours(), Free(lambda self, x: self.layer(change(x))[:, 0])
    before = [row["x"].copy() for row in rows]
    got = answers(seal(model, tmp_path, golden=rows), [{"x": row["x"].tolist()} for row in rows], 4)
    assert all(np.array_equal(row["x"], was) for row, was in zip(rows, before, strict=True))
    want = [model.layer(change(torch.tensor(was)[None])).item() for was in before]
    assert [float(answer["y"]) for answer in got] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(
    "does",
    [
        lambda y, x: torch.nn.functional.normalize(x * 1.5),
        lambda y, x: x / (1 + x.square().sum(1, keepdim=True)),
        lambda y, x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6),
    ],
)
def test_squares_that_overflow_beyond_every_golden_row_do_not_refuse_a_norm(
    does: Any, tmp_path: Path
) -> None:
    class Embedding(st.Answer):
        y: st.Tensor[np.float32, 4]

    model = Free(lambda self, x: does(self.layer(x), x))
    got = answers(seal(model, tmp_path, Four, Embedding), [{"x": fours()[0]["x"].tolist()}])
    want = model(torch.as_tensor(fours()[0]["x"])[None])[0].numpy()
    np.testing.assert_allclose(got[0]["y"], want, rtol=1e-5)


def test_a_number_that_stands_before_whole_numbers_is_exported(tmp_path: Path) -> None:
    model = Free(lambda self, n: 1.0 - n + (7 - n) + 2.5 / (n + 1) + torch.rsub(n, 0.5))
    got = answers(seal(model, tmp_path, Whole, Score, wholes()), wholes())
    assert [float(answer["y"]) for answer in got] == pytest.approx(
        [float(model(torch.tensor([n]))) for n in (1, 2, 5)]
    )


@pytest.mark.parametrize(("most", "words"), [(2**40, "div"), (2**24, "")])
def test_whole_number_division_beyond_float32_is_named_with_its_line(
    most: int, words: str, tmp_path: Path
) -> None:
    class Large(st.Row):
        n: Annotated[int, st.Number(ge=0, le=most)]

    class Count(st.Answer):
        y: int

    model = Free(lambda self, n: torch.div(n, 3, rounding_mode="floor"))
    if not words:
        assert (
            answers(seal(model, tmp_path, Large, Count, wholes()), [{"n": most}])[0]["y"]
            == most // 3
        )
        return
    with pytest.raises(st.GateError, match="input 'n' at 10995116") as said:
        seal(model, tmp_path, Large, Count, wholes())
    assert "whole numbers are exact in PyTorch" in str(said.value)
    assert "test_any_model.py:" in str(said.value)


def test_an_index_that_the_graph_would_wrap_is_refused_until_the_input_is_bounded(
    tmp_path: Path,
) -> None:
    class Free_(st.Row):
        n: int

    class Bounded(st.Row):
        n: Annotated[int, st.Number(ge=0, lt=6)]

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(6, 1)
            self.eval()

        def forward(self, n: Tensor) -> Tensor:
            return self.table(n)[:, 0]

    with pytest.raises(
        st.GateError, match="the graph answers, where PyTorch raises IndexError"
    ) as said:
        seal(Table(), tmp_path, Free_, Score, wholes())
    assert "bound the input" in str(said.value)
    bundle = seal(Table(), tmp_path, Bounded, Score, wholes())
    assert bundle.manifest.batchable, "no mate stands beside a row that the contract refuses"


def test_booleans_stand_beside_numbers_and_are_judged_by_equality(tmp_path: Path) -> None:
    class Both(st.Answer):
        y: float
        above: st.Tensor[bool, 4]
        rank: st.Tensor[np.int64, 4]

    model = Free(lambda self, x: (self.layer(x)[:, 0], x > 0, x.argsort(1)))
    distinct = [{"x": np.array([3, 1, 2, 4], F32) * (1 - 2 * (seed % 2))} for seed in range(4)]
    bundle = seal(
        model,
        tmp_path,
        Four,
        Both,
        distinct,
        waive={**QUICK, "drawn rows": "ties sort as they like"},
    )
    assert answers(bundle, [{"x": [3.0, 1.0, 2.0, 4.0]}])[0]["rank"].tolist() == [1, 2, 0, 3]


def test_an_answer_that_may_be_missing_is_refused_when_it_is_declared() -> None:
    class Maybe(st.Answer):
        y: float | None

    with pytest.raises(st.DeclarationError, match="output 'y': got an answer that may be missing"):
        st.contract_from_rows(Four, Maybe)


def test_large_answers_and_answers_of_no_size_come_back_to_the_bit(tmp_path: Path) -> None:
    class Picture(st.Answer):
        y: Annotated[
            np.ndarray, st.Tensor(dtype="float32", dims=(2, 1000, 1000), max_values=2_000_000)
        ]
        none: st.Tensor[np.float32, None, 4]

    model = Free(
        lambda self, x: (
            x.sum(1)[:, None, None, None] * torch.linspace(0, 1, 2_000_000).view(1, 2, 1000, 1000),
            x[:, None, :][:, :0],
        )
    )
    rows = fours()[:2]
    bundle = seal(model, tmp_path, Four, Picture, rows)
    assert bundle.golden.answers[0]["none"].shape == (0, 4)
    want = model(torch.as_tensor(rows[1]["x"])[None])[0][0].numpy()
    np.testing.assert_array_equal(bundle.golden.answers[1]["y"], want)
    assert len(bundle.files["golden/answers.jsonl"]) < 2 * 2_000_000 * 4 * 4 / 3 + 1000


def test_the_order_of_golden_rows_does_not_decide_whether_a_model_passes(tmp_path: Path) -> None:
    class Series(st.Row):
        x: st.Tensor[np.float32, 1:20]

    rows = [{"x": np.ones(length, F32) * length} for length in (1, 1, 1, 5, 6)]
    for place, golden in enumerate((rows, rows[::-1])):
        assert seal(
            Free(lambda self, x: x.mean(1)), tmp_path / str(place), Series, Score, golden
        ).manifest.batchable


VOCABULARY = (
    b'{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],'
    b'"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},'
    b'"post_processor":null,"decoder":null,'
    b'"model":{"type":"WordLevel","vocab":{"a":0,"b":1,"?":2},"unk_token":"?"}}'
)


def test_an_answer_for_each_token_has_its_rows_own_length_beside_longer_rows(
    tmp_path: Path,
) -> None:
    class Text(st.Row):
        text: Annotated[str, st.Text(tokenizer=VOCABULARY, max_tokens=40, min_chars=1)]

    class Tags(st.Answer):
        tags: st.Tensor[np.float32, None, 2]

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(3, 2)
            self.eval()

        def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
            return self.table(text_ids) * text_mask[..., None]

    # Of one length: what golden rows show.
    golden = [
        {"text": "a b a"},
        {"text": "b b b"},
        {"text": "b a b"},
    ]
    bundle = seal(Tagger(), tmp_path, Text, Tags, golden)
    rows = [{"text": "a"}, {"text": "a b ? b a b"}, {"text": "b a"}, {"text": "b"}]
    together, alone = answers(bundle, rows, 4), answers(bundle, rows, 1)
    assert [answer["tags"].shape for answer in together] == [(1, 2), (6, 2), (2, 2), (1, 2)]
    assert all(
        np.array_equal(one["tags"], other["tags"])
        for one, other in zip(together, alone, strict=True)
    )
    assert bundle.manifest.batchable
