"""The front's side of a version whose graph runs in the engine process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

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
    frame_of,
    json_frame,
)
from seatrial_serve.inference.engine import load_prepare
from seatrial_serve.inference.row_encoder import RowEncoder
from seatrial_serve.metrics.standing import GateResult
from seatrial_serve.runtimes.runtime import Placement, RuntimeOptions

GONE_RETRY_S = 2.0
"""After how many seconds a client may try again: another process starts in less."""
READ_BYTES = 2**18
LOOK_S = 0.5
"""How often a load that waits for the engine process looks whether the server stops."""


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

    def __init__(
        self, address: Path, request: LoadRequest, stops: Callable[[], bool] = lambda: False
    ) -> None:
        """`address`: where the engine process listens; `stops`: is the server told to stop?"""
        self._address, self._request, self._stops = address, request, stops
        self.frames, self.early = Frames(), list[Frame]()
        """What came behind the answer to the load: the beginning of a frame, and whole ones."""
        self.refused = False
        """Did the process that followed a lost one not admit the version?"""
        self._lock, self._closed = threading.Lock(), False
        self._socket: socket.socket | None = None
        self.up = False
        """Is the version loaded at the other end, and may rows be sent?"""

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
            frame = self._first_frame(opened)
        except (OSError, BrokenFrame) as error:
            opened.close()
            raise gone() from error
        try:
            body = bytes(frame.body)
            if frame.kind == Kind.LOADED:
                return LoadedReply.model_validate_json(body)
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

    def _first_frame(self, opened: socket.socket) -> Frame:
        """The first frame that comes.

        Raises `OSError` where the connection, or the server, ends before it.
        """
        self.frames, self.early = Frames(), []
        opened.settimeout(LOOK_S)
        while True:
            try:
                data = opened.recv(READ_BYTES)
            except TimeoutError:
                if self._closed or self._stops():
                    raise
                continue
            if not data:
                raise ConnectionError("the connection ended")
            came = list(self.frames.feed(data))
            if came:
                first, *self.early = came
                return first


def shut(opened: socket.socket) -> None:
    """Give the version up, and close a socket that another thread may wait for."""
    with suppress(OSError):  # it is not connected yet, or the other end does not read
        opened.send(b"".join(frame_of(Kind.DONE, 0, [])), socket.MSG_DONTWAIT)
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()


class Joined(NamedTuple):
    """An engine process that holds the version."""

    link: EngineLink
    loaded: LoadedReply


class SharedEngine(RowEncoder):
    """Host stage and prepare graph of a version here; its model graph in engine processes."""

    def __init__(self, bundle: Bundle, options: RuntimeOptions, joined: Sequence[Joined]) -> None:
        """`options`: of the prepare graph; `joined`: at least one process.

        Raises what `load_prepare` raises.
        """
        host = RuntimeOptions(intra_op_threads=options.intra_op_threads)
        super().__init__(bundle, bundle.make_front(), load_prepare(bundle, host))
        self.joined, self.loaded = joined, joined[0].loaded
        self.variant, self.provider = self.loaded.variant, self.loaded.provider
        self.placement = placed_together([each.loaded for each in joined])
        self.slots = sum(each.loaded.slots for each in joined)
        """How many batches run at once in the engine processes."""

    @property
    def healthy(self) -> bool:
        """Can the model graph run now?"""
        return any(each.link.up for each in self.joined)

    @property
    def refused(self) -> bool:
        """Does a process that followed a lost one not admit the version?"""
        return any(each.link.refused for each in self.joined)

    @property
    def memory_bytes(self) -> int:
        """What the version takes in the engine processes together."""
        return sum(each.loaded.memory_bytes for each in self.joined)

    def close(self) -> None:
        """Let go of the prepare graph and of the version in the engine processes."""
        for each in self.joined:
            each.link.close()
        super().close()


def placed_together(loaded: Sequence[LoadedReply]) -> Placement | None:
    """How the graph stands on the cards of all processes; None on the processor."""
    placed = [each.placed for each in loaded if each.placed is not None]
    if not placed:
        return None
    devices = tuple(device for each in placed for device in each.devices)
    return replace(placed[0], devices=devices)


def open_shared(
    addresses: Sequence[Path], bundle: Bundle, name: str, variant: str | None,
    options: RuntimeOptions, stops: Callable[[], bool] = lambda: False, signer: str = "",
) -> SharedEngine:  # fmt: skip
    """Have each engine process load a verified bundle, or find that it has.

    `name`: what clients call the model; `stops`: is the server told to stop? `signer`: whose
    signature of the bundle was verified. Blocking: call it from a thread. Raises `NotAdmitted`,
    and `Unavailable` where a process is not there.
    """
    request = LoadRequest(
        build=build(), name=name, path=str(bundle.path.absolute()), digest=bundle.digest,
        variant=variant, signer=signer,
    )  # fmt: skip
    links = [EngineLink(address, request, stops) for address in addresses]
    try:
        with ThreadPoolExecutor(len(links), "seatrial-join") as pool:
            replies = list(pool.map(EngineLink.open, links))
        return SharedEngine(bundle, options, [*map(Joined, links, replies)])
    except BaseException:  # whatever ends it, the version is given up
        for link in links:
            link.close()
        raise
