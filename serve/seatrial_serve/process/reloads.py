"""SIGHUP, which asks for a reload: remembered while a process starts, and followed from then on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


class Reloads:
    """The process's handler of SIGHUP, which by itself would end the process.

    Make it as early as can be, in the main thread.
    """

    def __init__(self) -> None:
        self._asked = False
        self._follow: Callable[[], object] | None = None
        signal.signal(signal.SIGHUP, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (the signal module's signature)
        if self._follow is None:
            self._asked = True
        else:
            self._follow()

    def follow(self, reload: Callable[[], object]) -> None:
        """Call `reload` at each signal from now on, and now if one came before.

        `reload` must take no lock.
        """
        self._follow = reload
        if self._asked:
            self._asked = False
            reload()

    def ignore(self) -> None:
        """The process ends: there is nothing to reload any more."""
        self._follow = lambda: None


class NoReloads(Reloads):
    """The same of a server in a thread, which handles no signal of its process."""

    def __init__(self) -> None:
        self._asked, self._follow = False, None


def hold_reloads() -> None:
    """Let SIGHUP wait for the processes that the calling thread starts.

    It waits until they make their `Reloads`.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
