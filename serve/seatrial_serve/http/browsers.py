"""Headers for browsers that keep an answer of this server to itself.

Nothing else is loaded, run or framed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

FRAME = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
DATA_POLICY = f"default-src 'none'; {FRAME}"
"""Of answers that are no pages: whatever a browser makes of them loads and runs nothing."""
CONSOLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self'; "
    f"{FRAME}; require-trusted-types-for 'script'; trusted-types 'none'"
)
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""With every answer of the framework's routes."""
NO_SNIFF = (b"x-content-type-options", b"nosniff")
"""With every prediction: a browser takes it for nothing else than its type says."""
POLICY = "Content-Security-Policy"
ERROR_HEADERS = tuple(
    (name.lower().encode(), value.encode())
    for name, value in (HEADERS | {POLICY: DATA_POLICY}).items()
)
"""The same, as ASGI has them, for answers that bring no policy of their own."""


def with_policy(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers, and those of `ERROR_HEADERS` that it does not bring itself.

    Names are lower case, as ASGI has them.
    """
    own = dict(headers)
    return [*own.items(), *(header for header in ERROR_HEADERS if header[0] not in own)]


def docs_policy(page: str) -> str:
    """Return the policy of the API's pages: Swagger UI's own files, and one inline script.

    The script that stands in the page is allowed by its hash (CSP Level 3, 6.7.3.2).
    """
    digests = [hashlib.sha256(script.encode()).digest() for script in INLINE_SCRIPT.findall(page)]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data:; connect-src 'self'; {FRAME}"
    )
