"""How a registry is told who asks: by name and password, or by a token that it has made."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_dict_header

from seatrial_serve.stores.address import InRegistry, is_loopback
from seatrial_serve.stores.credentials import find_credentials

CHALLENGE = re.compile(r"\s*(Basic|Bearer)\s+(.*)", re.IGNORECASE | re.DOTALL)
TOKEN_S = 30.0


class RegistryAuth(AuthBase):
    """Adds to each request what the registry wanted at the last challenge, at first nothing.

    The tokens' protocol: https://distribution.github.io/distribution/spec/auth/token/.
    """

    def __init__(self, address: InRegistry, base: str) -> None:
        """Read the credentials for the repository, whose URLs begin with `base`.

        Raises `DeclarationError`.
        """
        self._origin = urlsplit(base)[:2]
        self._host = address.host
        self._known = find_credentials(address.host, address.repository)
        self._header: str | None = None

    @property
    def mend(self) -> str:
        """What may help where the registry refuses."""
        kept = "those of docker login were sent" if self._known else "docker login keeps some"
        return f"{kept} for {self._host}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header if the registry itself is asked.

        Without one, whatever .netrc says is not sent either.
        """
        if self._header is not None and urlsplit(request.url or "")[:2] == self._origin:
            request.headers["Authorization"] = self._header
        return request

    def answer(self, reply: requests.Response, session: requests.Session) -> bool:
        """Learn from a challenge what to send. False where another try would bring nothing new."""
        found = CHALLENGE.match(reply.headers.get("WWW-Authenticate", ""))
        if found is None:
            return False
        before = self._header
        if found[1].lower() == "bearer":
            token = self._token(parse_dict_header(found[2]), session)
            self._header = f"Bearer {token}" if token else None
        elif self._known is not None and not self._known.is_token:
            pair = f"{self._known.name}:{self._known.secret}".encode()
            self._header = f"Basic {base64.b64encode(pair).decode()}"
        return self._header is not None and self._header != before

    def _token(self, wanted: dict[str, Any], session: requests.Session) -> str | None:
        """A token of the service that a challenge names; None where it gives none."""
        realm = str(wanted.get("realm", ""))
        parts = urlsplit(realm)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            return None  # name and password would go in the clear
        query = {key: wanted[key] for key in ("service", "scope") if wanted.get(key)}
        if self._known is not None and self._known.is_token:
            form = query | {"grant_type": "refresh_token", "refresh_token": self._known.secret}
            said = session.post(
                realm, data=form | {"client_id": "seatrial"}, auth=Nobody(), timeout=TOKEN_S
            )
        else:
            basic = (
                HTTPBasicAuth(self._known.name.encode(), self._known.secret.encode())
                if self._known
                else Nobody()
            )
            said = session.get(realm, params=query, auth=basic, timeout=TOKEN_S)
        if said.status_code != 200:
            return None
        told = said.json()
        token = told.get("token") or told.get("access_token") if isinstance(told, dict) else None
        return token if isinstance(token, str) else None


class Nobody(AuthBase):
    """Sends no credentials, not even those of .netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As it is."""
        return request
