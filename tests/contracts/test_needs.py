"""What a graph needs of whoever opens it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from seatrial_contracts.needs import READERS, Needs, least_onnxruntime, numbers


@pytest.mark.parametrize(
    ("ir", "opsets", "release"),
    [
        (8, {"ai.onnx": 17}, "1.17"), (10, {"ai.onnx": 20}, "1.18"), (9, {"ai.onnx": 21}, "1.18"),
        (8, {"ai.onnx": 22}, "1.21"), (11, {"ai.onnx": 18}, "1.23"), (10, {"ai.onnx": 25}, "1.24"),
        (13, {"ai.onnx": 26}, "1.25"), (10, {"ai.onnx": 27}, "1.28"),
        (14, {"ai.onnx": 17}, "1.32"),
        (8, {"ai.onnx": 17, "ai.onnx.ml": 3}, "1.17"),
    ],
)  # fmt: skip
def test_the_first_release_that_reads_a_graph_reads_its_format_and_its_operators(
    ir: int, opsets: dict[str, int], release: str
) -> None:
    assert least_onnxruntime(ir, opsets, "1.33.0") == release


def test_a_graph_beyond_every_known_release_needs_the_one_that_opened_it() -> None:
    assert least_onnxruntime(20, {"ai.onnx": 40}, "1.40.2") == "1.40"


def test_a_graph_that_an_older_release_opened_than_the_table_says_needs_that_one() -> None:
    assert least_onnxruntime(10, {"ai.onnx": 27}, "1.27.0") == "1.27"


@pytest.mark.parametrize(
    ("installed", "met"),
    [("1.24", True), ("1.24.4", True), ("1.23.9", False), ("1.3.0", False), ("2.0.0", True)],
)
def test_releases_are_compared_as_numbers(installed: str, met: bool) -> None:
    needs = Needs(ir=10, opsets={"ai.onnx": 25}, onnxruntime="1.24")
    assert needs.met_by(installed) is met


def test_needs_read_as_people_write_them() -> None:
    needs = Needs(
        ir=10, opsets={"ai.onnx": 20, "ai.onnx.ml": 3}, element_types=("bfloat16",),
        onnxruntime="1.24",
    )  # fmt: skip
    assert str(needs) == "opset 20, ai.onnx.ml 3, IR 10, bfloat16"


def test_each_known_release_reads_more_than_the_one_before() -> None:
    for before, after in pairwise(READERS):
        assert numbers(before.release) < numbers(after.release)
        assert all(one <= other for one, other in zip(before[1:], after[1:], strict=True))
        assert before[1:] != after[1:]
