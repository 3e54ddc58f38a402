"""The OpenAPI document: the framework's own routes, and a typed predict route for each model, read off its contract."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from seatrial_serve.model import ServedModel
from seatrial_serve.repository import Repository, State

ERROR_SCHEMA = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "code", "request_id"],
}
REFUSALS = {
    "400": "A row breaks the contract; `code` is stable and `error` says where, what it got and what it wants.",
    "413": "The body, file or image is larger than the contract allows.", "415": "The content type is none that this model takes.",
    "500": "The model failed, or its answer broke its contract.", "503": "Overloaded, not ready or stopping; see Retry-After.",
    "504": "The deadline passed before the request's turn came.",
}  # fmt: skip

UNKNOWN = "No such model or version."
BODY = {
    "400": "The body is none that this route takes.",
    "408": "The body did not end in time.",
    "413": "The body is too large.",
    "415": "The content encoding is none that this route takes.",
}
FAILURE = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def openapi_document(app: FastAPI, repository: Repository) -> dict[str, Any]:
    """Made anew on each call, since models come and go."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = ERROR_SCHEMA
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            describe_failures(operation, of_a_model="{model}" in path, with_body=method == "post")
    for entry in repository:
        if entry.state is State.READY and entry.model is not None:
            whole = f"/v1/models/{entry.name}"
            for stem in (whole, f"{whole}/versions/{entry.version}"):
                if stem != whole or repository.find(entry.name) is entry:
                    document["paths"][f"{stem}:predict"] = {
                        "post": predict_operation(entry.model, f"{stem}:predict", schemas)
                    }
    return document


def describe_failures(operation: dict[str, Any], *, of_a_model: bool, with_body: bool) -> None:
    """What the framework cannot know: our errors in place of its own."""
    operation["responses"].pop("422", None)
    texts = ({"404": UNKNOWN, "503": REFUSALS["503"]} if of_a_model else {}) | (BODY if with_body else {})
    for status, text in texts.items():
        operation["responses"][status] = {"description": text, "content": FAILURE}


def predict_operation(model: ServedModel, path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """The operation object of a model's predict route; its row and answer go into `schemas`."""
    contract, bundle = model.contract, model.bundle
    stem = f"{bundle.name}-{bundle.version}"
    schemas[f"{stem}-row"], schemas[f"{stem}-answer"] = contract.row_schema(), contract.answer_schema()
    rows = {
        "type": "array",
        "items": {"$ref": f"#/components/schemas/{stem}-row"},
        "minItems": 1,
        "maxItems": contract.limits.max_rows,
    }
    answers = {"type": "array", "items": {"$ref": f"#/components/schemas/{stem}-answer"}}
    body: dict[str, Any] = {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"instances": rows},
                "required": ["instances"],
                "additionalProperties": False,
            },
            "example": {"instances": [contract.example_row()]},
        }
    }
    if contract.file_input is not None:
        body |= {media: {"schema": {"type": "string", "format": "binary"}} for media in contract.file_input.media_types}
    answer = {
        "type": "object",
        "properties": {"predictions": answers, "model_version": {"type": "string"}},
        "required": ["predictions", "model_version"],
    }
    return {
        "tags": [bundle.name], "summary": f"Predict with {bundle.name} {bundle.version}", "operationId": path.strip("/").replace("/", "_").replace(":", "_"),
        "description": f"Digest `{bundle.digest}`, on {model.engine.provider}.",
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "One prediction for each row, in order.", "content": {"application/json": {"schema": answer}}},
                      **{status: {"description": text, "content": FAILURE} for status, text in REFUSALS.items()}},
    }  # fmt: skip
