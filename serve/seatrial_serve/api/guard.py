"""The guard of HTTP: nobody asks what its key does not allow."""

from __future__ import annotations

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.access.paths import Needed, Paths
from seatrial_serve.api.audit import AdminAudit, AdminCall
from seatrial_serve.api.http_request import CALLER, address_of
from seatrial_serve.http.body import Scope as AsgiScope
from seatrial_serve.http.connection import PEER_NAMES

NOBODY = Caller("nobody", "nobody", ())
"""Asks for what is open, without a key that is known."""


class Guard:
    """Finds out who sends each request, and whether that one may."""

    def __init__(self, access: Access, paths: Paths, audit: AdminAudit) -> None:
        """`paths`: what each path needs. `audit`: writes which calls of administration failed."""
        self._access, self._paths, self._audit = access, paths, audit

    async def let_in(self, scope: AsgiScope) -> None:
        """Note in the scope who asks. Raises `Refusal`, or `Unavailable` above a caller's rate."""
        needed = self._paths.needed(scope["method"], scope["path"])
        if needed.scope is None:
            known = self._access.known(dict(scope["headers"]))
            by_certificate = self._access.by_certificate(scope.get(PEER_NAMES, ()))
            scope[CALLER] = known or by_certificate or NOBODY
            return
        client = scope.get("client")
        caller = scope[CALLER] = await self._access.caller_of(
            scope["headers"], client[0] if client else None, scope.get(PEER_NAMES, ())
        )
        caller.check(needed.scope, needed.model)
        caller.count()

    def audit(self, scope: AsgiScope, error: SeatrialError, request_id: str) -> None:
        """Write that a request was not let in, if it is one of administration."""
        needed = self._paths.needed(scope["method"], scope["path"])
        caller: Caller | None = scope.get(CALLER)
        audit_refusal(self._audit, needed, address_of(scope), error, request_id, caller)


def audit_refusal(
    audit: AdminAudit, needed: Needed, address: str, error: SeatrialError, request_id: str,
    caller: Caller | None = None,
) -> None:  # fmt: skip
    """Write that a request over HTTP was not let in, if what it needs is administration."""
    if needed.scope is Scope.ADMIN:
        call = AdminCall(
            needed.action, needed.model, address, "HTTP", request_id, lambda: caller
        )  # fmt: skip
        audit.refused(call, error)
