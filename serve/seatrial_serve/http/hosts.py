"""Which hosts a request may name, and which pages may send one.

The rules keep a browser's other pages out.

A page of another site reaches a server on its visitor's machine or network in two ways. By DNS
rebinding its own name resolves to the server's address, and the browser lets the page read the
answers; such a request has the page's name as its Host. By a plain cross-site request it cannot
read the answer, but what was asked runs; such a request has Sec-Fetch-Site or Origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from seatrial_serve.http.cors import AllowedOrigins

HOST = re.compile(rb"(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?")
"""uri-host and port of RFC 9110, 7.2, without percent-encoding.

No browser and no client sends percent-encoding there.
"""
LOOPBACK = "localhost"
KEPT_HOSTS = 1024
"""Values of the header whose verdict is remembered."""
SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
"""The methods that change nothing (RFC 9110, 9.2.1).

Their answers stay unread by other pages, but for those of `http/cors.py`.
"""
OWN_SITE = (b"same-origin", b"none")
"""Sec-Fetch-Site of our own pages, and of what the user did (W3C Fetch Metadata)."""


class AllowedHosts:
    """The names that a Host may have: `localhost`, and those given.

    IP addresses are always allowed: rebinding needs a name.
    """

    def __init__(self, names: Iterable[str] = (), pages: AllowedOrigins | None = None) -> None:
        """Take `names` as `seatrial_serve.settings.ALLOWED_HOST` has them.

        `*.example.org` stands for every name below it, `*` for every host. `pages`: those of other
        sites that may ask.
        """
        self.pages = pages
        given = {LOOPBACK, *names}
        self._all = "*" in given
        self._names = frozenset(given)
        self._suffixes = tuple(name[1:] for name in given if name.startswith("*."))
        self.holds = lru_cache(maxsize=KEPT_HOSTS)(self._holds)
        """Does it hold the host of a `Host` header's value?"""

    def _holds(self, value: bytes) -> bool:
        if self._all:
            return True
        match = HOST.fullmatch(value)
        if match is None:
            return False
        if match["v6"] is not None:
            return is_address(match["v6"].decode())
        name = match["name"].decode().lower().removesuffix(".")
        return name in self._names or name.endswith(self._suffixes) or is_address(name)


def is_address(text: str) -> bool:
    """Is it an IP address, in the form in which browsers write it?"""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_cross_site(
    method: bytes, sites: Iterable[bytes], origins: Iterable[bytes], host: bytes
) -> bool:
    """Return whether a page of another origin sends a request that may change something.

    `sites` and `origins` are the values of the headers.

    The rule is that of Go's `net/http.CrossOriginProtection`. If the browser sends Sec-Fetch-Site,
    that decides; else Origin must name the host that was asked. If neither is there, no browser
    sent the request.
    """
    if method in SAFE_METHODS:
        return False
    if sites:
        return any(site not in OWN_SITE for site in sites)
    return any(origin.lower().partition(b"://")[2] != host.lower() for origin in origins)
