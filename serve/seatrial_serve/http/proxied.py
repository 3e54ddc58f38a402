"""Connections where proxies are trusted: each request is its client's, not its proxy's."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.utils import get_remote_addr

from seatrial_serve.http.connection import StrictProtocol
from seatrial_serve.http.direct import DirectRequest
from seatrial_serve.http.forwarded import TrustedProxies


class ProxiedProtocol(StrictProtocol):
    """One connection, of a trusted proxy or of anybody else.

    A proxy's idle connections are not counted. Each counts as its client's while a request of that
    client's is on its way, and as the proxy's own where no client is known.
    """

    def __init__(self, *args: Any, proxies: TrustedProxies, **options: Any) -> None:
        super().__init__(*args, **options)
        self._proxies, self._proxy = proxies, ""
        """Its address, if it is one that is trusted."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `StrictProtocol`."""
        found = get_remote_addr(transport)
        if found is not None and self._proxies.holds(found[0]):
            self._proxy = found[0]
        super().connection_made(transport)

    def _take_place(self, address: str | None) -> bool:
        # that of a proxy's connection is taken for each request, also of one that names no client
        return bool(self._proxy) or super()._take_place(address)

    def _knows(self, data: bytes) -> bool:
        """A proxy's heads differ by their clients: the parser reads each."""
        return not self._proxy and super()._knows(data)

    def on_headers_complete(self) -> None:
        """Find whose request it is, before anything is made of it."""
        if self._proxy:
            client = self._proxies.client_of(self._proxy, self.headers)
            self.address, self.client = client, (client, 0)
            if self._holder != client:
                self._free_place()
                if not super()._take_place(client):
                    self._raise(self._no_place())
        super().on_headers_complete()

    def answer(self, request: DirectRequest, data: bytes) -> None:
        """See `StrictProtocol`."""
        super().answer(request, data)
        self._free_if_idle()

    def on_response_complete(self) -> None:
        """See `StrictProtocol`."""
        super().on_response_complete()
        self._free_if_idle()

    def _free_if_idle(self) -> None:
        if self._proxy and self.idle:
            self._free_place()
