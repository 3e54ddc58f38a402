"""What a server and a model say of themselves, as JSON values and gRPC messages both carry it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from seatrial_contracts.kinds.classes import MOST_LISTED
from seatrial_contracts.kinds.detections import Detections
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.mask import Mask
from seatrial_contracts.kinds.segments import Segments
from seatrial_contracts.manifest import version_key
from seatrial_serve.metrics.model_metrics import Statistics
from seatrial_serve.models.described import KnownModel
from seatrial_serve.models.entry import Entry, NotLoaded, State
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.served_model import ServedModel

EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "statistics",
    "schedule_policy",
]
PLATFORM = "seatrial"
STATES = {
    State.COLD: "READY",
    State.READY: "READY",
    State.LOADING: "LOADING",
    State.FAILED: "UNAVAILABLE",
}


def server_metadata(*, admin: bool) -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {
        "name": "seatrial",
        "version": version("seatrial"),
        "extensions": [*EXTENSIONS, "model_repository"] if admin else EXTENSIONS,
    }


def model_metadata(versions: Iterable[str], model: KnownModel) -> dict[str, Any]:
    """Return inputs and outputs with the rows as their first dimension.

    A size that varies is -1. `versions`: all that are there of the model.
    """
    contract = model.contract
    classes = {
        f"{field.name}.classes": ",".join(field.kind.classes)
        for field in contract.outputs
        if isinstance(field.kind, (Label, Detections, Mask, Segments))
        and len(field.kind.classes) <= MOST_LISTED
    }
    points = {
        f"{field.name}.keypoints": ",".join(field.kind.keypoints)
        for field in contract.outputs
        if isinstance(field.kind, Detections) and field.kind.keypoints
    }
    return {
        "name": model.name,
        "versions": sorted(versions, key=version_key),
        "platform": PLATFORM,
        "inputs": [
            _tensor(raw.name, raw.datatype, raw.row_shape) for raw in contract.raw_tensors.values()
        ],
        "outputs": [
            _tensor(tensor.name, tensor.datatype, tensor.shape or (1,))
            for tensor in contract.client_tensors.values()
        ],
        "properties": {
            "digest": model.bundle.digest,
            "version": model.version,
            "variant": model.variant,
            **classes,
            **points,
        },
    }


def _tensor(name: str, datatype: str, shape: Iterable[int | None]) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": [-1, *(-1 if side is None else side for side in shape)],
    }


def model_config(model: KnownModel) -> dict[str, Any]:
    """Return the model's configuration in Triton's words.

    Triton's tools read it before they send load. The sizes of batches are measured as it loads.
    """
    contract = model.contract
    batching = {}
    if isinstance(model, ServedModel):
        rule = model.batcher.rule
        batching = {
            "preferred_batch_size": [rule.max_rows],
            "max_queue_delay_microseconds": round(rule.max_wait_s * 1e6),
        }
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": contract.limits.max_rows,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [
            _configured(raw.name, raw.datatype, raw.row_shape) | {"optional": raw.optional}
            for raw in contract.raw_tensors.values()
        ],
        "output": [
            _configured(tensor.name, tensor.datatype, tensor.shape or (1,))
            for tensor in contract.client_tensors.values()
        ],
        "dynamic_batching": batching,
    }


def _configured(name: str, datatype: str, shape: Iterable[int | None]) -> dict[str, Any]:
    dtype = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    return {
        "name": name,
        "data_type": dtype,
        "dims": [-1 if side is None else side for side in shape],
    }


def statistics_of_all(entry: Entry) -> dict[str, Any] | None:
    """The same, of a list; None where it takes no traffic."""
    return model_statistics(entry) if entry.takes_traffic else None


def model_statistics(entry: Entry) -> dict[str, Any]:
    """What a version has done since it was loaded, in Triton's words; times in nanoseconds.

    One that is loaded on demand, and is not yet, has done nothing. Raises `Unavailable` for one
    that takes no traffic.
    """
    try:
        seen = entry.ready_model().metrics.statistics
    except NotLoaded:
        seen = Statistics()
    zero = _spent(0, 0.0)
    return {
        "name": entry.name,
        "version": entry.version,
        "last_inference": round(seen.last_unix_s * 1000),
        "inference_count": seen.rows,
        "execution_count": seen.batches,
        "inference_stats": {
            "success": _spent(seen.succeeded, seen.succeeded_s),
            "fail": _spent(seen.failed, seen.failed_s),
            "queue": _spent(seen.queued, seen.queued_s),
            "compute_input": _spent(seen.fronts, seen.front_s),
            "compute_infer": _spent(seen.batches, seen.run_s),
            "compute_output": zero,
            "cache_hit": zero,
            "cache_miss": zero,
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": zero,
                "compute_infer": _spent(count, seconds),
                "compute_output": zero,
            }
            for rows, (count, seconds) in sorted(seen.by_rows.items())
        ],
    }


def _spent(count: int, seconds: float) -> Mapping[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}


def index(repository: Repository, ready_only: bool) -> list[dict[str, str]]:
    """Every version of every model, its state and, where it is not ready, why."""
    return [
        {
            "name": entry.name,
            "version": entry.version,
            "state": STATES[entry.shown_state],
            "reason": "loaded at its first request" if entry.state is State.COLD else entry.reason,
        }
        for entry in repository
        if not ready_only or entry.is_available
    ]
