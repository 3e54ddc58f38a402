"""The metrics' own listener, in a thread of its own.

Scrapes never wait behind traffic, nor traffic behind scrapes.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.metrics_core import Metric

from seatrial_contracts.errors import SeatrialError
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Caller, Scope
from seatrial_serve.http.browsers import ERROR_HEADERS
from seatrial_serve.http.connection import PEER_NAMES, Asked, StrictProtocol
from seatrial_serve.http.headers import request_id_of
from seatrial_serve.http.hosts import AllowedHosts
from seatrial_serve.http.sockets import listen
from seatrial_serve.http.status import answer_to, error_body
from seatrial_serve.observers.refused import record_refusal
from seatrial_serve.observers.request_log import RequestLog
from seatrial_serve.process.clock import now_s
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from seatrial_serve.process.certificates import Certificates

PATH = "/metrics"
MOST_CONNECTIONS = 100
"""Most connections; beyond, idle ones are closed to make room.

If there are no idle ones, a scraper is answered 503 at once.
"""
SHARE = 0.05
"""The share of a thread's time that writing metrics may take.

Scrapes that come meanwhile wait for the next text, and share it.
"""

LONGEST_REST_S = 1.0


class Text(NamedTuple):
    """The metrics in one format."""

    body: bytes
    media_type: str = "application/json"
    packed: bool = False
    """Is it gzipped?"""


class Kind(NamedTuple):
    """What scrapes share a text by."""

    media_type: str
    packed: bool
    caller: Caller | None
    """Whose models are in it; None: all of them."""


class YieldingRegistry:
    """A registry read family by family, each time letting other threads go first."""

    def __init__(self, registry: CollectorRegistry, caller: Caller | None = None) -> None:
        """`caller`: whose models are shown; None: all of them."""
        self._registry, self._caller = registry, caller

    def collect(self) -> Iterator[Metric]:
        """What the registry collects; of models, those of its caller."""
        for family in self._registry.collect():
            yield family if self._caller is None else of_its_models(family, self._caller)
            time.sleep(0)  # gives the interpreter to the event loop, where that waits for it


def of_its_models(family: Metric, caller: Caller) -> Metric:
    """A family without the series of models that a caller may not see."""
    shown = copy(family)
    shown.samples = [
        sample for sample in family.samples
        if not sample.labels.get("model") or caller.may(Scope.METRICS, sample.labels["model"])
    ]  # fmt: skip
    return shown


class MetricsApp:
    """ASGI: the metrics at `/metrics`, as the scraper's `Accept` has them.

    Each text is shared by all scrapers who waited for it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        before: Callable[[], None],
        access: Access | None = None,
    ) -> None:
        """`before` is called before each text is written."""
        self._access = access
        self._registry, self._before = registry, before
        self._next: dict[Kind, asyncio.Task[Text]] = {}
        self._again_at_s = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002  (ASGI)
        """Answer a scrape."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        request_id = request_id_of(dict(scope["headers"]))
        if scope["path"] != PATH:
            await answer(
                send, 404, Text(error_body(f"path: want {PATH}", "E_NOT_FOUND", request_id))
            )
        elif scope["method"] not in ("GET", "HEAD"):
            await answer(send, 405, Text(error_body("method: want GET", "E_METHOD", request_id)))
        else:
            try:
                caller = await self._let_in(scope)
            except SeatrialError as refused:
                status, _, body, extra = answer_to(refused, request_id)
                await answer(send, status, Text(body), extra)
                return
            accept = headers.get(b"accept", "")
            packed = gzip_accepted(headers.get(b"accept-encoding", ""))
            kind = Kind(choose_encoder(accept)[1], packed, caller)
            await answer(send, 200, await self._text(accept, kind))

    async def _let_in(self, scope: Any) -> Caller | None:
        """Whose models a scraper is shown; None: all of them. Raises `SeatrialError`."""
        if self._access is None:
            return None
        client = scope.get("client")
        caller = await self._access.caller_of(
            scope["headers"], client[0] if client else None, scope.get(PEER_NAMES, ())
        )
        caller.check(Scope.METRICS)
        caller.count()
        return None if caller.may_all(Scope.METRICS) else caller

    async def _text(self, accept: str, kind: Kind) -> Text:
        """The next text of this kind: written after the scrape came, so it is never old."""
        task = self._next.get(kind)
        if task is None:
            task = self._next[kind] = asyncio.create_task(self._write(accept, kind))
        return await asyncio.shield(task)

    async def _write(self, accept: str, kind: Kind) -> Text:
        await asyncio.sleep(max(self._again_at_s - now_s(), 0.0))
        del self._next[kind]  # whoever comes from here on wants a newer one
        start = now_s()
        self._before()
        body: bytes = choose_encoder(accept)[0](YieldingRegistry(self._registry, kind.caller))
        body = gzip.compress(body, 1) if kind.packed else body
        self._again_at_s = now_s() + min((now_s() - start) * (1 / SHARE - 1), LONGEST_REST_S)
        return Text(body, kind.media_type, kind.packed)


async def answer(
    send: Any, status: int, text: Text, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send one answer, with `more` headers."""
    headers = [
        (b"content-type", text.media_type.encode()),
        (b"content-length", b"%d" % len(text.body)),
        *more,
    ]
    headers += ERROR_HEADERS
    if text.packed:
        headers.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.body})


def over_tls(
    make: Callable[..., asyncio.Protocol], certificates: Certificates | None
) -> Callable[..., asyncio.Protocol]:
    """What makes a connection's protocol, over TLS where there are certificates."""
    if certificates is None:
        return make
    from seatrial_serve.http.tls import Handshakes, TlsConnection

    shakes = Handshakes(MOST_CONNECTIONS)
    return lambda **options: TlsConnection(partial(make, **options), certificates, shakes)


class MetricsListener:
    """MetricsApp on a port of its own.

    Slow senders and readers are cut off as on the main port.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        settings: Settings,
        before: Callable[[], None] = lambda: None,
        access: Access | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        """Serve, with `certificates` over TLS.

        Raises `DeclarationError` where the port is taken.
        """
        sock = listen(settings.host, settings.metrics_port, "--metrics-port")
        self.port: int = sock.getsockname()[1]
        observers = (RequestLog(settings.logged_per_s),)

        def refused(error: SeatrialError, request_id: str, _: Asked | None) -> None:
            record_refusal(None, observers, error, request_id)

        strict = partial(
            StrictProtocol,
            hosts=AllowedHosts(settings.own_hosts),
            most=MOST_CONNECTIONS,
            refused=refused,
        )
        config = uvicorn.Config(
            MetricsApp(registry, before, access),
            loop="uvloop",
            http=cast("type[asyncio.Protocol]", over_tls(strict, certificates)),
            ws="none",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([sock],), name="seatrial-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
