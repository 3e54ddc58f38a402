"""KServe's own Python client against a real server: V1, V2 in JSON and binary, gRPC.

The client runs in an environment of its own (`make clients`).
"""

from __future__ import annotations

import math
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ANSWER = {"model": "tabular", "id": "seven", "score": [3.0, 4.0], "errors": None}


@pytest.fixture(scope="module")
def said(asked_by: Any) -> dict[str, Any]:
    """What each call gave."""
    found: dict[str, Any] = asked_by("kserve")
    return found


def test_readiness_and_liveness_are_understood(said: dict[str, Any]) -> None:
    calls = (
        "v1 ready",
        "v2 live",
        "v2 ready",
        "v2 model ready",
        "grpc live",
        "grpc ready",
        "grpc model ready",
    )
    assert {call: said[call] for call in calls} == dict.fromkeys(calls, True)


def test_rows_are_predicted(said: dict[str, Any]) -> None:
    assert said["v1 infer"] == {
        "predictions": [{"score": 3.0}, {"score": 4.0}],
        "model_version": "1.0.0",
    }


@pytest.mark.parametrize("form", ["json", "binary"])
@pytest.mark.parametrize("way", ["v2", "grpc"])
def test_tensors_are_answered(said: dict[str, Any], way: str, form: str) -> None:
    assert said[f"{way} infer {form}"] == ANSWER


@pytest.mark.parametrize("form", ["json", "binary"])
@pytest.mark.parametrize("way", ["v2", "grpc"])
def test_a_bad_row_is_an_error_that_says_where_and_part_of_a_partial_answer(
    said: dict[str, Any], way: str, form: str
) -> None:
    assert "input 'c', row 1" in said[f"{way} bad {form}"]["says"]
    partial = said[f"{way} partial {form}"]
    assert partial["score"][0] == 3.0
    assert partial["score"][1] is None or math.isnan(partial["score"][1])
    assert [(error["row"], error["code"]) for error in partial["errors"]] == [(1, "E_CATEGORY")]


def test_a_partial_answer_of_rows_holds_null(said: dict[str, Any]) -> None:
    assert said["v1 partial"]["predictions"] == [{"score": 3.0}, None]
    assert said["v1 partial"]["errors"][0]["row"] == 1


def test_what_is_not_offered_says_so(said: dict[str, Any]) -> None:
    assert said["v1 explain"]["raised"] == "HTTPStatusError"
