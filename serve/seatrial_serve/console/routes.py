"""The console's routes: its page, its files, and what they show beside the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from seatrial_contracts.errors import Refusal
from seatrial_serve.access.caller import Scope
from seatrial_serve.api.routing import (
    caller_of,
    check_caller,
    found,
    json_response,
    known_model,
    reading,
)
from seatrial_serve.console.about import About
from seatrial_serve.console.series import Series
from seatrial_serve.http.browsers import CONSOLE_POLICY, POLICY
from seatrial_serve.models.repository import Repository

STATIC = Path(__file__).parent / "static"
HEADERS = {POLICY: CONSOLE_POLICY, "Cache-Control": "no-cache"}
"""With every file, beside those of every answer: a new version of it is seen at once."""


class ConsoleFiles(StaticFiles):
    """The page and its files, with the headers that keep them to themselves."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """A file, or 304 where the browser has it."""
        response = super().file_response(*args, **options)
        response.headers.update(HEADERS)
        return response


def add_console(app: FastAPI, repository: Repository, series: Series) -> None:
    """The page at `/`, its files below `/console/static`, its data at `/console/...`."""
    files = ConsoleFiles(directory=STATIC)
    router, about = APIRouter(), About()

    @reading(router, "/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    @reading(router, "/console/series", include_in_schema=False)
    async def show_series(request: Request) -> Response:
        asked = request.query_params
        check_caller(request, Scope.READ, asked.get("model", ""))
        entry = found(repository, asked.get("model", ""), asked.get("version"))
        profile = entry.model.bundle.profile if entry.model is not None else None
        since = time_of(asked.get("since", "0"))
        return json_response(await series.look((entry.name, entry.version), since, profile))

    @reading(router, "/console/about", include_in_schema=False)
    async def show_about(request: Request) -> Response:
        asked = request.query_params
        name = asked.get("model", "")
        check_caller(request, Scope.READ, name)
        model = await known_model(repository, found(repository, name, asked.get("version")))
        caller, told = caller_of(request), await about.told(model)
        if caller is not None and not caller.may(Scope.FEEDBACK, name):
            told = told | {"truth": {}}
        return json_response(told)

    app.include_router(router)
    app.mount("/console/static", files, name="console")


def time_of(text: str) -> float:
    """Seconds of Unix time. Raises `Refusal`."""
    try:
        return float(text)
    except ValueError:
        raise Refusal(
            "E_PARAMETER", "parameter 'since'", "another value", "seconds of Unix time"
        ) from None
