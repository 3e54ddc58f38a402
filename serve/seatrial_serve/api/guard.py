"""The guard of HTTP: nobody asks what its key does not allow."""

from __future__ import annotations

from seatrial_contracts.errors import Refusal
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.access.paths import Paths
from seatrial_serve.api.http_request import CALLER
from seatrial_serve.http.body import Scope as AsgiScope
from seatrial_serve.http.connection import PEER_NAMES
from seatrial_serve.process.audit_log import record

NOBODY = Caller("nobody", "nobody", ())
"""Asks for what is open, without a key that is known."""


class Guard:
    """Finds out who sends each request, and whether that one may."""

    def __init__(self, access: Access, paths: Paths) -> None:
        """`paths`: what each path needs."""
        self._access, self._paths = access, paths

    async def let_in(self, scope: AsgiScope) -> None:
        """Note in the scope who asks. Raises `Refusal`, or `Unavailable` above a caller's rate."""
        needed = self._paths.needed(scope["method"], scope["path"])
        if needed.scope is None:
            known = self._access.known(dict(scope["headers"]))
            by_certificate = self._access.by_certificate(scope.get(PEER_NAMES, ()))
            scope[CALLER] = known or by_certificate or NOBODY
            return
        client = scope.get("client")
        caller = await self._access.caller_of(
            scope["headers"], client[0] if client else None, scope.get(PEER_NAMES, ())
        )
        try:
            caller.check(needed.scope, needed.model)
        except Refusal as refusal:
            if needed.scope is Scope.ADMIN:
                record("administration", who=caller.name, over="HTTP", result=refusal.code)
            raise
        caller.count()
        scope[CALLER] = caller
