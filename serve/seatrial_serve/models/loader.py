"""From a bundle on disk to a model that takes traffic: open, load, pass the load gate, plan its batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack

from seatrial_contracts.contract import Contract
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.inference.load_gate import Admitted, pass_load_gate, settle
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.metrics.standing import GateResult, Held
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.scan import open_entry
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.runtimes.graph_cache import cache_folder
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.settings import Settings


class Loader:
    """Builds the served model of an entry. Blocking: call it from a thread."""

    def __init__(
        self, settings: Settings, plan: ThreadPlan, pool: Executor, metrics: Metrics,
        check: Callable[[Entry, Contract], None] = lambda _entry, _contract: None,
    ) -> None:  # fmt: skip
        """`check` raises a `SeatrialError` where a version with this contract must not take over, before it costs anything."""
        self._settings, self._plan, self._pool, self._metrics, self._check = settings, plan, pool, metrics, check

    def __call__(self, entry: Entry) -> ServedModel:
        """Raises a `SeatrialError` that says why the version must not take traffic."""
        entry.gate = entry.held = None

        def tell(passed: bool, worst_error: float | None) -> None:
            entry.gate = GateResult(passed, math.inf if worst_error is None else worst_error)

        bundle = open_entry(entry)
        self._check(entry, bundle.contract)
        settings = self._settings
        options = RuntimeOptions(
            settings.providers, settings.allow_cpu_fallback, self._plan.intra_op, cache_folder() if settings.graph_cache else None,
            settings.trust_torchscript, settings.runtime, settings.triton_url, devices=settings.devices,
            device_memory_bytes=settings.device_memory_bytes, provider_options=settings.provider_option_pairs,
            cuda_graphs=settings.cuda_graphs, max_rows=settings.max_batch_rows,
        )  # fmt: skip
        with ExitStack() as unless_served:
            engine = load_engine(bundle, options, settings.variant or entry.variant)
            unless_served.callback(engine.close)
            model = self._admit(engine, tell)
            unless_served.pop_all()
        asked = settings.runtime or settings.providers[0]
        entry.held = Held(bundle.digest, engine.variant, asked, engine.provider, bundle.contract.objective.p99_s)
        return model

    def _admit(self, engine: Engine, tell: Callable[[bool, float | None], None]) -> ServedModel:
        """The engine's model, where it passes the load gate."""
        admitted = pass_load_gate(engine, tell=tell)
        rule = self._rule(engine, admitted)
        settle(engine, rule.most_rows)
        bundle = engine.bundle
        return ServedModel(
            engine, admitted, rule, self._pool, self._metrics.for_model(bundle.name, bundle.version),
            slots=engine.slots or self._plan.runs, max_waiting_rows=self._settings.max_waiting_rows,
            drift_counts=self._metrics.for_drift(bundle.name, bundle.version, bundle.profile),
        )  # fmt: skip

    def _rule(self, engine: Engine, admitted: Admitted) -> BatchRule:
        if not engine.bundle.manifest.batchable:
            return BatchRule(max_rows=1)
        asked, pace = self._settings.max_batch_rows, admitted.pace
        rows, deep_rows = [int(min(asked or paid, engine.most_rows)) for paid in (pace.best_rows, pace.fastest_rows)]
        # on the processor it brings nothing: a row takes about as long in a batch as alone
        free_padding = pace.free_cost if engine.slots else 0
        return BatchRule(rows, deep_rows, free_padding=free_padding, max_wait_s=self._settings.max_wait_s)
