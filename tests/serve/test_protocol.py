"""Connections, byte by byte, over real sockets: what is no HTTP, too much, too slow or in doubt is refused and closed."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "oip"))
from conformance import rows, seal

pytestmark = pytest.mark.slow
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/models/conformance:predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = json.dumps({"instances": rows()[:1]}).encode()
SIZED = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
WHOLE = b"%x\r\n%s\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]) -> tuple[str, int]:
    folder = tmp_path_factory.mktemp("protocol")
    seal(folder)
    server = serve(folder)
    assert server.wait_until_loaded()[0] == 200
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def talk(
    address: tuple[str, int], data: bytes, *, within_s: float = 0.5, half_close: bool = False
) -> tuple[bytes, bool]:
    """What comes back, and whether the server closed the connection."""
    with socket.create_connection(address, 10) as sock:
        sock.settimeout(within_s)
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused while it was being sent
        said = b""
        try:
            while part := sock.recv(65_536):
                said += part
        except TimeoutError:
            return said, False
        except ConnectionResetError:
            pass
        return said, True


def good(address: tuple[str, int]) -> None:
    """The invariant after every case: a good request is answered."""
    said, _ = talk(address, SIZED.replace(b"Content-Type", b"Connection: close\r\nContent-Type"), within_s=10)
    assert said.startswith(b"HTTP/1.1 200"), said


CASES: dict[str, tuple[bytes, int, str, bool]] = {
    "a good one": (SIZED, 200, "", False),
    "a good one in chunks": (CHUNKED + WHOLE + b"0\r\n\r\n", 200, "", False),
    "HEAD": (GET.replace(b"GET", b"HEAD") + b"\r\n", 200, "", False),
    "HTTP/1.0": (b"GET /v2/health/live HTTP/1.0\r\n\r\n", 200, "", True),
    "an absolute URL": (b"GET http://a/v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n", 200, "", False),
    "an upgrade to h2c": (GET + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 200, "", False),
    "TRACE": (GET.replace(b"GET", b"TRACE") + b"\r\n", 405, "E_METHOD", False),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400, "E_HTTP", True),
    "two Hosts": (GET + b"Host: b\r\n\r\n", 400, "E_HTTP", True),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "E_HTTP", True),
    "the same length twice": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, "E_HTTP", True),
    "a negative length": (POST + b"Content-Length: -2\r\n\r\n{}", 400, "E_HTTP", True),
    "a signed length": (POST + b"Content-Length: +5\r\n\r\n{}", 400, "E_HTTP", True),
    "a length in hex": (POST + b"Content-Length: 0x10\r\n\r\n{}", 400, "E_HTTP", True),
    "a length of 23 digits": (POST + b"Content-Length: " + b"9" * 23 + b"\r\n\r\n{}", 400, "E_HTTP", True),
    "a length and chunks": (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        400,
        "E_HTTP",
        True,
    ),
    "chunks of gzip": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, "E_HTTP", True),
    "a coding nobody knows": (POST + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, "E_HTTP", True),
    "a chunk size that is none": (CHUNKED + WHOLE + b"ZZ\r\n", 400, "E_HTTP", True),
    "a chunk size too large for any number": (CHUNKED + b"F" * 17 + b"\r\n", 400, "E_HTTP", True),
    "a chunk with another end": (CHUNKED + b"2\r\n{}xx0\r\n\r\n", 400, "E_HTTP", True),
    "70,000 chunks": (CHUNKED + b"1\r\n \r\n" * 70_000, 413, "E_CHUNKS", True),
    "a body declared too large": (POST + b"Content-Length: 99999999\r\n\r\n", 413, "E_BODY_BYTES", True),
    "chunks beyond the limit": (CHUNKED + (b"%x\r\n" % 2**20 + b" " * 2**20 + b"\r\n") * 5, 413, "E_BODY_BYTES", True),
    "200 headers": (GET + b"".join(b"X-%d: a\r\n" % i for i in range(200)) + b"\r\n", 431, "E_HEADERS", True),
    "64 KB of header": (GET + b"X: " + b"a" * 65_536 + b"\r\n\r\n", 431, "E_HEADERS", True),
    "9 KB of URL": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "E_URL", True),
    "another Expect": (POST + b"Expect: tea\r\nContent-Length: 2\r\n\r\n{}", 417, "E_HTTP", True),
    "HTTP/3.7": (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 400, "E_HTTP", True),
    "an HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "E_HTTP", True),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "E_HTTP", True),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "E_HTTP", True),
    "a folded header": (GET + b"X: a\r\n b\r\n\r\n", 400, "E_HTTP", True),
    "a space before the colon": (GET + b"X : a\r\n\r\n", 400, "E_HTTP", True),
    "a NUL in a header": (GET + b"X: a\0b\r\n\r\n", 400, "E_HTTP", True),
}


@pytest.mark.parametrize("name", CASES)
def test_each_is_answered_as_the_table_says(address: tuple[str, int], name: str) -> None:
    data, status, code, closed = CASES[name]
    said, shut = talk(address, data)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said[:300]
    assert shut == closed
    if code:
        assert json.loads(body)["code"] == code
    assert head.count(b"HTTP/1.1") == 1
    good(address)


def test_fifty_pipelined_requests_are_answered_in_order(address: tuple[str, int]) -> None:
    said, _ = talk(
        address,
        b"".join(
            (GET if i % 2 else SIZED.split(b"\r\n\r\n")[0] + b"\r\n") + (b"\r\n" if i % 2 else b"\r\n" + BODY)
            for i in range(50)
        ),
        within_s=3,
    )
    assert said.count(b"HTTP/1.1 200") == 50
    assert said.index(b"predictions") < said.index(b'"live"')


def test_a_bad_request_behind_a_good_one_leaves_the_good_ones_answer_whole(address: tuple[str, int]) -> None:
    said, shut = talk(address, SIZED + b"BAD\r\n\r\n", within_s=3)
    assert said.startswith(b"HTTP/1.1 200")
    assert b"predictions" in said
    assert shut


def test_a_body_that_ends_early_runs_nothing(address: tuple[str, int]) -> None:
    said, _ = talk(address, SIZED[:-5], half_close=True, within_s=2)
    assert b"200 OK" not in said
    good(address)


def test_expect_continue_is_answered_before_the_body(address: tuple[str, int]) -> None:
    with socket.create_connection(address, 10) as sock:
        sock.sendall(SIZED.replace(b"Content-Type", b"Expect: 100-continue\r\nContent-Type", 1)[: -len(BODY)])
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(BODY)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_slow_headers_and_silent_connections_are_closed(address: tuple[str, int]) -> None:
    with socket.create_connection(address, 15) as slow, socket.create_connection(address, 15) as silent:
        slow.sendall(GET)
        start = time.monotonic()
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert silent.recv(1000) == b""
        assert time.monotonic() - start < 14
    good(address)
