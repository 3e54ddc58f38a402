"""MLflow's own client of its scoring server against `/invocations`.

The client runs in an environment of its own (`make clients`).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from support.embedded import vector_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said(asked_by: Any) -> dict[str, Any]:
    """What each call gave."""
    found: dict[str, Any] = asked_by("mlflow")
    return found


def test_its_probe_is_answered(said: dict[str, Any]) -> None:
    assert said["ready"]


def test_its_question_for_the_version_is_answered(said: dict[str, Any]) -> None:
    assert said["version"] == version("seatrial")


@pytest.mark.parametrize("form", ["frame", "records", "columns"])
def test_rows_are_predicted(said: dict[str, Any], form: str) -> None:
    for row, text in zip(said[form], ("a ship", "two boats"), strict=True):
        assert np.allclose(row["vector"], vector_of(text), atol=1e-6)


def test_a_refusal_names_the_field(said: dict[str, Any]) -> None:
    assert "E_MISSING" in said["refused"]
    assert "input 'text', row 0" in said["refused"]
