"""The engine process: it alone holds the models' graphs, for several workers.

Its supervisor names the settings and the address to listen at.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import uvloop

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.engines.host import EngineHost
from seatrial_serve.engines.loader import EngineLoader
from seatrial_serve.models.loader import open_identities
from seatrial_serve.process.log import start_log
from seatrial_serve.process.memory import give_memory_back, rarely_collect_all
from seatrial_serve.process.resources import plan_threads, usable_cores
from seatrial_serve.scheduling.fair_order import FinishOrder
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings

log = logging.getLogger("seatrial.engine_process")


def main() -> None:
    """Run batches until the supervisor ends the process, or is gone."""
    told = json.loads(sys.stdin.readline())
    settings = Settings(**told["settings"])
    start_log(settings.log_level, settings.log_format)
    try:
        uvloop.run(run(settings, Path(told["address"])))
    except SeatrialError as error:
        log.error("not started: %s", error)
        sys.exit(1)


async def run(settings: Settings, address: Path) -> None:
    """Listen at an address until SIGTERM. Raises `DeclarationError` and `MissingExtra`."""
    rarely_collect_all()
    plan, stopped = plan_threads(settings.threads or usable_cores()), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the workers reload
    identities = open_identities(settings)
    with (
        ThreadPoolExecutor(plan.runs, thread_name_prefix="seatrial-load") as loads,
        FairPool(plan.runs, "cores", FinishOrder) as cores,
    ):
        host = EngineHost(
            EngineLoader(settings, plan), identities, loads, cores,
            runs=plan.runs, max_waiting_rows=settings.max_waiting_rows * settings.workers,
            tidy=give_memory_back,
        )  # fmt: skip
        server = await loop.create_unix_server(host.connection, sock=listening(address))
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        orphaned = asyncio.Event()
        wait = partial(wait_for_orphan, loop, orphaned)
        threading.Thread(target=wait, daemon=True).start()
        end = loop.create_task(end_alone(host, orphaned, stopped))
        await stopped.wait()
        end.cancel()
        server.close()
        await host.close()


def listening(address: Path) -> socket.socket:
    """A socket at an address, in the place of that of a process before this one."""
    address.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(address))
    made.setblocking(False)
    return made


def wait_for_orphan(loop: asyncio.AbstractEventLoop, orphaned: asyncio.Event) -> None:
    """Say when the supervisor is gone: its end of our standard input is closed."""
    sys.stdin.read()
    loop.call_soon_threadsafe(orphaned.set)


async def end_alone(host: EngineHost, orphaned: asyncio.Event, stopped: asyncio.Event) -> None:
    """Once the supervisor is gone, end with the last of the workers, which drain."""
    await orphaned.wait()
    await host.alone.wait()
    stopped.set()


if __name__ == "__main__":
    main()
