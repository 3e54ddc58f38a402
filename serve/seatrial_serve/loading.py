"""From a bundle on disk to a model that takes traffic: open, load, pass the load gate, plan its batches."""

from __future__ import annotations

import time
from concurrent.futures import Executor

from seatrial_serve.batch_rule import BatchRule
from seatrial_serve.engine import load_engine
from seatrial_serve.load_gate import Admitted, pass_load_gate
from seatrial_serve.metrics import Metrics
from seatrial_serve.model import ServedModel
from seatrial_serve.repository import Entry, open_entry
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.settings import Settings
from seatrial_serve.threads import ThreadPlan


class Loader:
    """Builds the served model of an entry. Blocking: call it from a thread."""

    def __init__(self, settings: Settings, plan: ThreadPlan, pool: Executor, metrics: Metrics) -> None:
        self._settings, self._plan, self._pool, self._metrics = settings, plan, pool, metrics

    def __call__(self, entry: Entry) -> ServedModel:
        """Raises a `SeatrialError` that says why the version must not take traffic."""
        start = time.perf_counter()
        labels = entry.name, entry.version
        self._metrics.ready.labels(*labels).set(0)
        bundle = open_entry(entry)
        options = RuntimeOptions(
            self._settings.providers, self._settings.allow_cpu_fallback, self._plan.intra_op,
            self._settings.trust_torchscript, self._settings.runtime, self._settings.triton_url,
        )  # fmt: skip
        engine = load_engine(bundle, options, self._settings.variant)
        admitted = pass_load_gate(engine)
        model = ServedModel(
            engine, admitted, self._rule(bundle.manifest.batchable, admitted), self._pool, self._metrics.for_model(*labels),
            slots=self._plan.runs, max_waiting_rows=self._settings.max_waiting_rows,
        )  # fmt: skip
        self._metrics.info.labels(*labels, bundle.digest, engine.variant, engine.provider).set(1)
        self._metrics.ready.labels(*labels).set(1)
        self._metrics.load_seconds.labels(*labels).set(time.perf_counter() - start)
        return model

    def _rule(self, batchable: bool, admitted: Admitted) -> BatchRule:
        if not batchable:
            return BatchRule(max_rows=1)
        return BatchRule(
            max_rows=self._settings.max_batch_rows or admitted.pace.best_rows, max_wait_s=self._settings.max_wait_s
        )
