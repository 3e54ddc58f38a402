"""What TensorFlow Serving's REST clients send and read, judged by its own messages.

The protobuf messages are in an environment of their own (`make clients`).
"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def said(asked_by: Any) -> dict[str, Any]:
    """What each call gave."""
    found: dict[str, Any] = asked_by("tf_serving")
    return found


def test_status_and_signature_are_its_own_messages(said: dict[str, Any]) -> None:
    assert (said["states"], said["name"], said["version"]) == (["AVAILABLE"], "tabular", "1.0.0")
    assert (said["signature"], said["method"]) == ("serving_default", "tensorflow/serving/predict")
    assert said["dtypes"] == {"x": "DT_FLOAT", "n": "DT_INT8", "c": "DT_STRING", "f": "DT_BOOL"}
    assert said["shapes"] == {"x": [-1], "n": [-1], "c": [-1], "f": [-1], "score": [-1]}


def test_rows_and_columns_written_from_the_signature_are_answered(said: dict[str, Any]) -> None:
    assert said["rows"] == {
        "predictions": [{"score": 3.0}, {"score": 4.0}],
        "model_version": "1.0.0",
    }
    assert said["columns"] == {"outputs": {"score": [3.0, 4.0]}, "model_version": "1.0.0"}
