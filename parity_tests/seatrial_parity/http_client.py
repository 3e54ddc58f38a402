"""A client of a server over HTTP.

Whatever the server does, the caller gets a reply or an error of seatrial, so that a trial ends with
a receipt.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from seatrial_contracts.errors import DeclarationError, Unavailable

TIMEOUT_S = 60.0
JSON_HEADERS = {"Content-Type": "application/json"}
SHOWN_CHARS = 200


class HttpClient:
    """Requests below one base URL, over connections that are kept."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """`key`: the server's, where it asks for one.

        Raises `DeclarationError` where `url` is no URL.
        """
        headers = bearer(key)
        try:
            self._client = httpx.Client(
                base_url=url.rstrip("/"), timeout=TIMEOUT_S, headers=headers
            )
        except httpx.InvalidURL:
            raise DeclarationError(
                "server", f"'{url[:SHOWN_CHARS]}'", "a URL: http://host:port"
            ) from None
        self.url = str(self._client.base_url)

    def get(self, path: str) -> httpx.Response:
        """Raises `Unavailable` where no whole reply comes."""
        return self._send("GET", path)

    def post(self, path: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        """Raises `Unavailable` where no whole reply comes."""
        return self._send("POST", path, content=content, headers=headers)

    def _send(self, method: str, path: str, **rest: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **rest)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                "E_UNREACHABLE",
                f"{self.url}: no server answers there ({type(error).__name__}); is it running?",
            ) from None

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def bearer(key: str | None) -> dict[str, str]:
    """The header that names a key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def object_of(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object in a reply.

    Raises `Unavailable` for anything else, such as a proxy's page.
    """
    try:
        said = json.loads(reply.content)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise odd_answer(f"status {reply.status_code} and no JSON object", "one")
    return said


def error_of(reply: httpx.Response) -> tuple[str, str]:
    """Code and text of a reply that is no answer; "E_OTHER" where it names no code.

    Raises `Unavailable` where the reply holds no error.
    """
    said = object_of(reply)
    text, code = said.get("error"), said.get("code")
    if not isinstance(text, str):
        raise odd_answer(f"status {reply.status_code} without an error", "the error")
    return code if isinstance(code, str) else "E_OTHER", text[:SHOWN_CHARS]


def odd_answer(got: str, want: str) -> Unavailable:
    """The error for a reply that breaks its protocol."""
    return Unavailable("E_ODD_ANSWER", f"the server: got {got}, want {want}")
