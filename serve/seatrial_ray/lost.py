"""What a client is told whose replica was lost: over HTTP by `proxy`, over gRPC by `calls`."""

from __future__ import annotations

from seatrial_contracts.errors import Unavailable

LOST = Unavailable("E_NOT_READY", "the replica was lost before it answered; ask again")
