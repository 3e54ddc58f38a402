"""onnxruntime on cards: one session a device behind one batcher.

The loss of a card is handled here too.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace

import onnxruntime as ort

from seatrial_contracts.errors import ModelError, OutOfMemory, SeatrialError, TooLate
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.state import answer_names
from seatrial_serve.process.clock import now_s
from seatrial_serve.runtimes.onnx.errors import ORT_ERRORS, DeviceLost, our_error
from seatrial_serve.runtimes.onnx.lanes import GraphLane, Lane, PlainLane, SizedLane, sizes_up_to
from seatrial_serve.runtimes.onnx.providers import (
    CPU,
    CUDA,
    TENSORRT,
    check_real,
    check_sizes_known,
    convolves,
    model_path,
    not_loaded,
    tensorrt_profile,
)
from seatrial_serve.runtimes.onnx.session import (
    KEEP_ASSIGNMENT,
    VERSION,
    described,
    give_back,
    open_session,
    settings_of,
)
from seatrial_serve.runtimes.onnx.tensorrt_engines import engine_folder
from seatrial_serve.runtimes.runtime import (
    Batches,
    Placement,
    Runtime,
    RuntimeOptions,
    no_batches,
)

log = logging.getLogger("seatrial.runtime")
LANES = 2
"""Batches on their way to one card.

While the card computes one, the next is copied there and the one before is read.

Two threads get 1.5 to 2.4 times the runs of one (the examples, one row each, on an H200).
"""
FIXED_ROWS = 64
"""Most rows in a batch if every size must be known beforehand.

The operator may choose another number.
"""
RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
FAILURES: tuple[type[Exception], ...] = (SeatrialError, *ORT_ERRORS)


def load_on_devices(graph: bytes, options: RuntimeOptions) -> Runtime:
    """Load the graph on every device that was asked for.

    Raises `ModelError`, E_PROVIDER if one of them does not really run it.
    """
    with redirect_stdout(sys.stderr):  # it prints what it does not find
        ort.preload_dlls()  # CUDA's libraries, where they came as Python packages
    return DevicesRuntime(DeviceGraph(graph, options))


@dataclass(eq=False)
class Device:
    """A session on one card, and what it runs of the graph."""

    number: int
    lanes: list[Lane]
    nodes: Mapping[str, int]
    cuda_graphs: bool
    alive: bool = True


class DeviceGraph:
    """A graph that can be opened on a card, and again after one was lost."""

    def __init__(self, graph: bytes, options: RuntimeOptions) -> None:
        """Read the graph.

        Raises `ModelError` if onnxruntime cannot read it, or if TensorRT would have to compile in
        the middle of traffic.
        """
        self._graph, self.options = graph, options
        settings = settings_of(options)
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.add_session_config_entry(KEEP_ASSIGNMENT, "1")
        try:  # on the processor, to learn its inputs: what fails here is the graph's own fault
            session = open_session(graph, settings, [(CPU, {})])
        except ORT_ERRORS as error:
            raise ModelError("E_LOAD", "onnxruntime cannot load this graph") from error
        self.inputs, made, self.long = described(session)
        self.outputs = answer_names(made, self.inputs)
        self._shapes = {node.name: node.shape for node in session.get_inputs()}
        words = "string" in self.inputs.values()
        fixed = not words and all(
            isinstance(size, int) for shape in self._shapes.values() for size in shape[1:]
        )
        self.tensorrt = options.providers[0] == TENSORRT
        if self.tensorrt:
            check_sizes_known(options, fixed)
        self._fixed, self._rows = fixed, options.max_rows or FIXED_ROWS
        self._records = options.cuda_graphs and fixed and not self.tensorrt
        self._plans = options.providers[0] == CUDA and convolves(session)
        if self._plans and not fixed:
            log.warning(
                "this graph's convolutions take sizes that differ from batch to batch: "
                "each other size is planned anew, for tens of milliseconds"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes to which batches are filled up; empty where any will do."""
        return sizes_up_to(self._rows) if self._records or (self._plans and self._fixed) else ()

    @property
    def most_rows(self) -> int | None:
        """The bound of a batch where sizes are known beforehand."""
        return self._rows if self.tensorrt or self.sizes else None

    def open_all(self, numbers: Sequence[int]) -> list[Device]:
        """Open the graph on each device, alike.

        CUDA graphs are used on all of them, or on none if one refuses them.

        Raises `ModelError`, E_PROVIDER if a device does not really run it.
        """
        if self._records:
            try:
                return [self.open(number) for number in numbers]
            except ModelError as error:
                log.warning("no CUDA graphs for this model: %s", error)
                self._records = False
        return [self.open(number) for number in numbers]

    def open(self, number: int) -> Device:
        """Open the graph on one device, as on the others.

        Raises `ModelError`, E_PROVIDER if the device does not really run it.
        """
        try:
            session = self._session(number)
        except ORT_ERRORS as error:
            raise not_loaded(error, self.options.providers[0], number) from error
        nodes = check_real(session, self.options, number)
        return Device(number, self._lanes(session, number), nodes, self._records)

    def _session(self, number: int) -> ort.InferenceSession:
        options = replace(self.options, cuda_graphs=self._records)
        if options.device_memory_bytes is not None and self.sizes and not self._records:
            options = replace(
                options, device_memory_bytes=options.device_memory_bytes // len(self.sizes)
            )
        settings = settings_of(options)
        settings.add_session_config_entry(KEEP_ASSIGNMENT, "1")
        profile = (
            tensorrt_profile(self._shapes, self._rows) if self.tensorrt and self._fixed else None
        )
        engines = engine_folder(self._graph, options, number) if self.tensorrt else None
        asked = model_path(options, number, profile, None if engines is None else str(engines))
        return open_session(self._graph, settings, asked)

    def _lanes(self, session: ort.InferenceSession, number: int) -> list[Lane]:
        """A single one where CUDA graphs are recorded: they are replayed for one run at a time."""
        if self._records:
            return [GraphLane(session, number, self.sizes)]
        if self.sizes:
            return [SizedLane(session, lambda: self._session(number), number, self.sizes)] * LANES
        return [PlainLane(session, number)] * LANES


class DevicesRuntime:
    """A graph on one or more cards.

    A batch takes the lane that has been free for longest, so devices take turns.

    A card that fails is left out, and a thread tries to take it in again, ever more seldom; without
    any, the model is not ready.
    """

    remote, version = False, VERSION

    def __init__(self, graph: DeviceGraph) -> None:
        self._graph = graph
        self.inputs, self.outputs = graph.inputs, graph.outputs
        options = graph.options
        self._devices = graph.open_all(options.devices or (0,))
        turns = zip(*([(lane, each) for lane in each.lanes] for each in self._devices), strict=True)
        self._free: deque[tuple[Lane, Device]] = deque(free for turn in turns for free in turn)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._sample: dict[str, Array] | None = None
        self._most_rows, self._batches = 1, no_batches
        first = self._devices[0]
        self.provider = options.providers[0]
        self.placement = Placement(
            self.provider,
            tuple(each.number for each in self._devices),
            first.nodes,
            first.cuda_graphs,
            slots=len(self._free),
            most_rows=graph.most_rows,
            sizes=graph.sizes,
        )

    @property
    def healthy(self) -> bool:
        """See `Runtime.healthy`: is there a device?"""
        return any(device.alive for device in self._devices)

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """Run a batch; see `Runtime.run`.

        Raises `DeviceLost` if the device failed: the batch is not tried on another one, which it
        might bring down too.
        """
        lane, device = self._take(deadline_s)
        try:
            answers = lane.run(feeds, outlier=outlier)
        except ORT_ERRORS as error:
            failure = our_error(error)
            if isinstance(failure, OutOfMemory):
                give_back(lane.run, feeds, outlier)
            elif isinstance(failure, DeviceLost):
                self._lose(device)
            raise failure from error
        finally:
            self._return(lane, device)
        if self._sample is None:
            self._sample = {name: array[:1].copy() for name, array in feeds.items()}
        for place, dtype in self._graph.long:
            answers[place] = answers[place].view(dtype)
        return dict(zip(self.outputs, answers, strict=True))

    def _take(self, deadline_s: float) -> tuple[Lane, Device]:
        left_s = None if math.isinf(deadline_s) else max(0.0, deadline_s - now_s())
        with self._changed:
            self._changed.wait_for(lambda: self._free or not self.healthy, left_s)
            if self._free:
                return self._free.popleft()
        if not self.healthy:
            raise DeviceLost
        raise TooLate

    def _return(self, lane: Lane, device: Device) -> None:
        with self._changed:
            if device.alive:
                self._free.append((lane, device))
                self._changed.notify()

    def _lose(self, device: Device) -> None:
        with self._changed:
            if not device.alive:
                return
            device.alive = False
            self._free = deque(free for free in self._free if free[1] is not device)
            self._changed.notify_all()
        log.error("device %d of %s failed and is left out", device.number, self.provider)
        threading.Thread(
            target=self._revive, args=(device,), name="device revival", daemon=True
        ).start()

    def _revive(self, lost: Device) -> None:
        wait_s = RETRY_S
        while not self._stop.wait(wait_s):
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)
            lost.lanes.clear()  # with them goes what is left of the session
            try:
                device = self._graph.open(lost.number)
                if self._sample is not None:
                    device.lanes[0].run(self._sample)
                self._settle(device)
            except FAILURES as error:
                log.warning(
                    "device %d of %s is not back: %s",
                    lost.number,
                    self.provider,
                    type(error).__name__,
                )
                continue
            except Exception:  # whatever a driver raises, the device is tried again
                log.exception(
                    "device %d of %s is not back; this is a bug in seatrial",
                    lost.number,
                    self.provider,
                )
                continue
            with self._changed:
                self._devices[self._devices.index(lost)] = device
                self._free.extend((lane, device) for lane in device.lanes)
                self._changed.notify_all()
            log.warning("device %d of %s is back", lost.number, self.provider)
            return

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """Prepare the sizes up to `most_rows` and run `batches`; see `Runtime.warm_up`.

        Sizes for which there is no room are left out: their batches will be halved.
        """
        self._most_rows, self._batches = most_rows, batches
        for device in self._devices:
            self._settle(device)

    def _settle(self, device: Device) -> None:
        if self._sample is None:
            return
        try:
            for lane in dict.fromkeys(device.lanes):
                lane.warm_up(self._sample, self._most_rows)
            for feeds in self._batches():
                device.lanes[0].run(feeds)
        except ORT_ERRORS as error:
            failure = our_error(error)
            if not isinstance(failure, OutOfMemory):
                raise failure from error

    def close(self) -> None:
        """See `Runtime.close`."""
        self._stop.set()
