"""Paths as clients write them.

A slash too many leads to the same route, and a model's name ends where its verb begins.
"""

from __future__ import annotations

import re

from starlette.convertors import StringConvertor, register_url_convertor

from seatrial_serve.http.body import Scope

SLASHES = re.compile("//+")
ADMIN = "/v2/repository/models/"
"""The prefix of administration, whose paths must be exact.

A proxy's rule on a path must not be passed by another spelling of the path.
"""


def tidy_path(scope: Scope) -> bool:
    """Leave out doubled slashes and the last one; return False if there are none.

    Slashes are those that the client wrote as such: `%2F` is part of a name.
    """
    raw, path = scope.get("raw_path", b""), scope["path"]
    if not (b"//" in raw or raw.endswith(b"/")) or b"%2f" in raw.lower():
        return False
    tidy = SLASHES.sub("/", path).rstrip("/") or "/"
    if tidy == path or tidy.startswith(ADMIN):
        return False
    scope["path"], scope["raw_path"] = tidy, re.sub(rb"//+", b"/", raw).rstrip(b"/") or b"/"
    return True


class NameConvertor(StringConvertor):
    """A model's name in a path: it holds no colon, after which a verb comes."""

    regex = "[^/:]+"


register_url_convertor("name", NameConvertor())
