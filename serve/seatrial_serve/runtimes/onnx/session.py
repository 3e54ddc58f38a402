"""One onnxruntime session: how it is opened, what it takes and gives, and how it returns memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort

from seatrial_contracts.decrypt import MemoryFile
from seatrial_contracts.element_types import ONNXRUNTIME_TYPES
from seatrial_contracts.errors import SeatrialError
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.runtimes.onnx.errors import ORT_ERRORS
from seatrial_serve.runtimes.runtime import RuntimeOptions

VERSION = f"onnxruntime {ort.__version__} {ort.get_build_info()}"
KEEP_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""Set to "1", a session can say which provider runs which node."""
DATA_FOLDER = "session.model_external_initializers_file_folder_path"
"""Where a graph that is given as bytes finds the files that it names."""
ProviderList = Sequence[tuple[str, dict[str, str]]]
"""Providers in order, each with its options."""


def settings_of(options: RuntimeOptions) -> ort.SessionOptions:
    """How every session of ours runs."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    if isinstance(options.data, MemoryFile):
        # onnxruntime copies what it needs while a session is opened, and holds on to nothing else
        name, memory = options.data
        settings.add_external_initializers_from_files_in_memory([name], [memory], [len(memory)])
    elif options.data is not None:
        settings.add_session_config_entry(DATA_FOLDER, str(options.data.parent.resolve()))
    return settings


def open_session(
    graph: bytes | str, settings: ort.SessionOptions, providers: ProviderList
) -> ort.InferenceSession:
    """Open a session that keeps to its providers.

    By itself onnxruntime goes on with the CPU if a provider fails, at load and in the middle of a
    run.
    """
    return ort.InferenceSession(graph, settings, providers=list(providers), enable_fallback=False)


def open_from_memory(
    graph: bytes, settings: ort.SessionOptions, providers: ProviderList
) -> ort.InferenceSession:
    """As `open_session`, by way of a file in memory.

    From bytes onnxruntime 1.32 parses a graph while it holds the interpreter, which stops every
    request for 0.5 ms a megabyte, and keeps the bytes as long as the session. From a path it does
    neither. A graph with weights in another file looks for it beside its path, so that it is given
    as bytes.
    """
    if not opens_files_in_memory():
        return open_session(graph, settings, providers)
    with file_in_memory(graph) as path:
        return open_session(path, settings, providers)


@contextmanager
def file_in_memory(data: bytes) -> Iterator[str]:
    """The path of a file that holds these bytes, lies on no disk, and is gone afterwards."""
    with os.fdopen(os.memfd_create("graph"), "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        yield f"/proc/self/fd/{file.fileno()}"


@cache
def opens_files_in_memory() -> bool:
    """Can a file in memory be opened by its path here, as on Linux?"""
    try:
        with file_in_memory(b"") as path:
            return Path(path).read_bytes() == b""
    except (AttributeError, OSError):
        return False


def described(session: Any) -> tuple[Mapping[str, str], Sequence[str], list[tuple[int, str]]]:
    """Return the inputs' element types, the outputs' names, and the "long long" outputs.

    The types are by input name. The outputs whose "long long" must become int64 are by place. What
    the outputs are called as answers: `answer_names`.

    The one is as long as the other, and yet another type to numpy.
    """
    outputs = session.get_outputs()
    types = [element_type(node.type) for node in outputs]
    long = [(place, dtype) for place, dtype in enumerate(types) if dtype in ("int64", "uint64")]
    return (
        {node.name: element_type(node.type) for node in session.get_inputs()},
        [node.name for node in outputs],
        long,
    )


def element_type(name: str) -> str:
    """Onnxruntime's `tensor(float)` -> numpy's `float32`."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return ONNXRUNTIME_TYPES.get(inner, inner)


def shrinking(arenas: str) -> ort.RunOptions:
    """Let a run return the memory that these arenas do not need after it: "cpu:0;gpu:1"."""
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)
    return options


def give_back(run: Callable[..., object], feeds: Mapping[str, Array], outlier: bool) -> None:
    """Return to the system the memory that a batch left as it ran out of memory.

    What its failed run and earlier batches left in the arena is returned by a run of one row.

    What an `outlier` left was returned with it, and one that cannot run at all returns it too.
    """
    if outlier:
        return
    with suppress(SeatrialError, *ORT_ERRORS):
        run({name: array[:1] for name, array in feeds.items()}, outlier=True)
