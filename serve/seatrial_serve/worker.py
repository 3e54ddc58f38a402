"""A worker: the server as one of several processes.

Its supervisor names what to serve and on which socket.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.access.access import open_access
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.repository import open_repository
from seatrial_serve.process.audit_log import recording
from seatrial_serve.process.log import LogSink, start_log
from seatrial_serve.process.reloads import Reloads
from seatrial_serve.server import open_certificates, run_server
from seatrial_serve.settings import Settings

log = logging.getLogger("seatrial.worker")


def main() -> None:
    """Serve until the supervisor ends the worker, or is gone.

    If the supervisor is gone, its end of our stdin is closed.

    The supervisor starts the worker with SIGHUP held back, so that a reload may be asked for before
    a handler is there.
    """
    reloads = Reloads()
    told = json.loads(sys.stdin.readline())
    settings = Settings(**told["settings"])
    sink = start_log(settings.log_level, settings.log_format)
    threading.Thread(target=stop_without_supervisor, daemon=True).start()
    try:
        run(
            settings,
            socket.socket(fileno=told["socket"]),
            sink,
            reloads,
            joining=told["joining"],
            engine_addresses=[*map(Path, told["engine_addresses"])],
            stores=Path(told["stores"]) if told["stores"] else None,
        )
    except SeatrialError as error:
        log.error("not started: %s", error)
        sys.exit(1)


def run(
    settings: Settings, listening: socket.socket, sink: LogSink, reloads: Reloads, *,
    joining: bool, engine_addresses: Sequence[Path], stores: Path | None,
) -> None:  # fmt: skip
    """Serve on a socket that listens already. Raises a `SeatrialError` where it cannot start.

    `stores`: the file by which the supervisor tells of them; None: there are none.
    """
    metrics = Metrics(on=settings.metrics)
    sink.on_drop = metrics.families.log_dropped.inc
    with recording(settings.audit_log), open_access(settings.api_keys) as access:
        repository = open_repository(settings, stores)
        certificates = open_certificates(settings, metrics)
        run_server(
            settings, repository, listening, metrics, reloads, access, certificates,
            joining=joining, settled=say_settled, engine_addresses=engine_addresses,
        )  # fmt: skip


def say_settled() -> None:
    """Tell the supervisor that every model has been loaded, or has failed."""
    sys.stdout.write("settled\n")
    sys.stdout.flush()


def stop_without_supervisor() -> None:
    """Drain once the supervisor is gone."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
