"""The part of the OpenAPI document about the routes of other projects' clients.

A route stands there if a loaded model answers on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seatrial_contracts.kinds.kind import JsonSchema
from seatrial_serve.api.invocations import PATH as INVOCATIONS
from seatrial_serve.api.invocations import body_schema as body_schema_of_invocations
from seatrial_serve.api.routes import client_routes
from seatrial_serve.api.routes.body import Body
from seatrial_serve.api.routes.route import Route
from seatrial_serve.api.tasks import tasks_of
from seatrial_serve.models.described import KnownModel

Operations = dict[str, Any]


class ClientParts(NamedTuple):
    """What clients' routes add to the document, by name."""

    paths: dict[str, Any]
    schemas: dict[str, Any]


def client_parts(
    models: Sequence[KnownModel],
    default: KnownModel | None,
    told: Mapping[str, str],
    refused: Mapping[str, Any],
) -> ClientParts:
    """The routes that some of these models offer.

    `default` is the model of requests that name none. `told` are the statuses of failures, each
    with what it means, and `refused` the same as responses in the server's own shape.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for path, route in client_routes().items():
        names = [model.name for model in models if route.is_offered_by(model)]
        if names:
            paths[path] = {"post": route_operation(route, names, told, schemas)}
    asked = {f"/hf/{model.name}": model for model in models}
    if default is not None:
        asked["/"] = default
    if default is not None:
        paths[INVOCATIONS] = {"post": invocations_operation(default, refused, schemas)}
    for path, model in asked.items():
        if tasks_of(model):
            paths[path] = {"post": task_operation(model, path, refused, schemas)}
    return ClientParts(paths, schemas)


def route_operation(
    route: Route[Any], names: Sequence[str], told: Mapping[str, str], schemas: dict[str, Any]
) -> Operations:
    """A route that these models offer."""
    stem = operation_name(route.path)
    schema = body_schema(route.body, f"{stem}-body")
    if "model" in schema["properties"]:
        properties = schema["properties"] | {"model": {"enum": [*names, None]}}
        schema = schema | {"properties": properties}
    schemas |= {
        f"{stem}-body": schema, f"{stem}-answer": route.answers, f"{stem}-error": route.fails,
    }  # fmt: skip
    return {
        "tags": ["clients"],
        "summary": route.summary,
        "operationId": stem,
        "description": f"Answered by {', '.join(names)}.",
        "requestBody": {"required": True, "content": content_of(f"{stem}-body")},
        "responses": {
            "200": {"description": "The answer.", "content": content_of(f"{stem}-answer")},
            **{
                status: {"description": text, "content": content_of(f"{stem}-error")}
                for status, text in told.items()
            },
        },
    }


def task_operation(
    model: KnownModel, path: str, refused: Mapping[str, Any], schemas: dict[str, Any]
) -> Operations:
    """Hugging Face's tasks of a model that does some.

    `refused` are the responses of failures; bodies and answers go into `schemas`.
    """
    tasks = tasks_of(model)
    for task in tasks:
        schemas[f"hf-{task.name}-body"] = body_schema(task.body, f"hf-{task.name}-body")
        schemas[f"hf-{task.name}-answer"] = task.answers
    content = any_of([f"hf-{task.name}-body" for task in tasks])
    field = model.contract.file_input
    if field is not None:
        file = {"schema": {"type": "string", "format": "binary"}}
        content |= dict.fromkeys(field.media_types, file)
    named = " or ".join(task.name for task in tasks)
    return {
        "tags": ["clients"],
        "summary": f"Hugging Face's {named} with {model.name}",
        "operationId": operation_name(path) or "hf_default",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "The output of the task.",
                "content": any_of([f"hf-{task.name}-answer" for task in tasks]),
            },
            **refused,
        },
    }


def invocations_operation(
    model: KnownModel, refused: Mapping[str, Any], schemas: dict[str, Any]
) -> Operations:
    """MLflow's and SageMaker's route; its JSON body goes into `schemas`."""
    contract, stem = model.contract, f"#/components/schemas/{model.name}-{model.version}"
    rows = {"type": "array", "items": {"$ref": f"{stem}-row"}}
    schemas["invocations-body"] = body_schema_of_invocations(rows)
    text = {"schema": {"type": "string"}}
    content = content_of("invocations-body") | {"text/csv": text}
    field = contract.file_input
    if field is not None:
        file = {"schema": {"type": "string", "format": "binary"}}
        content |= dict.fromkeys(field.media_types, file)
    return {
        "tags": ["clients"],
        "summary": f"Predict with {model.name} as MLflow's and SageMaker's clients do",
        "operationId": "invocations",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "As `:predict` answers.", "content": JSON_OBJECT},
            **refused,
        },
    }


JSON_OBJECT = {"application/json": {"schema": {"type": "object"}}}


def operation_name(path: str) -> str:
    """A path as a name that generated clients can take."""
    return path.strip("/").replace("/", "_").replace(":", "_")


def content_of(schema: str) -> dict[str, Any]:
    """JSON of a named schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def any_of(schemas: Sequence[str]) -> dict[str, Any]:
    """JSON of one of these named schemas."""
    found = [{"$ref": f"#/components/schemas/{schema}"} for schema in schemas]
    return {"application/json": {"schema": found[0] if len(found) == 1 else {"anyOf": found}}}


def body_schema(body: type[Body], name: str) -> JsonSchema:
    """JSON Schema (2020-12) of a body that stands in the document by this name."""
    template = f"#/components/schemas/{name}/$defs/{{model}}"
    return body.model_json_schema(ref_template=template)
