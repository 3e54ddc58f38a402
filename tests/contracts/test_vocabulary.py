"""Vocabularies: words and whole numbers in the contract or in a file beside it."""

from __future__ import annotations

import enum
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sklearn.preprocessing import OrdinalEncoder
from support.properties import drawing

import seatrial as st
from seatrial_contracts.contract import Contract
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.host_stage import HostStage, collate
from seatrial_contracts.kinds.vocabulary import Integers, Words
from seatrial_contracts.predict_request import RequestReader
from seatrial_contracts.profile import DriftFeatures

Declare = Callable[..., Any]


class Value(st.Answer):
    value: float


class Plan(enum.Enum):
    FREE = "free"
    TEAM = "team"


class Tier(enum.IntEnum):
    LOW = 3
    HIGH = 7


def contract_of(annotation: Any, **limits: Any) -> Contract:
    rows = type(
        "Rows", (st.Row,), {"__annotations__": {"x": annotation}, "__module__": __name__, **limits}
    )
    return st.contract_from_rows(rows, Value)


def kind_of(annotation: Any) -> Any:
    return contract_of(annotation).inputs[0].kind


def file_of(folder: Path, entries: Sequence[Any], name: str = "entries.txt") -> str:
    path = folder / name
    path.write_text("".join(f"{entry}\n" for entry in entries), "utf-8")
    return str(path)


def rebuilt(contract: Contract) -> Contract:
    """As a bundle holds it: its JSON, and the files beside it."""
    files = {
        name: data
        for field in contract.inputs
        for name, data in field.kind.front_files(field.name).items()
    }
    return Contract.from_json(contract.to_json()).with_files(files)


@pytest.mark.parametrize(
    ("annotation", "entries", "datatype"),
    [
        (Literal[1, 2, 3], (1, 2, 3), "INT64"),
        (Literal[-5, 2**40], (-5, 2**40), "INT64"),
        (Plan, ("free", "team"), "BYTES"),
        (Tier, (3, 7), "INT64"),
        (Literal[Plan.TEAM], ("team",), "BYTES"),
        (Annotated[int, st.Category(9, 8)], (9, 8), "INT64"),
    ],
)
def test_enums_and_literals_are_categories_of_their_values(
    annotation: Any, entries: tuple[Any, ...], datatype: str
) -> None:
    kind = kind_of(annotation)
    assert (kind.categories, kind.datatype) == (entries, datatype)
    assert kind.codes(list(entries)).tolist() == list(range(len(entries)))


def test_a_row_of_enum_members_is_the_row_of_their_values() -> None:
    class Rows(st.Row):
        plan: Plan
        tier: Tier = Tier.HIGH

    contract = st.contract_from_rows(Rows, Value)
    row = contract.validate_row(Rows(plan=Plan.TEAM))
    assert row == {"plan": "team", "tier": 7} == contract.validate_row({"plan": "team"})
    assert {type(value) for value in row.values()} == {str, int}


@pytest.mark.parametrize(
    ("value", "code"),
    [(4, "E_CATEGORY"), ("3", "E_TYPE"), (3.0, "E_TYPE"), (True, "E_TYPE"), (None, "E_MISSING")],
)
@pytest.mark.parametrize("long", [False, True])
def test_a_number_that_is_no_entry_is_refused_by_name(
    value: Any, code: str, long: bool, tmp_path: Path
) -> None:
    path = file_of(tmp_path, [3, 7, *range(1000, 2000)])
    contract = contract_of(Annotated[int, st.Category(file=path)] if long else Tier)
    body = json.dumps({"instances": [{"x": value}]}).encode()
    with pytest.raises(Refusal) as refused:
        RequestReader(contract).read(body)
    assert refused.value.code == code, refused.value
    assert "one of 3, 7" in str(refused.value)


WORDS = ["sea", "Meer", "\u6d77", "two words", "a" * 300]
NUMBERS = [-9, 0, 5, 2**62]


@pytest.mark.parametrize("unknown", ["reject", "bucket", "hash"])
@pytest.mark.parametrize("entries", [WORDS, NUMBERS], ids=["words", "numbers"])
def test_a_vocabulary_is_sealed_beside_the_contract_and_encodes_as_sklearn_does(
    entries: list[Any], unknown: str, tmp_path: Path
) -> None:
    type_: Any = type(entries[0])
    options: dict[str, Any] = {"buckets": 3} if unknown == "hash" else {}
    kind = st.Category(file=file_of(tmp_path, entries), unknown=unknown, max_chars=300, **options)
    declared = contract_of(Annotated[type_, kind])
    data = declared.to_json()
    assert json.loads(data)["inputs"][0]["kind"]["categories"] == []
    contract = rebuilt(declared)
    assert contract == declared
    assert contract.to_json() == data
    judge = OrdinalEncoder(categories=[entries]).fit([[entry] for entry in entries])
    want = judge.transform([[entry] for entry in entries]).ravel().tolist()
    assert contract.inputs[0].kind.codes(entries).tolist() == want
    for entry in entries:
        assert contract.validate_row({"x": entry}) == {"x": entry}
    column = entries if type_ is str else np.array(entries)
    assert list(contract.validate_columns({"x": column}, len(entries))["x"]) == entries


def test_a_contract_without_the_files_beside_it_says_so(tmp_path: Path) -> None:
    contract = contract_of(Annotated[str, st.Category(file=file_of(tmp_path, WORDS))])
    alone = Contract.from_json(contract.to_json())
    with pytest.raises(DeclarationError, match="a contract without its vocabulary"):
        alone.validate_row({"x": "sea"})
    with pytest.raises(DeclarationError, match="another vocabulary"):
        alone.with_files({"front/x.vocabulary.txt": b"sea\n"})


@pytest.mark.parametrize(
    ("lines", "type_", "words"),
    [
        ("a\nb\na\n", str, "line 3: got the word of line 1 again, want each word once"),
        ("a\n\nb\n", str, "line 2: got an empty line"),
        ("a\n  \n", str, "line 2: got an empty line"),
        ("x" * 2000, str, "line 1: got 2000 characters, want a word, up to 1024"),
        ("1\nsea\n", int, "line 2: got 3 characters that are no whole number"),
        ("1\n1.5\n", int, "line 2: got 3 characters that are no whole number"),
        ("1\n02\n", int, "line 2: got a whole number with a sign or zeros before it, want 2"),
        ("9223372036854775808\n", int, "line 1: got 9223372036854775808, want -92"),
        ("-9223372036854775808\n", int, "line 1: got -9223372036854775808, want -92"),
        ("7\n7\n", int, "line 2: got the whole number of line 1 again"),
        ("a\n" * 3, float, "want str, or a Literal or Enum"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_by_its_line(
    lines: str, type_: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "v.txt"
    path.write_text(lines, "utf-8")
    with pytest.raises(DeclarationError) as refused:
        contract_of(Annotated[type_, st.Category(file=str(path))])
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: Literal["a", 1], "non-empty words"),
        (lambda: Literal[True, False], "non-empty words"),
        (lambda: Annotated[int, st.Category("a")], "whole numbers"),
        (lambda: Annotated[str, st.Category(1)], "str, or a Literal"),
        (lambda: Annotated[str, st.Category("a", unknown="hash")], "with buckets=N"),
        (lambda: Annotated[str, st.Category("a", buckets=3)], "with buckets=N"),
        (
            lambda: Annotated[str, st.Category("[bucket 1]", unknown="hash", buckets=3)],
            "no name of a bucket",
        ),
        (lambda: Annotated[str, st.Category("a", file="b.txt")], "one of both"),
        (lambda: Annotated[Plan, st.Category("a")], "its words twice"),
    ],
)
def test_a_category_that_means_nothing_is_refused_where_it_is_declared(
    declare: Any, words: str
) -> None:
    with pytest.raises(DeclarationError, match=words.replace("[", r"\[")):
        contract_of(declare())


def test_more_entries_than_there_may_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_contracts.kinds.classes.MAX_WORDS", 3)
    with pytest.raises(DeclarationError, match="4 lines, want at most 3"):
        contract_of(Annotated[str, st.Category(file=file_of(tmp_path, "abcd"))])


@pytest.mark.parametrize("type_", [str, int])
def test_hash_buckets_are_those_of_blake2b(type_: Any) -> None:
    kind = kind_of(Annotated[type_, st.Category(unknown="hash", buckets=1000)])
    values = ["sea", "\u6d77", "two words"] if type_ is str else [5, -9, 2**62]
    buckets = [kind.bucket_of(value) for value in values]
    assert kind.codes(values).tolist() == buckets
    assert buckets == ([345, 258, 880] if type_ is str else [267, 499, 724])
    judge = shutil.which("b2sum")
    for value, bucket in zip(values, buckets, strict=True) if judge else ():
        said = subprocess.run(
            [judge or "", "--length=64"], input=str(value).encode(), capture_output=True, check=True
        )
        assert int.from_bytes(bytes.fromhex(said.stdout[:16].decode()), "little") % 1000 == bucket


@pytest.mark.parametrize("type_", [str, int])
@given(data=some.data())
@drawing(60)
def test_rows_and_columns_agree_on_every_value(type_: Any, data: some.DataObject) -> None:
    """V1 validates rows, V2 columns; what the graph is given is what training looks up."""
    nullable, unknown = data.draw(some.booleans()), data.draw(some.sampled_from(["bucket", "hash"]))
    options = {"buckets": data.draw(some.integers(1, 5))} if unknown == "hash" else {}
    some_entries: list[Any] = WORDS[:4] if type_ is str else NUMBERS
    entries = [] if unknown == "hash" and data.draw(some.booleans()) else some_entries
    kind = st.Category(*entries, unknown=unknown, **options)
    contract = contract_of(Annotated[type_ | None if nullable else type_, kind])
    kind = contract.inputs[0].kind  # type: ignore[assignment]
    drawn = kind.strategy() | some.none() if nullable else kind.strategy()
    values = data.draw(some.lists(drawn, min_size=1, max_size=6))
    front = HostStage(contract, {})
    rows = [front.encode_row(contract.validate_row({"x": value})) for value in values]
    by_row = collate(front.specs, rows)["x"]
    given_ = [kind.missing if value is None else value for value in values]
    sent = given_ if type_ is str else np.array(given_)
    column = contract.validate_columns({"x": sent}, len(values))
    by_column = front.encode_columns(column).columns[0]
    assert by_row.tolist() == by_column.tolist()
    table = kind.lookup()
    graph = [table.get(entry, kind.unknown_code) for entry in by_row.tolist()]
    assert graph == kind.codes(given_).tolist()
    assert all(0 <= code < kind.codes_count for code in graph)
    again = contract.validate_columns({"x": column["x"]}, len(values))
    assert list(again["x"]) == list(column["x"]), "what was hashed once stays in its bucket"


words = some.lists(
    some.text(some.characters(codec="utf-8", exclude_characters="\n"), min_size=1), min_size=1
)


@given(words, some.text(some.characters(codec="utf-8")))
@drawing(60)
def test_words_are_found_as_a_dictionary_finds_them(listed: list[str], other: str) -> None:
    known = Words.of(tuple(dict.fromkeys(listed)))
    table = {word: place for place, word in enumerate(dict.fromkeys(listed))}
    assert list(known) == list(table)
    assert [known.place(word) for word in (*table, other)] == [*range(len(table)), table.get(other)]
    assert pickle.loads(pickle.dumps(known)) == known


@given(some.lists(some.integers(-(2**63), 2**63 - 1), min_size=1, unique=True))
@drawing(60)
def test_numbers_are_found_as_a_dictionary_finds_them(listed: list[int]) -> None:
    known = Integers.of(listed)
    asked = np.array([*listed, 0, 1, -1, 2**63 - 1, -(2**63)])
    want = [listed.index(value) if value in listed else -1 for value in asked.tolist()]
    assert known.places(asked).tolist() == want
    assert [-1 if (at := known.place(v)) is None else at for v in asked.tolist()] == want
    assert Integers.read(known.to_file()) == known


def test_words_whose_hashes_collide_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seatrial_contracts.kinds.vocabulary.hash", len, raising=False)
    known = Words.of(("ab", "cd", "e", "fg"))
    found = [known.place(word) for word in ("ab", "cd", "e", "fg", "xy", "z")]
    assert found == [0, 1, 2, 3, None, None]


def test_a_long_vocabulary_is_small_in_schemas_and_messages(tmp_path: Path) -> None:
    path = file_of(tmp_path, [f"word {place}" for place in range(100_000)])
    contract = contract_of(Annotated[str, st.Category(file=path)])
    assert len(json.dumps(contract.row_schema())) < 4000
    assert len(contract.to_json()) < 2000
    with pytest.raises(Refusal) as refused:
        contract.validate_row({"x": "word 100000"})
    assert refused.value.code == "E_CATEGORY"
    assert len(str(refused.value)) < 400
    assert "'word 9' ... (100000 in all)" in str(refused.value)


@pytest.mark.parametrize("type_", [str, int])
def test_drift_keeps_bins_of_the_most_frequent_entries_and_of_the_rest(
    type_: Any, tmp_path: Path
) -> None:
    entries = [type_(place) for place in range(5000)]
    kind = st.Category(file=file_of(tmp_path, entries), unknown="hash", buckets=9)
    contract = contract_of(Annotated[type_, kind])
    features = DriftFeatures(HostStage(contract, {}))
    seen = [entries[place] for place in range(4000, 4030) for _ in range(place - 3999)]
    rows = [contract.validate_row({"x": value}) for value in (*seen, type_(77777))]
    histogram = features.profile(rows, [{"value": np.float32(0)}] * len(rows)).inputs["x"]
    assert len(histogram.bins.names) == 22
    assert histogram.bins.names[-2:] == ("(other)", "(unseen)")
    assert histogram.bins.names[0] == "4010"
    assert histogram.counts[-2:] == (sum(range(1, 11)), 1)


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        (["a", "b"], ["a", "b", "c"], False),
        (["a", "b"], ["b", "a"], False),
        (["a", "b"], ["a", "c"], True),
    ],
)
def test_a_vocabulary_without_an_old_entry_is_breaking(
    old: list[str], new: list[str], breaking: bool, tmp_path: Path
) -> None:
    before, after = (
        rebuilt(contract_of(Annotated[str, st.Category(file=file_of(tmp_path, listed))]))
        for listed in (old, new)
    )
    (difference,) = compare_contracts(before, after)
    assert difference.text.startswith("vocabulary 2 entries of SHA")
    assert difference.breaking == breaking
    inline = contract_of(Annotated[str, st.Category(*old)])
    assert not any(each.breaking for each in compare_contracts(inline, before))
