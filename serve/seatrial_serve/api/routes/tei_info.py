"""text-embeddings-inference's `GET /info`: the model of requests that name none."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from seatrial_contracts.kinds.embedding import Embedding
from seatrial_contracts.kinds.label import Label
from seatrial_serve.access.caller import Scope
from seatrial_serve.api.openapi import FAILURE, REFUSALS
from seatrial_serve.api.routes.texts import TextInput
from seatrial_serve.api.routing import (
    check_caller,
    default_entry,
    json_response,
    known_model,
    reading,
)
from seatrial_serve.models.described import KnownModel
from seatrial_serve.models.repository import Repository

FAILURES: dict[int | str, str] = {
    400: "The model takes something else than a text.",
    404: "There is no such model, or there are several to choose from.",
    503: REFUSALS["503"],
}


def info_router(repository: Repository) -> APIRouter:
    """The route."""
    router = APIRouter()

    @reading(
        router, "/info", summary="The model of requests that name none", tags=["models"],
        responses={
            status: {"description": text, "content": FAILURE} for status, text in FAILURES.items()
        },
    )  # fmt: skip
    async def show_info(request: Request) -> Response:
        entry = default_entry(repository)
        check_caller(request, Scope.READ, entry.name)
        return json_response(info(await known_model(repository, entry)))

    return router


def info(model: KnownModel) -> dict[str, Any]:
    """What their clients read of a model. Raises `Refusal` where it takes something else."""
    contract, kind = model.contract, TextInput(model).kind
    told: dict[str, Any] = {}
    for field in contract.outputs:
        if isinstance(field.kind, Embedding):
            told = {"embedding": {"pooling": "in the graph", "size": field.kind.size}}
        elif isinstance(field.kind, Label):
            names = dict(enumerate(field.kind.classes))
            ids = {name: str(place) for place, name in names.items()}
            told = {
                "classifier": {"id2label": {str(k): v for k, v in names.items()}, "label2id": ids}
            }
    return {
        "model_id": model.name,
        "model_sha": model.bundle.digest,
        "model_dtype": model.variant,
        "model_type": told,
        "max_input_length": kind.max_tokens,
        "max_client_batch_size": contract.limits.max_rows,
        "auto_truncate": kind.overflow == "truncate",
        "version": version("seatrial"),
    }
