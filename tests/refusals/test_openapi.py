"""The OpenAPI document, tried by schemathesis against a real server.

What the document promises is what is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from refusals.sealed import seal
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

pytestmark = pytest.mark.slow
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def test_every_operation_answers_as_the_document_says(
    tmp_path: Path, serve: Callable[..., Any]
) -> None:
    seal(tmp_path)
    server = serve(tmp_path, "--default-model", "sentences")
    assert server.wait_until_loaded()[0] == 200
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=15,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def try_operation(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        given(case=operation.as_strategy())(try_operation)()
        tried.add((operation.method.upper(), operation.path))
    assert ("POST", "/v1/models/tabular:predict") in tried
    clients = {"/", "/embed", "/hf/pairs", "/v1/embeddings", "/v1/rerank", "/v2/embed"}
    assert {("POST", path) for path in clients} <= tried
