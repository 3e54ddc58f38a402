"""The routes about models: what is served, in which state, and whether it is ready."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from importlib.metadata import version as installed
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import BundleError, SeatrialError, Unavailable
from seatrial_contracts.kinds.classes import MOST_LISTED
from seatrial_serve.api.routing import (
    found,
    in_turns,
    json_response,
    known_model,
    may_read,
    may_read_all,
    reading,
)
from seatrial_serve.api.tf_serving import metadata, version_status
from seatrial_serve.engines.front import SharedEngine
from seatrial_serve.models.entry import Entry, State
from seatrial_serve.models.receipt_reader import ReceiptReader
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.drain import Drain

log = logging.getLogger("seatrial.models")
NOT_READY: dict[str, Any] = {
    "responses": {
        503: {"description": "It does not, and why."},
        404: {"description": "No such model or version."},
    }
}


PROBES = ("/ping", "/health")
"""Readiness as MLflow's, SageMaker's and text-embeddings-inference's clients ask for it."""
VERSION = "/version"
"""Where MLflow's clients ask a scoring server which release it is."""


def models_router(
    repository: Repository, drain: Drain, health_path: str | None = None
) -> APIRouter:
    """V1 listing, V2 health, and readiness where other projects look for it."""
    router, receipts = APIRouter(), ReceiptReader()

    @reading(
        router,
        "/v2/health/ready",
        summary="Does every model take traffic? 503 with the reasons where not",
        tags=["health"],
        **NOT_READY,
    )
    async def ready(request: Request) -> Response:
        good = repository.ready and not drain.draining
        told = {"ready": good, "draining": drain.draining}
        if may_read_all(request):
            told |= readiness_of_all(repository)
        return json_response(told, 200 if good else 503)

    # before all others: an operator's path is open, whatever else it may name
    for path in dict.fromkeys(filter(None, (*PROBES, health_path))):
        summary_of = "The same for another project's prober"
        reading(router, path, summary=summary_of, tags=["health"], **NOT_READY)(ready)

    @reading(
        router,
        "/v1/models",
        summary="The models of this server and the state of each version",
        tags=["models"],
    )
    async def list_models(request: Request) -> Response:
        names = [name for name in repository.names if may_read(request, name)]
        models = await in_turns(names, partial(summary, repository))
        data = [openai_model(str(each["name"])) for each in models]
        return json_response({"models": models, "object": "list", "data": data})

    @reading(
        router,
        "/v1/models/{model:name}",
        summary="One model: versions, contract, example row and trials",
        tags=["models"],
    )
    async def show_model(model: str) -> Response:
        entry = found(repository, model)
        status = version_status(repository.versions(entry.name).values())
        return json_response(
            (summary(repository, entry.name) or {})
            | status
            | await detail(repository, entry, receipts)
        )

    @reading(
        router,
        "/v1/models/{model:name}/versions/{version:name}",
        summary="One version of a model",
        tags=["models"],
    )
    async def show_version(model: str, version: str) -> Response:
        entry = found(repository, model, version)
        return json_response(
            {
                "name": entry.name,
                **state(entry),
                **source(repository, entry),
                **version_status([entry]),
                **await detail(repository, entry, receipts),
            }
        )

    @reading(
        router,
        "/v1/models/{model}/metadata",
        summary="A model's signature, as TensorFlow Serving has it",
        tags=["models"],
    )
    async def show_metadata(model: str) -> Response:
        return json_response(metadata(await known_model(repository, found(repository, model))))

    @reading(
        router,
        "/v1/models/{model}/versions/{version}/metadata",
        summary="A version's signature, as TensorFlow Serving has it",
        tags=["models"],
    )
    async def show_version_metadata(model: str, version: str) -> Response:
        entry = found(repository, model, version)
        return json_response(metadata(await known_model(repository, entry)))

    @reading(router, "/v2/health/live", summary="Is the process alive?", tags=["health"])
    async def live() -> Response:
        return json_response({"live": True})

    @reading(
        router,
        "/v2/models/{model:name}/ready",
        summary="Does this model take traffic?",
        tags=["health"],
        **NOT_READY,
    )
    async def model_ready(model: str) -> Response:
        return readiness(repository, found(repository, model), drain)

    @reading(
        router,
        "/v2/models/{model:name}/versions/{version:name}/ready",
        summary="Does this version take traffic?",
        tags=["health"],
        **NOT_READY,
    )
    async def version_ready(model: str, version: str) -> Response:
        return readiness(repository, found(repository, model, version), drain)

    @reading(
        router,
        VERSION,
        summary="The release of this server, as MLflow's clients ask for it",
        tags=["models"],
        response_class=PlainTextResponse,
    )
    async def release() -> Response:
        return PlainTextResponse(installed("seatrial"))

    return router


def readiness_of_all(repository: Repository) -> dict[str, Any]:
    """Why the server is not ready, and what of it was proven or asked for earlier."""
    waiting = [{"name": entry.name, **state(entry)} for entry in repository.waiting]
    kept = [
        f"{entry.name} {entry.version}"
        for entry in repository
        if entry.gate is not None and entry.gate.kept
    ]
    faults = repository.sources.faults.items()
    return {
        "not_ready": waiting,
        "kept_receipts": kept,
        "from_cache": [{"address": address, "reason": reason} for address, reason in faults],
    }


def readiness(repository: Repository, entry: Entry, drain: Drain) -> Response:
    """200 or 503, with the reason."""
    good = entry.takes_traffic and not drain.draining
    told = {"name": entry.name, "ready": good, **state(entry), **source(repository, entry)}
    return json_response(told, 200 if good else 503)


def state(entry: Entry) -> dict[str, Any]:
    """Version, state, digest and variant; code and reason where it failed."""
    failed = {"code": entry.code, "reason": entry.reason} if entry.state is State.FAILED else {}
    if entry.state is State.READY and not entry.takes_traffic:
        failed = {"code": "E_RUNTIME_DOWN", "reason": "the runtime behind it is not there"}
    digest = {} if (model := entry.model) is None else {
        "digest": model.bundle.digest, "variant": model.engine.variant,
    }  # fmt: skip
    proven = (
        {"proven_by": "kept receipt" if entry.gate.kept else "golden rows"}
        if entry.gate is not None
        else {}
    )
    signed = {} if entry.signed is None else {
        "signed_by": {
            "signer": entry.signed.signer,
            "method": entry.signed.method,
            "identity": entry.signed.identity,
        }
    }  # fmt: skip
    return {
        "version": entry.version,
        "state": entry.shown_state,
        **digest,
        **failed,
        **proven,
        **signed,
    }


def summary(repository: Repository, name: str) -> dict[str, Any] | None:
    """A model's name and the state of each version; None where it is gone."""
    served = repository.find(name)
    if served is None:
        return None
    return {
        "name": name,
        **openai_model(name),
        "ready": served.takes_traffic,
        "serves": served.version,
        "labels": dict(repository.labels(name)),
        "versions": [
            {**state(entry), **source(repository, entry)}
            for entry in repository.versions(name).values()
        ],
    }


def source(repository: Repository, entry: Entry) -> dict[str, Any]:
    """From which store's address a version comes, and why that cannot be asked where that is so."""
    found = repository.sources.source_of(entry.path)
    if found is None:
        return {}
    fault = {"fault": found.fault} if found.fault else {}
    return {"source": {"address": found.address.shown, "asked_at": found.asked_at, **fault}}


def openai_model(name: str) -> dict[str, Any]:
    """A model as OpenAI's clients read it: a bundle keeps no time of its making."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "seatrial"}


def short_contract(contract: Contract) -> dict[str, Any]:
    """`contract.json` with the first words of each long list alone, and how many are left out."""
    told = contract.model_dump(mode="json", by_alias=True)
    for field in (*told["inputs"], *told["outputs"]):
        kind = field["kind"]
        for option, words in [(o, v) for o, v in kind.items() if isinstance(v, (list, dict))]:
            if len(words) > MOST_LISTED:
                few = list(words)[:MOST_LISTED]
                kind[option] = {n: words[n] for n in few} if isinstance(words, dict) else few
                kind[f"{option}_left_out"] = len(words) - MOST_LISTED
    return told


async def detail(repository: Repository, entry: Entry, receipts: ReceiptReader) -> dict[str, Any]:
    """Contract, example and receipts of a version that takes traffic; of a loaded one, its trials.

    Of one whose bundle cannot be read, the reason.
    """
    if not entry.is_available:
        return {}
    try:
        model = await known_model(repository, entry)
    except Unavailable:
        return {}
    except BundleError as error:
        return {"code": error.code, "reason": str(error)}
    except SeatrialError as error:  # a policy or an extra of the server's: its text is not for all
        log.warning("%s %s cannot be described: %s", entry.name, entry.version, error)
        return {"code": "E_LOAD", "reason": "it cannot be described; the server's log says why"}
    return {
        "contract": short_contract(model.contract),
        "inputs": model.contract.row_schema(),
        "packed": {name: kind.column_names for name, kind in model.contract.record.packed.items()},
        "outputs": model.contract.answer_schema(),
        "options": model.contract.options_schema(),
        "example": model.contract.example_row(),
        "limits": {
            "max_rows": model.contract.limits.max_rows,
            "max_body_bytes": model.contract.max_body_bytes,
        },
        **(executed(entry, model) if isinstance(model, ServedModel) else {}),
        "bundle": about(model.bundle),
        **await receipts.told(model.bundle),
    }


def executed(entry: Entry, model: ServedModel) -> dict[str, Any]:
    """How a loaded version runs here, and what its load gate found."""
    rule, pace, engine = model.batcher.rule, model.admitted.pace, model.engine
    base_s, unit_s = pace.line
    return {
        "execution": {
            "variant": engine.variant,
            "provider": engine.provider,
            "engine": "shared" if isinstance(engine, SharedEngine) else "own",
            "batch_rows": rule.max_rows,
            "deep_batch_rows": rule.deep_rows,
            "batch_cost": rule.max_cost,
            **({"placement": asdict(engine.placement)} if engine.placement else {}),
            "cost_seconds": {
                "batch": round(base_s, 9),
                "unit": round(unit_s, 9),
                "row_units": pace.length,
            },
            "batch_seconds": {str(rows): round(s, 7) for rows, s in pace.seconds.items()},
        },
        "load_gate": [trial.model_dump(mode="json") for trial in model.admitted.trials],
        "load_gate_kept_at": model.admitted.kept_at or None,
        "load_seconds": round(entry.load_s, 3),
        "memory_bytes": entry.memory_bytes,
    }


def about(bundle: Bundle) -> dict[str, Any]:
    """What the manifest says of how the bundle came to be."""
    manifest = bundle.manifest.model_dump(
        mode="json",
        include={"batchable", "variants", "made_with", "git_commit", "waivers"},
    )
    return manifest | {"size_bytes": bundle.size_bytes}
