"""Replies compressed where a client takes it."""

from __future__ import annotations

import zlib

from seatrial_serve.api.exchange import Reply

WORTH_COMPRESSING_BYTES = 4096


def compressed(reply: Reply, accepted: bytes | None) -> Reply:
    """Return the reply in gzip or deflate, if its client takes one and it is large enough.

    A small reply is not worth the encoding.
    """
    if accepted is None or len(reply.body) < WORTH_COMPRESSING_BYTES:
        return reply
    offered = {
        item.partition(b";")[0].strip()
        for item in accepted.lower().split(b",")
        if not item.replace(b" ", b"").endswith((b";q=0", b";q=0.0"))
    }
    encoding = next((name for name in (b"gzip", b"deflate") if name in offered), None)
    if encoding is None:
        return reply
    packer = zlib.compressobj(1, wbits=31 if encoding == b"gzip" else 15)
    body = packer.compress(reply.body) + packer.flush()
    headers = [*reply.headers, (b"content-encoding", encoding), (b"vary", b"accept-encoding")]
    return reply._replace(body=body, headers=headers)
