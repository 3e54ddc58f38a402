"""Embeddings: their sizes, forms and prompts, judged by sentence-transformers, numpy and hand."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from support.embedded import CONTRACT, contract_of, embedding

import seatrial as st
from seatrial_contracts.contract_changes import compare_contracts
from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.measures import measure
from seatrial_contracts.recall import recall_at_10
from seatrial_contracts.vector_forms import Ranges, in_form, restored

RANGES = Ranges(low=(-1.0, -0.5, 0.0, 0.25), high=(1.0, 0.5, 0.0, 0.75))
VECTORS = np.array(
    [[1.0, -0.5, 0.0, 0.5], [1.01, 0.1, -0.0, 0.2], [-2.0, 0.25, 3.0, 0.7499]], np.float32
)


@pytest.mark.parametrize(
    ("form", "want"),
    [  # quantize_embeddings(VECTORS, form, ranges=...), sentence-transformers 6.2.0, numpy 2.4
        ("int8", [[126, -128, -128, -1], [127, 25, -128, -128], [-128, 63, -125, 126]]),
        ("uint8", [[254, 0, 0, 127], [255, 153, 0, 0], [0, 191, 3, 254]]),
        ("binary", [[16], [80], [-16]]),
        ("ubinary", [[144], [208], [112]]),
    ],
)
def test_forms_are_those_of_sentence_transformers(form: str, want: list[list[int]]) -> None:
    found = in_form(VECTORS, form, RANGES)
    assert found.tolist() == want
    assert found.dtype == ("int8" if form in ("int8", "binary") else "uint8")


def test_bits_are_numpys_packbits_and_the_last_byte_is_filled_up_with_zeros() -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)
    assert np.array_equal(in_form(vectors, "ubinary"), np.packbits(vectors > 0, axis=1))
    assert np.array_equal(restored(in_form(vectors, "binary"), "binary", 12), np.sign(vectors))


@pytest.mark.parametrize("form", ["int8", "uint8"])
def test_bytes_come_back_within_half_a_step(form: str) -> None:
    vectors = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float32)
    ranges = Ranges.of(vectors)
    steps = np.ptp(vectors, axis=0) / 255
    back = restored(in_form(vectors, form, ranges), form, 6, ranges)
    assert (np.abs(back - vectors) <= steps * 0.51).all()


def test_a_vector_is_cut_and_normalised_again() -> None:
    vector = np.array([0.6, 0.0, 0.8, 0.0], np.float32)
    kind = Embedding(4, normalized=True, dimensions=(2, 3))
    (cut,) = kind.client((vector,), None, {"dimensions": 2})
    assert cut.tolist() == [1.0, 0.0]
    plain = Embedding(4, dimensions=(2,))
    assert plain.client((vector,), None, {"dimensions": 2})[0].tolist() == vector[:2].tolist()


@pytest.mark.parametrize(
    ("vector", "is_bad"),
    [
        ([0.6, 0.8, 0.0], False),
        ([0.6, 0.7, 0.0], True),
        ([0.0, 0.0, 1.0], True),  # of no length once it is cut to two
        ([float("nan"), 0.8, 0.0], False),  # named as NaN elsewhere
    ],
)
def test_a_vector_of_another_length_than_1_is_a_fault_of_its_row(
    vector: list[float], is_bad: bool
) -> None:
    class Row(st.Row):
        x: float

    class Vector(st.Answer):
        vector: Annotated[list[float], st.Embedding(3, normalized=True, dimensions=(2,))]

    contract = st.contract_from_rows(Row, Vector)
    good = [0.6, 0.0, 0.8]
    faults = contract.faulty_rows({"vector": np.array([good, vector], np.float32)}, 2)
    assert (1 in faults and bool(faults[1].breach)) == is_bad
    if is_bad:
        assert str(faults[1].error(1)) == (
            "output 'vector', row 1: the model answered a vector whose length is not the 1 that "
            "the contract promises"
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": (16,)}, "different sizes below 16"),
        ({"dimensions": (8, 8)}, "different sizes"),
        ({"forms": ("int8", "float32")}, "'float32' first"),
        ({"forms": ("float32", "int4")}, "forms"),
        ({"prompts": {"none": "x"}}, "another name"),
        ({"default_prompt": "title"}, "one of its prompts: query, passage"),
        ({"prompts": {}, "default_prompt": "query"}, "one of its prompts: none"),
        ({"of": None}, "the text that they stand before"),
        ({"of": "title"}, "an answer about 'title'"),
        ({"ranges": (Ranges(low=(0.0,), high=(1.0,)),)}, "1 ranges"),
        ({"least_recall_at_10": 0.5}, "no number: too few rows"),
        ({"least_cosine": 0.95}, "promise less"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(st.DeclarationError, match=message):
        contract_of(embedding(**options))


def test_int8_without_ranges_needs_reference_rows() -> None:
    class Vector(st.Answer):
        vector: Annotated[list[float], st.Embedding(2, forms=("float32", "int8"))]

    class Row(st.Row):
        x: float

    answer = {"vector": np.ones(2, np.float32)}
    with pytest.raises(st.DeclarationError, match="reference rows, whose ranges are sealed"):
        st.contract_from_rows(Row, Vector).sealed([], [answer])


def test_the_contract_holds_what_was_sealed_and_is_read_back_equal() -> None:
    kind = CONTRACT.outputs[0].kind
    assert isinstance(kind, Embedding)
    assert [len(ranges.low) for ranges in kind.ranges] == [16, 8]
    assert len(kind.measured) == 11  # two sizes of six forms, but for the whole float32 vector
    assert st.Contract.from_json(CONTRACT.to_json()).to_json() == CONTRACT.to_json()


def test_recall_counts_the_neighbours_that_stay() -> None:
    rng = np.random.default_rng(3)
    want = rng.normal(size=(60, 8))
    got = want + rng.normal(size=want.shape) * 0.3

    def nearest(vectors: Any) -> list[set[int]]:
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = units @ units.T - 9 * np.eye(len(units))
        return [set(np.argsort(-row)[:10].tolist()) for row in cosines]

    pairs = zip(nearest(want), nearest(got), strict=True)
    assert recall_at_10(want, got) == pytest.approx(np.mean([len(a & b) / 10 for a, b in pairs]))
    assert recall_at_10(want, want) == 1.0
    assert recall_at_10(want[:20], got[:20]) is None


def test_equal_vectors_are_equally_near_whatever_their_order() -> None:
    want = np.tile(np.eye(2), (20, 1))
    assert recall_at_10(want, want + np.random.default_rng(0).normal(size=want.shape) * 1e-9) == 1.0


def test_recall_is_a_measure_that_a_promise_names() -> None:
    rng = np.random.default_rng(4)
    want = [{"vector": row} for row in rng.normal(size=(40, 16)).astype(np.float32)]
    got = [{"vector": rng.normal(size=16).astype(np.float32)} for _ in want]
    promise = st.Promise.parse("recall@10>=0.9")
    promise.check(CONTRACT, truths=set())
    same, other = (measure(CONTRACT, want, answers) for answers in (want, got))
    assert promise.finding(same, same) == ""
    assert promise.finding(other, same).startswith("recall@10: got 0.")
    assert str(promise) == "recall@10 >= 0.9"


def test_recall_is_not_promised_where_nothing_is_an_embedding() -> None:
    class Row(st.Row):
        x: float

    class Value(st.Answer):
        value: float

    with pytest.raises(st.DeclarationError, match=r"recall@10.*an embedding"):
        st.Promise.parse("recall@10>=0.9").check(st.contract_from_rows(Row, Value), truths=set())


def ranges_to(high: float) -> tuple[Ranges, ...]:
    return tuple(Ranges(low=(-high,) * size, high=(high,) * size) for size in (16, 8))


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ({"dimensions": ()}, {}, False),
        ({}, {"dimensions": ()}, True),
        ({"forms": ("float32",)}, {}, False),
        ({}, {"forms": ("float32",)}, True),
        ({"prompts": {"query": "q: "}}, {}, False),
        ({}, {"prompts": {"query": "other: "}}, True),
        ({}, {"default_prompt": "query"}, True),
        ({}, {"normalized": False}, True),
        ({"ranges": ranges_to(1.0)}, {"ranges": ranges_to(2.0)}, True),
        ({}, {"least_cosine": 0.1}, False),
    ],
)  # fmt: skip
def test_a_change_breaks_clients_where_they_lose_something(
    old: dict[str, Any], new: dict[str, Any], breaks: bool
) -> None:
    found = compare_contracts(contract_of(embedding(**old)), contract_of(embedding(**new)))
    assert found
    assert any(each.breaking for each in found) == breaks, found
