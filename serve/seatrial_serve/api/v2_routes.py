"""The routes of the Open Inference Protocol around inference.

They describe the server and its models, and what these have done.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from seatrial_contracts.errors import Refusal
from seatrial_serve.api.audit import AdminAudit
from seatrial_serve.api.routing import (
    audited,
    found,
    in_turns,
    json_response,
    known_model,
    may_read,
    reading,
)
from seatrial_serve.api.v2_describe import (
    index,
    model_config,
    model_metadata,
    model_statistics,
    server_metadata,
    statistics_of_all,
)
from seatrial_serve.http.body import Pace, read_body
from seatrial_serve.http.headers import CONTENT_TYPE, is_file
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.repository import Repository

MODEL = "/v2/models/{model:name}"
VERSION = "/v2/models/{model:name}/versions/{version:name}"
SMALL_BODY_BYTES, PACE = 64 * 1024, Pace(10.0)
TRITON_TYPE = b"text/plain"
"""What tritonclient's asyncio client calls its JSON."""


def v2_router(
    repository: Repository, lifecycle: ModelLifecycle | None, audit: AdminAudit
) -> APIRouter:
    """Return the routes of metadata, configuration, statistics and the repository's index.

    With a lifecycle, which is the administrator's, the router also loads and unloads models, and
    `audit` writes each of these calls.
    """
    router = APIRouter(tags=["open inference protocol"])

    @reading(router, "/v2", summary="This server")
    async def server() -> Response:
        return json_response(server_metadata(admin=lifecycle is not None))

    @reading(router, "/v2/models", summary="The names of the models, as KServe lists them")
    async def names(request: Request) -> Response:
        names = [name for name in repository.names if may_read(request, name)]
        return json_response({"models": names})

    @reading(router, "/v2/models/stats", summary="What all models have done")
    async def all_statistics(request: Request) -> Response:
        entries = [entry for entry in repository if may_read(request, entry.name)]
        return json_response({"model_stats": await in_turns(entries, statistics_of_all)})

    @reading(router, MODEL, summary="A model's tensors")
    async def metadata(model: str) -> Response:
        return json_response(await metadata_of(repository, found(repository, model)))

    @reading(router, VERSION, summary="The tensors of a version")
    async def version_metadata(model: str, version: str) -> Response:
        return json_response(await metadata_of(repository, found(repository, model, version)))

    @reading(router, f"{MODEL}/config", summary="A model's configuration, in Triton's words")
    async def config(model: str) -> Response:
        return json_response(model_config(await known_model(repository, found(repository, model))))

    @reading(router, f"{VERSION}/config", summary="The configuration of a version")
    async def version_config(model: str, version: str) -> Response:
        entry = found(repository, model, version)
        return json_response(model_config(await known_model(repository, entry)))

    @reading(router, f"{MODEL}/stats", summary="What a model has done")
    async def statistics(model: str) -> Response:
        return json_response({"model_stats": [model_statistics(found(repository, model))]})

    @reading(router, f"{VERSION}/stats", summary="What a version has done")
    async def version_statistics(model: str, version: str) -> Response:
        entry = found(repository, model, version)
        return json_response({"model_stats": [model_statistics(entry)]})

    @router.post("/v2/repository/index", summary="Every version of every model and its state")
    async def repository_index(request: Request) -> Response:
        told = index(repository, ready_only(await read_asked(request)))
        return json_response([each for each in told if may_read(request, each["name"])])

    if lifecycle is not None:
        add_admin(router, lifecycle, audit)
    return router


async def metadata_of(repository: Repository, entry: Entry) -> dict[str, Any]:
    """The tensors of a version. Raises `Unavailable`."""
    return model_metadata(repository.versions(entry.name), await known_model(repository, entry))


def add_admin(router: APIRouter, lifecycle: ModelLifecycle, audit: AdminAudit) -> None:
    """Loading and unloading."""

    @router.post(
        "/v2/repository/models/{model}/load",
        summary="Load a model from the folder, or load it anew",
    )
    async def load(model: str, request: Request) -> Response:
        with audited(audit, "load", model, request):
            refuse_overrides(await read_asked(request))
            await lifecycle.load(model)
        return Response()

    @router.post("/v2/repository/models/{model}/unload", summary="Take a model out of service")
    async def unload(model: str, request: Request) -> Response:
        with audited(audit, "unload", model, request):
            await read_asked(request)
            await lifecycle.unload(model)
        return Response()


async def read_asked(request: Request) -> bytes:
    """Return the small body of a call about the repository.

    Raises `Refusal`, also for a body that a page's form sends: a browser sends a form to any origin
    without a preflight request.
    """
    headers = dict(request.scope["headers"])
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != TRITON_TYPE:
        is_file(headers.get(CONTENT_TYPE, b""), None)
    return await read_body(headers, request.receive, SMALL_BODY_BYTES, PACE)


def refuse_overrides(body: bytes) -> None:
    """Raise `Refusal` if a load request brings files or a configuration of its own.

    Only what was sealed is served.
    """
    try:
        asked = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        asked = None
    if not isinstance(asked, dict):
        raise Refusal("E_SCHEMA", "request body", "something else", "nothing, or {}")
    if asked.get("parameters"):
        raise Refusal(
            "E_UNSUPPORTED",
            "parameters",
            "a configuration or files",
            "none: what is served is what was sealed",
        )


def ready_only(body: bytes) -> bool:
    """What an index request asks for; its body may be empty. Raises `Refusal`."""
    try:
        asked = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("ready", False), bool):
        raise Refusal("E_SCHEMA", "request body", "something else", 'nothing, or {"ready": true}')
    return bool(asked.get("ready", False))
