"""Listening sockets."""

from __future__ import annotations

import socket

from seatrial_contracts.errors import DeclarationError

BACKLOG = 2048


def listen(host: str, port: int, flag: str = "--http-port") -> socket.socket:
    """Return a listening socket.

    Raises `DeclarationError` if the address is taken or not this machine's.
    """
    sock = bind(host, port, flag)
    sock.set_inheritable(True)
    return sock


def reserve(host: str, port: int, flag: str) -> socket.socket:
    """Return a socket that holds a port and does not listen.

    Several processes may then listen on the port, each for itself. Raises `DeclarationError`.
    """
    # If a stranger who shares the port has taken it, nobody would tell us later.
    bind(host, port, flag).close()
    return bind(host, port, flag, shared=True)


def bind(host: str, port: int, flag: str, *, shared: bool = False) -> socket.socket:
    """A socket at an address. Raises `DeclarationError` where it is taken or not this machine's."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        if not shared:
            # From here on clients wait to be accepted, and are not turned away.
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        where, mend = f"listening on {host}:{port}", f"choose another: {flag}"
        raise DeclarationError(
            where, error.strerror or "an error", "a free port of this machine", mend
        ) from None
    return sock
