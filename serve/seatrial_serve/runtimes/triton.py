"""The Triton runtime: a bundle's graph in NVIDIA's server, called over gRPC.

The server's scheduler stands behind our edge.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seatrial_contracts.element_types import ARRAY_DTYPES, V2_DATATYPES
from seatrial_contracts.errors import MissingExtra, ModelError, TooLate, Unavailable
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.state import answer_names
from seatrial_serve.process.clock import now_s
from seatrial_serve.runtimes.runtime import Batches, Runtime, RuntimeOptions, no_batches
from seatrial_serve.runtimes.triton_naming import digest_key, graph_name, triton_version

log = logging.getLogger("seatrial.triton")
FORMAT = "triton"
ASK_S, PROBE_EVERY_S = 5.0, 0.5
"""How long a question about health may take, and how often it is asked."""
MOST_S = 60.0
"""Where nobody says how long they wait."""
SLOW = "StatusCode.DEADLINE_EXCEEDED"
GONE = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED", "StatusCode.NOT_FOUND")


def load(graph: bytes, options: RuntimeOptions) -> Runtime:  # noqa: ARG001  (Triton holds the graph)
    """Load the graph's model in Triton, if it is of the same bundle.

    Raises `Unavailable` if Triton is not there.
    """
    try:
        from tritonclient import grpc
    except ImportError as error:
        raise MissingExtra("--runtime triton", "triton") from error
    runtime = TritonRuntime(grpc, options)
    try:
        runtime.learn()
    except BaseException:  # whatever ends it, the channel is closed
        runtime.close()
        raise
    runtime.watch()
    return runtime


class TritonRuntime:
    """One version of one model in Triton.

    A thread of its own checks whether the model is ready, and whether it is the same bundle still.
    """

    remote, placement = True, None

    def __init__(self, kit: Any, options: RuntimeOptions) -> None:
        name, version, self._digest = options.serves
        self._kit, self._name, self._number = kit, graph_name(name), triton_version(version)
        self._client = kit.InferenceServerClient(options.address, channel_args=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000),
        ])  # fmt: skip
        self.healthy = False
        self.provider, self.version = "Triton", "of another process"
        self.inputs: Mapping[str, str] = {}
        self.outputs: Sequence[str] = []
        self._single: frozenset[str] = frozenset()
        self._stop = threading.Event()

    def learn(self) -> None:
        """Read what the model takes and gives, and of which bundle it is.

        Raises `Unavailable`, and `ModelError` if it is another bundle's.
        """
        try:
            if not self._client.is_model_ready(self._name, str(self._number), client_timeout=ASK_S):
                raise Unavailable(
                    "E_RUNTIME_DOWN",
                    f"Triton has no model '{self._name}' {self._number} that is ready",
                    2.0,
                )
            config = self._client.get_model_config(
                self._name, str(self._number), client_timeout=ASK_S
            ).config
        except self._errors as error:
            raise Unavailable("E_RUNTIME_DOWN", "Triton does not answer", 2.0) from error
        digest = config.parameters[digest_key(self._number)].string_value
        if digest != self._digest:
            raise ModelError(
                "E_RUNTIME_ANSWER",
                (
                    f"Triton's model '{self._name}' is of bundle {digest[:16] or 'unknown'}, "
                    f"want {self._digest[:16]}; write the repository again: seatrial triton"
                ),
            )
        try:
            inputs = {each.name: dtype_of(each.data_type) for each in config.input}
            types = {each.name: dtype_of(each.data_type) for each in config.output}
        except (KeyError, ValueError):  # an element type that is in no bundle
            raise ModelError(
                "E_RUNTIME_ANSWER",
                (
                    f"Triton's model '{self._name}' has an element type that no bundle has; "
                    "write the repository again: seatrial triton"
                ),
            ) from None
        self.inputs, self._types = inputs, types
        self.outputs = answer_names(types, inputs)
        self._single = frozenset(
            each.name for each in (*config.input, *config.output) if each.HasField("reshape")
        )
        self.provider = f"Triton {config.backend}"
        self.healthy = True

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        """What the client raises, odd answers included."""
        from tritonclient.utils import InferenceServerException

        return (InferenceServerException,)

    def watch(self) -> None:
        """Ask from now on whether it is ready, until `close`."""
        threading.Thread(target=self._watch, name="triton health", daemon=True).start()

    def _watch(self) -> None:
        while not self._stop.wait(PROBE_EVERY_S):
            was = self.healthy
            try:
                self.learn()
            except (Unavailable, ModelError) as error:
                self.healthy = False
                if was:
                    log.warning("%s is not ready: %s", self._name, error)
            except Exception:  # whatever an answer holds, the next question may find it right again
                self.healthy = False
                # A connection that was closed meanwhile is no fault.
                if was and not self._stop.is_set():
                    log.exception("%s is not ready; this is a bug in seatrial", self._name)
            else:
                if not was:
                    log.warning("%s is ready again", self._name)

    def run(
        self, feeds: Mapping[str, Array], *, deadline_s: float = math.inf, outlier: bool = False
    ) -> dict[str, Array]:
        """Run a batch in Triton; see `Runtime.run`.

        The time that is left goes to Triton with the request, and ends the call here.
        """
        left_s = min(deadline_s - now_s(), MOST_S)
        if left_s <= 0:
            raise TooLate
        rows = len(next(iter(feeds.values())))
        try:
            result = self._client.infer(
                self._name,
                [self._input(name, array) for name, array in feeds.items()],
                model_version=str(self._number),
                client_timeout=left_s,
                timeout=round(left_s * 1e6),
            )
        except self._errors as error:
            raise self._failed(error) from error
        pairs = zip(self.outputs, self._types, strict=True)
        return {name: self._output(made, result, rows) for name, made in pairs}

    def _failed(self, error: Any) -> Exception:
        if error.status() == SLOW:
            return Unavailable(
                "E_RUNTIME_SLOW", "the runtime behind this server did not answer in time"
            )
        if error.status() in GONE:
            self.healthy = False  # until the next question is answered
            return Unavailable("E_RUNTIME_DOWN", "the runtime behind this server is not there")
        return ModelError("E_MODEL", "the model failed on this input")

    def _input(self, name: str, array: Array) -> Any:
        whole = array[:, None] if name in self._single else array
        given = self._kit.InferInput(
            name,
            list(whole.shape),
            "BYTES" if whole.dtype == object else V2_DATATYPES[whole.dtype.name],
        )
        given.set_data_from_numpy(np.ascontiguousarray(whole))
        return given

    def _output(self, name: str, result: Any, rows: int) -> Array:
        try:
            array: Array | None = result.as_numpy(name)
        except ValueError:  # its bytes do not fill its shape
            array = None
        if array is not None and name in self._single and array.shape[1:] == (1,):
            array = array[:, 0]
        if array is None or array.dtype.name != self._types[name] or array.shape[:1] != (rows,):
            raise Unavailable(
                "E_RUNTIME_ANSWER", "the runtime behind this server answers what the model must not"
            )
        return array

    def warm_up(self, most_rows: int, batches: Batches = no_batches) -> None:
        """See `Runtime.warm_up`: every batch is like the first."""

    def close(self) -> None:
        """End the thread and the connection; calls on their way are cancelled."""
        self._stop.set()
        self.healthy = False
        self._client.close()


def dtype_of(number: int) -> str:
    """Numpy's name of Triton's number for an element type."""
    from tritonclient.grpc import model_config_pb2 as pb

    name = pb.DataType.Name(number).removeprefix("TYPE_")
    return ARRAY_DTYPES["BYTES" if name == "STRING" else name]
