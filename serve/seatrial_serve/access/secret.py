"""Keys: how one is made, what of it is kept, and how it is verified.

A key is `st_ID_SECRET`. ID names it in lists and logs; SECRET has 256 random bits. Of SECRET the
file keeps an scrypt hash (RFC 7914).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

PREFIX = "st"
KEY = re.compile(r"st_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
LOG_N, BLOCK, LANES = 14, 8, 1
"""scrypt's cost: N = 2**14, r = 8, p = 1 take 16 MiB and some 50 ms."""
HASH = re.compile(r"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2}):([A-Za-z0-9_-]{22}):([A-Za-z0-9_-]{43})")
MOST_BYTES = 256 * 2**20
"""Memory that a hash of a file may ask for."""


class Hash(NamedTuple):
    """What is kept of a secret."""

    log_n: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Hash:
        """Read its written form. Raises `ValueError`."""
        match = HASH.fullmatch(text)
        if match is None:
            raise ValueError("scrypt:LOG_N:R:P:SALT:HASH, as `seatrial keys new` writes it")
        log_n, block, lanes = map(int, match.group(1, 2, 3))
        if not (log_n >= 1 and block and lanes and 128 * block * 2**log_n <= MOST_BYTES):
            raise ValueError(f"a cost of at most {MOST_BYTES} bytes of memory")
        return cls(log_n, block, lanes, unpack(match[4]), unpack(match[5]))

    def __str__(self) -> str:
        cost = f"{self.log_n}:{self.block}:{self.lanes}"
        return f"scrypt:{cost}:{pack(self.salt)}:{pack(self.digest)}"

    def fits(self, secret: str) -> bool:
        """Is it the hash of this secret? Takes some 50 ms, and lets other threads run."""
        return hmac.compare_digest(self.digest, self.of(secret))

    def of(self, secret: str) -> bytes:
        """The secret's digest at the same cost."""
        return hashlib.scrypt(
            secret.encode(), salt=self.salt, n=2**self.log_n, r=self.block, p=self.lanes,
            maxmem=2 * MOST_BYTES, dklen=32,
        )  # fmt: skip


def new_key() -> tuple[str, str, Hash]:
    """Return a new key, its id, and what is to be kept of it."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"{PREFIX}_{key_id}_{secret}", key_id, hash_of(secret)


def hash_of(secret: str) -> Hash:
    """What is kept of a secret."""
    empty = Hash(LOG_N, BLOCK, LANES, secrets.token_bytes(16), b"")
    return empty._replace(digest=empty.of(secret))


def parts_of(key: str) -> tuple[str, str] | None:
    """A key's id and secret; None if it is no key."""
    match = KEY.fullmatch(key)
    return None if match is None else (match[1], match[2])


def pack(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpack(text: str) -> bytes:
    """The bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
