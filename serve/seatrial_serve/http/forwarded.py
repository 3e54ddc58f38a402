"""Who a request comes from, where proxies that are trusted say it.

Forwarded (RFC 7239) and X-Forwarded-For name the hops of a request, the nearest last. Whoever sends
a request may write them too, so only what trusted proxies added counts: from the right, the first
address that is none of theirs is the client's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

FORWARDED, X_FORWARDED_FOR = b"forwarded", b"x-forwarded-for"
MOST_HOPS = 32
"""The nearest ones that are looked at."""
KEPT = 4096
"""Verdicts that are remembered."""
WHOLE = re.compile(r'(?:[^"]|"(?:\\.|[^"\\])*")*')
"""A value whose quotes end: what a client leaves open, a proxy's own words would fall into."""
ELEMENTS = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
PAIRS = re.compile(r'(?:[^;"]|"(?:\\.|[^"\\])*")+')
NODE = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|(?P<v4>[0-9.]+)(?::[0-9]{1,5})?")
"""An address as both headers have it, with or without a port; IPv6 in brackets."""


class TrustedProxies:
    """The networks whose word on their clients is taken."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Take addresses and networks, such as `10.0.0.0/8` and `::1`. Raises `ValueError`."""
        self._networks = tuple(ip_network(each, strict=False) for each in networks)
        self.holds = lru_cache(maxsize=KEPT)(self._holds)
        """Is it the address of a trusted proxy?"""
        self._find = lru_cache(maxsize=KEPT)(self._client)

    def _holds(self, address: str | None) -> bool:
        found = address_of(address) if address is not None else None
        return found is not None and any(found in network for network in self._networks)

    def client_of(self, proxy: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the address of the client that a trusted proxy sends a request for.

        Names of `headers` are in lower case. Where nothing usable is said, the client is the
        nearest hop that is known: at last the proxy itself.
        """
        named: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in (FORWARDED, X_FORWARDED_FOR):
                named.setdefault(name, []).append(value)
        if not named:
            return proxy
        found = {
            self._find(proxy, name, b",".join(values).decode("latin-1"))
            for name, values in named.items()
        }
        # A proxy writes one of them, and may pass on the other as its client wrote it.
        return found.pop() if len(found) == 1 else proxy

    def _client(self, proxy: str, name: bytes, value: str) -> str:
        hops = forwarded_hops(value) if name == FORWARDED else value.split(",")
        client = proxy
        for hop in reversed(hops[-MOST_HOPS:]):
            address = address_of(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self.holds(client):
                break
        return client


def forwarded_hops(value: str) -> list[str]:
    """The `for` of each element of Forwarded; empty for one without, none where it is malformed."""
    if WHOLE.fullmatch(value) is None:
        return []
    hops = []
    for element in ELEMENTS.findall(value):
        pairs = [pair.partition("=") for pair in PAIRS.findall(element)]
        nodes = [node.strip() for name, _, node in pairs if name.strip().lower() == "for"]
        hops.append(nodes[0].strip('"') if len(nodes) == 1 else "")
    return hops


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address that a node names, with or without its port; None where it names none."""
    match = NODE.fullmatch(text)
    try:
        found = ip_address((match["v6"] or match["v4"]) if match is not None else text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        return None if found.scope_id else found.ipv4_mapped or found
    return found
