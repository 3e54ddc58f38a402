"""Serve from Python: a server in a thread, for notebooks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import seatrial_contracts.bundle as sealed
from seatrial_contracts.errors import MissingExtra

if TYPE_CHECKING:
    from seatrial_serve.thread_server import ThreadServer

IN_A_THREAD: dict[str, Any] = {
    "http_port": 0,
    "grpc_port": 0,
    "metrics_port": 0,
    "grpc": False,
    "metrics": False,
    "drain_window_s": 0,
}
"""Settings that are others than those of `seatrial serve`: free ports, and no more than HTTP."""


def serve(*bundles: sealed.Bundle | str | Path, **settings: Any) -> ThreadServer:
    """Serve bundles over HTTP in a thread of this process; return once every model takes traffic.

        with st.serve("bundles") as server:
            st.Client(server.url).predict(row)

    `bundles` are folders of bundles, a bundle's own folder, opened bundles or addresses, as for
    `seatrial serve`; "bundles" where none is named. `settings` are those of `seatrial serve`, by
    their names: `http_port=8000`. Unless they say otherwise, HTTP listens on a free port of the
    loopback, and gRPC and metrics are off (`grpc=True`, `metrics=True`).

    `server.url` is its address. Leaving the `with` block, or `server.stop()`, answers what is on
    its way and ends the thread. Raises `DeclarationError` for settings that cannot be used,
    `ModelError` for a model that fails its load gate, and `MissingExtra`.
    """
    try:
        from seatrial_serve.settings import load_settings
        from seatrial_serve.thread_server import ThreadServer
    except ModuleNotFoundError as error:
        raise MissingExtra("st.serve", "serve") from error
    addresses = tuple(
        str(each.path if isinstance(each, sealed.Bundle) else each) for each in bundles
    )
    chosen = load_settings(None, bundles=addresses or None, **(IN_A_THREAD | settings))
    return ThreadServer(chosen).start()
