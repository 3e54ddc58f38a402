"""Lanes to a device: a batch at a time each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from seatrial_contracts.errors import OutOfMemory
from seatrial_contracts.kinds.kind import Array
from seatrial_serve.runtimes.onnx.errors import ORT_ERRORS, our_error
from seatrial_serve.runtimes.onnx.session import described, shrinking

CUDA_DEVICE = "cuda"


class Lane(Protocol):
    """A way to run batches on one device."""

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """The outputs in order, as arrays of their own. Raises what onnxruntime raises."""
        ...

    def warm_up(self, row: Mapping[str, Array], most_rows: int) -> None:
        """See `Runtime.warm_up`; `row` is a batch of one. Raises what onnxruntime raises."""
        ...


class PlainLane:
    """onnxruntime copies what it is fed, straight from where numpy has it.

    A copy into pinned memory first takes as long as it saves.
    """

    def __init__(self, session: Any, device: int) -> None:
        self._session, self._shrink = session, shrinking(f"cpu:0;gpu:{device}")
        self._outputs = described(session)[1]

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """See `Lane.run`."""
        return list(self._session.run(self._outputs, feeds, self._shrink if outlier else None))

    def warm_up(self, row: Mapping[str, Array], most_rows: int) -> None:
        """See `Lane.warm_up`: any size will do."""


class SizedLane:
    """A session for each batch size, to which batches are filled up.

    A session plans its convolutions anew whenever a batch has another size than the one before, and
    keeps no plan: 6 ms for two small ones, 55 for twenty, on an H200. A session that sees one size
    plans once.
    """

    def __init__(
        self, session: Any, open_another: Callable[[], Any], device: int, sizes: Sequence[int]
    ) -> None:
        """Take `session` for the first size that comes.

        `open_another` raises what onnxruntime raises.
        """
        self._spare: Any | None = session
        self._open, self._device, self._sizes = open_another, device, sizes
        self._lanes: dict[int, PlainLane] = {}
        self._opening = threading.Lock()

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """See `Lane.run`."""
        rows, size, full = filled(feeds, self._sizes)
        try:
            return [array[:rows] for array in self._of(size).run(full, outlier=outlier)]
        except ORT_ERRORS as error:
            if isinstance(our_error(error), OutOfMemory):
                self._lanes.pop(size, None)  # with it goes what it left in its arena
            raise

    def _of(self, size: int) -> PlainLane:
        with self._opening:
            if size not in self._lanes:
                session, self._spare = self._open() if self._spare is None else self._spare, None
                self._lanes[size] = PlainLane(session, self._device)
            return self._lanes[size]

    def warm_up(self, row: Mapping[str, Array], most_rows: int) -> None:
        """See `Lane.warm_up`."""
        wanted = sizes_for(most_rows, self._sizes)
        self._lanes = {size: lane for size, lane in self._lanes.items() if size in wanted}
        for size in wanted:
            self.run(repeated(row, size))


class GraphLane:
    """CUDA graphs: all launches of a batch recorded once for each size, and replayed.

    Batches are filled up to one of the sizes.

    onnxruntime replays a graph where every buffer stays at its address and every size as it was,
    and for one run at a time.
    """

    def __init__(self, session: Any, device: int, sizes: Sequence[int]) -> None:
        self._session, self._device, self._sizes = session, device, sizes
        self._outputs = described(session)[1]
        self._recorded: dict[int, RecordedSize] = {}

    def run(self, feeds: Mapping[str, Array], *, outlier: bool = False) -> list[Array]:
        """See `Lane.run`."""
        rows, size, full = filled(feeds, self._sizes)
        recorded = self._recorded.get(size)
        if recorded is None:
            recorded = self._recorded[size] = RecordedSize(
                self._session, self._device, size, full, self._outputs
            )
        return [array[:rows] for array in recorded.run(full)]

    def warm_up(self, row: Mapping[str, Array], most_rows: int) -> None:
        """See `Lane.warm_up`. onnxruntime keeps what it recorded until the session ends."""
        for size in sizes_for(most_rows, self._sizes):
            self.run(repeated(row, size))


class RecordedSize:
    """The graph of one batch size: its buffers on the device, and its number."""

    def __init__(
        self,
        session: Any,
        device: int,
        size: int,
        feeds: Mapping[str, Array],
        outputs: Sequence[str],
    ) -> None:
        """Runs once without recording, to learn the outputs' sizes."""
        self._session, self._binding = session, session.io_binding()
        self._values = {
            name: ort.OrtValue.ortvalue_from_numpy(array, CUDA_DEVICE, device)
            for name, array in feeds.items()
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


def sizes_up_to(most_rows: int) -> tuple[int, ...]:
    """The powers of two below it, and itself."""
    return *(1 << power for power in range((most_rows - 1).bit_length())), most_rows


def sizes_for(most_rows: int, sizes: Sequence[int]) -> list[int]:
    """Those of `sizes` (ascending) to which batches of up to so many rows are filled up."""
    return [size for below, size in pairwise((0, *sizes)) if below < most_rows]


def filled(feeds: Mapping[str, Array], sizes: Sequence[int]) -> tuple[int, int, dict[str, Array]]:
    """Return the rows, their size, and the feeds filled up to that size.

    The size is the next of `sizes` (ascending; the rows themselves beyond them). The feeds are
    filled with the last row, repeated.

    Rows of a batch do not know of each other.
    """
    rows = len(next(iter(feeds.values())))
    size = next((size for size in sizes if size >= rows), rows)
    return rows, size, repeated(feeds, size)


def repeated(feeds: Mapping[str, Array], size: int) -> dict[str, Array]:
    """The feeds with the last row repeated up to so many rows."""
    return {name: _repeated(array, size - len(array)) for name, array in feeds.items()}


def _repeated(array: Array, missing: int) -> Array:
    return np.ascontiguousarray(
        np.concatenate([array, np.repeat(array[-1:], missing, 0)]) if missing else array
    )
