"""Triton's Python-backend requests to our values and back.

The module that Triton offers exists only inside Triton.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import V2_DATATYPES
from seatrial_contracts.errors import Refusal, SeatrialError, Unavailable
from seatrial_contracts.kinds.kind import Array, Column
from seatrial_serve.runtimes.triton_types import narrowed
from seatrial_serve.v2.columns import columns_of
from seatrial_serve.v2.message import Tensor


def backend() -> Any:
    """Triton's own module."""
    import triton_python_backend_utils  # type: ignore[import-not-found]

    return triton_python_backend_utils


def read_columns(request: Any, contract: Contract) -> dict[str, Column]:
    """A request's tensors, validated by the contract. Raises `Refusal`."""
    tensors = []
    for given in request.inputs():
        array = given.as_numpy()
        raw = contract.raw_tensors.get(given.name())
        datatype = "BYTES" if array.dtype.kind in "OS" else V2_DATATYPES[array.dtype.name]
        if raw is not None:
            datatype, array = narrowed(raw, datatype, array)
        data: Column = array.ravel().tolist() if datatype == "BYTES" else array.ravel()
        tensors.append(Tensor(given.name(), datatype, array.shape, data))
    columns, rows = columns_of(contract, tensors)
    return contract.validate_columns(columns, rows)


def read_rows(request: Any, contract: Contract) -> list[dict[str, Any]]:
    """The same, row by row."""
    columns = read_columns(request, contract)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_outputs(outputs: Mapping[str, Array], wanted: Sequence[str] | None = None) -> Any:
    """Batched arrays as a response; a single value for each row becomes `[rows, 1]`."""
    pb = backend()
    return pb.InferenceResponse([
        pb.Tensor(name, np.ascontiguousarray(array if array.ndim > 1 else array[:, None]))
        for name, array in outputs.items()
        if wanted is None or name in wanted
    ])  # fmt: skip


def write_error(error: Exception) -> Any:
    """Return a refusal with its stable code before its words.

    What is not ours is Triton's to log, and tells a client nothing.
    """
    pb = backend()
    if not isinstance(error, SeatrialError):
        pb.Logger.log_error(f"seatrial failed: {type(error).__name__}: {error}")
        return pb.InferenceResponse(
            [],
            pb.TritonError("E_INTERNAL: seatrial failed on this request", pb.TritonError.INTERNAL),
        )
    kind = (
        pb.TritonError.INVALID_ARG
        if isinstance(error, Refusal)
        else pb.TritonError.UNAVAILABLE
        if isinstance(error, Unavailable)
        else pb.TritonError.INTERNAL
    )
    return pb.InferenceResponse(
        [], pb.TritonError(f"{getattr(error, 'code', 'E_INTERNAL')}: {error}", kind)
    )


def opened(arguments: Mapping[str, str]) -> Bundle:
    """The verified bundle that lies beside `model.py`."""
    return open_bundle(Path(arguments["model_repository"]) / arguments["model_version"] / "bundle")
