"""Ports of the loopback."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def reaches(port: int) -> bool:
    """Does anybody listen there?"""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
