"""SIGHUP, which asks for a reload, held back while nobody could follow it: as a process starts, and as it ends."""

from __future__ import annotations

import signal


def hold_reloads() -> None:
    """Let a SIGHUP wait until `take_reloads`: without a handler it would end the process.

    Of the calling thread and those that it starts, processes included.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def take_reloads() -> None:
    """Take the SIGHUP that waits, and those to come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
