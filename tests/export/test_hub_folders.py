"""Folders of Hugging Face's form: what is read off them, and what is refused with one message."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.hub_folders import (
    change,
    cut,
    half_fetched,
    make_folder,
    make_sentence_folder,
    pickled,
)
from transformers import (
    AutoModelForTextEncoding,
    AutoModelForTokenClassification,
    CanineConfig,
    CanineForSequenceClassification,
    CanineTokenizer,
)

import seatrial as st
from seatrial.main import cli
from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.labels import Labels
from seatrial_contracts.kinds.number import Number
from seatrial_contracts.kinds.spans import Spans
from seatrial_contracts.kinds.text import Text
from seatrial_contracts.kinds.text_pair import TextPair
from seatrial_export.hub.from_pretrained import from_pretrained, read_hub_model
from seatrial_export.hub.sentences import PAIRS
from seatrial_export.hub.tasks import tasks

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to/hub.md").read_text("utf-8")
PICTURES = (DOCS / "how-to/hub-pictures.md").read_text("utf-8").partition("## How")[0]
LABELS = ("low", "mid", "high")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing the matter."""
    return make_folder(tmp_path_factory.mktemp("hub") / "reviews", labels=LABELS)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "reviews"))


def other_code(folder: Path) -> None:
    modules = [{"type": "mine.Transformer", "path": ""}, {"type": "mine.Pooling", "path": "1"}]
    (folder / "modules.json").write_text(json.dumps(modules))


def outside(folder: Path) -> None:
    path = {"type": "sentence_transformers.models.Transformer", "path": "../x"}
    (folder / "modules.json").write_text(json.dumps([path]))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (shutil.rmtree, "no such folder, want a folder of save_pretrained; hf download"),
    "no config": (lambda at: (at / "config.json").unlink(), "no config.json"),
    "an adapter alone": (
        lambda at: (at / "config.json").rename(at / "adapter_config.json"),
        r"an adapter of PEFT's \(unknown kind\) for the model 'one .*, whole; merge it once",
    ),
    "no JSON": (lambda at: (at / "config.json").write_text("{"), "config.json that is no JSON"),
    "type": (
        lambda at: change(at, "config.json", model_type="brontosaurus"),
        r"config.json of model_type 'brontosaurus', want a type that transformers [\d.]+ has",
    ),
    "no type": (lambda at: change(at, "config.json", model_type=None), "model_type 'None'"),
    "odd config": (
        lambda at: change(at, "config.json", hidden_size=31),
        "ValueError of transformers: .* a folder that AutoModelForSequenceClassification loads",
    ),
    "remote code": (
        lambda at: change(at, "config.json", auto_map={"AutoModel": "modeling.Mine"}),
        r"config.json that asks for remote code \(auto_map\), want an architecture of transformers",
    ),
    "remote tokenizer": (
        lambda at: change(at, "tokenizer_config.json", auto_map={"AutoTokenizer": ["a.B", None]}),
        "tokenizer_config.json that asks for remote code",
    ),
    "no weights": (
        lambda at: (at / "model.safetensors").unlink(),
        "no weights, want model.safetensors; fetch the folder again",
    ),
    "pickled": (
        pickled,
        r"pytorch_model.bin and no model.safetensors, want weights that run no .*save_pretrained",
    ),
    "half fetched": (
        half_fetched,
        "no 'model-00002-of-00002.safetensors', want every shard that .*index.json names; fetch",
    ),
    "cut": (cut, r"model.safetensors of [\d,]+ bytes, want [\d,]+, as its header says; fetch"),
    "no header": (
        lambda at: (at / "model.safetensors").write_bytes(b"<html>not found</html>"),
        "model.safetensors without a header",
    ),
    "labels": (
        lambda at: change(at, "config.json", id2label={"0": "a", "1": "b"}),
        r"'classifier.bias' of shape \(3,\), and 1 weights more, want shape \(2,\), as config.json",
    ),
    "shape": (
        lambda at: change(at, "config.json", intermediate_size=48),
        r"of shape \(64,\), and \d+ weights more, want shape \(48,\), as config.json has it",
    ),
    "same labels": (
        lambda at: change(at, "config.json", id2label={"0": "a", "1": "a", "2": "b"}),
        "label 'a' of config.json more than once",
    ),
    "gap in labels": (
        lambda at: change(at, "config.json", id2label={"0": "a", "1": "b", "7": "c"}),
        "id2label with gaps",
    ),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "no tokenizer, want tokenizer"),
    "half a tokenizer": (
        lambda at: (at / "tokenizer.json").write_text('{"version": "1.0"'),
        "a tokenizer that transformers does not load",
    ),
    "task": (
        lambda at: change(at, "config.json", architectures=["BertForNextSentencePrediction"]),
        "architecture BertForNextSentencePrediction, want one that a task is known for; --task",
    ),
    "no architecture": (
        lambda at: change(at, "config.json", architectures=None), "architecture unsaid",
    ),
    "other code": (other_code, r"modules.json with 'mine.Transformer', remote code"),
    "outside": (outside, "modules.json that names a path outside, want folders within"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_folder_is_refused_with_one_message_and_nothing_is_written(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, message = FAULTS[name]
    spoil(folder)
    monkeypatch.chdir(folder.parent)
    before = {*folder.parent.rglob("*")}
    for write in ([], ["--write", "pipeline.py"]):
        with pytest.raises(st.DeclarationError, match=message) as caught:
            CliRunner().invoke(cli, ["adopt", "hf:reviews", *write], catch_exceptions=False)
        assert str(folder.parent) not in str(caught.value)
    assert {*folder.parent.rglob("*")} == before


def test_a_task_whose_head_the_weights_lack_is_refused(folder: Path) -> None:
    with pytest.raises(st.DeclarationError, match=r"no weight 'qa_outputs.bias', and 1 weights"):
        from_pretrained(folder, task="question-answering")


def test_an_unknown_task_is_refused_with_those_that_are_known(folder: Path) -> None:
    with pytest.raises(st.DeclarationError, match=r"--task: got poetry, want one of .*ranking"):
        from_pretrained(folder, task="poetry")


def test_a_tokenizer_without_a_fast_form_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CanineConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        num_hash_buckets=64, max_position_embeddings=64, local_transformer_stride=8,
    )  # fmt: skip
    CanineForSequenceClassification(config).save_pretrained(tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(st.DeclarationError, match="CanineTokenizer, a tokenizer without a fast"):
        from_pretrained(tmp_path)


def test_a_tokenizer_of_more_tokens_than_embeddings_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, labels=LABELS, vocab_size=100)
    with pytest.raises(st.DeclarationError, match="a tokenizer of 400 tokens, want at most 100"):
        from_pretrained(tmp_path)


def test_pickled_weights_of_a_module_are_refused(tmp_path: Path) -> None:
    folder = make_sentence_folder(tmp_path / "model", "bert", ["mean", "Dense"])
    dense = folder / "2_Dense"
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    with pytest.raises(st.DeclarationError, match=r"pytorch_model.bin and no model.safetensors"):
        from_pretrained(folder)


@pytest.mark.parametrize("option", ["--golden", "--contract", "--frame", "--training"])
def test_options_that_a_folder_answers_itself_are_refused(option: str, whole: Path) -> None:
    with pytest.raises(st.DeclarationError, match=f"{option}: got a folder, which says it itself"):
        CliRunner().invoke(cli, ["adopt", f"hf:{whole}", option, "x.py:x"], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--task", "--rows"])
def test_options_of_folders_are_refused_for_files(option: str) -> None:
    with pytest.raises(st.DeclarationError, match=f"{option}: got a model that is no folder"):
        CliRunner().invoke(cli, ["adopt", "a.onnx", option, "x"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "task", "name", "kind"),
    [
        ({"labels": LABELS}, "text-classification", "label", Label(*LABELS)),
        (
            {"labels": LABELS, "problem_type": "multi_label_classification"},
            "text-classification", "labels", Labels(*LABELS),
        ),
        (
            {"labels": ("stars",), "problem_type": "regression"},
            "text-classification", "score", Number(),
        ),
        ({"labels": ("LABEL_0",)}, "text-ranking", "score", Number(ge=0.0, le=1.0)),
        (
            {"labels": ("LABEL_0",), "sbert_ce_default_activation_function":
             "torch.nn.modules.linear.Identity"},
            "text-ranking", "score", Number(),
        ),
        (
            {"labels": ("entailment", "neutral", "contradiction")},
            "zero-shot-classification", "label", Label("entailment", "neutral", "contradiction"),
        ),
        (
            {"labels": ("O", "B-PER"), "head": AutoModelForTokenClassification},
            "token-classification", "parts", Spans("O", "B-PER", of="text"),
        ),
    ],
)  # fmt: skip
def test_the_config_says_task_and_answer(
    options: dict[str, Any], task: str, name: str, kind: Any, tmp_path: Path
) -> None:
    found = read_hub_model(make_folder(tmp_path, **options))
    assert (found.task.name, found.reading.outputs[name].kind) == (task, kind)


@pytest.mark.parametrize(
    ("family", "most", "pad"),
    [("bert", 66, 0), ("distilbert", 64, 0), ("roberta", 64, 1), ("xlm-roberta", 64, 1),
     ("mpnet", 64, 1), ("modernbert", 66, 1)],
)  # fmt: skip
def test_lengths_and_padding_are_those_of_the_family(
    family: str, most: int, pad: int, tmp_path: Path
) -> None:
    """RoBERTa's kin leave the places up to the padding's id unused."""
    pipeline = from_pretrained(make_folder(tmp_path, family, labels=LABELS))
    kind = pipeline.contract.inputs[0].kind
    assert isinstance(kind, Text)
    assert (kind.max_tokens, kind.pad_id, kind.padding_side) == (most, pad, "right")
    longest = [edge.value for edge in kind.edges(pipeline.front.stages["text"])][-1]
    text = {"text": longest}
    assert len(pipeline.encode_row(text)[0]) in (most - 1, most)
    [got], [want] = pipeline.answer([text]), pipeline.judge([text])  # type: ignore[misc]
    np.testing.assert_allclose(got["label"], want["label"], atol=1e-6)


def test_a_tokenizers_own_maximum_is_taken(folder: Path) -> None:
    change(folder, "tokenizer_config.json", model_max_length=20)
    kind = from_pretrained(folder).contract.inputs[0].kind
    assert isinstance(kind, Text)
    assert kind.max_tokens == 20


def test_token_types_enter_where_the_tokenizer_tells_texts_apart(tmp_path: Path) -> None:
    inputs = {}
    for family in ("bert", "roberta"):
        folder = make_folder(tmp_path / family, family, labels=("LABEL_0",))
        kind = from_pretrained(folder).contract.inputs[0].kind
        assert isinstance(kind, TextPair)
        inputs[family] = kind.model_inputs
    assert inputs["bert"] == ("input_ids", "attention_mask", "token_type_ids")
    assert inputs["roberta"] == ("input_ids", "attention_mask")


def test_prompts_length_and_norm_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "passage": "passage: "}
    folder = make_sentence_folder(
        tmp_path / "model", "bert", ["mean", "Dense", "Normalize"], prompts=prompts
    )
    pipeline = from_pretrained(folder)
    text, answer = pipeline.contract.inputs[0].kind, pipeline.contract.outputs[0].kind
    assert isinstance(text, Text)
    assert isinstance(answer, Embedding)
    assert (text.max_tokens, text.overflow) == (48, "truncate")
    assert (answer.size, answer.normalized) == (16, True)
    assert answer.prompts == prompts


def test_an_encoder_alone_is_pooled_where_the_task_says_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, head=AutoModelForTextEncoding)
    assert read_hub_model(folder).task.name == "feature-extraction"
    pipeline = from_pretrained(folder, task="sentence-similarity")
    kind = pipeline.contract.outputs[0].kind
    assert isinstance(kind, Embedding)
    assert (kind.size, kind.normalized) == (32, False)


def test_a_users_rows_are_golden_and_those_beyond_are_held_out(whole: Path) -> None:
    rows = [{"text": f"row {place}"} for place in range(70)]
    pipeline = from_pretrained(whole, rows=rows, name="mine", version="2.0.0")
    assert (len(pipeline.golden), len(pipeline.held_out)) == (64, 6)
    assert (pipeline.name, pipeline.version) == ("mine", "2.0.0")


def test_a_written_pipeline_file_makes_the_same_pipeline(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(cli, ["adopt", f"hf:{whole}", "--write", "reviews.py"])
    assert ran.output.splitlines()[-2:] == [
        "wrote reviews.py", "next: seatrial export reviews.py:pipeline"
    ]  # fmt: skip
    written, read = st.load_pipeline("reviews.py:pipeline"), from_pretrained(whole)
    assert written.contract == read.contract
    assert written.golden == read.golden
    assert written.front_files == read.front_files
    row = read.golden[0]
    np.testing.assert_array_equal(written.answer([row])[0]["label"], read.answer([row])[0]["label"])
    assert "seatrial_" not in Path("reviews.py").read_text()


def test_a_pipeline_file_is_never_written_over(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("kept")
    with pytest.raises(st.DeclarationError, match=r"--write mine.py: got File exists, want a new"):
        CliRunner().invoke(
            cli, ["adopt", f"hf:{whole}", "--write", "mine.py"], catch_exceptions=False
        )
    assert Path("mine.py").read_text() == "kept"


def test_the_page_runs_as_it_stands_and_lists_every_task(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole, tmp_path / "my-folder")
    monkeypatch.chdir(tmp_path)
    [commands] = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    writing = commands.splitlines()[0].removeprefix("seatrial ").split()
    assert CliRunner().invoke(cli, writing, catch_exceptions=False).exit_code == 0
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "hub.md", "exec"), names)
    assert names["pipeline"].version == "1.1.0"
    listed = re.findall(r"^\| `(\w[\w-]+)` \|", PAGE + PICTURES, re.MULTILINE)
    assert {task.name for task in tasks()} == set(listed)


def test_rows_of_our_own_are_those_that_the_model_takes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "xlm-roberta", labels=("LABEL_0",))
    change(folder, "tokenizer_config.json", model_max_length=24)
    pipeline = from_pretrained(folder, task="text-pair-classification")
    assert 2 < len(pipeline.golden) < len(PAIRS)
    assert len(pipeline.encoded_golden) == len(pipeline.golden)


def test_a_reranker_is_judged_at_the_length_that_the_contract_cuts_to(tmp_path: Path) -> None:
    pipeline = from_pretrained(make_folder(tmp_path, "xlm-roberta", labels=("LABEL_0",)))
    assert pipeline.judge is not None
    rows = [{"pair": {"query": "what is it", "passage": "a module " * 75}}]
    [got], [want] = pipeline.answer(rows), pipeline.judge(rows)
    np.testing.assert_allclose(got["score"], want["score"], atol=1e-6)
