"""The onnxruntime runtime: one session, called from several threads."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime as ort

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import ModelError, Refusal
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.receipt import this_machine
from seatrial_serve.graph_cache import find_or_make
from seatrial_serve.runtimes.runtime import Runtime, RuntimeOptions

ort.disable_telemetry_events()  # a server tells nobody what it serves

FORMAT = "onnx"
log = logging.getLogger("seatrial.runtime")
CACHED, WORTH_CACHING_BYTES = "graph.onnx", 2**20
SHRINK = ort.RunOptions()
SHRINK.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
ELEMENT_TYPES = {"float": "float32", "double": "float64"}
ORT_ERRORS: tuple[type[Exception], ...] = (RuntimeError, ValueError, TypeError, NotImplementedError, *(
    getattr(ort.capi.onnxruntime_pybind11_state, name) for name in ("Fail", "InvalidArgument", "RuntimeException", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "NoSuchFile", "EPFail")
    if hasattr(ort.capi.onnxruntime_pybind11_state, name)
))  # fmt: skip
"""What onnxruntime raises; its words hold node names and shapes, so they go to the log and never to a client."""
INVALID: type[Exception] = ort.capi.onnxruntime_pybind11_state.InvalidArgument
"""What it raises where a value is at fault."""


def load(graph: bytes, options: RuntimeOptions) -> Runtime:
    """An onnxruntime session on the first provider asked for; never silently on another."""
    cached = _optimised(graph, options) if options.cache is not None and _cacheable(graph, options) else None
    try:
        session = _open_cached(cached, options) if cached is not None else None
        session = session or ort.InferenceSession(graph, _settings(options), providers=list(options.providers))
    except ORT_ERRORS as error:
        raise ModelError("E_LOAD", "onnxruntime cannot load this graph") from error
    runs_on = session.get_providers()[0]
    if runs_on != options.providers[0] and not options.allow_cpu_fallback:
        raise ModelError(
            "E_PROVIDER",
            f"asked for {options.providers[0]}, but onnxruntime runs it on {runs_on}; mend the driver, or allow the fallback",
        )
    return OnnxRuntime(session)


def _settings(options: RuntimeOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    return settings


def _cacheable(graph: bytes, options: RuntimeOptions) -> bool:
    """Other providers compile what cannot be written down; small graphs load in a moment."""
    return options.providers == ("CPUExecutionProvider",) and len(graph) >= WORTH_CACHING_BYTES


def _optimised(graph: bytes, options: RuntimeOptions) -> Path | None:
    """The graph as onnxruntime's optimiser leaves it on this processor, its weights packed for it and beside it; None where it cannot be kept."""
    assert options.cache is not None
    machine = this_machine({"onnxruntime": ort.__version__})
    key = sha256(b"\n".join([graph, *map(str.encode, options.providers), machine.model_dump_json().encode()]))

    def make(folder: Path) -> None:
        settings = _settings(options)
        settings.optimized_model_filepath = str(folder / CACHED)
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        settings.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
        ort.InferenceSession(graph, settings, providers=list(options.providers))

    try:
        return find_or_make(options.cache, key, make)
    except ORT_ERRORS:
        log.info("this graph is not cached: onnxruntime cannot write it down", exc_info=True)
        return None


def _open_cached(folder: Path, options: RuntimeOptions) -> ort.InferenceSession | None:
    """A session over a cached graph; None, and the graph gone, where it does not load."""
    settings = _settings(options)
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(folder / CACHED), settings, providers=list(options.providers))
    except ORT_ERRORS:
        log.warning("a cached graph did not load and is made anew")
        shutil.rmtree(folder, ignore_errors=True)
        return None


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

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """See `Runtime.run`."""
        try:
            answers = self._session.run(self.outputs, feeds, SHRINK if outlier else None)
        except INVALID as error:
            log.info("a value that the model cannot take: %s", type(error).__name__)
            where, got = "the model", "a value that it cannot take, such as an index beyond a table"
            raise Refusal("E_MODEL_INPUT", where, got, "values as the model was trained with") from None
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
