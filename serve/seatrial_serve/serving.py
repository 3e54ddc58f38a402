"""What answers requests, without sockets: the models, their life cycle, and who observes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from seatrial_serve.access.access import Access
from seatrial_serve.api.exchange import Exchanges
from seatrial_serve.http.body import Pace
from seatrial_serve.metrics.demand import DemandMetrics
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.lifecycle import DemandPlan, ModelLifecycle
from seatrial_serve.models.loader import Loader
from seatrial_serve.models.preload import preload
from seatrial_serve.models.repository import Repository
from seatrial_serve.observers.drift import DriftObserver
from seatrial_serve.observers.observers import Observers, open_observers
from seatrial_serve.observers.sampling import Sampler
from seatrial_serve.process.budget import Budget
from seatrial_serve.process.drain import Drain
from seatrial_serve.process.memory import give_memory_back, rarely_collect_all
from seatrial_serve.process.resources import (
    ThreadPlan,
    granted_bytes,
    plan_bytes,
    plan_threads,
    usable_cores,
)
from seatrial_serve.scheduling.fair_order import FinishOrder
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings

log = logging.getLogger("seatrial.serving")
TURN_S = 0.0005
"""How long the event loop waits for the interpreter that another thread holds.

Python's own 5 ms would be the latency of whoever comes during a scrape.
"""


@dataclass(frozen=True)
class Serving:
    """What the app of a server process is made over."""

    exchanges: Exchanges
    lifecycle: ModelLifecycle
    observers: Observers


@contextmanager
def open_serving(
    settings: Settings,
    repository: Repository,
    metrics: Metrics,
    access: Access | None = None,
    *,
    joining: bool = False,
    engine_addresses: Sequence[Path] = (),
) -> Iterator[Serving]:
    """Set up this process to serve a repository; its models load once the app's lifespan begins.

    `access`: who may ask what; None: everybody everything.

    With `joining`, the lifespan begins once all models are loaded, or have failed.
    `engine_addresses`: where the engine processes listen that hold the graphs; none: this process
    holds them. Raises `DeclarationError` or `MissingExtra` where the settings' observers cannot be.
    """
    sys.setswitchinterval(TURN_S)
    rarely_collect_all()
    plan = plan_threads(settings.threads or usable_cores())
    if settings.load != "all":
        preload()  # whoever comes first to a cold model does not wait for imports
    with (
        ThreadPoolExecutor(plan.runs, thread_name_prefix="seatrial") as pool,
        ThreadPoolExecutor(plan.runs, thread_name_prefix="seatrial-load") as loads,
        FairPool(plan.runs, "cores", FinishOrder) as cores,
        FairPool(plan.runs, "host-stage") as host_stages,
    ):
        loader = Loader(settings, plan, cores, host_stages, metrics, repository, engine_addresses)
        lifecycle = ModelLifecycle(
            repository,
            loader,
            loads,
            watch=settings.watch,
            poll_s=settings.poll_s,
            join_loaded=joining,
            remote=settings.runtime is not None or bool(engine_addresses),
            tidy=give_memory_back,
            demand=demand_plan(settings, metrics, plan),
        )
        repository.describe, repository.manifest = loader.describe, loader.manifest
        loader.stops = lambda: lifecycle.stops
        for pin in set(settings.pins) - set(repository.names):
            near = ", ".join(get_close_matches(pin, repository.names, n=1)) or "none is like it"
            log.warning("no model '%s' to pin is there; the nearest: %s", pin, near)
        observers = open_observers(settings, metrics, lifecycle)
        sampler = Sampler(
            [*([DriftObserver()] if metrics.on else ()), *observers.sampled],
            settings.sampled_per_s,
        )
        lifecycle.unloaded = sampler.forget
        exchanges = Exchanges(
            repository,
            pool,
            Drain(),
            Budget(settings.budget_bytes or plan_bytes(), settings.client_share),
            sampler,
            metrics,
            observers.observers,
            Pace(settings.request_timeout_s, settings.body_bytes_per_s),
            access,
        )
        try:
            yield Serving(exchanges, lifecycle, observers)
        finally:
            observers.close()
            exchanges.audit.tell()


def demand_plan(settings: Settings, metrics: Metrics, plan: ThreadPlan) -> DemandPlan | None:
    """Which versions are loaded on demand, as the settings have it; None: none."""
    if settings.load == "all":
        return None
    limit_bytes = settings.model_memory_bytes or granted_bytes() // 2
    return DemandPlan(
        frozenset(settings.pins), limit_bytes // settings.workers, DemandMetrics(metrics),
        loads_at_once(plan),
    )  # fmt: skip


def loads_at_once(plan: ThreadPlan) -> int:
    """How many loads on demand run at once.

    They take half of the cores at most, so that they leave some to requests.
    """
    return max(1, plan.runs // 2)
