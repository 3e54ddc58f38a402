"""Lanes to a device: one batch at a time each, through buffers that stay where they are from batch to batch."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from seatrial_contracts.kinds.kind import Array
from seatrial_serve.runtimes.onnx_errors import ORT_ERRORS
from seatrial_serve.runtimes.onnx_session import described, shrinking

log = logging.getLogger("seatrial.runtime")
CUDA_DEVICE = "cuda"
SMALLEST_BUFFER_BYTES = 4096


class Lane(Protocol):
    """A way to run batches on one device."""

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """The outputs in order, as arrays of their own. Raises what onnxruntime raises."""
        ...


class PlainLane:
    """onnxruntime copies what it is fed: for graphs that take words, which cannot be bound, and where no pinned memory is to be had."""

    def __init__(self, session: Any, device: int) -> None:
        self._session, self._shrink = session, shrinking(f"cpu:0;gpu:{device}")
        self._outputs = described(session)[1]

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """See `Lane.run`."""
        return list(self._session.run(self._outputs, feeds, self._shrink if outlier else None))


class PinnedLane:
    """Inputs are written into pinned memory, which the device fetches by itself; outputs are made there, and copied once."""

    def __init__(self, session: Any, device: int, pinned: Any) -> None:
        self._session, self._device, self._pinned = session, device, pinned
        self._shrink = shrinking(f"cpu:0;gpu:{device}")
        self._outputs = described(session)[1]
        self._binding = session.io_binding()
        self._buffers: dict[str, PinnedBuffer] = {}

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """See `Lane.run`."""
        for name, array in feeds.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.size_bytes < array.nbytes:
                buffer = self._buffers[name] = PinnedBuffer(array.nbytes, self._pinned)
            buffer.write(array)
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), buffer.address)
        for name in self._outputs:
            self._binding.bind_output(name, CUDA_DEVICE, self._device)
        try:
            self._session.run_with_iobinding(self._binding, self._shrink if outlier else None)
            return list(self._binding.copy_outputs_to_cpu())
        finally:
            self._binding.clear_binding_outputs()  # their memory is the arena's again


class PinnedBuffer:
    """Memory that the system does not move, of a size that seldom has to grow."""

    def __init__(self, size_bytes: int, pinned: Any) -> None:
        """`pinned` says where it is to be had: an `OrtMemoryInfo` of host-accessible memory."""
        self.size_bytes = max(SMALLEST_BUFFER_BYTES, 1 << (size_bytes - 1).bit_length())
        self._value = ort.OrtValue.ortvalue_from_shape_and_type([self.size_bytes], np.uint8, memory_info=pinned)
        self.address: int = self._value.data_ptr()
        self._bytes: Array = np.ctypeslib.as_array((ctypes.c_uint8 * self.size_bytes).from_address(self.address))

    def write(self, array: Array) -> None:
        """Copy it to the beginning."""
        np.copyto(self._bytes[: array.nbytes].view(array.dtype).reshape(array.shape), array)


class GraphLane:
    """CUDA graphs: all launches of a batch recorded once for each size, and replayed; a batch is filled up to the next power of two.

    onnxruntime replays a graph where every buffer stays at its address and every size as it was, and for one run at a time.
    """

    def __init__(self, session: Any, device: int, most_rows: int) -> None:
        self._session, self._device, self._most_rows = session, device, most_rows
        self._outputs = described(session)[1]
        self._recorded: dict[int, RecordedSize] = {}

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """See `Lane.run`."""
        rows = len(next(iter(feeds.values())))
        size = max(rows, min(1 << (rows - 1).bit_length(), self._most_rows))
        full = {name: _filled(array, size) for name, array in feeds.items()}
        recorded = self._recorded.get(size)
        if recorded is None:
            recorded = self._recorded[size] = RecordedSize(self._session, self._device, size, full, self._outputs)
        return [array[:rows] for array in recorded.run(full)]


class RecordedSize:
    """The graph of one batch size: its buffers on the device, and its number."""

    def __init__(
        self, session: Any, device: int, size: int, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> None:
        """Runs once without recording, to learn the outputs' sizes."""
        self._session, self._binding = session, session.io_binding()
        self._values = {
            name: ort.OrtValue.ortvalue_from_numpy(array, CUDA_DEVICE, device) for name, array in feeds.items()
        }
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, CUDA_DEVICE, device)
        session.run_with_iobinding(self._binding, _graph_number(-1))
        self._made = self._binding.get_outputs()
        for name, value in zip(outputs, self._made, strict=True):
            self._binding.bind_ortvalue_output(name, value)
        self._number = _graph_number(size)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Record at the first time, replay after that."""
        for name, value in self._values.items():
            value.update_inplace(feeds[name])
        self._session.run_with_iobinding(self._binding, self._number)
        return list(self._binding.copy_outputs_to_cpu())


def _graph_number(number: int) -> ort.RunOptions:
    """Which recorded graph a run is; -1 is none."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options


def _filled(array: Array, size: int) -> Array:
    """The array with its last row repeated up to `size` rows: rows of a batch do not know of each other."""
    missing = size - len(array)
    return np.ascontiguousarray(np.concatenate([array, np.repeat(array[-1:], missing, 0)]) if missing else array)


def pinned_memory(device: int) -> Any | None:
    """Where pinned memory for a card is to be had (an `OrtMemoryInfo`); None where this onnxruntime or this machine has none."""
    for each in ort.get_ep_devices():
        if each.ep_name != "CUDAExecutionProvider":
            continue
        memory = each.memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE)
        if memory is not None and memory.device_id == device:
            try:
                PinnedBuffer(1, memory)
            except ORT_ERRORS:
                log.info("no pinned memory for device %d", device, exc_info=True)
                return None
            return memory
    return None


def lanes_of(session: Any, device: int, *, count: int, pinned: Any | None, graph_rows: int | None) -> list[Lane]:
    """The lanes to one session: a single one where CUDA graphs of up to `graph_rows` rows are recorded."""
    if graph_rows is not None:
        return [GraphLane(session, device, graph_rows)]
    if pinned is not None:
        return [PinnedLane(session, device, pinned) for _ in range(count)]
    return [PlainLane(session, device) for _ in range(count)]
