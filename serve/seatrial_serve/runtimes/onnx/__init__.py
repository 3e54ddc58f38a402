"""The onnxruntime runtime: one session, called from several threads."""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import onnxruntime as ort

from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import ModelError, OutOfMemory
from seatrial_contracts.graph_references import MalformedGraph, graph_references
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.manifest import MAX_FILE_BYTES
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_contracts.receipt import this_machine
from seatrial_contracts.state import answer_names
from seatrial_serve.runtimes.graph_cache import find_kept, find_or_make
from seatrial_serve.runtimes.onnx.devices import load_on_devices
from seatrial_serve.runtimes.onnx.errors import ORT_ERRORS, our_error
from seatrial_serve.runtimes.onnx.providers import (
    CPU,
    CUDA,
    TENSORRT,
    check_known,
    check_registered,
    model_path,
)
from seatrial_serve.runtimes.onnx.session import (
    VERSION,
    described,
    give_back,
    open_from_memory,
    open_session,
    settings_of,
    shrinking,
)
from seatrial_serve.runtimes.runtime import Batches, Placement, Runtime, RuntimeOptions, no_batches

ort.disable_telemetry_events()  # a server tells nobody what it serves

FORMAT = "onnx"
log = logging.getLogger("seatrial.runtime")
CACHED, WEIGHTS, WORTH_CACHING_BYTES = "graph.onnx", "weights", 2**20
KEEPING = {
    "session.optimized_model_external_initializers_file_name": WEIGHTS,
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
    "session.save_external_prepacked_constant_initializers": "1",
}
"""How an optimised graph is written: its weights packed for this processor, and beside it."""
SHRINK = shrinking("cpu:0")
UNWRITTEN: tuple[type[Exception], ...] = (*ORT_ERRORS, subprocess.CalledProcessError)
"""What is raised where an optimised graph cannot be written down."""
DAMAGED: tuple[type[Exception], ...] = (*ORT_ERRORS, OSError, NotPlainFile, MalformedGraph)
"""What a cached graph raises that is not as it was kept."""


def load(graph: bytes, options: RuntimeOptions) -> Runtime:
    """Return sessions on the first provider asked for; never silently on another.

    Raises `ModelError`: E_PROVIDER if that one does not run it.
    """
    asked = options.providers[0]
    try:
        check_known(options)
        if asked in (CUDA, TENSORRT):
            return load_on_devices(graph, options)
        return _load_on_host(graph, options)
    except ModelError as error:
        if error.code != "E_PROVIDER" or not options.allow_cpu_fallback:
            raise
        log.warning("%s; it runs on the CPU, which is allowed", error)
        return _load_on_host(
            graph, replace(options, providers=(CPU,), provider_options=()), Placement(asked)
        )


def load_kept(options: RuntimeOptions) -> Runtime | None:
    """Return a session over the graph that is kept for these options.

    None if there is none, or if it cannot be trusted. Raises `ModelError` as `load` does.
    """
    if not runs_kept(options.graph_sha256, options):
        return None
    check_known(options)
    assert options.cache is not None
    folder = find_kept(options.cache, _key(options.graph_sha256, options))
    session = _open_cached(folder, options) if folder is not None else None
    if session is None:
        return None
    check_registered(session, options)
    return OnnxRuntime(session)


def runs_kept(graph_sha256: str, options: RuntimeOptions) -> bool:
    """Is a graph of these bytes kept as these options run it?"""
    if options.cache is None or options.providers != (CPU,):
        return False
    return (options.cache / _key(graph_sha256, options)).is_dir()


def _load_on_host(
    graph: bytes, options: RuntimeOptions, placement: Placement | None = None
) -> Runtime:
    cached = (
        _optimised(graph, options)
        if options.cache is not None and _cacheable(graph, options)
        else None
    )
    try:
        session = _open_cached(cached, options) if cached is not None else None
        session = session or _opened(graph, settings_of(options), options)
    except ORT_ERRORS as error:
        raise ModelError("E_LOAD", "onnxruntime cannot load this graph") from error
    check_registered(session, options)
    return OnnxRuntime(session, placement)


def _opened(
    graph: bytes, settings: ort.SessionOptions, options: RuntimeOptions
) -> ort.InferenceSession:
    """A session over a graph as it was sealed. Raises what onnxruntime raises."""
    opens = open_from_memory if options.data is None else open_session
    return opens(graph, settings, model_path(options))


def _cacheable(graph: bytes, options: RuntimeOptions) -> bool:
    """Other providers compile what cannot be written down; small graphs load in a moment."""
    large = options.data is not None or len(graph) >= WORTH_CACHING_BYTES
    return large and options.providers == (CPU,)


def _optimised(graph: bytes, options: RuntimeOptions) -> Path | None:
    """Return the graph as onnxruntime's optimiser leaves it; None if it cannot be kept.

    It is optimised for this processor, its weights packed for it and beside it.
    """
    assert options.cache is not None
    key = _key(options.graph_sha256 or sha256(graph), options)

    def make(folder: Path) -> None:
        if options.data is not None:
            assert isinstance(options.data, Path)  # what lies in memory is not kept on disk
            _optimise_aside(graph, options.data, folder)
            options.check_data()  # before what was made of it is kept
            return
        settings = settings_of(options)
        settings.optimized_model_filepath = str(folder / CACHED)
        for name, value in KEEPING.items():
            settings.add_session_config_entry(name, value)
        _opened(graph, settings, options)

    try:
        return find_or_make(options.cache, key, make)
    except UNWRITTEN:
        log.info("this graph is not cached: onnxruntime cannot write it down", exc_info=True)
        return None


def _key(graph_sha256: str, options: RuntimeOptions) -> str:
    """What a graph is kept under, with the weights that lie outside of it."""
    outside = [] if options.data is None else [options.data_sha256]
    facts = [graph_sha256, *outside, *options.providers, _machine()]
    return sha256("\n".join(facts).encode())


@cache
def _machine() -> str:
    """The processor and the onnxruntime that a graph is optimised for."""
    return this_machine({"onnxruntime": ort.__version__}).model_dump_json()


def _optimise_aside(graph: bytes, data: Path, folder: Path) -> None:
    """Optimise a graph in a process of its own, whose memory is not this server's.

    Raises `subprocess.CalledProcessError` where that fails.
    """
    entries = [str(folder / CACHED), *(f"{name}={value}" for name, value in KEEPING.items())]
    script = Path(__file__).with_name("optimise.py")
    command = [sys.executable, "-I", str(script), str(data.parent.resolve()), "\n".join(entries)]
    subprocess.run(command, input=graph, check=True, capture_output=True)


def _open_cached(folder: Path, options: RuntimeOptions) -> ort.InferenceSession | None:
    """Return a session over a cached graph; None if the graph does not load.

    It is None too if the graph names anything but its own weights. In both cases the graph is
    removed.
    """
    options = replace(options, data=None)  # its weights are kept beside it
    settings = settings_of(options)
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        graph = read_plain_file(folder / CACHED, MAX_FILE_BYTES)
        named = {each.location for each in graph_references(graph)}
        if named - {WEIGHTS} or (folder / WEIGHTS).is_symlink():
            raise NotPlainFile("a graph that names what was not kept with it")
        return open_session(str(folder / CACHED), settings, model_path(options))
    except DAMAGED:
        log.warning("a cached graph did not load and is made anew")
        shutil.rmtree(folder, ignore_errors=True)
        return None


class OnnxRuntime:
    """A session on this process's own cores, and the names of its inputs and outputs."""

    remote, healthy, version = False, True, VERSION

    def __init__(self, session: ort.InferenceSession, placement: Placement | None = None) -> None:
        self._session, self.placement = session, placement
        self.provider: str = session.get_providers()[0]
        self.inputs, self._made, self._long = described(session)
        self.outputs = answer_names(self._made, self.inputs)

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """See `Runtime.run`."""
        try:
            answers = self._session.run(self._made, feeds, SHRINK if outlier else None)
        except ORT_ERRORS as error:
            failure = our_error(error)
            if isinstance(failure, OutOfMemory):
                give_back(self.run, feeds, outlier)
            raise failure from error
        for place, dtype in self._long:
            answers[place] = answers[place].view(dtype)
        return dict(zip(self.outputs, answers, strict=True))

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """See `Runtime.warm_up`: every batch is like the first."""

    def close(self) -> None:
        """See `Runtime.close`."""
