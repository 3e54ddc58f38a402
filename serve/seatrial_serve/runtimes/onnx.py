"""The onnxruntime runtime: one session, called from several threads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnxruntime as ort

from seatrial_contracts.errors import ModelError
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.runtimes.runtime import Runtime, RuntimeOptions

ort.disable_telemetry_events()  # a server tells nobody what it serves

FORMAT = "onnx"
ELEMENT_TYPES = {"float": "float32", "double": "float64"}
ORT_ERRORS: tuple[type[Exception], ...] = (RuntimeError, ValueError, TypeError, NotImplementedError, *(
    getattr(ort.capi.onnxruntime_pybind11_state, name) for name in ("Fail", "InvalidArgument", "RuntimeException", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "NoSuchFile", "EPFail")
    if hasattr(ort.capi.onnxruntime_pybind11_state, name)
))  # fmt: skip
"""What onnxruntime raises; its words hold node names and shapes, so they go to the log and never to a client."""


def load(graph: bytes, options: RuntimeOptions) -> Runtime:
    """An onnxruntime session on the first provider asked for; never silently on another."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = ort.InferenceSession(graph, settings, providers=list(options.providers))
    except ORT_ERRORS as error:
        raise ModelError("E_LOAD", "onnxruntime cannot load this graph") from error
    runs_on = session.get_providers()[0]
    if runs_on != options.providers[0] and not options.allow_cpu_fallback:
        raise ModelError(
            "E_PROVIDER",
            f"asked for {options.providers[0]}, but onnxruntime runs it on {runs_on}; mend the driver, or allow the fallback",
        )
    return OnnxRuntime(session)


class OnnxRuntime:
    """A session and the names of its inputs and outputs."""

    remote, healthy = False, True

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.provider: str = session.get_providers()[0]
        self.inputs: Mapping[str, str] = {node.name: element_type(node.type) for node in session.get_inputs()}
        self.outputs: Sequence[str] = [node.name for node in session.get_outputs()]
        self._long = [
            (place, dtype)
            for place, node in enumerate(session.get_outputs())
            if (dtype := element_type(node.type)) in ("int64", "uint64")
        ]

    def run(self, feeds: Mapping[str, Array], deadline_s: float = math.inf) -> dict[str, Array]:  # noqa: ARG002
        """See `Runtime.run`."""
        try:
            answers = self._session.run(self.outputs, feeds)
        except ORT_ERRORS as error:
            raise ModelError("E_MODEL", "the model failed on this input") from error
        for (
            place,
            dtype,
        ) in self._long:  # onnxruntime says "long long", which is as long as int64 and yet another type to numpy
            answers[place] = answers[place].view(dtype)
        return dict(zip(self.outputs, answers, strict=True))

    def close(self) -> None:
        """See `Runtime.close`."""


def element_type(name: str) -> str:
    """Onnxruntime's `tensor(float)` -> numpy's `float32`."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return ELEMENT_TYPES.get(inner, inner)
