"""The OpenAPI document: the framework's routes, and typed routes for each model.

Each model has a predict and a feedback route, read off its contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import cache, partial
from hashlib import sha256
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from seatrial_contracts.errors import MOST_FAULTS, SeatrialError
from seatrial_contracts.predict_request import SIGNATURE
from seatrial_serve.access.paths import Paths
from seatrial_serve.api.feedback import Told
from seatrial_serve.api.openapi_clients import client_parts, operation_name
from seatrial_serve.api.routing import may_read, reading
from seatrial_serve.models.described import KnownModel
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.repository import Repository
from seatrial_serve.observers.feedback import Tellable

FAULT = {
    "type": "object",
    "properties": {
        "input": {"type": ["string", "null"], "description": "null: it is about no single input."},
        "row": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "null: it is about no single row.",
        },
        "code": {"type": "string"},
        "error": {"type": "string"},
    },
    "required": ["input", "row", "code", "error"],
    "additionalProperties": False,
}
FAULTS: dict[str, Any] = {
    "errors": {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Fault"},
        "minItems": 1,
        "maxItems": MOST_FAULTS,
        "description": "All that is wrong with the rows; the first is `error` and `code`.",
    },
    "more_errors": {
        "type": "integer",
        "minimum": 1,
        "description": "How many are not listed in `errors`.",
    },
}
ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        **FAULTS,
    },
    "required": ["error", "code", "request_id"],
}
REFUSALS = {
    "400": (
        "A row breaks the contract; `code` is stable and `error` says where, "
        "what it got and what it wants. `errors` are all that is wrong with the rows."
    ),
    "413": "The body or file is larger, or longer, than the contract allows.",
    "415": "The content type is none that this model takes.",
    "500": "The model failed, or its answer broke its contract.",
    "503": "Overloaded, not ready or stopping; see Retry-After.",
    "504": "The deadline passed before the request's turn came.",
}

UNKNOWN = "No such model or version."
NO_ANSWER = "No such model or version, or no answer of that request id is remembered."
BODY = {
    "400": "The body is none that this route takes.",
    "408": "The body did not end in time.",
    "413": "The body is too large.",
    "415": "The content encoding is none that this route takes.",
}
PARTIAL = {
    "name": "X-Partial",
    "in": "header",
    "required": False,
    "schema": {"enum": ["0", "1"], "default": "0"},
    "description": (
        "1: a row that cannot be answered is null and stands in `errors`, "
        "and takes none of the others with it."
    ),
}
TIMING = {
    "name": "X-Server-Timing",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "default": "0"},
    "description": "1: the header `Server-Timing` of the answer says what each phase took. "
    "Any other value: it does not.",
}
ROW_ERROR = {
    "type": "object",
    "properties": {
        "row": {"type": "integer", "minimum": 0},
        "code": {"type": "string"},
        "error": {"type": "string"},
        **FAULTS,
    },
    "required": ["row", "code", "error"],
    "additionalProperties": False,
}
MODEL_REFUSALS = {**REFUSALS, "404": NO_ANSWER, "408": BODY["408"]}
"""What a model's own routes answer; each is described once, for all models."""
FAILURE = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


KEYS: dict[str, Any] = {
    "Bearer": {"type": "http", "scheme": "bearer"},
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The security schemes of a server that asks for keys."""
KEY_REFUSALS = {
    "401": "No key, or one that does not count.",
    "403": "The key is not for this.",
    "429": "The key's rate is exceeded; see Retry-After.",
}

Parts = list[bytes]
"""Members of a JSON object, each as `"key":value`."""


class Page(NamedTuple):
    """The document as it is sent, and of which state of the repository."""

    revision: int
    body: bytes
    etag: str


class OwnParts(NamedTuple):
    """The parts that the framework's routes and the shared answers add.

    They are written once and stay as they are.
    """

    head: Parts
    paths: Parts
    schemas: Parts
    components: Parts
    """Those beside the schemas."""


class ModelParts(NamedTuple):
    """The parts that one loaded model adds, written once.

    These are the paths below its own name, the paths below its version, and its schemas.
    """

    whole: Parts
    version: Parts
    schemas: Parts


class ApiDocument:
    """The document of an app and its models.

    It is written in a thread, once for each state of the repository.
    """

    def __init__(self, app: FastAPI, repository: Repository, paths: Paths | None = None) -> None:
        """`paths`: what each path needs, where keys are asked for."""
        self._app, self._repository, self._paths = app, repository, paths
        self._lock = asyncio.Lock()
        self._page: Page | None = None
        self._own: OwnParts | None = None
        self._of_models: WeakKeyDictionary[Entry, ModelParts] = WeakKeyDictionary()

    async def page(self, shown: Callable[[str], bool] = lambda _: True) -> Page:
        """The document of a state that is not older than the call.

        `shown`: of which models, by their names, its reader may know.
        """
        async with self._lock:
            # of now: models may have come and gone while a page was written for another reader
            if not all(map(shown, self._repository.names)):
                return await self._written(shown)
            if self._page is None or self._page.revision < self._repository.revision:
                self._page = await self._written(lambda _: True)
            return self._page

    async def _written(self, shown: Callable[[str], bool]) -> Page:
        repository = self._repository
        revision = repository.revision
        entries = [entry for entry in repository if entry.is_available and shown(entry.name)]
        served = {entry for entry in entries if repository.find(entry.name) is entry}
        return await asyncio.to_thread(self._write, revision, entries, served, repository.default)

    def _write(
        self,
        revision: int,
        entries: Sequence[Entry],
        served_entries: Set[Entry],
        default_entry: Entry | None,
    ) -> Page:
        if self._own is None:
            self._own = own_parts(self._app, self._paths)
        paths, schemas = list(self._own.paths), list(self._own.schemas)
        served: list[KnownModel] = []
        default: KnownModel | None = None
        for entry in entries:
            try:
                model = self._repository.known(entry)
            except SeatrialError:  # the version's own page says why
                continue
            parts = self._of_models.get(entry)
            if parts is None:
                parts = self._of_models[entry] = model_parts(model, self._paths)
            paths += parts.whole + parts.version if entry in served_entries else parts.version
            schemas += parts.schemas
            if entry in served_entries:
                served.append(model)
            if entry is default_entry:
                default = model
        told = MODEL_REFUSALS | {"404": UNKNOWN}
        clients = client_parts(served, default, told, refusals(MODEL_REFUSALS))
        paths += members(with_keys(clients.paths, self._paths))
        schemas += members(clients.schemas)
        body = b"".join([
            b"{", b",".join(self._own.head), b',"paths":{', b",".join(paths), b'},"components":{',
            b",".join(self._own.components), b',"schemas":{', b",".join(schemas), b"}}}",
        ])  # fmt: skip
        return Page(revision, body, f'"{sha256(body).hexdigest()[:32]}"')


def members(value: Mapping[str, Any]) -> Parts:
    """An object's members, written."""
    return [orjson.dumps(key) + b":" + orjson.dumps(each) for key, each in value.items()]


def openapi_router(document: ApiDocument) -> APIRouter:
    """The document at `/openapi.json`; 304 for whoever has it."""
    router = APIRouter()

    @reading(router, "/openapi.json", include_in_schema=False)
    async def show(request: Request) -> Response:
        page = await document.page(partial(may_read, request))
        headers = {"etag": page.etag, "cache-control": "no-cache"}
        known = {
            each.strip().removeprefix("W/")
            for each in request.headers.get("if-none-match", "").split(",")
        }
        if known & {page.etag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(page.body, headers=headers, media_type="application/json")

    return router


def with_keys(operations: dict[str, Any], needed: Paths | None) -> dict[str, Any]:
    """Describe what is said where keys are asked for: path -> method -> operation."""
    if needed is None:
        return operations
    for path, methods in operations.items():
        for method, operation in methods.items():
            if needed.needed(method.upper(), path).scope is None:
                operation["security"] = []
            else:
                operation["responses"] |= refusals(KEY_REFUSALS)
    return operations


def own_parts(app: FastAPI, needed: Paths | None) -> OwnParts:
    """The framework's routes, and what models' operations refer to."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    paths, components = document.pop("paths"), document.pop("components", {})
    schemas = components.pop("schemas", {}) | {
        "Error": ERROR_SCHEMA,
        "RowError": ROW_ERROR,
        "Fault": FAULT,
    }
    components["parameters"] = {"Partial": PARTIAL, "Timing": TIMING}
    components["responses"] = {
        refusal_name(status): {"description": text, "content": FAILURE}
        for status, text in (MODEL_REFUSALS | (KEY_REFUSALS if needed is not None else {})).items()
    }
    if needed is not None:
        components["securitySchemes"] = KEYS
        document["security"] = [{name: []} for name in KEYS]
    for path, operations in paths.items():
        for method, operation in operations.items():
            describe_failures(operation, of_a_model="{model}" in path, with_body=method == "post")
    paths = with_keys(paths, needed)
    return OwnParts(members(document), members(paths), members(schemas), members(components))


def refusal_name(status: str) -> str:
    """Of a response that all models share."""
    return f"Refused{status}"


def refusals(statuses: Iterable[str]) -> dict[str, Any]:
    """Status -> where it is described."""
    return {
        status: {"$ref": f"#/components/responses/{refusal_name(status)}"} for status in statuses
    }


def model_parts(model: KnownModel, needed: Paths | None) -> ModelParts:
    """What a model adds to the document."""
    schemas: dict[str, Any] = {}
    whole = f"/v1/models/{model.name}"
    version = f"{whole}/versions/{model.bundle.version}"
    by_name, by_version = (
        members(with_keys(model_operations(model, stem, schemas), needed))
        for stem in (whole, version)
    )
    return ModelParts(by_name, by_version, members(schemas))


def model_operations(model: KnownModel, stem: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the paths below `stem` that take rows of this model.

    These are predict, and feedback if an answer can be right or wrong.
    """
    paths = {f"{stem}:predict": {"post": predict_operation(model, f"{stem}:predict", schemas)}}
    told = Tellable.of(model.bundle, model.name)
    if told.outputs:
        paths[f"{stem}:feedback"] = {"post": feedback_operation(model, told, f"{stem}:feedback")}
    return paths


def describe_failures(operation: dict[str, Any], *, of_a_model: bool, with_body: bool) -> None:
    """What the framework cannot know: our errors in place of its own."""
    operation["responses"].pop("422", None)
    texts = ({"404": UNKNOWN, "503": REFUSALS["503"]} if of_a_model else {}) | (
        BODY if with_body else {}
    )
    for status, text in texts.items():
        operation["responses"][status] = {"description": text, "content": FAILURE}


def predict_operation(model: KnownModel, path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """The operation object of a model's predict route; its row and answer go into `schemas`."""
    contract, bundle = model.contract, model.bundle
    stem = f"{model.name}-{bundle.version}"
    schemas[f"{stem}-row"], schemas[f"{stem}-answer"] = (
        contract.row_schema(),
        contract.answer_schema(),
    )
    names = [[*contract.record.names], [field.name for field in contract.outputs]]
    needed = [name for name in names[0] if name not in contract.record.optional]
    columns = {
        name: {"type": "array", "items": property_of(f"{stem}-row", name)} | counts_of(model)
        for name in names[0]
    } | packed_columns(model, stem, schemas)
    schemas[f"{stem}-columns"] = closed_object(columns, needed)
    by_column = {"inputs": {"$ref": f"#/components/schemas/{stem}-columns"}}
    signature: dict[str, Any] = {"signature_name": {"const": SIGNATURE}}
    if contract.known_options:
        schemas[f"{stem}-options"] = contract.options_schema()
        signature["parameters"] = {"$ref": f"#/components/schemas/{stem}-options"}
    body: dict[str, Any] = {
        "application/json": {
            "schema": {"oneOf": [
                closed_object({"instances": rows_of(model)} | signature, ["instances"]),
                closed_object(by_column | signature, ["inputs"]),
            ]},
            "example": {"instances": [contract.example_row()]},
        }
    }  # fmt: skip
    if contract.file_input is not None:
        body |= {
            media: {"schema": {"type": "string", "format": "binary"}}
            for media in contract.file_input.media_types
        }
    told = {
        "model_version": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/RowError"}},
    }
    outputs = closed_object(
        {name: listed(property_of(f"{stem}-answer", name)) for name in names[1]}, names[1]
    )
    answer = {
        "oneOf": [
            closed_object(
                {"predictions": listed({"$ref": f"#/components/schemas/{stem}-answer"})} | told,
                ["predictions", "model_version"],
            ),
            closed_object({"outputs": outputs} | told, ["outputs", "model_version"]),
        ]
    }
    return {
        "tags": [model.name],
        "summary": f"Predict with {model.name} {bundle.version}",
        "operationId": operation_name(path),
        "description": f"Digest `{bundle.digest}`.",
        "parameters": [
            {"$ref": f"#/components/parameters/{each}"} for each in ("Partial", "Timing")
        ],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {
                "description": (
                    "One prediction for each row, in order; null and an error for a row without "
                    "one, where X-Partial is 1."
                ),
                "content": {"application/json": {"schema": answer}},
            },
            **refusals(REFUSALS),
        },
    }


def packed_columns(
    model: KnownModel, stem: str, schemas: dict[str, Any]
) -> dict[str, dict[str, str]]:
    """Name of a packed column -> where the schema of its list stands in `schemas`.

    Columns are many and alike: each of the same schema has the same place.
    """
    places: dict[str, str] = {}
    found = {}
    for kind in model.contract.record.packed.values():
        for name, schema in kind.json_schema()["properties"].items():
            place = places.setdefault(str(schema), f"{stem}-column-{len(places) + 1}")
            schemas[place] = {"type": "array", "items": schema} | counts_of(model)
            found[name] = {"$ref": f"#/components/schemas/{place}"}
    return found


@cache
def told_properties() -> Mapping[str, Mapping[str, Any]]:
    """The schemas of what feedback takes, of any model."""
    properties = Told.model_json_schema()["properties"]
    return {
        name: {key: each for key, each in schema.items() if key != "default"}
        for name, schema in properties.items()
    }


def feedback_operation(model: KnownModel, told: Tellable, path: str) -> dict[str, Any]:
    """Return the operation object of a model's feedback route.

    The truth is as each output's kind has it; the slices are the bundle's.
    """
    bundle, said = model.bundle, told_properties()
    truths = {name: each.kind.truth_schema() for name, each in told.outputs.items()}
    true = {"anyOf": [closed_object(truths), {"type": "null"}]}
    known: dict[str, Any] = (
        {"type": "string", "enum": sorted(told.slices)} if told.slices else {"not": {}}
    )
    properties = {
        "truth": {**said["truth"], "items": true},
        "request_id": said["request_id"],
        "instances": rows_of(model),
        "slices": {**said["slices"], "items": {"type": "array", "items": known}},
    }
    one_of_both = {"oneOf": [{"required": ["request_id"]}, {"required": ["instances"]}]}
    truth = {name: each.kind.truth_example() for name, each in told.outputs.items()}
    count = {"type": "integer", "minimum": 0}
    answer = closed_object({"model_version": {"type": "string"}, "right": count, "wrong": count})
    return {
        "tags": [model.name],
        "summary": f"Tell {model.name} {bundle.version} the truth of its answers",
        "operationId": operation_name(path),
        "description": (
            "It is counted in rolling accuracy, calibration error and slices; "
            "nothing of it is kept beyond the window."
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": closed_object(properties, ["truth"]) | one_of_both,
                    "example": {"instances": [model.contract.example_row()], "truth": [truth]},
                }
            },
        },
        "responses": {
            "200": {
                "description": "How many things were right, and how many wrong.",
                "content": {"application/json": {"schema": answer}},
            },
            **refusals(MODEL_REFUSALS),
        },
    }


def rows_of(model: KnownModel) -> dict[str, Any]:
    """The schema of a request's rows."""
    row = {"$ref": f"#/components/schemas/{model.name}-{model.bundle.version}-row"}
    return {"type": "array", "items": row} | counts_of(model)


def counts_of(model: KnownModel) -> dict[str, int]:
    """How many rows a request has."""
    return {"minItems": 1, "maxItems": model.contract.limits.max_rows}


def property_of(schema: str, name: str) -> dict[str, Any]:
    """One property of a named schema."""
    return {"$ref": f"#/components/schemas/{schema}/properties/{name}"}


def listed(value: dict[str, Any]) -> dict[str, Any]:
    """The schema of one value for each row; null for a row that a partial answer has none for."""
    return {"type": "array", "items": {"anyOf": [value, {"type": "null"}]}}


def closed_object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """The schema of an object of these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": False,
    }
