"""From a bundle on disk to a model that takes traffic.

The loader opens, checks who made it, has its graph loaded and proven, and plans its queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.identities import Identities
from seatrial_contracts.manifest import Manifest
from seatrial_serve.engines.footprint import Growths, footprint
from seatrial_serve.engines.front import NotAdmitted, SharedEngine, open_shared
from seatrial_serve.engines.loader import EngineLoader, LoadedGraph, ProvenEngine
from seatrial_serve.inference.engine import Engine
from seatrial_serve.inference.load_gate import Admitted
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.metrics.standing import GateResult, Held
from seatrial_serve.models.described import Described, described
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.repository import Repository
from seatrial_serve.models.scan import entry_manifest, open_entry
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.memory import collect, trim
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.scheduling.batch_rule import BatchRule
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings

if TYPE_CHECKING:
    from seatrial_serve.trust.trust import Trust
COLLECTED_CONTRACTS = 128
"""So many contracts of loads on demand stand between two rounds of Python's collector.

The last unloaded version of a contract leaves the classes that check its rows, some 60 kB, which
refer to each other.
"""


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
        engine_addresses: Sequence[Path] = (),
    ) -> None:
        """Keep what a load needs.

        `cores`: the threads that run models, shared by all of them; `engine_addresses`: where
        the engine processes listen that run them instead.
        `repository` says what a version would take over from. Raises `DeclarationError` for a trust
        policy or an identity that cannot be read.
        """
        self._trust = open_trust(settings, repository)
        self._identities = open_identities(settings)
        self._repository = repository
        self._settings, self._plan, self._metrics = settings, plan, metrics
        self._cores, self._host_stages = cores, host_stages
        self._load, self._engine_addresses = EngineLoader(settings, plan), engine_addresses
        self._growths = Growths()
        self._contracts = WeakValueDictionary[int, Contract]()
        self._fresh_contracts = 0
        """Of loads on demand since the last round of the collector."""
        self.stops: Callable[[], bool] = lambda: False
        """Is the server told to stop, so that nobody waits for the engine process?"""

    def __call__(self, entry: Entry) -> ServedModel:
        """Raises a `SeatrialError` that says why the version must not take traffic."""
        on_demand = entry.demand is not None
        if on_demand:
            if self._fresh_contracts >= COLLECTED_CONTRACTS:
                self._fresh_contracts = 0
                collect()
            trim()  # a load into memory that an unloaded version has left would seem to take none
        growth = self._growths.begin()
        try:
            model = self._build(entry)
            if on_demand:
                self._note(model.engine.contract)
            if on_demand or (entry.gate is not None and not entry.gate.kept):
                trim()  # what the load gate's batches took is not the version's
        finally:
            grown = self._growths.end(growth)
        if not self._engine_addresses:
            entry.memory_bytes = footprint(model.bundle.manifest, model.engine.variant, grown)
        return model

    def _note(self, contract: Contract) -> None:
        """Count a contract that no other version has; `id` tells, since a contract is large."""
        if id(contract) not in self._contracts:
            self._contracts[id(contract)] = contract
            self._fresh_contracts += 1

    def describe(self, entry: Entry) -> Described:
        """What is known of a version that is not loaded: see `Repository.describe`.

        Where signatures are required, nothing of it is parsed before its own was checked.
        """
        signed = self._trust.check(entry.path) if self._trust is not None else None
        found = described(entry, self._identities, self._settings.variant)
        if self._trust is not None and signed is not None:
            self._trust.check_opened(entry.name, found.bundle, signed)
        return found

    def manifest(self, entry: Entry) -> Manifest:
        """The manifest of a version that is not loaded: see `Repository.manifest`.

        Where signatures are required, it is not parsed before its own was checked.
        """
        signed = self._trust.check(entry.path) if self._trust is not None else None
        manifest = entry_manifest(entry)
        if self._trust is not None and signed is not None:
            self._trust.check_same(manifest, signed)
        return manifest

    def _build(self, entry: Entry) -> ServedModel:
        entry.gate = entry.held = entry.signed = None
        settings, trust = self._settings, self._trust
        signed = trust.check(entry.path) if trust is not None else None
        variant = self._variant(entry)
        loads = None if self._engine_addresses else LoadedGraph(variant, self._load.options)
        digest = signed.digest if signed is not None else None
        bundle = open_entry(entry, self._identities, loads, digest)
        if trust is not None and signed is not None:
            trust.check_opened(entry.name, bundle, signed)
        if not settings.allow_breaking:
            self._repository.check_replacement(entry, bundle.contract)
        make = self._shared if self._engine_addresses else self._opened
        engine, admitted, rule = make(bundle, entry, signed.signer if signed is not None else "")
        with ExitStack() as unless_served:
            unless_served.callback(engine.close)
            model = self._served(engine, admitted, rule, entry)
            if trust is not None:
                trust.remember(bundle)
            unless_served.pop_all()
        bundle.let_go()
        entry.signed = signed
        asked = settings.runtime or settings.providers[0]
        entry.held = Held(
            bundle.digest,
            model.engine.variant,
            asked,
            model.engine.provider,
            bundle.contract.objective.p99_s,
            signed.signer if signed is not None else "",
        )
        return model

    def _opened(self, bundle: Bundle, entry: Entry, signer: str) -> ProvenEngine:
        """An engine in this process."""

        def tell(found: GateResult) -> None:
            entry.gate = found

        return self._load(bundle, self._variant(entry), tell, signer)

    def _shared(
        self, bundle: Bundle, entry: Entry, signer: str
    ) -> tuple[SharedEngine, Admitted, BatchRule]:
        """What stands here for engines in engine processes."""
        try:
            engine = open_shared(
                self._engine_addresses, bundle, entry.name, self._variant(entry),
                self._load.options, self.stops, signer,
            )  # fmt: skip
        except NotAdmitted as refused:
            entry.gate = refused.gate
            raise refused.error from None
        loaded = engine.loaded
        entry.gate, entry.memory_bytes = loaded.gate.found, engine.memory_bytes
        return engine, loaded.admitted(bundle), loaded.batch_rule

    def _variant(self, entry: Entry) -> str | None:
        return self._settings.variant or entry.variant

    def _served(
        self, engine: Engine | SharedEngine, admitted: Admitted, rule: BatchRule, entry: Entry
    ) -> ServedModel:
        bundle = engine.bundle
        return ServedModel(
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
