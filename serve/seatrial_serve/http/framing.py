"""What a request's head must say: where its body ends, whom it is for, and who may have sent it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from seatrial_contracts.errors import Refusal
from seatrial_serve.http.hosts import AllowedHosts, is_cross_site

VERSIONS = ("1.0", "1.1")
LOOKED_AT = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"expect", b"sec-fetch-site", b"origin")
)


class Framing(NamedTuple):
    """How a request's body comes."""

    chunked: bool
    """Does it come in chunks, of which the last one ends it?"""
    awaited: bool
    """Does the client wait for a word before it sends its body (`Expect: 100-continue`)?"""


def check_head(
    method: bytes,
    url: bytes,
    version: str,
    headers: Sequence[tuple[bytes, bytes]],
    allowed: AllowedHosts,
) -> Framing:
    """Return how the body comes, as a head beyond doubt says (RFC 9112, 3.2 and 6.3).

    Names of `headers` are in lower case. Raises `Refusal`.
    """
    named: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in LOOKED_AT:
            named.setdefault(name, []).append(value)
    if version not in VERSIONS:
        raise Refusal("E_HTTP_VERSION", "HTTP version", "another", " or ".join(VERSIONS))
    hosts = named.get(b"host", ())
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise Refusal("E_HTTP", "header Host", f"{len(hosts)} of them", "one")
    chunked = check_length(version, named)
    awaited = b"expect" in named
    if awaited and any(value.lower() != b"100-continue" for value in named[b"expect"]):
        raise Refusal("E_EXPECT", "header Expect", "another value", "100-continue")
    check_sender(method, url, hosts[0] if hosts else None, named, allowed)
    return Framing(chunked, awaited)


def check_length(version: str, named: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Return whether the body comes in chunks. Raises `Refusal` where its end is in doubt."""
    lengths, codings = named.get(b"content-length", ()), named.get(b"transfer-encoding")
    if lengths and (len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18):
        raise Refusal("E_HTTP", "header Content-Length", "another value", "one whole number")
    if codings and (
        lengths or version != "1.1" or [value.lower() for value in codings] != [b"chunked"]
    ):
        got = "one that leaves the body's end in doubt"
        want = "'chunked' alone, without Content-Length"
        raise Refusal("E_HTTP", "header Transfer-Encoding", got, want)
    return codings is not None


def check_sender(
    method: bytes,
    url: bytes,
    host: bytes | None,
    named: Mapping[bytes, Sequence[bytes]],
    allowed: AllowedHosts,
) -> None:
    """Raise `Refusal` for a request to another server, or of another site's page."""
    if not url.startswith(b"/") and b"://" in url:
        # The URL's own counts, whatever the header says (RFC 9112, 3.2.2).
        host = url.split(b"/", 3)[2]
    if host is not None and not allowed.holds(host):
        want = "an IP address, localhost or an allowed name"
        mend = "allow it: --allowed-hosts NAME"
        raise Refusal("E_HOST", "header Host", "a name that is not this server's", want, mend)
    sites, origins = named.get(b"sec-fetch-site", ()), named.get(b"origin", ())
    if (
        (sites or origins)
        and is_cross_site(method, sites, origins, host or b"")
        and not may_cross(method, url, origins, allowed)
    ):
        where = "header Origin or Sec-Fetch-Site"
        raise Refusal("E_CROSS_SITE", where, "another site's page", "a page of this server's")


def may_cross(method: bytes, url: bytes, origins: Sequence[bytes], allowed: AllowedHosts) -> bool:
    """May a page of that origin ask this, as an operator has listed it?"""
    if allowed.pages is None or not url.isascii() or b"%" in url:
        return False
    path = url.partition(b"?")[0].decode()
    return allowed.pages.lets(method.decode("latin-1"), path, origins)
