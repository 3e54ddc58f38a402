"""The engine processes of a supervisor: one for each card, or one on the processor."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from pathlib import Path

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.kept_process import keep, release, spawn
from seatrial_serve.settings import Settings

log = logging.getLogger("seatrial.workers")
MOST_PATH_BYTES = 107
"""Of a socket's address on Linux: unix(7)."""
LONGEST_PAUSE_S = 2.0
"""The longest before another engine process starts, without which no worker answers."""


class EngineKeeper:
    """Starts engine processes, and others in the place of those that are lost."""

    def __init__(self, settings: Settings, folder: Path, lost: Callable[[], object]) -> None:
        """`folder`: of the sockets that they listen at; `lost` is called when one is.

        Raises `DeclarationError` for a folder whose path is too long for a socket's.
        """
        devices = settings.devices or (None,)
        self._plans = [
            (
                folder / f"engine-{place}",
                settings.model_copy(update={"devices": () if device is None else (device,)}),
            )
            for place, device in enumerate(devices)
        ]
        longest = max(len(os.fsencode(address)) for address, _ in self._plans)
        if longest > MOST_PATH_BYTES:
            raise DeclarationError(
                "the temporary folder", f"a path of {len(os.fsencode(folder))} bytes",
                f"at most {MOST_PATH_BYTES - longest + len(os.fsencode(folder))}",
                "set TMPDIR to a folder with a shorter path",
            )  # fmt: skip
        self._folder, self._lost, self._grace_s = folder, lost, max(settings.grace_s, 1.0)
        self._lock, self._stops = threading.Lock(), threading.Event()
        self._listen = [threading.Event() for _ in self._plans]
        self._alive: dict[int, subprocess.Popen[bytes]] = {}
        self._keeping: list[Future[None]] = []

    @property
    def addresses(self) -> list[Path]:
        """Where they listen."""
        return [address for address, _ in self._plans]

    def start(self, pool: Executor, failed: Callable[[], object]) -> None:
        """Keep them alive in threads of a pool, one for each; `failed` is called at a bug."""

        def run(place: int) -> None:
            name = "the engine process" if len(self._plans) == 1 else f"engine process {place + 1}"
            try:
                keep(name, lambda: self._run(place), self._stops, self._lost, LONGEST_PAUSE_S)
            except BaseException:  # whatever ends it, the server ends too
                failed()
                raise

        self._keeping = [pool.submit(run, place) for place in range(len(self._plans))]

    def wait_for_all(self) -> None:
        """Until all listen, or were told to stop."""
        for each in self._listen:
            each.wait()

    def let_go(self) -> None:
        """Let nobody wait for them any more: the server stops. A signal's handler may call it."""
        for each in self._listen:
            each.set()

    def stop(self) -> None:
        """End them, once nobody asks them any more. Raises what keeping them raised."""
        with self._lock:
            self._stops.set()
            for process in self._alive.values():
                process.terminate()
        if wait(self._keeping, self._grace_s).not_done:
            with self._lock:
                for process in self._alive.values():
                    log.error("process %d does not end; it is killed", process.pid)
                    process.kill()
        for each in self._keeping:
            each.result()

    def _run(self, place: int) -> str:
        """Start one and wait for its end; return how it ended, in words."""
        address, settings = self._plans[place]
        told = {"settings": settings.model_dump(mode="json"), "address": str(address)}
        with self._lock:
            if self._stops.is_set():
                return "was told to stop"
            try:
                process = spawn("seatrial_serve.engine_process", told, self._folder)
            except OSError as error:  # too few processes, memory or files: there may be more later
                return f"did not start ({error.strerror or 'an error'})"
            self._alive[place] = process
        assert process.stdout is not None
        process.stdout.readline()  # it listens, or ended
        self._listen[place].set()
        status = process.wait()
        with self._lock:
            del self._alive[place]
        release(process)
        return f"(process {process.pid}) ended with {status}"
