"""What is right and wrong in an answer.

Whole numbers are compared by equality, bounds are kept, and no side follows a mate.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest

import seatrial as st
from seatrial_contracts.compare import Tolerance, compare_outputs
from seatrial_contracts.golden import Golden
from seatrial_contracts.judge import judge
from seatrial_contracts.measures import measure

VOCABULARY = (
    b'{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],'
    b'"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},'
    b'"post_processor":null,"decoder":null,'
    b'"model":{"type":"WordLevel","vocab":{"a":0,"?":1},"unk_token":"?"}}'
)


class Row(st.Row):
    x: float


class Answer(st.Answer):
    share: Annotated[float, st.Number(ge=0, le=0.1)]
    count: int


CONTRACT = st.contract_from_rows(Row, Answer)


def answer(share: float, count: int) -> dict[str, np.ndarray]:
    return {"share": np.asarray(share, np.float32), "count": np.asarray(count, np.int64)}


def test_whole_numbers_must_be_equal_whatever_the_tolerance() -> None:
    loose = Tolerance(relative_to_max=1, relative=1)
    want, got = {"id": np.array([30000, 2**53])}, {"id": np.array([30000, 2**53 + 1])}
    assert compare_outputs([want], [want], loose).passed
    found = compare_outputs([want], [got], loose)
    assert not found.passed
    assert (found.index, found.worst_error, found.allowed) == ((1,), 1.0, 0.0)
    mask = {"mask": np.array([True, False])}
    assert not compare_outputs([mask], [{"mask": np.array([True, True])}], loose).passed


def test_ids_have_an_agreement_and_no_angle() -> None:
    class Ids(st.Answer):
        ids: st.Tensor[np.int64, 3]

    contract = st.contract_from_rows(Row, Ids)
    want, got = (
        [{"ids": np.array([9000, 1, 2])}] * 2,
        [{"ids": np.array([9001, 1, 2])}, {"ids": np.array([9000, 1, 2])}],
    )
    found = measure(contract, want, got)
    assert (found.agreement, found.cosine) == (0.5, None)
    with pytest.raises(st.DeclarationError, match="cosine"):
        st.Promise(cosine=0.9).check(contract, truths=set())
    st.Promise(agreement=0.9).check(contract, truths=set())


@pytest.mark.parametrize(
    ("share", "code"),
    [
        (0.1, None),
        (0.0, None),
        (0.11, "E_OUTPUT_RANGE"),
        (-1e-6, "E_OUTPUT_RANGE"),
        (np.nan, "E_OUTPUT_CONTRACT"),
        (np.inf, "E_OUTPUT_CONTRACT"),
    ],
)
def test_an_answer_out_of_its_bounds_is_a_fault_of_its_row_alone(
    share: float, code: str | None
) -> None:
    rows = [answer(0.05, 1), answer(share, 2)]
    batched = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    faults = CONTRACT.faulty_rows(batched, 2)
    assert [(row, fault.error(row).code) for row, fault in faults.items()] == (
        [] if code is None else [(1, code)]
    )
    golden = Golden(({"x": 1.0}, {"x": 2.0}), tuple(rows))
    assert bool(judge(CONTRACT, None, golden, rows).finding) == (code is not None)


def test_no_text_is_padded_where_an_answer_has_a_side_of_any_size() -> None:
    class Text(st.Row):
        text: Annotated[str, st.Text(tokenizer=VOCABULARY)]

    class Tags(st.Answer):
        tags: st.Tensor[np.float32, None, 3]

    class Whole(st.Answer):
        vector: st.Tensor[np.float32, 3]

    assert {spec.pad for spec in st.contract_from_rows(Text, Whole).tensors} == {0}
    assert {spec.pad for spec in st.contract_from_rows(Text, Tags).tensors} == {None}
