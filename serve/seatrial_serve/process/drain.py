"""The drain: how a server stops without losing a request that it accepted."""

from __future__ import annotations


class Drain:
    """Counts requests in flight.

    Once `begin` was called, readiness is gone and answers close their connections.
    """

    def __init__(self) -> None:
        self.draining = False
        self.in_flight = 0

    def enter(self, requests: int = 1) -> None:
        """So many requests have begun."""
        self.in_flight += requests

    def leave(self, requests: int = 1) -> None:
        """So many requests have ended."""
        self.in_flight -= requests

    def begin(self) -> None:
        """Make the server not ready from now on.

        Each answer then makes its client connect elsewhere.
        """
        self.draining = True
