"""1,000 connections that send headers slowly, 1,000 that send a body slowly and 1,000 that send nothing: what they cost everyone else.

    python benchmarks/slow.py [SECONDS]

Good requests go out at a steady rate (open loop, latency from the scheduled time) without and with the slow ones, in turns.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "oip"), str(ROOT / "tests" / "refusals")]
from case import ROW, rows  # noqa: E402  (found through the line above)
from sealed import seal  # noqa: E402
from soak import PORT, wait_until_ready  # noqa: E402

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
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
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


async def attack(first: bytes, data: bytes, stop: asyncio.Event, began: asyncio.Semaphore) -> None:
    """One connection after another that sends `first` at once and `data` a byte each second."""
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            began.release()
            writer.write(first)
            for byte in data:
                writer.write(bytes([byte]))
                if await left(reader, stop):
                    break
            while not data and not await left(reader, stop):
                pass
            writer.close()
        except OSError:
            await asyncio.sleep(0.1)


async def left(reader: asyncio.StreamReader, stop: asyncio.Event) -> bool:
    """After a second: was the connection closed, or is it over?"""
    try:
        async with asyncio.timeout(1.0):
            return await reader.read(1000) == b"" or True
    except TimeoutError:
        return stop.is_set()


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


async def main(seconds: float) -> None:
    """Print both sides of every turn."""
    for turn in range(TURNS):
        calm = p99(await good(seconds))
        stop, began = asyncio.Event(), asyncio.Semaphore(0)
        kinds = ((b"", GOOD[:HEAD]), (GOOD[:HEAD], GOOD[HEAD:]), (b"", b""))
        tasks = [asyncio.create_task(attack(first, data, stop, began)) for first, data in kinds for _ in range(EACH)]
        for _ in tasks:
            await began.acquire()
        harassed = p99(await good(seconds))
        stop.set()
        await asyncio.gather(*tasks)
        print(
            json.dumps(
                {"turn": turn, "p99 ms alone": round(calm, 2), f"p99 ms with {len(tasks)} slow": round(harassed, 2)}
            ),
            flush=True,
        )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as scratch:
        seal(Path(scratch))
        server = subprocess.Popen([
            sys.executable, "-m", "seatrial", "serve", scratch, "--http-port", str(PORT), "--no-grpc", "--no-metrics", "--log-level", "error",
        ])  # fmt: skip
        wait_until_ready()
        try:
            asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
        finally:
            server.terminate()
            server.wait(60)
