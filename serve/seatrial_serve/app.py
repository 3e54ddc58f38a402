"""The application: a pure assembly of collaborators."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from seatrial_contracts.errors import ModelError, Refusal, SeatrialError, Unavailable
from seatrial_serve.access.paths import Paths
from seatrial_serve.api.exchange import Exchanges
from seatrial_serve.api.fast_path import FEEDBACK, HF, INVOKE, FastPath
from seatrial_serve.api.feedback import FeedbackApi
from seatrial_serve.api.guard import Guard
from seatrial_serve.api.http_request import REQUEST_ID, Form
from seatrial_serve.api.invocations import INVOCATIONS
from seatrial_serve.api.invocations import PATH as INVOCATIONS_PATH
from seatrial_serve.api.models import models_router
from seatrial_serve.api.multi_model import multi_model_router
from seatrial_serve.api.openapi import ApiDocument, openapi_router
from seatrial_serve.api.routes import client_routes
from seatrial_serve.api.routes.tei_info import info_router
from seatrial_serve.api.routing import reading
from seatrial_serve.api.tasks.form import HUGGING_FACE
from seatrial_serve.api.v1 import PREDICT
from seatrial_serve.api.v2_http import INFER
from seatrial_serve.api.v2_routes import v2_router
from seatrial_serve.console.routes import add_console
from seatrial_serve.console.series import Series
from seatrial_serve.http.browsers import POLICY, docs_policy
from seatrial_serve.http.status import answer_to
from seatrial_serve.metrics.loop_lag import LoopLag
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.observers.observer import RequestObservers
from seatrial_serve.observers.observers import Observers
from seatrial_serve.observers.refused import record_refusal
from seatrial_serve.observers.sampling import Sampler

if TYPE_CHECKING:
    from seatrial_serve.api.grpc_listener import GrpcListener

log = logging.getLogger("seatrial.app")
PAGE_BEGINS = "    const ui = SwaggerUIBundle({\n"
PAGE_BEGINS_WITH_KEY = f"""\
    const key = prompt("This server asks for a key:");
{PAGE_BEGINS}        requestInterceptor: (request) => {{
            if (key && new URL(request.url, location.href).origin === location.origin)
                request.headers.Authorization = `Bearer ${{key.trim()}}`;
            return request;
        }},
"""
DESCRIPTION = (
    "Models sealed with their preprocessing and input contract, served as they were tried. "
    "Each model's own route is typed below."
)


def create_app(
    exchanges: Exchanges,
    lifecycle: ModelLifecycle,
    watch: Observers,
    *,
    docs: bool = True,
    console: bool = True,
    admin: bool = False,
    grpc: GrpcListener | None = None,
    workers: int = 1,
    predict_path: str | None = None,
    health_path: str | None = None,
    multi_model: bool = False,
) -> FastPath:
    """Return the app over a repository: the fast path, and behind it the framework's routes.

    `lifecycle` loads the models while the app already answers that they are not ready.
    `predict_path` answers V1 for the model of requests that name none, `health_path` readiness.
    `multi_model`: SageMaker's routes that load and unload models.
    """
    repository, metrics = exchanges.repository, exchanges.metrics
    app = FastAPI(
        title="seatrial",
        version=version("seatrial"),
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(lifecycle, exchanges.sampler, LoopLag(metrics), grpc),
    )
    app.include_router(models_router(repository, exchanges.drain, health_path))
    app.include_router(info_router(repository))
    app.include_router(v2_router(repository, lifecycle if admin else None, exchanges.audit))
    if multi_model:
        app.include_router(multi_model_router(repository, lifecycle, exchanges.audit))
    forms: dict[str, Form] = {
        ":predict": PREDICT, "/infer": INFER, HF: HUGGING_FACE, INVOKE: INVOCATIONS,
    }  # fmt: skip
    defaults: dict[str, Form] = {"/": HUGGING_FACE, INVOCATIONS_PATH: INVOCATIONS}
    if predict_path is not None:
        defaults[predict_path] = PREDICT
    routes, access = client_routes(), exchanges.access
    paths = None
    if access is not None:
        paths = Paths(routes.keys() | defaults.keys(), filter(None, (health_path,)))
    app.include_router(openapi_router(ApiDocument(app, repository, paths)))
    for kind in (SeatrialError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, partial(on_error, metrics, watch.observers))
    if docs:
        add_docs(app, keys=paths is not None)
    if console:
        add_console(app, repository, Series(metrics))
    drain, budget = exchanges.drain, exchanges.budget
    metrics.watch(lambda: drain.in_flight, lambda: budget.held_bytes, budget.all.limit_bytes)
    metrics.watch_versions(
        lambda: repository.standings,
        lambda name, version: repository.find(name, version) is not None,
    )
    metrics.watch_pressures(lambda: repository.pressures)
    faults = lambda: len(repository.sources.faults)
    metrics.watch_levels((metrics.families.store_faults, faults))
    feedback = FeedbackApi(watch.feedback, workers)
    guard = None if access is None or paths is None else Guard(access, paths, exchanges.audit)
    return FastPath(app, exchanges, forms, {FEEDBACK: feedback.tell}, routes, defaults, guard)


def _lifespan(
    lifecycle: ModelLifecycle, sampler: Sampler, loop_lag: LoopLag, grpc: GrpcListener | None
) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001  (the framework passes it)
        async with lifecycle, sampler, loop_lag, grpc or nullcontext():
            yield

    return lifespan


def add_docs(app: FastAPI, *, keys: bool) -> None:
    """The API's pages at /docs, from files of an installed package: no network.

    `keys`: the page asks for a key, keeps it in memory, and sends it with each request.
    """
    app.mount(
        "/docs-static",
        StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static"),
        name="docs-static",
    )

    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="seatrial",
        swagger_js_url="/docs-static/swagger-ui-bundle.js",
        swagger_css_url="/docs-static/swagger-ui.css",
        swagger_favicon_url="/docs-static/favicon.png",
    )
    if keys:
        text = bytes(page.body).decode().replace(PAGE_BEGINS, PAGE_BEGINS_WITH_KEY, 1)
        page = HTMLResponse(text)
    page.headers[POLICY] = docs_policy(bytes(page.body).decode())

    @reading(app.router, "/docs", include_in_schema=False)
    async def docs() -> Response:
        return page


async def on_error(
    metrics: Metrics, observers: RequestObservers, request: Request, error: Exception
) -> Response:
    """Every error in the one shape."""
    status_given, headers = None, {}
    if isinstance(error, HTTPException):
        status_given, headers = error.status_code, dict(error.headers or {})
        error = routing_refusal(request.method, status_given, headers.get("allow", ""))
    request_id = request.scope[REQUEST_ID]
    if isinstance(error, ModelError):
        log.error("%s: %s", error.code, error, exc_info=error, extra={"request_id": request_id})
    elif isinstance(error, (Refusal, Unavailable)):
        record_refusal(metrics, observers, error, request_id)
    status, _, body, extra = answer_to(error, request_id)
    headers |= {key.decode(): value.decode() for key, value in extra}
    return Response(body, status_given or status, headers, "application/json")


def routing_refusal(method: str, status: int, allowed: str) -> Refusal:
    """What the framework's router found wrong, in our words."""
    if status == 405:
        return Refusal("E_METHOD", "method", method, allowed)
    return Refusal("E_NOT_FOUND", "path", "an unknown one", "one of those listed at /docs")
