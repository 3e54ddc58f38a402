"""Requests at the times at which they are due, whether or not earlier ones were answered.

Run as a process of its own (`play` does): a client in the process of a measurement would delay it.
It reads JSON from its standard input (`address`, `body`, `due`: seconds and model) and writes JSON:
for each request its model, its status, the seconds from when it was due until it was answered, the
seconds for which it waited for a load, and the seconds by which it was sent late.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

Due = tuple[float, str]
"""Seconds from the start, and the model that is asked."""
LOAD = re.compile(rb"^server-timing:.*\bload;dur=([0-9.]+)", re.IGNORECASE | re.MULTILINE)
LENGTH = re.compile(rb"^content-length: *([0-9]+)", re.IGNORECASE | re.MULTILINE)
LEAD_S = 0.5


class Reply(NamedTuple):
    """What came of one request."""

    model: str
    status: int
    seconds: float
    """From when it was due."""
    load_s: float
    """For how long it waited for its model to be loaded; 0 where the model was there."""
    late_s: float
    """How much later than due it was sent."""


def play(address: str, due: Sequence[Due], body: bytes, core: int | None = None) -> list[Reply]:
    """Send requests as they are due, from another process, on one core if it is named."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    told = {"address": address, "body": body.decode(), "due": list(due)}
    done = subprocess.run(
        [*pinned, sys.executable, __file__],
        input=json.dumps(told), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return [Reply(*each) for each in json.loads(done.stdout)]


class Client:
    """Connections that are kept, as many as there are requests on their way."""

    def __init__(self, address: str, body: bytes) -> None:
        self._host, _, port = address.partition(":")
        self._port, self._body, self._address = int(port), body, address
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, model: str) -> tuple[int, float]:
        """Status, and seconds that the request waited for a load."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(
            f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: {self._address}\r\n"
            f"Content-Type: application/json\r\nX-Server-Timing: 1\r\n"
            f"Content-Length: {len(self._body)}\r\n\r\n".encode()
            + self._body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length, load = LENGTH.search(head), LOAD.search(head)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), float(load[1]) / 1e3 if load is not None else 0.0

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()


async def send(address: str, body: bytes, due: Sequence[Due]) -> list[Reply]:
    """Send each request when it is due."""
    client, found, begin = Client(address, body), list[Reply](), time.perf_counter() + LEAD_S

    async def one(at: float, model: str) -> None:
        late_s = time.perf_counter() - begin - at
        status, load_s = await client.ask(model)
        found.append(Reply(model, status, time.perf_counter() - begin - at, load_s, late_s))

    async with asyncio.TaskGroup() as tasks:
        for at, model in due:
            await asyncio.sleep(max(begin + at - time.perf_counter(), 0))
            tasks.create_task(one(at, model))
    client.close()
    return found


def main() -> None:
    """Play what the standard input says."""
    told = json.loads(sys.stdin.read())
    json.dump(asyncio.run(send(told["address"], told["body"].encode(), told["due"])), sys.stdout)


if __name__ == "__main__":
    main()
