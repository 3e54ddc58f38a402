"""What our own connections tell the fast path of a request beyond ASGI. Behind another server it does without."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]

WHOLE = "seatrial.whole"
"""Set where all of the request has come: reading it waits for nothing."""
REPLY = "seatrial.reply"
"""Writes a whole answer at once."""
WHEN_LEFT = "seatrial.when_left"
"""Takes what to call when the client leaves, at once where it has; None from when on that does not matter."""
IN_FLIGHT = "seatrial.in_flight"
"""The requests of all connections that were begun and not answered, this one among them."""
