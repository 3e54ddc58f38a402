"""Text pipelines of scikit-learn, adopted: its own answers to raw texts are the judge."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnx
import pandas as pd
import pytest
import tritonclient.http as over_http
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import murmurhash3_32
from support.foreign import answers, parsed
from support.running import run_app
from support.texts import odd_texts, plain_texts

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.kinds.analyzer import is_linear, read, written
from seatrial_contracts.kinds.murmur_hash import murmur_hash
from seatrial_contracts.kinds.text_terms import TextTerms
from seatrial_export.adopt.text_columns import analyzer_of
from seatrial_parity.runners.tensors import tensors_of

TEXTS = plain_texts(200)
WELL = np.where(["storm" in text for text in TEXTS], "no", "yes")
TEXT = some.text(some.characters(codec="utf-8"), max_size=60)


class Said(st.Row):
    text: Annotated[str, st.Text(max_chars=500)]


class Mood(st.Answer):
    mood: Annotated[str, st.Label("no", "yes")]


class Review(st.Row):
    text: Annotated[str, st.Text(max_chars=500)]
    title: Annotated[str, st.Text(max_chars=100)]
    town: Literal["Graz", "Linz"]
    size: Annotated[float, st.Number(ge=0, le=500)]


def regression() -> Any:
    return LogisticRegression(max_iter=500)


def adopted(made: Any, folder: Path, rows: type[st.Row], golden: list[dict[str, Any]]) -> st.Bundle:
    adoption = st.Adoption.of_estimator(
        made, name="mood", version="1.0.0", inputs=rows, outputs=Mood, golden=golden
    )
    return st.open_bundle(st.adopt_model(adoption, folder).path)


def of_texts(made: Any, folder: Path, rows: type[st.Row] = Said) -> st.Bundle:
    return adopted(made.fit(TEXTS, WELL), folder, rows, [{"text": text} for text in TEXTS[:8]])


VECTORIZERS = [
    TfidfVectorizer(),
    CountVectorizer(ngram_range=(1, 3), stop_words="english"),
    CountVectorizer(ngram_range=(2, 3), lowercase=False),
    TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", strip_accents="unicode"),
    TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", strip_accents="ascii"),
    TfidfVectorizer(analyzer="char", ngram_range=(1, 4)),
    TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)),
    TfidfVectorizer(analyzer="char_wb", ngram_range=(4, 7), strip_accents="unicode"),
]


@pytest.mark.parametrize("vectorizer", VECTORIZERS)
def test_a_text_is_cut_into_the_terms_of_its_vectorizer(vectorizer: Any) -> None:
    rules, data = analyzer_of(vectorizer.fit(TEXTS))
    cut, judge = rules.cut(), vectorizer.build_analyzer()

    @settings(max_examples=50, deadline=None, database=None)
    @given(TEXT)
    def cut_alike(text: str) -> None:
        assert cut(text) == judge(text)

    cut_alike()
    for text in odd_texts(100):
        assert cut(text) == judge(text)
    numbers = rules.number(read(data))
    assert {term: numbers(term) for term in read(data)} == vectorizer.vocabulary_


@given(TEXT)
def test_terms_are_hashed_as_scikit_learn_hashes_them(text: str) -> None:
    assert murmur_hash(text) == murmurhash3_32(text, seed=0)


@given(some.lists(some.text(some.characters(codec="utf-8"), min_size=1), min_size=1, unique=True))
def test_terms_lie_in_a_file_whatever_they_hold(terms: list[str]) -> None:
    assert read(written(terms)) == terms


@pytest.mark.parametrize(
    ("pattern", "linear"),
    [
        (r"(?u)\b\w\w+\b", True),
        (r"\b[a-zA-Z]{3,}\b", True),
        (r"[^\s]+", True),
        (r"\w+|[^\w\s]", True),
        (r"\$?\d+|\w{2,20}", True),
        (r"(?:\w+-?)+!", False),
        (r"\w+\w+", False),
        (r"[a-z]+\b", False),
        (r"(a|aa)+b", False),
        (r"\w*", False),
        (r"(?=\w)", False),
        ("[", False),
    ],
)
def test_only_patterns_whose_cost_grows_as_the_text_does_are_taken(
    pattern: str, linear: bool
) -> None:
    assert is_linear(pattern) is linear


HASHED = HashingVectorizer(n_features=2**8)
PIPELINES = {
    "tfidf": make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), regression()),
    "counts": make_pipeline(CountVectorizer(binary=True), MultinomialNB()),
    "hashed": make_pipeline(HASHED, regression()),
    "hashed, few": make_pipeline(
        HashingVectorizer(n_features=16, binary=True, norm="l1"), TfidfTransformer(), regression()
    ),
    "words and runs": make_pipeline(
        make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))),
        CalibratedClassifierCV(LinearSVC(), cv=2),
    ),
    "voting": VotingClassifier(
        [
            ("a", make_pipeline(TfidfVectorizer(norm="l1"), regression())),
            ("b", make_pipeline(CountVectorizer(), MultinomialNB())),
        ],
        voting="soft",
    ),
    "search": GridSearchCV(
        make_pipeline(TfidfVectorizer(), regression()),
        {"tfidfvectorizer": [CountVectorizer(), HASHED]},
        cv=2,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_a_text_pipeline_answers_as_scikit_learn_does(name: str, tmp_path: Path) -> None:
    bundle = of_texts(PIPELINES[name], tmp_path)
    asked = odd_texts(60)
    got = np.stack([row["mood"] for row in answers(bundle, [{"text": t} for t in asked], 16)])
    assert got == pytest.approx(PIPELINES[name].predict_proba(asked), rel=1e-4, abs=1e-5)


def frame(seed: int, texts: Any = odd_texts) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "title": [text[:100] for text in texts(80, seed + 5)],
            "text": texts(80, seed),
            "town": rng.choice(["Graz", "Linz"], 80),
            "size": rng.uniform(0, 500, 80).astype(np.float32).astype(float),
        }
    )


@pytest.mark.slow
async def test_texts_stand_beside_other_columns_over_v1_and_v2(tmp_path: Path) -> None:
    columns = ColumnTransformer(
        [
            ("text", make_union(TfidfVectorizer(), HASHED), "text"),
            ("title", CountVectorizer(), "title"),
            ("town", OneHotEncoder(), ["town"]),
            ("size", StandardScaler(), ["size"]),
        ]
    )
    known = frame(0, plain_texts)
    made = make_pipeline(columns, regression()).fit(
        known, np.where(known["size"] + 200 * known["text"].str.contains("sea") > 300, "yes", "no")
    )
    bundle = adopted(made, tmp_path, Review, known.head(8).to_dict("records"))
    asked = frame(3).to_dict("records")
    inputs = []
    for name, (datatype, array) in tensors_of(bundle.contract, asked).items():
        inputs.append(over_http.InferInput(name, array.shape, datatype))
        inputs[-1].set_data_from_numpy(array)
    body, length = over_http.InferenceServerClient.generate_request_body(inputs)
    async with run_app(tmp_path) as app:
        by_v1 = (await app.ask(asked, "mood")).json()["predictions"]
        reply = await app.client.post(
            "/v2/models/mood/infer",
            content=body,
            headers={"Inference-Header-Content-Length": str(length)},
        )
    length = int(reply.headers["Inference-Header-Content-Length"])
    by_v2 = over_http.InferenceServerClient.parse_response_body(
        reply.content, header_length=length
    ).as_numpy("mood")
    want = made.predict_proba(frame(3))
    got = np.array([list(row["mood"]["scores"].values()) for row in by_v1])
    assert got == pytest.approx(want, rel=1e-4, abs=1e-5)
    assert by_v2 == pytest.approx(want, rel=1e-4, abs=1e-5)


def text_kind(*vectorizers: Any) -> TextTerms:
    found = [analyzer_of(each.fit(TEXTS)) for each in vectorizers]
    return TextTerms(analyzers=tuple(rules for rules, _ in found)).hold([data for _, data in found])


def test_how_a_text_is_cut_is_part_of_the_contract_and_no_matter_of_clients() -> None:
    kind, other = text_kind(CountVectorizer(), HASHED), text_kind(CountVectorizer(lowercase=False))
    contracts = [
        Contract.model_validate(
            {"inputs": [{"name": "text", "kind": each.model_dump()}], "outputs": [PRICE]}
        )
        for each in (kind, other)
    ]
    assert Contract.from_json(contracts[0].to_json()) == contracts[0]
    found = compare_contracts(*contracts)
    assert found
    assert not any(difference.breaking for difference in found)


PRICE = {"name": "price", "kind": {"kind": "number", "dtype": "float32"}}


def test_drawn_rows_hold_the_terms_that_the_model_knows() -> None:
    kind = text_kind(CountVectorizer(lowercase=False))
    stage = kind.stage("text", kind.front_files("text"))
    drawn = {int(term) for edge in kind.edges(stage) for term in stage(edge.value)[0]}
    assert len(drawn) > 15


def test_terms_other_than_those_sealed_are_refused() -> None:
    kind = text_kind(CountVectorizer())
    with pytest.raises(st.SeatrialError, match="got another vocabulary"):
        kind.stage("text", {"front/text.terms_0.txt": b"sea\nship\n"})


class Tokenless(st.Row):
    text: float


class Gone(st.Row):
    text: Annotated[str | None, st.Text(max_chars=500)]


@pytest.mark.parametrize(
    ("vectorizer", "words"),
    [
        (CountVectorizer(tokenizer=str.split, token_pattern=None), "tokenizer= is a function"),
        (CountVectorizer(preprocessor=str.upper), "preprocessor= is a function of yours"),
        (CountVectorizer(token_pattern=r"(?:\w+-?)+"), "can grow faster than the text does"),
        (HashingVectorizer(), "n_features=1048576: the graph holds them all"),
    ],
)
def test_what_no_bundle_can_cut_is_refused_with_cause_and_mend(vectorizer: Any, words: str) -> None:
    with pytest.raises(st.SeatrialError) as said:
        analyzer_of(vectorizer.fit(TEXTS))
    assert words in str(said.value)
    assert "mend: " in str(said.value)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (Tokenless, "want a text, which the estimator's vectorizer cuts"),
        (Review, "the estimator was fitted on texts, not on a data frame"),
        (Gone, "got a text that may be missing, at which vectorizers raise"),
    ],
)
def test_a_contract_without_the_estimators_text_is_refused(
    rows: type[st.Row], words: str, tmp_path: Path
) -> None:
    with pytest.raises(st.SeatrialError) as said:
        of_texts(PIPELINES["counts"], tmp_path, rows)
    assert words in str(said.value)
    assert not list(tmp_path.rglob("*"))


LOWERED = """
g (string[n] said) => (int64[n] code) {
  lower = StringNormalizer<case_change_action="LOWER", locale="en_US.UTF-8">(said)
  code = ai.onnx.ml.LabelEncoder<keys_strings=["жук", "é"], values_int64s=[1, 2],
                                 default_int64=0>(lower)
}"""


class Word(st.Row):
    said: Annotated[str, st.Text(max_chars=20)]


class Code(st.Answer):
    code: int


def test_a_files_letters_change_case_by_a_locale_that_every_machine_has(tmp_path: Path) -> None:
    onnx.save(parsed(LOWERED), tmp_path / "words.onnx")
    adoption = st.Adoption.of_onnx(
        tmp_path / "words.onnx",
        name="words",
        version="1.0.0",
        inputs=Word,
        outputs=Code,
        golden=[{"said": "É"}, {"said": "other"}],
    )
    bundle = st.open_bundle(st.adopt_model(adoption, tmp_path).path)
    asked = [{"said": word} for word in ("ЖУК", "É", "X")]
    assert [int(row["code"]) for row in answers(bundle, asked, 2)] == [1, 2, 0]


def test_the_page_declares_a_text_as_a_plain_one() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/adopt.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(class Review.*?)```", page, re.DOTALL)
    held: dict[str, Any] = {"st": st, "Annotated": Annotated}
    exec(compile(block, "page", "exec", dont_inherit=True), held)
    contract = st.contract_from_rows(held["Review"], Mood)
    assert [spec.dtype for spec in contract.tensors] == ["string", "int64"]
