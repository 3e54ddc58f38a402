"""The cost of slow connections to everyone else.

    python benchmarks/load/slow.py [SECONDS]

1,000 connections send headers slowly, 1,000 send a body slowly and 1,000 send nothing. Good
requests go out at a steady rate (open loop, latency from the scheduled time) without and with the
slow ones, in turns.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from refusals.case import ROW, rows  # noqa: E402  (found through the line above)
from refusals.sealed import seal  # noqa: E402  (as above)
from soak import PORT, wait_until_ready  # noqa: E402  (as above)

RATE, EACH, TURNS = 200, 1000, 3
GOOD = rows(ROW)
HEAD = GOOD.index(b"\r\n\r\n") + 4


async def good(seconds: float) -> list[float]:
    """Latencies of requests sent at a steady rate over eight connections, in milliseconds."""
    lanes = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(8)]
    took: list[float] = []

    async def ask(lane: int, at: float) -> None:
        reader, writer = lanes[lane]
        writer.write(GOOD)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(
            int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        )
        took.append((time.perf_counter() - at) * 1e3)

    begun, waiting = time.perf_counter(), [asyncio.Lock() for _ in lanes]

    async def in_turn(place: int) -> None:
        at = begun + place / RATE
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        async with waiting[place % len(lanes)]:
            await ask(place % len(lanes), at)

    await asyncio.gather(*(in_turn(place) for place in range(int(seconds * RATE))))
    for _, writer in lanes:
        writer.close()
    return took


async def attack(first: bytes, data: bytes, began: asyncio.Semaphore) -> None:
    """One connection after another that sends `first` at once and `data` a byte each second."""
    await asyncio.sleep(random.random() * 5)  # not all at once
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            began.release()
            writer.write(first)
            for byte in data:
                writer.write(bytes([byte]))
                if await closed(reader):
                    break
            while not data and not await closed(reader):
                pass
            writer.close()
        except OSError:
            await asyncio.sleep(1)


async def closed(reader: asyncio.StreamReader) -> bool:
    """After a second, or when the connection was closed: was it?"""
    try:
        async with asyncio.timeout(1.0):
            await reader.read(1000)
    except TimeoutError:
        return False
    return True


async def attack_all() -> None:
    """The attackers' own process: says when every connection stands."""
    began = asyncio.Semaphore(0)
    kinds = ((b"", GOOD[:HEAD]), (GOOD[:HEAD], GOOD[HEAD:]), (b"", b""))
    tasks = [
        asyncio.create_task(attack(first, data, began))
        for first, data in kinds
        for _ in range(EACH)
    ]
    for _ in tasks:
        await began.acquire()
    print("all there", flush=True)
    await asyncio.gather(*tasks)


def start(bundles: str, port: int, *flags: str) -> subprocess.Popen[bytes]:
    """A server that says little."""
    common = ["--http-port", str(port), "--no-grpc", "--log-level", "error"]
    return subprocess.Popen([sys.executable, "-m", "seatrial", "serve", bundles, *common, *flags])


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def show(turn: int, **sides: list[float]) -> None:
    """Print a turn's latencies."""
    said = {
        f"{name} {what}": round(value(took), 2)
        for name, took in sides.items()
        for what, value in (("p50 ms", statistics.median), ("p99 ms", p99))
    }
    print(json.dumps({"turn": turn, **said}), flush=True)


def main(seconds: float) -> None:
    """Print both sides of every turn."""
    for turn in range(TURNS):
        calm = asyncio.run(good(seconds))
        attackers = subprocess.Popen(
            ["nice", "-n", "10", sys.executable, __file__, "--attack"], stdout=subprocess.PIPE
        )
        assert attackers.stdout is not None
        attackers.stdout.readline()
        harassed = asyncio.run(good(seconds))
        attackers.terminate()
        attackers.wait()
        attackers.stdout.close()
        show(turn, alone=calm, harassed=harassed)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if "--attack" in sys.argv:
        asyncio.run(attack_all())
        sys.exit()
    with tempfile.TemporaryDirectory() as scratch:
        seal(Path(scratch))
        server = start(scratch, PORT, "--no-metrics")
        wait_until_ready()
        try:
            main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
        finally:
            server.terminate()
            server.wait(60)
