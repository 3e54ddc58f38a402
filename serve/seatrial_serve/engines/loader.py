"""From a verified bundle to an engine that may run: loaded, proven by the load gate, measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.manifest import Manifest, SealedFile
from seatrial_contracts.receipt import now
from seatrial_serve.engines.footprint import graph_of
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.inference.kept_receipt import KeptReceipt, KeptReceipts, receipt_facts
from seatrial_serve.inference.load_gate import Admitted, LoadGate
from seatrial_serve.metrics.standing import GateResult
from seatrial_serve.process.private_cache import cache_folder
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.runtimes.onnx import runs_kept
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.settings import Settings

TellGate = Callable[[GateResult], None]


class ProvenEngine(NamedTuple):
    """An engine whose golden rows were answered rightly here."""

    engine: Engine
    admitted: Admitted
    rule: BatchRule


class LoadedGraph(NamedTuple):
    """What is loaded of a bundle (`Loads`): the graph of a variant, None of the first."""

    variant: str | None
    options: RuntimeOptions

    def graph(self, manifest: Manifest) -> str:
        """See `Loads.graph`."""
        return graph_of(manifest, self.variant)

    def runs(self, graph: SealedFile) -> bool:
        """See `Loads.runs`: the cache of optimised graphs has it."""
        return runs_kept(graph.sha256, self.options)


class EngineLoader:
    """Loads engines by the settings of a server. Blocking: call it from a thread."""

    def __init__(self, settings: Settings, plan: ThreadPlan) -> None:
        self._settings, self._plan = settings, plan
        self._receipts, self._measuring = KeptReceipts(cache_folder("receipts")), Lock()

    @property
    def options(self) -> RuntimeOptions:
        """How graphs are held."""
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

    def __call__(
        self, bundle: Bundle, variant: str | None, tell: TellGate, signer: str = ""
    ) -> ProvenEngine:
        """The engine of a variant (None: the first), ready for batches.

        `tell` hears what its load gate found, also where it was not passed. `signer`: whose
        signature of the bundle was verified. Raises a `SeatrialError` that says why it must not
        run.
        """
        engine = load_engine(bundle, self.options, variant)
        try:
            gate = LoadGate(engine, self._measuring)
            admitted = self._admit(engine, gate, tell, signer)
            rule = self._rule(engine, admitted)
            gate.set_outlier_limit(admitted, rule.most_rows)
        except BaseException:  # whatever ends it, the graph is let go
            engine.close()
            raise
        return ProvenEngine(engine, admitted, rule)

    def _admit(self, engine: Engine, gate: LoadGate, tell: TellGate, signer: str) -> Admitted:
        """By a kept receipt and one golden row, else by all golden rows. Raises `ModelError`."""
        keeps = self._settings.prove == "kept"
        facts = receipt_facts(engine, self.options, signer) if keeps else None
        kept = self._receipts.find(facts) if facts is not None else None
        admitted = gate.resume(kept) if kept is not None else None
        if admitted is not None:
            tell(GateResult(True, admitted.worst_error, kept=True))
            return admitted
        admitted = gate.run(
            lambda passed, worst: tell(GateResult(passed, math.inf if worst is None else worst))
        )
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
