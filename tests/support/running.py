"""An app in this process, over toy bundles and the fake runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
from fastapi import FastAPI

from seatrial_serve.access.access import open_access
from seatrial_serve.api.exchange import Exchanges
from seatrial_serve.api.fast_path import FastPath
from seatrial_serve.app import create_app
from seatrial_serve.http.body import Pace
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.lifecycle import ModelLifecycle
from seatrial_serve.models.loader import Loader
from seatrial_serve.models.repository import Repository, open_repository
from seatrial_serve.observers.observers import Observers, open_observers
from seatrial_serve.observers.sampling import SampleObserver, Sampler
from seatrial_serve.process.budget import Budget
from seatrial_serve.process.clock import now_s
from seatrial_serve.process.drain import Drain
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.scheduling.fair_order import FinishOrder
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.serving import demand_plan
from seatrial_serve.settings import Settings


class Running:
    """An app that runs in this process, with what it is made of."""

    def __init__(
        self,
        app: FastPath,
        client: httpx.AsyncClient,
        repository: Repository,
        metrics: Metrics,
        drain: Drain,
        lifecycle: ModelLifecycle,
        taps: Sampler,
        watch: Observers,
        exchanges: Exchanges,
    ) -> None:
        self.app, self.client, self.repository, self.metrics, self.drain, self.lifecycle = (
            app,
            client,
            repository,
            metrics,
            drain,
            lifecycle,
        )
        self.taps, self.watch, self.exchanges = taps, watch, exchanges

    async def ask(self, instances: Any, model: str = "toy", **options: Any) -> httpx.Response:
        return await self.client.post(
            f"/v1/models/{model}:predict", json={"instances": instances}, **options
        )


Run = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def run_app(
    bundles: Path | Sequence[str],
    taps: Sequence[SampleObserver] = (),
    *,
    clock: Callable[[], float] = now_s,
    loaded: bool = True,
    **options: Any,
) -> AsyncIterator[Running]:
    """Serve a folder of bundles; with `loaded`, the models have been loaded, or have failed.

    Unless they are asked for, live parity and kept receipts are off: tests count runs, and share
    digests.
    """
    settings = Settings(
        bundles=bundles, **({"live_parity_per_s": 0.0, "prove": "always"} | options)
    )
    repository, metrics, drain = (
        open_repository(settings),
        Metrics(on=settings.metrics, clock=clock),
        Drain(),
    )
    with (
        ThreadPoolExecutor(2) as pool,
        ThreadPoolExecutor(2) as loads,
        FairPool(2, "cores", FinishOrder) as cores,
        FairPool(2) as host_stages,
        open_access(settings.api_keys) as access,
    ):
        build = Loader(settings, ThreadPlan(runs=2), cores, host_stages, metrics, repository)
        remote = settings.runtime is not None
        lifecycle = ModelLifecycle(
            repository,
            build,
            loads,
            watch=settings.watch,
            poll_s=settings.poll_s,
            join_loaded=loaded,
            remote=remote,
            demand=demand_plan(settings, metrics, ThreadPlan(runs=2)),
        )
        repository.describe = build.describe
        watch = open_observers(settings, metrics, lifecycle)
        tapped = Sampler(
            [*taps, *watch.sampled], settings.sampled_per_s, sleep=lambda _: asyncio.sleep(0)
        )
        budget, pace = Budget(settings.budget_bytes or 2**30), Pace(settings.request_timeout_s)
        exchanges = Exchanges(
            repository, pool, drain, budget, tapped, metrics, watch.observers, pace, access
        )
        app = create_app(
            exchanges,
            lifecycle,
            watch,
            admin=settings.admin,
            workers=settings.workers,
            console=settings.console,
            predict_path=settings.predict_path,
            health_path=settings.health_path,
            multi_model=settings.multi_model,
        )
        framework = cast("FastAPI", app.app)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            framework.router.lifespan_context(framework),
            httpx.AsyncClient(transport=transport, base_url="http://toy") as client,
        ):
            try:
                yield Running(
                    app, client, repository, metrics, drain, lifecycle, tapped, watch, exchanges
                )
            finally:
                await asyncio.to_thread(watch.close)
