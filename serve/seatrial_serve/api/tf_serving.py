"""A model as TensorFlow Serving's clients read it: states of versions, and signatures.

The shapes are those of its REST API ("Model status API", "Model Metadata API"). Versions are ours:
texts in place of whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seatrial_contracts.element_types import TENSORFLOW_TYPES
from seatrial_contracts.predict_request import SIGNATURE
from seatrial_serve.models.described import KnownModel
from seatrial_serve.models.entry import Entry, State

STATES = {
    State.COLD: "AVAILABLE",
    State.READY: "AVAILABLE",
    State.LOADING: "LOADING",
    State.FAILED: "END",
}


def version_status(entries: Iterable[Entry]) -> dict[str, Any]:
    """The state of each version; a version that failed has ended, with the reason."""
    return {
        "model_version_status": [
            {
                "version": entry.version,
                "state": STATES[entry.shown_state],
                "status": {
                    "error_code": "INTERNAL" if entry.state is State.FAILED else "OK",
                    "error_message": entry.reason,
                },
            }
            for entry in entries
        ]
    }


def metadata(model: KnownModel) -> dict[str, Any]:
    """The signature of a version."""
    contract = model.contract
    signature = {
        "inputs": {
            field.name: _tensor(field.name, field.kind.datatype) for field in contract.inputs
        },
        "outputs": {
            tensor.name: _tensor(tensor.name, tensor.datatype, tensor.shape)
            for tensor in contract.client_tensors.values()
        },
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _tensor(name: str, datatype: str, sides: tuple[int | None, ...] = ()) -> dict[str, Any]:
    dims = [{"size": str(-1 if side is None else side), "name": ""} for side in (None, *sides)]
    shape = {"dim": dims, "unknown_rank": False}
    return {"dtype": TENSORFLOW_TYPES[datatype], "tensor_shape": shape, "name": f"{name}:0"}
