"""The front's side of a version whose graph runs in the engine process."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import Unavailable
from seatrial_serve.engines.told import LoadedReply, LoadRequest, NotLoadedReply
from seatrial_serve.engines.wire import (
    BrokenFrame,
    Frame,
    Frames,
    Kind,
    build,
    error_of,
    json_frame,
)
from seatrial_serve.inference.engine import load_prepare
from seatrial_serve.inference.row_encoder import RowEncoder
from seatrial_serve.metrics.standing import GateResult
from seatrial_serve.runtimes.runtime import RuntimeOptions

GONE_RETRY_S = 2.0
"""After how many seconds a client may try again: another process starts in less."""
READ_BYTES = 2**18


def gone() -> Unavailable:
    """The engine process is not there."""
    text = "the engine process is not there; another one starts"
    return Unavailable("E_RUNTIME_DOWN", text, GONE_RETRY_S)


class NotAdmitted(Exception):
    """The engine process does not serve a version: `error` says why."""

    def __init__(self, error: Exception, gate: GateResult | None) -> None:
        super().__init__(str(error))
        self.error, self.gate = error, gate


class EngineLink:
    """A front's connection to the engine process for one version."""

    def __init__(self, address: Path, request: LoadRequest) -> None:
        """`address`: where the engine process listens."""
        self._address, self._request = address, request
        self._lock, self._closed = threading.Lock(), False
        self._socket: socket.socket | None = None
        self.up = False
        """Is the version loaded at the other end?"""

    def open(self) -> LoadedReply:
        """Connect, and ask for the version until it is loaded. Blocking: call it from a thread.

        Raises `NotAdmitted`, and `Unavailable` where the process is not there.
        """
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._lock:
            if self._closed:
                opened.close()
                raise gone()
            self._socket = opened
        try:
            opened.connect(str(self._address))
            opened.sendall(json_frame(Kind.LOAD, self._request.model_dump()))
            frame = first_frame(opened)
        except (OSError, BrokenFrame) as error:
            opened.close()
            raise gone() from error
        try:
            body = bytes(frame.body)
            if frame.kind == Kind.LOADED:
                loaded = LoadedReply.model_validate_json(body)
                self.up = True
                return loaded
            refused = NotLoadedReply.model_validate_json(body)
        except ValidationError as error:
            opened.close()
            raise gone() from error
        opened.close()
        raise NotAdmitted(
            error_of(refused.told), refused.gate.found if refused.gate is not None else None
        )

    def taken(self) -> socket.socket | None:
        """The socket, for the event loop, whose it is from here on; None where it was closed."""
        with self._lock:
            taken, self._socket = self._socket, None
        return taken

    def close(self) -> None:
        """Give the version up. Any thread may call it, also while another one opens."""
        with self._lock:
            self._closed, self.up = True, False
            if self._socket is not None:
                shut(self._socket)
                self._socket = None


def shut(opened: socket.socket) -> None:
    """Close a socket that another thread may wait for."""
    with suppress(OSError):  # it is not connected yet
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()


def first_frame(opened: socket.socket) -> Frame:
    """The first frame that comes. Raises `OSError` where the connection ends before it."""
    frames = Frames()
    while True:
        data = opened.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the connection ended")
        for frame in frames.feed(data):
            return frame


class SharedEngine(RowEncoder):
    """Host stage and prepare graph of a version here; its model graph in the engine process."""

    def __init__(
        self, bundle: Bundle, options: RuntimeOptions, link: EngineLink, loaded: LoadedReply
    ) -> None:
        """`options`: of the prepare graph. Raises what `load_prepare` raises."""
        host = RuntimeOptions(intra_op_threads=options.intra_op_threads)
        super().__init__(bundle, bundle.make_front(), load_prepare(bundle, host))
        self.link, self.loaded = link, loaded
        self.variant, self.provider = loaded.variant, loaded.provider
        self.runtime_version, self.placement = loaded.runtime_version, loaded.placed
        self.slots = loaded.slots
        """How many batches run at once in the engine process."""
        placement = self.placement
        self.most_rows = math.inf if placement is None else placement.most_rows or math.inf

    @property
    def healthy(self) -> bool:
        """Can the model graph run now?"""
        return self.link.up

    def close(self) -> None:
        """Let go of the prepare graph and of the version in the engine process."""
        self.link.close()
        super().close()


def open_shared(
    address: Path, bundle: Bundle, name: str, variant: str | None, options: RuntimeOptions
) -> SharedEngine:
    """Have the engine process load a verified bundle, or find that it has.

    `name`: what clients call the model. Blocking: call it from a thread. Raises `NotAdmitted`, and
    `Unavailable` where the process is not there.
    """
    request = LoadRequest(
        build=build(),
        name=name,
        path=str(bundle.path.absolute()),
        digest=bundle.digest,
        variant=variant,
    )
    link = EngineLink(address, request)
    try:
        return SharedEngine(bundle, options, link, link.open())
    except BaseException:  # whatever ends it, the version is given up
        link.close()
        raise
