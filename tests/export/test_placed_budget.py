"""A token classifier, trained here: its spans are promised, and its variants hold a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.word_tokenizer import word_tokenizer
from torch import Tensor, nn

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.receipt import Receipt
from seatrial_export.export import export_pipeline
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

pytestmark = pytest.mark.slow

PEOPLE, PLACES, OTHERS = (
    ("ada", "bob", "eve"),
    ("oslo", "rome"),
    ("saw", "in", "and", "the", "ship"),
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PEOPLE, *PLACES, *OTHERS]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WAIVED = {"drawn rows": "other tests draw them"}


class Row(st.Row):
    text: Annotated[str, st.Text(tokenizer=word_tokenizer(WORDS), max_tokens=16, max_chars=100)]


class Answer(st.Answer):
    spans: Annotated[list[dict], st.Spans(*LABELS, of="text")]  # type: ignore[type-arg]


class Tagger(nn.Module):
    """Sees each word and the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), 16)
        self.inner, self.labels = nn.Linear(32, 64), nn.Linear(64, len(LABELS))

    def logits(self, ids: Tensor) -> Tensor:
        words = self.words(ids)
        before = nn.functional.pad(words, (0, 0, 1, 0))[:, :-1]
        scores: Tensor = self.labels(self.inner(torch.cat([words, before], 2)).relu())
        return scores

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> Tensor:
        return self.logits(text_ids).softmax(-1) * text_mask.unsqueeze(-1)


def label_of(word: str, before: str) -> int:
    for place, names in ((1, PEOPLE), (3, PLACES)):
        if word in names:
            return place + (before in names)
    return 0


def sample(random: np.random.Generator) -> st.Sample:
    """Words with their spans; neighbours of one kind are one span."""
    words = [str(word) for word in random.choice(WORDS[4:], random.integers(3, 9))]
    spans: list[dict[str, Any]] = []
    at, before = 0, ""
    for word in words:
        label = label_of(word, before)
        if label in (1, 3):
            spans.append({"label": LABELS[label][2:], "start": at, "end": at + len(word)})
        elif label:
            spans[-1]["end"] = at + len(word)
        at, before = at + len(word) + 1, word
    return st.Sample(
        {"text": " ".join(words)}, {"spans": spans}, ("long",) if len(words) > 6 else ()
    )


def trained(samples: list[st.Sample]) -> Tagger:
    torch.manual_seed(0)
    model = Tagger()
    steps = torch.optim.Adam(model.parameters(), 0.02)
    texts = [each.row["text"].split() for each in samples]
    ids = torch.zeros(len(texts), 10, dtype=torch.long)
    true = torch.full((len(texts), 10), -100)
    for row, words in enumerate(texts):
        for place, word in enumerate(words, 1):
            ids[row, place] = WORDS.index(word)
            true[row, place] = label_of(word, words[place - 2] if place > 1 else "")
    for _ in range(60):
        steps.zero_grad()
        loss = nn.functional.cross_entropy(model.logits(ids).flatten(0, 1), true.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step()
    return model.eval()


def span_figures(receipt: Receipt, runner: str) -> list[float | None]:
    return [
        trial.measures.span_f1
        for trial in receipt.trials
        if trial.runner == runner and trial.measures is not None
    ]


def test_spans_are_promised_sealed_and_held_by_the_variant_of_a_budget(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    samples = [sample(random) for _ in range(150)]
    pipeline = st.Pipeline(
        name="tagger", version="1.0.0", inputs=Row, outputs=Answer, model=trained(samples[:100]),
        golden=samples[100:110], held_out=samples[110:],
        promise=st.Promise.parse("span_f1>=0.95"), waive=WAIVED,
    )  # fmt: skip
    bundle = export_pipeline(pipeline, tmp_path / "made")
    assert bundle.held_out is not None
    assert bundle.held_out.truth[0] == samples[110].truth
    receipt = try_bundle(TrialRequest(bundle, pipeline), ["pytorch", "onnxruntime"])
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    figures = span_figures(receipt, "onnxruntime")
    assert figures
    assert all(figure is not None and figure >= 0.95 for figure in figures)
    asked = [
        "quantize",
        str(bundle.path),
        "--variant",
        "int4_weights",
        "--out",
        str(tmp_path / "q"),
    ]
    budget = "span_f1>=0.95,span_f1_drop<=0.01"
    done = CliRunner().invoke(cli, [*asked, "--budget", budget])
    assert done.exit_code == 0, done.output
    made = st.open_bundle(tmp_path / "q" / "tagger" / "1.0.1")
    promise = made.manifest.variant("int4_weights").promise
    assert promise is not None
    assert (promise.span_f1, promise.span_f1_drop) == (0.95, 0.01)
    refused = CliRunner().invoke(cli, [*asked, "--version", "next", "--budget", "map>=0.5"])
    assert refused.exit_code
    assert "rows with the truth of boxes (st.Detections)" in str(refused.exception)


def test_a_promise_that_the_model_does_not_keep_seals_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    samples = [sample(random) for _ in range(20)]
    torch.manual_seed(1)
    pipeline = st.Pipeline(
        name="tagger", version="1.0.0", inputs=Row, outputs=Answer, model=Tagger().eval(),
        golden=samples, promise=st.Promise.parse("span_f1>=0.95"), waive=WAIVED,
    )  # fmt: skip
    with pytest.raises(st.SeatrialError, match=r"span_f1: got 0.*, want at least 0.95, 20 rows"):
        export_pipeline(pipeline, tmp_path)
    assert not list(tmp_path.rglob("*.onnx"))
