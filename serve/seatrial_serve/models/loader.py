"""From a bundle on disk to a model that takes traffic.

The loader opens, loads, passes the load gate, and plans batches.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from threading import Lock
from typing import TYPE_CHECKING

from seatrial_contracts.identities import Identities
from seatrial_contracts.receipt import now
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.inference.kept_receipt import KeptReceipt, KeptReceipts, receipt_facts
from seatrial_serve.inference.load_gate import Admitted, LoadGate
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.metrics.standing import GateResult, Held
from seatrial_serve.models.described import Described, described
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.footprint import Growths, footprint
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.scan import open_entry
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.private_cache import cache_folder
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from seatrial_serve.trust.trust import Trust


class Loader:
    """Builds the served model of an entry. Blocking: call it from a thread."""

    def __init__(
        self,
        settings: Settings,
        plan: ThreadPlan,
        cores: FairPool,
        host_stages: FairPool,
        metrics: Metrics,
        repository: Repository,
    ) -> None:
        """Keep what a load needs.

        `cores`: the threads that run models, shared by all of them.
        `repository` says what a version would take over from. Raises `DeclarationError` for a trust
        policy or an identity that cannot be read.
        """
        self._trust = open_trust(settings, repository)
        self._identities = open_identities(settings)
        self._repository = repository
        self._settings, self._plan, self._metrics = settings, plan, metrics
        self._cores, self._host_stages = cores, host_stages
        self._receipts, self._measuring = KeptReceipts(cache_folder("receipts")), Lock()
        self._growths = Growths()

    def __call__(self, entry: Entry) -> ServedModel:
        """Raises a `SeatrialError` that says why the version must not take traffic."""
        growth = self._growths.begin()
        try:
            model = self._build(entry)
        finally:
            grown = self._growths.end(growth)
        entry.memory_bytes = footprint(model.bundle.manifest, model.engine.variant, grown)
        return model

    def describe(self, entry: Entry) -> Described:
        """What is known of a version that is not loaded: see `Repository.describe`.

        Where signatures are required, nothing of it is parsed before its own was checked.
        """
        signed = self._trust.check(entry.path) if self._trust is not None else None
        found = described(entry, self._identities, self._settings.variant)
        if self._trust is not None and signed is not None:
            self._trust.check_opened(entry.name, found.bundle, signed)
        return found

    def _build(self, entry: Entry) -> ServedModel:
        entry.gate = entry.held = entry.signed = None
        settings, trust = self._settings, self._trust
        signed = trust.check(entry.path) if trust is not None else None
        bundle = open_entry(entry, self._identities)
        if trust is not None and signed is not None:
            trust.check_opened(entry.name, bundle, signed)
        if not settings.allow_breaking:
            self._repository.check_replacement(entry, bundle.contract)
        options = self._options()
        with ExitStack() as unless_served:
            engine = load_engine(bundle, options, settings.variant or entry.variant)
            unless_served.callback(engine.close)
            model = self._served(engine, LoadGate(engine, self._measuring), options, entry)
            unless_served.pop_all()
        if trust is not None:
            trust.remember(bundle)
        entry.signed = signed
        asked = settings.runtime or settings.providers[0]
        entry.held = Held(
            bundle.digest,
            engine.variant,
            asked,
            engine.provider,
            bundle.contract.objective.p99_s,
            signed.signer if signed is not None else "",
        )
        return model

    def _options(self) -> RuntimeOptions:
        settings = self._settings
        return RuntimeOptions(
            settings.providers,
            settings.allow_cpu_fallback,
            self._plan.intra_op,
            cache_folder("graphs") if settings.graph_cache else None,
            settings.trust_torchscript,
            settings.runtime,
            settings.triton_url,
            devices=settings.devices,
            device_memory_bytes=settings.device_memory_bytes,
            provider_options=settings.provider_option_pairs,
            cuda_graphs=settings.cuda_graphs,
            max_rows=settings.max_batch_rows,
        )

    def _served(
        self, engine: Engine, gate: LoadGate, options: RuntimeOptions, entry: Entry
    ) -> ServedModel:
        """The engine's model, where it passes the load gate."""
        admitted = self._admit(engine, gate, options, entry)
        rule = self._rule(engine, admitted)
        gate.set_outlier_limit(admitted, rule.most_rows)
        bundle = engine.bundle
        model = ServedModel(
            engine,
            admitted,
            rule,
            self._cores,
            self._host_stages,
            self._metrics.for_model(entry.name, bundle.version),
            name=entry.name,
            slots=engine.slots or self._plan.runs,
            max_waiting_rows=self._settings.max_waiting_rows,
            drift_counts=self._metrics.for_drift(entry.name, bundle.version, bundle.profile),
        )
        bundle.let_go()
        return model

    def _admit(
        self, engine: Engine, gate: LoadGate, options: RuntimeOptions, entry: Entry
    ) -> Admitted:
        """By a kept receipt and one golden row, else by all golden rows. Raises `ModelError`."""

        def tell(passed: bool, worst_error: float | None) -> None:
            entry.gate = GateResult(passed, math.inf if worst_error is None else worst_error)

        facts = receipt_facts(engine, options) if self._settings.prove == "kept" else None
        kept = self._receipts.find(facts) if facts is not None else None
        admitted = gate.resume(kept) if kept is not None else None
        if admitted is not None:
            entry.gate = GateResult(True, admitted.worst_error, kept=True)
            return admitted
        admitted = gate.run(tell)
        if facts is not None and admitted.row is not None:
            pace = admitted.pace
            self._receipts.keep(
                KeptReceipt(
                    schema=1,
                    made_at=now(),
                    facts=facts,
                    trials=admitted.trials,
                    seconds=pace.seconds,
                    length=pace.length,
                    elements=admitted.elements,
                    row=admitted.row,
                )
            )
        return admitted

    def _rule(self, engine: Engine, admitted: Admitted) -> BatchRule:
        if not engine.bundle.manifest.batchable:
            return BatchRule(max_rows=1)
        asked, pace = self._settings.max_batch_rows, admitted.pace
        rows, deep_rows = [
            int(min(asked or paid, engine.most_rows))
            for paid in (pace.best_rows, pace.fastest_rows)
        ]
        # on the processor it brings nothing: a row takes about as long in a batch as alone
        free_padding = pace.free_cost if engine.slots else 0
        return BatchRule(
            rows, deep_rows, free_padding=free_padding, max_wait_s=self._settings.max_wait_s
        )


def open_identities(settings: Settings) -> Identities:
    """What opens encrypted bundles, read once, so that a wrong identity is told at start.

    Raises `DeclarationError` for one that cannot be read, and `MissingExtra`.
    """
    identities = Identities(settings.identity, settings.identity_command)
    _ = identities.keys
    return identities


def open_trust(settings: Settings, repository: Repository) -> Trust | None:
    """What signatures are compared with; None where none are required.

    Raises `DeclarationError` for a policy that cannot be read.
    """
    if settings.require_signature is None:
        return None
    from seatrial_serve.trust.trust import Trust  # which imports cryptography

    return Trust(
        settings.require_signature, repository.serves, allow_rollback=settings.allow_rollback
    )
