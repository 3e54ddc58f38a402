"""What loading and retiring models leaves behind, given back."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Callable
from functools import cache

log = logging.getLogger("seatrial.memory")


FULL_ROUNDS = 100
"""So many rounds of Python's collector over young objects stand before one over all: 10 by default.

A full round over 3,000 connections holds the interpreter for 120 to 300 ms, and every request with
it; what connections leave behind is freed without the collector, but for little.
"""


def rarely_collect_all() -> None:
    """Let full rounds of Python's collector be rare."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_ROUNDS)


def give_memory_back() -> None:
    """Free what only Python's collector finds, and return freed memory to the system.

    What is left stays for long: it is taken out of the collector's sight, whose full rounds over it
    would hold every request up for tens of milliseconds, twice a second under load.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim()


def collect() -> None:
    """Free what only Python's collector finds, but for what stays for long.

    It looks at nothing that `give_memory_back` took out of its sight: over 60 small models it holds
    the interpreter for 25 to 60 ms.
    """
    gc.collect()


def trim() -> None:
    """Return freed memory to the system: the runtime frees large blocks into the C library's lists.

    It takes some 5 ms for 100 MB, and Python goes on meanwhile.
    """
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Glibc's own; None on another system."""
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        log.debug("no malloc_trim on this system")
        return None
