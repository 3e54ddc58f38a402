"""A replica of Ray Serve in a process without Ray; its own metrics are left out."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import MagicMock

import httpx
import pytest
from fastapi import FastAPI

from seatrial_ray.arguments import settings_of

Replica = Callable[[Mapping[str, Any]], Any]
"""Makes a replica by the `args` of a Serve config."""


def replicas(monkeypatch: pytest.MonkeyPatch) -> Replica:
    """What makes replicas, where Ray is not installed."""
    for name in ("ray", "ray.serve", "ray.serve.metrics"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    for name in ("seatrial_ray.exported", "seatrial_ray.replica"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("seatrial_ray.replica")
    monkeypatch.setattr(module, "start_log", MagicMock())
    monkeypatch.setattr(module, "mounted", lambda app: app)  # where Ray mounts it is Ray's matter
    return lambda args: module.ServingReplica(settings_of({"metrics": False, **args}))


@asynccontextmanager
async def asked(made: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a replica's app, which has loaded its models."""
    app = await made.open_app()
    framework = cast("FastAPI", app.app)
    async with framework.router.lifespan_context(framework):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://toy") as client:
            yield client
    await made.close()
