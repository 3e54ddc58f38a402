"""Waiting for what another thread or process does, bounded in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


def until(true: Callable[[], Any], within_s: float = 30) -> None:
    """Return once `true` says so. Raises `AssertionError` if it does not in time."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.01)


async def until_here(true: Callable[[], Any], within_s: float = 20) -> None:
    """As `until`, while the event loop goes on."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0)
