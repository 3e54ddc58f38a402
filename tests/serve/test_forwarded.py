"""Whom a request comes from, as proxies say it: only what trusted ones added counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.http.forwarded import MOST_HOPS, TrustedProxies
from seatrial_serve.settings import load_settings

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.1", "fd00::/8"])
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:DB8::0007", "2001:db8::7"),
        # what a client wrote stands to the left, and counts for nothing
        ("127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("10.9.9.9, 203.0.113.7, 10.0.0.2, 192.0.2.1", "203.0.113.7"),
        ("garbage, 203.0.113.7 ,10.0.0.2", "203.0.113.7"),
        # all of them trusted: the farthest
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        # nothing usable: the nearest hop that is known
        ("", PROXY),
        ("unknown", PROXY),
        ("203.0.113.7, ", PROXY),
        ("203.0.113.7, unknown", PROXY),
        ("203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7;10.0.0.2", PROXY),
        ("203.0.113.256", PROXY),
        ("0x7f.1", PROXY),
        ("127.1", PROXY),
        ("fe80::1%eth0", PROXY),
        ("example.org", PROXY),
        ("203.0.113.7\x00", PROXY),
        (", ".join(["203.0.113.7"] + ["10.0.0.2"] * MOST_HOPS), "10.0.0.2"),
    ],
)
def test_the_rightmost_address_that_is_no_proxys_is_the_clients(value: str, client: str) -> None:
    assert PROXIES.client_of(PROXY, [(b"x-forwarded-for", value.encode())]) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        # the examples of RFC 7239, sections 4 and 6
        ("for=192.0.2.43", "192.0.2.43"),
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ('for="_gazonk"', PROXY),
        ("for=unknown", PROXY),
        ('for="192.0.2.43:47011"', "192.0.2.43"),
        ("proto=https;For=192.0.2.43;host=a.b", "192.0.2.43"),
        ("for=192.0.2.43, for=10.0.0.3;by=10.0.0.2", "192.0.2.43"),
        ('for=192.0.2.43;x="a, for=198.51.100.17"', "192.0.2.43"),
        ("proto=https", PROXY),
        ("for=192.0.2.43;for=198.51.100.17", PROXY),
        # a client that leaves a quote open hides what its proxy adds: nobody is believed
        ('for="192.0.2.43, for=198.51.100.17', PROXY),
        ('for="a\\", for="[2001:db8::1]"', PROXY),
    ],
)
def test_forwarded_is_read_as_its_rfc_says(value: str, client: str) -> None:
    assert PROXIES.client_of(PROXY, [(b"forwarded", value.encode())]) == client


def test_a_header_on_several_lines_is_one() -> None:
    lines = [(b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-for", b"203.0.113.7, 10.0.0.2")]
    assert PROXIES.client_of(PROXY, lines) == "203.0.113.7"
    assert PROXIES.client_of(PROXY, [(b"host", b"x")]) == PROXY


def test_two_headers_that_disagree_are_both_not_believed() -> None:
    added, own = (b"x-forwarded-for", b"203.0.113.7"), (b"forwarded", b"for=127.0.0.1")
    assert PROXIES.client_of(PROXY, [own, added]) == PROXY
    assert PROXIES.client_of(PROXY, [(b"forwarded", b"for=203.0.113.7"), added]) == "203.0.113.7"


@given(forged=some.text(max_size=60), honest=some.ip_addresses())
def test_nothing_that_a_client_writes_makes_it_another(forged: str, honest: object) -> None:
    """Whatever stands before what the proxy adds: the client is itself, or as good as the proxy."""
    proxies = TrustedProxies([PROXY])
    client = proxies.client_of(PROXY, [(b"x-forwarded-for", f"{honest}".encode())])
    added = f"{forged}, {honest}".encode()
    assert proxies.client_of(PROXY, [(b"x-forwarded-for", added)]) == client
    node = f'"[{honest}]"' if ":" in f"{honest}" else f"{honest}"
    said = proxies.client_of(PROXY, [(b"forwarded", f"{forged}, for={node}".encode())])
    assert said in (client, PROXY)


def test_who_is_no_trusted_proxy_is_held_for_none() -> None:
    held = ("10.255.0.1", "192.0.2.1", "fd12::1", "::ffff:10.0.0.1")
    assert all(PROXIES.holds(address) for address in held)
    assert not any(
        PROXIES.holds(address) for address in ("11.0.0.1", "192.0.2.2", "::1", "x", None)
    )


def test_networks_that_are_none_are_refused() -> None:
    assert load_settings(trusted_proxies="10.1.2.3/8,::1").trusted_proxies == (
        "10.0.0.0/8",
        "::1/128",
    )
    with pytest.raises(DeclarationError, match=r"setting 'trusted_proxies'.*10\.0\.0\.0/8"):
        load_settings(trusted_proxies="proxy.example.org")


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.org", "https://app.example.org/", "https://*.example.org"]
)
def test_origins_are_whole_and_each_is_named(origin: str) -> None:
    with pytest.raises(DeclarationError, match="setting 'cors_origins'"):
        load_settings(cors_origins=f"https://a.example.org,{origin}")
