"""Servers that are started as containers are: by a program and variables alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from support.waiting import until


@contextmanager
def started(program: list[str], said: Mapping[str, str], asked: str) -> Iterator[None]:
    """A server with these variables of ours alone, once `asked` is answered with 200."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEATRIAL_")}
    process = subprocess.Popen(
        program, env=kept | dict(said), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def healthy() -> bool:
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            return httpx.get(asked).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(healthy, 60)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)
