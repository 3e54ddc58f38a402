"""Cards that are not there: onnxruntime's sessions run on the processor.

They run under a card's name, with a card's limits and failures.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import seatrial_serve.runtimes.onnx  # noqa: F401  (what it makes of onnxruntime when it is imported shall be real)
from seatrial_serve.runtimes.onnx.errors import LOST, STATE

RealSession, RealOrtValue = ort.InferenceSession, ort.OrtValue
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPTIONS = re.compile(
    r"device_id|gpu_mem_limit|arena_extend_strategy|enable_cuda_graph|use_tf32|cudnn_conv_algo_search|trt_(max_workspace_size|fp16_enable|(engine|timing)_cache_(enable|path)|profile_(min|opt|max)_shapes)"
)


class FakeCards:
    """The cards of the machine, their failures, and the sessions that were opened.

    Patch it in with `monkeypatch`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 1) -> None:
        self.present = set(range(count))
        self.libraries = True
        """Whether CUDA's libraries load.

        Without them onnxruntime takes the CPU, and writes so in a log that nobody reads.
        """
        self.lacking: set[str] = set()
        """Operators that the card has no kernel for."""
        self.not_recording: set[int] = set()
        """Cards that refuse CUDA graphs, whatever the model."""
        self.takes = True
        """Does the provider take any node at all?"""
        self.opens_on: int | None = None
        """The card that is opened, whichever was asked for."""
        self.room_rows: int | None = None
        """How many rows a run has memory for."""
        self.held_rows: dict[int, int] = {}
        """What failed runs left in the arena of a card, until a run gives it back."""
        self.failing: dict[int, Exception] = {}
        """What runs on a card raise, and sessions that are opened there."""
        self.opened: list[tuple[int, dict[str, str]]] = []
        self.runs: list[tuple[int, int, str]] = []
        """Card, rows, and how: "plain", "bound" (before it is recorded), "recorded", "replayed"."""
        self.shapes: list[tuple[int, set[tuple[int, ...]]]] = []
        """Card, and the shapes of the inputs, of each run."""
        self.threads: set[str] = set()
        """Names of the threads that ran something: CUDA sets itself up in each."""
        self.planned: list[int] = []
        """Rows for which a session planned its convolutions.

        A session plans whenever the rows are others than those of the batch before.
        """
        monkeypatch.setattr(
            ort, "InferenceSession", lambda *given, **named: self._open(*given, **named)
        )
        monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
        monkeypatch.setattr(ort, "OrtValue", FakeValue)
        monkeypatch.setattr(ort, "RunOptions", FakeRunOptions)

    def _open(
        self,
        graph: Any,
        settings: Any,
        *,
        providers: Sequence[tuple[str, Mapping[str, str]]],
        enable_fallback: bool,
    ) -> Any:
        assert not enable_fallback, "onnxruntime would go on with the CPU"
        name, options = providers[0]
        if name == CPU or not self.libraries:
            return RealSession(graph, settings, providers=[CPU], enable_fallback=False)
        unknown = [option for option in options if not OPTIONS.fullmatch(option)]
        if unknown:
            raise ValueError(
                f"Failed to parse provider options: Unknown provider option: '{unknown[0]}'"
            )
        number = int(options["device_id"])
        if number not in self.present:
            raise RuntimeError(
                f"CUDA failure 101: invalid device ordinal ; GPU={number} ; hostname=secret"
            )
        if number in self.failing:
            raise self.failing[number]
        if options.get("enable_cuda_graph") == "1" and (
            self.lacking or number in self.not_recording
        ):
            raise RuntimeError(
                "This session cannot use the graph capture feature as requested by the user"
            )
        self.opened.append((number, dict(options)))
        return FakeSession(
            self,
            RealSession(graph, settings, providers=[CPU], enable_fallback=False),
            providers,
            number,
        )

    def begin_run(self, number: int, feeds: Mapping[str, Any], how: str, options: Any) -> None:
        """What happens before a run computes anything."""
        rows = len(next(iter(feeds.values())))
        self.threads.add(threading.current_thread().name)
        shrinks = options is not None and f"gpu:{number}" in options.entries.get(
            "memory.enable_memory_arena_shrinkage", ""
        )
        if number in self.failing:
            raise self.failing[number]
        held = self.held_rows.get(number, 0)
        if self.room_rows is not None and rows > self.room_rows - held:
            self.held_rows[number] = 0 if shrinks else self.room_rows // 2
            raise STATE.Fail(
                "Status Message: bfc_arena.cc Failed to allocate memory for requested buffer of "
                f"size {rows}"
            )
        if shrinks:
            self.held_rows[number] = 0
        self.runs.append((number, rows, how))
        self.shapes.append((number, {array.shape for array in feeds.values()}))


class FakeRunOptions:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


class FakeValue:
    """A value on a card: an array with an address that stays."""

    def __init__(self, array: np.ndarray[Any, Any], device: int) -> None:
        self.array, self.device = array, device

    @classmethod
    def ortvalue_from_numpy(cls, array: Any, kind: str, device: int) -> FakeValue:
        assert kind == "cuda"
        return cls(array.copy(), device)

    def update_inplace(self, array: Any) -> None:
        assert array.shape == self.array.shape
        np.copyto(self.array, array)


class FakeSession:
    """A session on a card: the processor's, which runs, behind a card's face."""

    def __init__(
        self,
        cards: FakeCards,
        real: Any,
        providers: Sequence[tuple[str, Mapping[str, str]]],
        number: int,
    ) -> None:
        self.cards, self.real, self.number = cards, real, number
        self._providers = [name for name, _ in providers]
        self.records = providers[0][1].get("enable_cuda_graph") == "1"
        self.recorded: dict[str, list[int]] = {}
        self.convolves = any(
            node.op_type == "Conv"
            for part in real.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        )
        self.planned_for = 0
        self.get_inputs, self.get_outputs = real.get_inputs, real.get_outputs

    def get_providers(self) -> list[str]:
        return [*(name for name in self._providers if name != CPU), CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        number = self.number if self.cards.opens_on is None else self.cards.opens_on
        return {name: {"device_id": str(number)} for name in self.get_providers()}

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = [
            node
            for part in self.real.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        ]
        here = [
            node for node in nodes if self.cards.takes and node.op_type not in self.cards.lacking
        ]
        parts = {self._providers[0]: here, CPU: [node for node in nodes if node not in here]}
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda some=some: some)
            for name, some in parts.items()
            if some
        ]

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, Any], options: Any = None
    ) -> list[Any]:
        assert not self.records, "a session that records graphs is run by its bindings alone"
        self.cards.begin_run(self.number, feeds, "plain", options)
        rows = len(next(iter(feeds.values())))
        if self.convolves and rows != self.planned_for:
            self.planned_for = rows
            self.cards.planned.append(rows)
        return list(self.real.run(outputs, feeds))

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self)

    def run_with_iobinding(self, binding: FakeBinding, options: Any = None) -> None:
        graph = None if options is None else options.entries.get("gpu_graph_id")
        how = "bound"
        if self.records:
            assert graph is not None
            if graph != "-1":
                how = "replayed" if graph in self.recorded else "recorded"
                assert (
                    self.recorded.setdefault(graph, binding.addresses()) == binding.addresses()
                ), "a buffer has moved"
        self.cards.begin_run(self.number, binding.inputs, how, options)
        made = self.real.run(list(binding.outputs), binding.inputs)
        for name, array in zip(binding.outputs, made, strict=True):
            place = binding.outputs[name]
            if place is None:
                binding.outputs[name] = FakeValue(array.copy(), self.number)
            else:
                np.copyto(place.array, array)


class FakeBinding:
    """What is bound where."""

    def __init__(self, session: FakeSession) -> None:
        self._session = session
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, FakeValue | None] = {}

    def addresses(self) -> list[int]:
        places = [
            *self.inputs.values(),
            *(value.array for value in self.outputs.values() if value is not None),
        ]
        return [int(array.ctypes.data) for array in places]

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        assert value.device == self._session.number
        self.inputs[name] = value.array

    def bind_output(self, name: str, kind: str, device: int) -> None:
        assert (kind, device) == ("cuda", self._session.number)
        self.outputs[name] = None

    def bind_ortvalue_output(self, name: str, value: FakeValue) -> None:
        assert value.device == self._session.number
        self.outputs[name] = value

    def get_outputs(self) -> list[FakeValue]:
        return [value for value in self.outputs.values() if value is not None]

    def copy_outputs_to_cpu(self) -> list[Any]:
        return [value.array.copy() for value in self.get_outputs()]


def lost() -> Exception:
    """What onnxruntime raises when a kernel brought a card down."""
    return LOST("CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=secret")
