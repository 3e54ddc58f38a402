"""Ports with numbers of their own, for tests of what says these numbers."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock


@contextmanager
def fixed_ports(*ports: int) -> Iterator[None]:
    """Ports of the loopback that no other test has meanwhile. Skips if one is taken."""
    with FileLock(Path(tempfile.gettempdir()) / "seatrial-fixed-ports.lock"):
        for port in ports:
            with socket.socket() as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    tried.bind(("127.0.0.1", port))
                except OSError:
                    pytest.skip(f"port {port} of this machine is taken")
        yield
