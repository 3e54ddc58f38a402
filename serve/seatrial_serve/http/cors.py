"""CORS: pages of listed origins may ask what is listed here, and read the answers.

No answer lets a page send credentials that the browser keeps (the Fetch standard, "credentials"): a
key is in a header that the page itself writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from seatrial_serve.http.browsers import ERROR_HEADERS

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]
PageMay = Callable[[str, str], bool]
"""May a page of a listed origin ask this, by method and path?"""
ASKED_METHOD = b"access-control-request-method"
REQUEST_HEADERS = (
    b"authorization, content-type, inference-header-content-length, traceparent, "
    b"x-api-key, x-partial, x-request-id, x-request-timeout-ms, x-server-timing"
)
"""What a page may send beside the headers that every page may (the Fetch standard, 2.2.2)."""
EXPOSED = b"inference-header-content-length, retry-after, server-timing, x-request-id"
"""What a page may read of an answer's headers beside those that every page may."""
KEPT_S = 600
"""How long a browser keeps a preflight's answer."""


class AllowedOrigins:
    """The origins whose pages may ask, and what they may ask."""

    def __init__(self, origins: Iterable[str], page_may: PageMay) -> None:
        """Take `origins` as `seatrial_serve.settings.ORIGIN` has them."""
        self._origins = frozenset(origin.encode() for origin in origins)
        self._page_may = page_may

    def lets(self, method: str, path: str, origins: Sequence[bytes]) -> bool:
        """May a page of this one origin, as its browser wrote it, ask that?"""
        return len(origins) == 1 and origins[0] in self._origins and self._page_may(method, path)


class CorsApp:
    """ASGI in front of an app: answers preflights, and tells browsers who may read."""

    def __init__(self, app: Asgi, origins: AllowedOrigins) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a preflight, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path, headers = scope["method"], scope["path"], scope["headers"]
        origins = [value for name, value in headers if name == b"origin"]
        asked = [value for name, value in headers if name == ASKED_METHOD]
        preflight = method == "OPTIONS" and len(asked) == 1
        if preflight:
            method = asked[0].decode("latin-1")
        let = self._origins.lets(method, path, origins)
        if preflight and let:
            await send(
                {
                    "type": "http.response.start",
                    "status": 204,
                    "headers": [
                        *ERROR_HEADERS,
                        *readers(origins[0]),
                        (b"access-control-allow-methods", asked[0]),
                        (b"access-control-allow-headers", REQUEST_HEADERS),
                        (b"access-control-max-age", b"%d" % KEPT_S),
                    ],
                }
            )
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_readable(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                more = readers(origins[0]) if let else [(b"vary", b"origin")]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_readable)


def readers(origin: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that let pages of an origin read an answer."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", EXPOSED),
        (b"vary", b"origin"),
    ]
