"""TLS on accepted connections, between a socket's transport and the protocol that answers.

The standard library's `ssl` has the cryptography. Event loops have such a layer too: uvloop's sends
no alert where a handshake fails, cannot end one direction, and waits for its client's close. Here a
connection over TLS ends as one without does, so that all of `http/connection.py` holds for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_remote_addr

from seatrial_contracts.errors import Refusal
from seatrial_serve.http.browsers import ERROR_HEADERS
from seatrial_serve.http.connection import PEER_NAMES
from seatrial_serve.http.headers import new_request_id
from seatrial_serve.http.status import answer_to
from seatrial_serve.process.certificates import Certificates, Peer, peer_of
from seatrial_serve.process.token_bucket import TokenBucket

log = logging.getLogger("seatrial.tls")
HANDSHAKE_S = 10.0
"""From the connection to the end of its handshake, and how long a refused one is read on."""
MOST_HANDSHAKES = 1024
"""Connections at once whose handshake has not ended; beyond, the oldest is closed."""
CLIENT_SHARE = 4
"""One address may have so small a part of them: a fourth."""
RECORD_BYTES = 16 * 1024
"""The longest of TLS (RFC 8446, 5.1)."""
DROPPED_BYTES = 2**20
"""How much a connection is read on whose handshake failed, so that its client hears why."""
LOGGED_PER_S = 5.0
"""Most lines about handshakes that failed."""
PLAIN = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")
"""OpenSSL's reasons where plain HTTP came."""
MEANINGS = {
    "HTTP_REQUEST": "plain HTTP came: clients want https://",
    "HTTPS_PROXY_REQUEST": "plain HTTP came: clients want https://",
    "WRONG_VERSION_NUMBER": "what came is no TLS",
    "UNSUPPORTED_PROTOCOL": "an older TLS than 1.2",
    "NO_SHARED_CIPHER": "no cipher suite in common: TLS 1.2 needs ECDHE with AES-GCM or ChaCha20",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "a client without a certificate: see --tls-clients",
    "CERTIFICATE_VERIFY_FAILED": "a client's certificate that --tls-client-ca does not vouch for",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust the authority of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client refuses our certificate",
}
"""OpenSSL's reasons in an operator's words."""


class Handshakes:
    """The handshakes on their way, bounded in number: over all, and for one address."""

    def __init__(self, most: int = MOST_HANDSHAKES) -> None:
        self._most, self._most_of_client = max(1, most), max(1, most // CLIENT_SHARE)
        self._all: dict[TlsConnection, None] = {}
        self._clients: dict[str | None, dict[TlsConnection, None]] = {}
        self._lines, self._unsaid = TokenBucket(LOGGED_PER_S), 0

    def __len__(self) -> int:
        return len(self._all)

    def begin(self, connection: TlsConnection, client: str | None) -> None:
        """One begins. If there are too many, the oldest one ends: that of its address first."""
        own = self._clients.setdefault(client, {})
        self._all[connection] = own[connection] = None
        if len(own) > self._most_of_client:
            next(iter(own)).abort()
        elif len(self._all) > self._most:
            next(iter(self._all)).abort()

    def end(self, connection: TlsConnection, client: str | None) -> None:
        """One has ended, or failed."""
        if connection not in self._all:
            return
        del self._all[connection]
        own = self._clients[client]
        del own[connection]
        if not own:
            del self._clients[client]

    def failed(self, client: str | None, why: str) -> None:
        """Log why one failed, some a second at most."""
        if not self._lines.take():
            self._unsaid += 1
            return
        unsaid, self._unsaid = self._unsaid, 0
        more = f" ({unsaid} more before it)" if unsaid else ""
        log.warning("no TLS with %s: %s%s", client or "an unknown address", why, more)

    def abort_all(self) -> None:
        """The server ends."""
        for connection in list(self._all):
            connection.abort()


class TlsConnection(asyncio.Protocol):
    """One connection: the protocol of its socket, and the transport of the protocol above.

    The protocol above begins once the handshake has ended. What it writes goes to the socket's
    transport at once, whose flow control it gets.
    """

    def __init__(
        self, make: Callable[[], asyncio.Protocol], certificates: Certificates, shakes: Handshakes
    ) -> None:
        """`make` makes the protocol above."""
        self._make, self._shakes = make, shakes
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = certificates.current.context.wrap_bio(self._in, self._out, server_side=True)
        self._above: asyncio.Protocol | None = None
        self._ended = False
        """Is nothing written any more?"""
        self._failed, self._dropped_bytes = False, 0
        self._peer: Peer | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the handshake, but not for ever."""
        self._below = transport
        self._loop = asyncio.get_running_loop()
        address = get_remote_addr(transport)
        self._client = address[0] if address else None
        self._timer = self._loop.call_later(HANDSHAKE_S, self._too_slow)
        self._shakes.begin(self, self._client)

    def _too_slow(self) -> None:
        if not self._failed:
            self._shakes.failed(self._client, f"no end of the handshake within {HANDSHAKE_S:g} s")
        self.abort()

    def data_received(self, data: bytes) -> None:
        """What came, in TLS's records."""
        above = self._above
        if above is None:
            self._shake(data)
            return
        if self._ended:  # nobody reads it: it counts, for whoever reads on within bounds
            above.data_received(data)
            return
        coming, tls = self._in, self._tls
        coming.write(data)
        parts, size = [], min(len(data) or RECORD_BYTES, RECORD_BYTES)
        closes = False
        try:
            while coming.pending or tls.pending():
                part = tls.read(size)
                if not part:
                    closes = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            # A record that is not this connection's: what came with it counts for nothing.
            self._flush()
            self.abort()
            return
        if self._out.pending:
            self._flush()
        if parts:
            above.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if closes:
            above.eof_received()
            self.close()

    def _shake(self, data: bytes) -> None:
        if self._failed:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > DROPPED_BYTES:
                self.abort()
            return
        self._in.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(error.reason or "an error")
        else:
            self._shaken()

    def _shaken(self) -> None:
        """The handshake has ended: the protocol above begins."""
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate:
            self._peer = peer_of(certificate)
            if self._peer.expires_s < time.time():  # of a session that was begun before
                self._fail("CERTIFICATE_HAS_EXPIRED")
                return
        self._timer.cancel()
        self._shakes.end(self, self._client)
        self._flush()
        above = self._above = self._make()
        above.connection_made(cast("asyncio.Transport", self))
        if self._in.pending or self._tls.pending():
            self.data_received(b"")

    def _fail(self, reason: str) -> None:
        """Tell the client and the log why there is no TLS; read on until the client has heard."""
        why = MEANINGS.get(reason, reason.lower().replace("_", " "))
        self._shakes.failed(self._client, why)
        self._failed = True
        if reason in PLAIN:
            self._out.read()  # the alert, which such a client cannot read
            self._below.write(plain_http_answer())
        else:
            self._flush()
        self._below.write_eof()

    def _flush(self) -> None:
        data = self._out.read()
        if data:
            self._below.write(data)

    def eof_received(self) -> None:
        """The client ends, with or without a word of TLS; HTTP says itself where messages end."""
        if self._above is not None:
            self._above.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._ended = True
        self._timer.cancel()
        self._shakes.end(self, self._client)
        if self._above is not None:
            self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._above is not None:
            self._above.resume_writing()

    # As a transport, of the protocol above

    def write(self, data: bytes) -> None:
        """Send data, in as many records as that takes."""
        if self._ended or not data:
            return
        tls, size = self._tls, len(data)
        sent = tls.write(data)
        if sent < size:
            rest = memoryview(data)
            while sent < size:
                sent += tls.write(rest[sent:])
        self._below.write(self._out.read())

    def write_eof(self) -> None:
        """End this direction, by TLS's word and TCP's; what comes is still handed on.

        From here on it is handed on as it comes, in records: nobody may take it for more than
        bytes to count.
        """
        self._say_close()
        self._below.write_eof()

    def close(self) -> None:
        """Close, once what was written is sent."""
        self._say_close()
        self._below.close()

    def _say_close(self) -> None:
        """Say that nothing follows (RFC 8446, 6.1). The client's own word is not waited for."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(ssl.SSLError):  # after its own word it looks for the client's
            self._tls.unwrap()
        self._flush()

    def abort(self) -> None:
        """Close at once."""
        self._ended = True
        self._below.abort()

    def is_closing(self) -> bool:
        """Is it closed, or about to be?"""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._below.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`; also `ssl_object`, `sslcontext` and `PEER_NAMES`."""
        if name == PEER_NAMES:
            return () if self._peer is None else self._peer.names_at(time.time())
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._tls.context
        return self._below.get_extra_info(name, default)


def plain_http_answer() -> bytes:
    """What is said, without TLS, to a request that came without."""
    error = Refusal("E_HTTP", "request", "plain HTTP", "TLS", "ask https://")
    request_id = new_request_id()
    status, _, body, _ = answer_to(error, request_id)
    lines = [
        STATUS_LINE[status],
        b"content-type: application/json\r\nx-request-id: %b\r\n" % request_id.encode(),
        *(b"%b: %b\r\n" % header for header in ERROR_HEADERS),
        b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body),
        body,
    ]
    return b"".join(lines)
