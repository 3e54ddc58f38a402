"""Fifty scrapers at once, every second, and five that hang mid-response: what they cost everyone else.

    python benchmarks/scrapers.py [SECONDS]

Good requests go out at a steady rate, as in `slow.py`, without and with the scrapers, in turns.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from slow import TURNS, good, seal, show
from soak import PORT, wait_until_ready

METRICS_PORT, SCRAPERS, HANGING = PORT + 2, 50, 5
ASK = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def scrape() -> None:
    """Once, to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", METRICS_PORT)
    writer.write(ASK)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def scrape_all() -> None:
    """All at once, every second."""
    while True:
        pause = asyncio.create_task(asyncio.sleep(1))
        await asyncio.gather(*(scrape() for _ in range(SCRAPERS)))
        await pause


def hang() -> socket.socket:
    """A scraper that reads no more than the beginning."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", METRICS_PORT))
    sock.sendall(ASK)
    sock.recv(100)
    return sock


def main(seconds: float) -> None:
    """Print both sides of every turn."""
    for turn in range(TURNS):
        alone = asyncio.run(good(seconds))
        hanging = [hang() for _ in range(HANGING)]
        scrapers = subprocess.Popen(["nice", "-n", "10", sys.executable, __file__, "--scrape"])
        scraped = asyncio.run(good(seconds))
        scrapers.terminate()
        scrapers.wait()
        for sock in hanging:
            sock.close()
        show(turn, alone=alone, scraped=scraped)


if __name__ == "__main__":
    if "--scrape" in sys.argv:
        asyncio.run(scrape_all())
        sys.exit()
    with tempfile.TemporaryDirectory() as scratch:
        seal(Path(scratch))
        server = subprocess.Popen([
            sys.executable, "-m", "seatrial", "serve", scratch, "--http-port", str(PORT), "--no-grpc", "--metrics-port", str(METRICS_PORT), "--log-level", "error",
        ])  # fmt: skip
        wait_until_ready()
        try:
            main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
        finally:
            server.terminate()
            server.wait(60)
