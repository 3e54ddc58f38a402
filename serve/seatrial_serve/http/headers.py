"""What request headers say: the request's id, and the type of its body."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from seatrial_contracts.errors import Refusal
from seatrial_serve.http.body import UTF8

REQUEST_ID_HEADER = b"x-request-id"
CONTENT_TYPE = b"content-type"


REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


CHARSET = re.compile(rb"(?i:charset)\s*=\s*\"?([^\s;\"]*)")


JSON_TYPES = frozenset({b"", b"application/json", b"application/octet-stream"})


@lru_cache(maxsize=256)
def is_file(content_type: bytes, media_types: tuple[str, ...] | None) -> bool:
    """Is the body a raw file (True) or JSON (False), as its type says, empty where there is none?

    `media_types`: those of a contract that takes files, None for others. Raises `Refusal` for what
    is neither.
    """
    media, _, parameters = content_type.partition(b";")
    media = media.strip().lower()
    charset = CHARSET.search(parameters) if parameters else None
    if charset is not None and charset[1].lower() not in UTF8:
        raise Refusal("E_CONTENT_TYPE", "header Content-Type", "another charset", "utf-8")
    if media_types is not None and (
        media == b"application/octet-stream" or media.partition(b"/")[0] in tops(media_types)
    ):
        return True
    if media not in JSON_TYPES:
        files = f" or {', '.join(media_types)}" if media_types else ""
        want = f"application/json{files}"
        mend = "send 'Content-Type: application/json' with JSON, as curl's --json does"
        raise Refusal("E_CONTENT_TYPE", "header Content-Type", "another type", want, mend)
    return False


def tops(media_types: Sequence[str]) -> set[bytes]:
    """The top level types of these: b"image" of "image/png"."""
    return {media.partition("/")[0].encode() for media in media_types}


def request_id_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's own request id, where it sent a plain one; else a new one."""
    value = headers.get(REQUEST_ID_HEADER)
    return value.decode() if value and REQUEST_ID.fullmatch(value) else new_request_id()


def new_request_id() -> str:
    """Return an id that no other request has.

    It is no secret, and so not from the system's own randomness, which takes six times as long.
    """
    return f"{random.getrandbits(128):032x}"
