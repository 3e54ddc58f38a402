"""SageMaker's multi-model endpoints: it names folders to load, and models to unload.

The routes are those of Amazon SageMaker, "Custom Containers Contract for Multi-Model Endpoints".
Rows are posted to `/models/{model}/invoke`, in the forms of `/invocations`.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seatrial_contracts.bundle_files import described
from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_contracts.manifest import NAME
from seatrial_serve.access.caller import Scope
from seatrial_serve.api.audit import AdminAudit
from seatrial_serve.api.routing import audited, check_caller, json_response, may_read
from seatrial_serve.api.v2_routes import read_asked
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.repository import Repository

MODELS, MODEL = "/models", "/models/{model}"
NO_ROOM = 507
"""What SageMaker takes as a sign to unload models that nobody asks."""
WANT = '{"model_name": NAME, "url": FOLDER}'


class Named(BaseModel):
    """A folder to be served, and how clients call it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, protected_namespaces=())

    model_name: Annotated[str, Field(pattern=rf"^(?:{NAME.pattern})$")]
    url: Annotated[str, Field(min_length=1, max_length=4096)]


def multi_model_router(
    repository: Repository, lifecycle: ModelLifecycle, audit: AdminAudit
) -> APIRouter:
    """Return the routes that load, list and unload models; `audit` writes loads and unloads."""
    router = APIRouter(tags=["SageMaker"])

    @router.post(MODELS, summary="Serve the bundle in a folder")
    async def load(request: Request) -> Response:
        named = read_named(await read_asked(request))
        with audited(audit, "load", named.model_name, request):
            check = partial(check_caller, request, Scope.ADMIN)
            check(named.model_name)
            try:
                # by the name in the bundle too: another one must not lend out a model
                await lifecycle.mount(named.model_name, named.url, check)
            except Unavailable as error:
                if error.code != "E_MEMORY":
                    raise
                return json_response({"error": str(error), "code": error.code}, NO_ROOM)
        return json_response(shown(named.model_name, named.url))

    @router.get(MODELS, summary="The models that are served")
    async def listed(request: Request) -> Response:
        mounted = repository.sources.mounted.items()
        told = [shown(name, url) for name, url in mounted if may_read(request, name)]
        return json_response({"models": told})

    @router.get(MODEL, summary="One of them")
    async def one(model: str) -> Response:
        return json_response(shown(model, found(model)))

    @router.delete(MODEL, summary="Take a model out of service")
    async def unload(model: str, request: Request) -> Response:
        with audited(audit, "unload", model, request):
            told = shown(model, found(model))
            await lifecycle.unmount(model)
        return json_response(told)

    def found(model: str) -> str:
        url = repository.sources.mounted.get(model)
        if url is None:
            raise Refusal("E_MODEL_NOT_FOUND", "model", "an unknown name", "one of GET /models")
        return url

    return router


def read_named(body: bytes) -> Named:
    """What a load request names. Raises `Refusal`."""
    try:
        return Named.model_validate_json(body)
    except ValidationError as error:
        raise Refusal("E_SCHEMA", "request body", described(error), WANT) from None


def shown(name: str, url: str) -> dict[str, Any]:
    """A model as SageMaker has it."""
    return {"modelName": name, "modelUrl": url}
