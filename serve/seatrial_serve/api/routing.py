"""What routes share: finding a model, and writing JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request, Response

from seatrial_contracts.errors import Refusal
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.api.audit import AdminAudit, AdminCall
from seatrial_serve.api.http_request import CALLER, REQUEST_ID, address_of
from seatrial_serve.models.described import KnownModel
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.repository import Repository

Thing = TypeVar("Thing")


Told = TypeVar("Told")


AT_ONCE = 50
"""So many models are described before other requests have their turn."""


def reading(
    router: APIRouter, path: str, **about: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a route for GET, which the documentation shows, and for HEAD, which it does not."""

    def register(answer: Callable[..., Any]) -> Callable[..., Any]:
        router.add_api_route(path, answer, methods=["GET"], **about)
        router.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)
        return answer

    return register


def json_response(value: Any, status: int = 200) -> Response:
    """JSON with numpy numbers in their shortest form."""
    return Response(
        orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY),
        status,
        media_type="application/json",
    )


async def in_turns(things: Sequence[Thing], describe: Callable[[Thing], Told | None]) -> list[Told]:
    """What is said of each, but for None; requests that come meanwhile are answered in between."""
    told = []
    for place, thing in enumerate(things, 1):
        said = describe(thing)
        if said is not None:
            told.append(said)
        if place % AT_ONCE == 0:
            await asyncio.sleep(0)
    return told


def may_read(request: Request, model: str) -> bool:
    """May whoever sends this request read about this model?"""
    caller = caller_of(request)
    return caller is None or caller.may(Scope.READ, model)


def may_read_all(request: Request) -> bool:
    """May whoever sends this request read about every model?"""
    caller = caller_of(request)
    return caller is None or caller.may_all(Scope.READ)


def check_caller(request: Request, scope: Scope, model: str) -> None:
    """Raise `Refusal` where whoever sends this request may not ask that of this model."""
    caller = caller_of(request)
    if caller is not None:
        caller.check(scope, model)


def caller_of(request: Request) -> Caller | None:
    """Who sends this request; None where everybody may ask everything."""
    caller: Caller | None = request.scope.get(CALLER)
    return caller


def audited(
    audit: AdminAudit, action: str, model: str, request: Request
) -> AbstractContextManager[None]:
    """Write how a call of administration over HTTP ends."""
    scope = request.scope
    return audit.audited(
        AdminCall(
            action, model, address_of(scope), "HTTP", scope[REQUEST_ID],
            lambda: caller_of(request),
        )
    )  # fmt: skip


def found(repository: Repository, name: str, version: str | None = None) -> Entry:
    """The entry. Raises `Refusal` where there is none."""
    entry = repository.find(name, version)
    if entry is None:
        raise Refusal(
            "E_MODEL_NOT_FOUND", "model", "an unknown name or version", "one of GET /v1/models"
        )
    return entry


async def known_model(repository: Repository, entry: Entry) -> KnownModel:
    """The model of a version, or what is known of it before it is loaded.

    See `Repository.known` for what it raises.
    """
    if entry.model is not None:
        return entry.ready_model()
    return await asyncio.to_thread(repository.known, entry)  # which may read files


def default_entry(repository: Repository) -> Entry:
    """The entry of requests that name no model. Raises `Refusal` where there is none."""
    entry = repository.default
    if entry is None:
        raise Refusal(
            "E_MODEL_NOT_FOUND",
            "model",
            "none named, and several to choose from",
            "one of GET /v1/models",
            "serve with --default-model",
        )
    return entry
