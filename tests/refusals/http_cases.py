"""HTTP: cases 82 to 110."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

from refusals.case import CANARY, ROW, Case, request, rows, v1, v2

BODY = json.dumps({"instances": [ROW]}).encode()
PREDICT = "/v1/models/tabular:predict"
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
POST = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = b"%x\r\n%s\r\n" % (len(BODY), BODY)
END = b"0\r\n\r\n"
UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
)
FOREIGN = (
    ("Origin", f"http://{CANARY}.example"),
    ("Origin", "null"),
    ("Sec_Fetch_Site", "cross-site"),
    ("Sec_Fetch_Site", "same-site"),
)


def packed(data: bytes, encoding: str = "gzip") -> bytes:
    return v1(data, Content_Encoding=encoding)


def bomb(megabytes: int) -> bytes:
    """A whole gzip file of zeros: one megabyte is packed, and its blocks are repeated."""
    zeros, crc = bytes(2**20), 0
    for _ in range(megabytes):
        crc = zlib.crc32(zeros, crc)
    packer = zlib.compressobj(9, wbits=-15)
    blocks = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    head, last = gzip.compress(b"")[:10], b"\x03\x00"  # an empty block that ends the stream
    return head + blocks * megabytes + last + struct.pack("<II", crc, megabytes * 2**20 % 2**32)


CASES = [
    Case("82 unknown path", request(f"/{CANARY}"), 404, "E_NOT_FOUND"),
    Case("83 GET on predict", request(PREDICT, method="GET"), 405, "E_METHOD"),
    Case("83 PUT on predict", request(PREDICT, method="PUT"), 405, "E_METHOD"),
    Case("83 POST on health", request("/v2/health/live"), 405, "E_METHOD"),
    Case("83 TRACE", GET.replace(b"GET", b"TRACE") + b"\r\n", 405, "E_METHOD"),
    Case(
        "83 CONNECT",
        b"CONNECT a:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        400,
        "E_HTTP",
        closed=True,
    ),
    Case("84 HEAD", GET.replace(b"GET", b"HEAD") + b"\r\n", 200),
    Case("85 text/plain", v1(BODY, Content_Type="text/plain"), 415, "E_CONTENT_TYPE"),
    Case(
        "85 a form",
        v1(BODY, Content_Type="application/x-www-form-urlencoded"),
        415,
        "E_CONTENT_TYPE",
    ),
    Case("85 no type", v1(BODY).replace(b"Content-Type: application/json\r\n", b""), 200),
    *(
        Case(f"86 {charset}", v1(BODY, Content_Type=f"application/json; {charset}"), 200)
        for charset in ("charset=utf8", "charset=UTF-8", 'Charset="utf-8"; v=1')
    ),
    *(
        Case(
            f"86 {charset}",
            v1(BODY, Content_Type=f"application/json; {charset}"),
            415,
            "E_CONTENT_TYPE",
        )
        for charset in ("Charset=latin-1", "charset=utf-80", "charset=", "charset=x-utf-8")
    ),
    Case(
        "86 another charset",
        v1(BODY, Content_Type="application/json; charset=latin-1"),
        415,
        "E_CONTENT_TYPE",
    ),
    Case("87 an Accept that cannot be met is ignored", v1(BODY, Accept="image/png"), 200),
    Case("88 unknown encoding", packed(BODY, "br"), 415, "E_CONTENT_ENCODING"),
    Case("89 cut gzip", packed(gzip.compress(BODY)[:-9]), 400, "E_COMPRESSION"),
    Case("89 a wrong checksum", packed(gzip.compress(BODY)[:-8] + bytes(8)), 400, "E_COMPRESSION"),
    Case(
        "89 two members",
        packed(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
        400,
        "E_COMPRESSION",
    ),
    Case("89 no gzip", packed(BODY), 400, "E_COMPRESSION"),
    Case("89 a bomb of 1 GiB", packed(bomb(1024)), 413, "E_BODY_BYTES", closed=True),
    Case(
        "89 gzip in gzip",
        packed(gzip.compress(gzip.compress(BODY)), "gzip, gzip"),
        415,
        "E_CONTENT_ENCODING",
    ),
    Case(
        "90 a body declared too large",
        POST + b"Content-Length: 99999999\r\n\r\n",
        413,
        "E_BODY_BYTES",
        closed=True,
    ),
    Case(
        "91 chunks beyond the limit",
        CHUNKED + (b"%x\r\n" % 2**20 + b" " * 2**20 + b"\r\n") * 5,
        413,
        "E_BODY_BYTES",
        closed=True,
    ),
    Case(
        "92 70,000 chunks of one byte",
        CHUNKED + b"1\r\n \r\n" * 70_000,
        413,
        "E_CHUNKS",
        closed=True,
    ),
    Case(
        "95 a length too small",
        POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY + b"rest\r\n\r\n",
        200,
        closed=True,
    ),
    Case(
        "96 two lengths",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        400,
        "E_HTTP",
        closed=True,
    ),
    Case(
        "96 the same length twice",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        400,
        "E_HTTP",
        closed=True,
    ),
    *(
        Case(
            f"96 length {value}",
            POST + f"Content-Length: {value}\r\n\r\n{{}}".encode(),
            400,
            "E_HTTP",
            closed=True,
        )
        for value in ("-2", "+5", "9" * 23, "0x10", "2, 2", "")
    ),
    Case(
        "97 a length and chunks",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + END,
        400,
        "E_HTTP",
        closed=True,
    ),
    *(
        Case(
            f"98 {value}",
            POST + f"Transfer-Encoding: {value}\r\n\r\n".encode() + WHOLE + END,
            400,
            "E_HTTP",
            closed=True,
        )
        for value in ("xchunked", "gzip, chunked", "chunked, chunked", "identity")
    ),
    Case(
        "98 two codings",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + WHOLE + END,
        400,
        "E_HTTP",
        closed=True,
    ),
    Case("99 chunk size ZZ", CHUNKED + WHOLE + b"ZZ\r\n", 400, "E_HTTP", closed=True),
    Case(
        "99 chunk size beyond any number", CHUNKED + b"F" * 17 + b"\r\n", 400, "E_HTTP", closed=True
    ),
    Case(
        "99 chunk with line feeds alone",
        CHUNKED + WHOLE.replace(b"\r\n", b"\n") + b"0\n\n",
        400,
        "E_HTTP",
        closed=True,
    ),
    Case("99 chunk with another end", CHUNKED + b"2\r\n{}xx" + END, 400, "E_HTTP", closed=True),
    Case(
        "99 chunk extension of 1 MB",
        CHUNKED + b"2;" + b"a" * 2**20 + b"\r\n{}\r\n" + END,
        431,
        "E_HEADERS",
        closed=True,
    ),
    Case(
        "99 trailers are no headers",
        CHUNKED
        + WHOLE
        + (
            b"0\r\nContent-Type: text/plain\r\nX-Request-Timeout-Ms: 0\r\n"
            b"Host: pages.example\r\n\r\n"
        ),
        200,
    ),
    Case(
        "99 64 KB of trailers",
        CHUNKED + WHOLE + b"0\r\n" + b"X: aaaaaaaa\r\n" * 6000 + b"\r\n",
        431,
        "E_HEADERS",
        closed=True,
    ),
    Case("100 bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n", 400, "E_HTTP", closed=True),
    Case("100 a folded header", GET + b"X: a\r\n b\r\n\r\n", 400, "E_HTTP", closed=True),
    Case("100 a space before the colon", GET + b"X : a\r\n\r\n", 400, "E_HTTP", closed=True),
    Case("100 a NUL in a header", GET + b"X: a\0b\r\n\r\n", 400, "E_HTTP", closed=True),
    Case("101 no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "E_HTTP", closed=True),
    Case("101 two Hosts", GET + b"Host: b\r\n\r\n", 400, "E_HTTP", closed=True),
    Case("102 HTTP/1.0", b"GET /v2/health/live HTTP/1.0\r\n\r\n", 200, closed=True),
    Case("103 HTTP/0.9", b"GET /\r\n\r\n", 505, "E_HTTP_VERSION", closed=True),
    Case("103 HTTP/3.7", b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n", 400, "E_HTTP", closed=True),
    Case("103 an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "E_HTTP", closed=True),
    Case(
        "103 a TLS hello",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        400,
        "E_HTTP",
        closed=True,
    ),
    Case(
        "104 200 headers",
        GET + b"".join(b"X-%d: a\r\n" % i for i in range(200)) + b"\r\n",
        431,
        "E_HEADERS",
        closed=True,
    ),
    Case(
        "104 64 KB of header",
        GET + b"X: " + b"a" * 65_536 + b"\r\n\r\n",
        431,
        "E_HEADERS",
        closed=True,
    ),
    Case(
        "104 9 KB of URL",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        414,
        "E_URL",
        closed=True,
    ),
    Case(
        "107 another Expect",
        POST + b"Expect: tea\r\nContent-Length: 2\r\n\r\n{}",
        417,
        "E_EXPECT",
        closed=True,
    ),
    Case(
        "107 a body declared too large is refused without 100",
        POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
        413,
        "E_BODY_BYTES",
        closed=True,
    ),
    Case(
        "108 an upgrade to h2c is ignored",
        GET + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        200,
    ),
    Case(
        "108 an upgrade to a websocket is ignored",
        GET
        + (
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        200,
    ),
    Case(
        "108 an upgrade to h2c with a body",
        POST + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        200,
    ),
    Case(
        "108 an upgrade to h2c with a body in chunks",
        POST + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n" + WHOLE + END,
        200,
    ),
    Case(
        "108 an upgrade with a body of no clear end",
        POST + UPGRADE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + WHOLE + END,
        400,
        "E_HTTP",
        closed=True,
    ),
    Case(
        "109 an absolute URL of another host",
        b"GET http://pages.example/v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
        421,
        "E_HOST",
        closed=True,
    ),
    Case(
        "109 an absolute URL",
        b"GET http://localhost/v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
        200,
    ),
    *(
        Case(f"117 deadline {value}", v1(BODY, X_Request_Timeout_Ms=value), 400, "E_PARAMETER")
        for value in ("0", "-5", "NaN", "1e9", "", "9" * 30)
    ),
    Case("117 deadline of eleven days is clamped", v1(BODY, X_Request_Timeout_Ms="999999999"), 200),
    Case("118 a bad traceparent is ignored", v1(BODY, Traceparent="00-xyz"), 200),
    Case(
        "119 a forged X-Forwarded-For is ignored",
        v1(BODY, X_Forwarded_For="127.0.0.1, " + CANARY),
        200,
    ),
    Case(
        "a request id that is none", v1(b"{", X_Request_Id="a b <script>" + CANARY), 400, "E_JSON"
    ),
    *(
        Case(f"a host that is this server's: {host}", v1(BODY, Host=host), 200)
        for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "10.1.2.3:80")
    ),
    *(
        Case(
            f"a host that may have been rebound: {host}",
            v1(BODY, Host=host),
            421,
            "E_HOST",
            closed=True,
        )
        for host in (f"{CANARY}.example", "a", "", "localhost.example")
    ),
    *(
        Case(
            f"a page of another origin: {value}",
            v1(BODY, **{name: value}),
            403,
            "E_CROSS_SITE",
            closed=True,
        )
        for name, value in FOREIGN
    ),
    *(
        Case(f"a page of this server's: {value}", v1(BODY, **{name: value}), 200)
        for name, value in (
            ("Origin", "http://localhost"),
            ("Sec_Fetch_Site", "same-origin"),
            ("Sec_Fetch_Site", "none"),
        )
    ),
    *(
        Case(f"a slash too many: {path}", request(path, BODY), 200)
        for path in (f"/{PREDICT}", f"{PREDICT}/", PREDICT.replace("/models/", "//models///"))
    ),
    Case("a slash too many, V2", request("//v2/models//tabular/ready/", method="GET"), 200),
    Case(
        "a slash that is part of a name",
        request(PREDICT.replace("/tabular", "/%2ftabular"), BODY),
        404,
    ),
    *(
        Case(f"the other protocol's verb: {path}", request(path, BODY), 404, "E_NOT_FOUND")
        for path in (
            "/v1/models/tabular/infer",
            "/v2/models/tabular:predict",
            "/v1/models/tabular/versions/1.0.0/infer",
            "/v2/models/tabular/versions/1.0.0:predict",
        )
    ),
    Case("a good one", rows(ROW), 200),
    Case("a good one in chunks", CHUNKED + WHOLE + END, 200),
    Case("a good one in gzip", packed(gzip.compress(BODY)), 200),
    Case("a model's own route takes V2 as well", v2({"inputs": []}), 400, "E_SCHEMA"),
]
