"""Labels of many classes: the best of them, classes by file, and what changes of them break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some
from jsonschema import Draft202012Validator
from sklearn.metrics import top_k_accuracy_score

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.kinds.classes import best_of
from seatrial_contracts.kinds.label import Label

THOUSAND = tuple(f"class {place}" for place in range(1000))
SCORES = np.random.default_rng(0).dirichlet(np.full(1000, 0.1)).astype(np.float32)


class Row(st.Row):
    x: float


class TopK(st.Options):
    top_k: Annotated[int, st.Option(2, ge=1, le=3)]


def contract(*labels: Label, options: type[st.Options] | None = None) -> st.Contract:
    fields = {f"label_{place}": Annotated[str, label] for place, label in enumerate(labels)}
    answer = type("Made", (st.Answer,), {"__annotations__": fields})
    return st.contract_from_rows(Row, answer, options=options)


def as_json(value: Any) -> Any:
    return json.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


@given(some.lists(some.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40), some.data())
def test_the_best_are_those_of_a_stable_sort(values: list[float], data: some.DataObject) -> None:
    most = data.draw(some.integers(1, len(values) + 2))
    want = sorted(range(len(values)), key=lambda place: -values[place])[:most]
    assert best_of(np.array(values, np.float32), most).tolist() == want


def test_the_best_classes_are_those_that_scikit_learn_counts() -> None:
    scores = np.random.default_rng(1).random((64, 40), np.float32)
    truth = np.random.default_rng(2).integers(0, 40, 64)
    label = Label(*map(str, range(40)), top=7)
    told = [label.describe([row], None, {})["top"] for row in scores]
    hits = [
        str(true) in {each["label"] for each in row} for true, row in zip(truth, told, strict=True)
    ]
    want = top_k_accuracy_score(truth, scores, k=7, labels=range(40))
    assert np.mean(hits) == pytest.approx(want)


def test_a_label_of_few_classes_gives_every_score_and_one_of_many_the_best() -> None:
    few = Label("a", "b").describe([np.array([0.25, 0.75], np.float32)], None, {})
    assert as_json(few) == {"label": "b", "scores": {"a": 0.25, "b": 0.75}}
    many = as_json(Label(*THOUSAND).describe([SCORES], None, {}))
    assert len(json.dumps(many)) < 1024
    assert many["label"] == THOUSAND[int(SCORES.argmax())]
    told = np.array([each["score"] for each in many["top"]], np.float32)
    assert np.array_equal(told, np.sort(SCORES)[:-6:-1])
    assert many["top"][0] == {"label": many["label"], "score": many["score"]}


@pytest.mark.parametrize("label", [Label("a", "b"), Label("a", "b", "c", top=1), Label(*THOUSAND)])
def test_answers_follow_their_json_schema(label: Label) -> None:
    kind = label.declared(str, False)
    Draft202012Validator(kind.json_schema()).validate(as_json(kind.example()))


def test_requests_choose_top_k_up_to_all_classes_and_parity_sees_them_all() -> None:
    made = contract(Label(*THOUSAND))
    assert made.default_options == {"top_k": 5}
    assert made.whole_options == {"top_k": 1000}
    with pytest.raises(st.Refusal, match=r"option 'top_k': got 1001, want a whole number from 1"):
        made.read_options({"top_k": 1001})
    told = made.describe({"label_0": SCORES[None]}, 0, (), made.whole_options)
    assert np.array_equal(made.recover(as_json(told))["label_0"], SCORES)


def test_a_declared_top_k_bounds_what_a_client_sees_and_makes_every_label_sorted() -> None:
    made = contract(Label("a", "b", "c", "d"), options=TopK)
    scores = np.array([[0.1, 0.4, 0.3, 0.2]], np.float32)
    told = as_json(made.describe({"label_0": scores}, 0, (), made.read_options({})))["label_0"]
    assert [each["label"] for each in told["top"]] == ["b", "c"]
    assert made.whole_options == {"top_k": 3}
    assert "top" in made.answer_schema()["properties"]["label_0"]["properties"]


def test_labels_with_defaults_of_their_own_keep_them_until_a_request_chooses() -> None:
    made = contract(Label("a", "b"), Label(*"abcd", top=1), Label(*"abcdefgh", top=3))
    rows = {f"label_{place}": np.eye(size, dtype=np.float32)[:1] for place, size in
            enumerate((2, 4, 8))}  # fmt: skip
    told = made.describe(rows, 0, (), made.read_options({}))
    assert [len(told[name].get("top", ())) for name in rows] == [0, 1, 3]
    told = made.describe(rows, 0, (), made.read_options({"top_k": 6}))
    assert [len(told[name].get("top", ())) for name in rows] == [0, 4, 6]
    with pytest.raises(st.Refusal, match="from 1 to 8"):
        made.read_options({"top_k": 9})


def test_what_a_client_was_not_told_is_no_mismatch_unless_it_should_have_been_told() -> None:
    made = contract(Label("a", "b", "c", "d", "e"), options=TopK)
    scores = np.array([0.3, 0.4, 0.15, 0.1, 0.05], np.float32)

    def told(answer: list[float]) -> Any:
        answers = {"label_0": np.array([answer], np.float32)}
        seen = made.recover(as_json(made.describe(answers, 0, (), made.whole_options)))
        return made.filled({"label_0": scores}, seen)["label_0"]

    assert np.array_equal(told(scores.tolist()), scores)
    wrong = told([0.3, 0.1, 0.15, 0.05, 0.4])
    assert wrong[1] == np.float32(0.15), "class 'b' would have been told with 0.4"


def test_two_versions_differ_safely_only_where_a_client_sees_more() -> None:
    def found(old: st.Contract, new: st.Contract) -> list[tuple[str, bool]]:
        return [(each.text, each.breaking) for each in compare_contracts(old, new)]

    three, five, whole = (contract(Label(*"abcdef", top=top)) for top in (3, 5, None))
    assert found(three, five) == [("top 3 -> 5", False)]
    assert found(five, three) == [("top 5 -> 3", True)]
    assert found(whole, three) == [("top none -> 3", True)]
    chosen = contract(Label(*"abcdef"), options=TopK)
    assert ("top none -> 2", True) in found(whole, chosen)
    [(text, breaking)] = found(contract(Label(*THOUSAND[:500])), contract(Label(*THOUSAND)))
    assert breaking
    assert text.startswith("classes with 'class 500', 'class 501'")
    assert text.endswith("and 492 more")


def test_classes_by_file_are_sealed_as_they_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbftench\r\ngold fish\n\xe9\xae\xab\n")
    made = contract(Label(file=str(path)))
    path.unlink()
    assert made.answered["label_0"].classes == ("tench", "gold fish", "鮫")  # type: ignore[attr-defined]
    assert st.Contract.from_json(made.to_json()) == made
    assert b'"file"' not in made.to_json()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\n\nb\n", "line 2: got an empty line"),
        (b"a\nb\na\n", "line 3: got the class of line 1 again"),
        (b"a\n\xff\n", "no UTF-8"),
        (b"a\n" + b"b" * 1025, "line 2: got 1025 characters"),
        (b"a\n", "two or more"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_list_of_classes_is_refused(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "classes.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(st.DeclarationError, match=message):
        contract(Label(file=str(path)))


def test_a_sealed_contract_never_names_a_file_to_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a\nb\n")
    sealed = json.loads(contract(Label("a", "b")).to_json())
    sealed["outputs"][0]["kind"] |= {"classes": [], "file": str(tmp_path / "secret")}
    with pytest.raises(st.DeclarationError, match="two or more"):
        st.Contract.from_json(json.dumps(sealed).encode())


def test_a_hundred_thousand_classes_make_no_long_schema() -> None:
    names = tuple(f"sku {place}" for place in range(100_000))
    made = contract(Label(*names))
    assert len(json.dumps(made.answer_schema())) < 2048
    scores = np.zeros((1, 100_000), np.float32)
    told = as_json(made.describe({"label_0": scores}, 0, (), made.read_options({})))["label_0"]
    assert [each["label"] for each in told["top"]] == list(names[:5])
    bins = Label(*names).split("", ["sku 3"] * 9 + ["sku 4"])
    assert len(bins.names) <= 256


def test_more_shown_than_there_are_classes_is_refused() -> None:
    with pytest.raises(st.DeclarationError, match="top 3"):
        contract(Label("a", "b", top=3))
