"""Hugging Face's own client over ASGI, and its schemas of each task's output."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import AsyncInferenceClient, set_async_client_factory
from huggingface_hub.utils._http import default_async_client_factory
from jsonschema import Draft6Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT6

from support.running import Running

SCHEMAS = Path(__file__).parents[3] / "shared/schemas/hf-tasks"


@asynccontextmanager
async def hf_client(
    running: Running, path: str = "/hf/made"
) -> AsyncIterator[AsyncInferenceClient]:
    """The client of an endpoint given by its URL; it raises what it raises in use."""
    transport = httpx2.ASGITransport(running.app, raise_app_exceptions=False)
    set_async_client_factory(lambda: httpx2.AsyncClient(transport=transport))
    try:
        async with AsyncInferenceClient(model=f"http://toy{path}", token="none") as client:
            yield client
    finally:
        set_async_client_factory(default_async_client_factory)


def check_output(task: str, output: Any) -> None:
    """Hold an output against huggingface.js' own schema of the task; skip where there is none."""
    if not SCHEMAS.is_dir():
        pytest.skip(f"the schemas of tasks are not at {SCHEMAS}")
    common = json.loads((SCHEMAS / "common-definitions.json").read_bytes())
    registry = Registry().with_resource(
        common["$id"], Resource.from_contents(common, default_specification=DRAFT6)
    )
    schema = json.loads((SCHEMAS / task / "output.json").read_bytes())
    Draft6Validator(schema, registry=registry).validate(output)
