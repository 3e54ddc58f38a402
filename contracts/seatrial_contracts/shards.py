"""Digests of large files: a gigabyte at a time, several side by side."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from seatrial_contracts.plain_file import open_plain_file

SHARD_BYTES = 10**9
"""Source: OpenSSF Model Signing 1.0, serialisation method "shards"."""
CHUNK_BYTES = 2**22
"""What a thread holds of a file while it hashes."""
MOST_THREADS = 8


class Shard(NamedTuple):
    """A part of a file, from `start` to `end` in bytes."""

    name: str
    """As OpenSSF Model Signing writes it: `path:start:end`."""
    start: int
    end: int


def shards_of(name: str, size: int) -> tuple[Shard, ...]:
    """The gigabytes of a file of `size` bytes; none of a file that has one at most."""
    if size <= SHARD_BYTES:
        return ()
    ends = ((start, min(start + SHARD_BYTES, size)) for start in range(0, size, SHARD_BYTES))
    return tuple(Shard(f"{name}:{start}:{end}", start, end) for start, end in ends)


def digests(path: Path, size: int, parts: Sequence[Shard]) -> list[str]:
    """SHA-256 of each part of a plain file, each byte of which is read once for each part it is in.

    A part that the file is too short for has the digest of what is there. Raises `NotPlainFile`
    where the file is none or has more than `size` bytes, and `OSError`.
    """
    with open_plain_file(path, size) as (file, _):
        place = file.fileno()
        return _of_each(lambda part: _digest(place, part.start, part.end), parts)


def digests_in_memory(data: memoryview, parts: Sequence[Shard]) -> list[str]:
    """SHA-256 of each part of what is in memory."""
    return _of_each(lambda part: hashlib.sha256(data[part.start : part.end]).hexdigest(), parts)


def _of_each(digest: Callable[[Shard], str], parts: Sequence[Shard]) -> list[str]:
    """The digests of parts, side by side where there are several."""
    threads = min(len(parts), MOST_THREADS, os.cpu_count() or 1)
    if threads <= 1:
        return [digest(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(digest, parts))


def _digest(file: int, start: int, end: int) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file, start, end):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: int, start: int, end: int) -> Iterator[memoryview]:
    """Yield what lies between two places; the memory of one chunk is that of the next."""
    held = memoryview(bytearray(min(CHUNK_BYTES, max(end - start, 1))))
    while start < end:
        size = os.preadv(file, [held[: min(len(held), end - start)]], start)
        if not size:
            return
        yield held[:size]
        start += size
