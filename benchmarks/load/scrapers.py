"""Fifty scrapers at once, every second, and five that hang mid-response: their cost to the others.

    python benchmarks/load/scrapers.py [SECONDS]

Good requests go out at a steady rate, as in `slow.py`, in turns: alone, while another server is
scraped, which takes no traffic, and while theirs is. The second figure shows how much of the
machine the scrapers themselves take.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from slow import TURNS, good, seal, show, start
from soak import PORT, wait_until_ready

METRICS_PORT, SCRAPERS, HANGING = PORT + 2, 50, 5
OTHER_PORT = PORT + 10
ASK = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


async def scrape(port: int) -> None:
    """Once, to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def scrape_all(port: int) -> None:
    """All at once, every second."""
    while True:
        pause = asyncio.create_task(asyncio.sleep(1))
        await asyncio.gather(*(scrape(port) for _ in range(SCRAPERS)))
        await pause


def hang(port: int) -> socket.socket:
    """A scraper that reads no more than the beginning."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", port))
    sock.sendall(ASK)
    sock.recv(100)
    return sock


def scraped(seconds: float, port: int) -> list[float]:
    """The latencies of good requests while the metrics at `port` are scraped."""
    hanging = [hang(port) for _ in range(HANGING)]
    scrapers = subprocess.Popen(
        ["nice", "-n", "10", sys.executable, __file__, "--scrape", str(port)]
    )
    took = asyncio.run(good(seconds))
    scrapers.terminate()
    scrapers.wait()
    for sock in hanging:
        sock.close()
    return took


def main(seconds: float) -> None:
    """Print every side of every turn."""
    for turn in range(TURNS):
        alone = asyncio.run(good(seconds))
        elsewhere = scraped(seconds, OTHER_PORT + 2)
        show(turn, alone=alone, elsewhere=elsewhere, scraped=scraped(seconds, METRICS_PORT))


if __name__ == "__main__":
    if "--scrape" in sys.argv:
        asyncio.run(scrape_all(int(sys.argv[-1])))
        sys.exit()
    with tempfile.TemporaryDirectory() as scratch:
        seal(Path(scratch))
        servers = [
            start(scratch, port, "--metrics-port", str(port + 2)) for port in (PORT, OTHER_PORT)
        ]
        wait_until_ready()
        try:
            main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
        finally:
            for server in servers:
                server.terminate()
                server.wait(60)
