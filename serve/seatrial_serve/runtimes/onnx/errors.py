"""The errors of onnxruntime, told apart.

Their texts hold node names, shapes and host names, so they go to the log and never to a client.
"""

from __future__ import annotations

import logging
import re

import onnxruntime as ort

from seatrial_contracts.errors import ModelError, OutOfMemory, Refusal, Unavailable

log = logging.getLogger("seatrial.runtime")
STATE = ort.capi.onnxruntime_pybind11_state
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    NotImplementedError,
    MemoryError,
    *(
        getattr(STATE, name)
        for name in (
            "Fail",
            "InvalidArgument",
            "RuntimeException",
            "InvalidGraph",
            "InvalidProtobuf",
            "NotImplemented",
            "NoSuchFile",
            "EPFail",
            "EngineError",
        )
        if hasattr(STATE, name)
    ),
)
INVALID: type[Exception] = STATE.InvalidArgument
"""What it raises where a value is at fault."""
LOST: type[Exception] = STATE.EPFail
"""What it raises where a provider is."""
NO_MEMORY = re.compile(
    r"Failed to allocate memory|out of memory|ALLOC_FAILED|smaller than requested bytes|bad_alloc",
    re.IGNORECASE,
)
DEVICE_FAILED = re.compile(
    r"\b(CUDA|CUBLAS|CUDNN|CUFFT|TensorRT) (failure|error)|\bCUDA_ERROR_", re.IGNORECASE
)
"""How CUDA's own failures read in a text of onnxruntime.

An example: `CUDA failure 719: unspecified launch failure ; GPU=0 ; ...` (its cuda_call.cc).
"""


class DeviceLost(Unavailable):
    """The device failed, not the input: what is held on it is gone."""

    def __init__(self) -> None:
        super().__init__("E_RUNTIME_DOWN", "the device that runs this model failed", 2.0)


def our_error(error: Exception) -> OutOfMemory | DeviceLost | Refusal | ModelError:
    """Our error for one of onnxruntime's."""
    said = str(error)
    if isinstance(error, MemoryError) or NO_MEMORY.search(said):
        return OutOfMemory("this batch needs more memory than there is")
    if isinstance(error, LOST) or DEVICE_FAILED.search(said):
        return DeviceLost()
    if isinstance(error, INVALID):
        log.info("a value that the model cannot take: %s", type(error).__name__)
        where, got = "the model", "a value that it cannot take, such as an index beyond a table"
        return Refusal("E_MODEL_INPUT", where, got, "values as the model was trained with")
    return ModelError("E_MODEL", "the model failed on this input")
