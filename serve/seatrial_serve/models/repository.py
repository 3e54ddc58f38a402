"""The repository: the bundles of the sources, and the state of each version in this server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from seatrial_contracts.contract import DEFAULT_BODY_BYTES, MOST_BODY_BYTES, Contract
from seatrial_contracts.contract_changes import compare_contracts, may_replace
from seatrial_contracts.errors import BundleError, DeclarationError, ModelError, SeatrialError
from seatrial_contracts.manifest import Manifest, version_key
from seatrial_serve.metrics.pressure import Pressure
from seatrial_serve.metrics.standing import Standing
from seatrial_serve.models.described import Described, KnownModel, described
from seatrial_serve.models.entry import Entry, NotLoaded, State
from seatrial_serve.models.scan import (
    NOTHING,
    FoundModel,
    entry_manifest,
    found_model,
    stamp_of,
)
from seatrial_serve.models.selection import Selection
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.models.shared_looks import ToldSources
from seatrial_serve.models.sources import Sources
from seatrial_serve.process.audit_log import record
from seatrial_serve.settings import Settings
from seatrial_serve.stores.cache import BundleCache

log = logging.getLogger("seatrial.repository")
STABLE = "stable"


class Repository:
    """The entries by name and version, and which of them a model's own name stands for."""

    def __init__(
        self, sources: Sources, ready: Literal["any", "all"] = "all",
        default_model: str | None = None, served_as: str | None = None,
    ) -> None:  # fmt: skip
        """Look at the sources.

        `ready`: how many models must take traffic for the server to be ready.
        `default_model`: the model of requests that name none.
        `served_as`: what clients call the only model.

        Raises a `SeatrialError` where there is nothing to serve.
        """
        self.sources, self._wanted = sources, ready
        self._default_model, self._served_as = default_model, served_as
        self._entries: dict[str, dict[str, Entry]] = {}
        self._served: dict[str, Entry] = {}
        self._selections: dict[str, Selection] = {}
        """The last of each model that could be read."""
        self.revision = 0
        """Counts changes of what is served: an equal number is an equal state."""
        self._largest = -1, DEFAULT_BODY_BYTES
        self.on_demand = False
        """Are there versions that are loaded at their first request?"""
        self.describe: Callable[[Entry], Described] = described
        """What is known of a version that is not loaded; blocking. Raises a `SeatrialError`.

        Its signature was checked, where one is required, and its files are decrypted, where they
        are encrypted.
        """
        self.manifest: Callable[[Entry], Manifest] = entry_manifest
        """The manifest of such a version alone; blocking. Raises a `SeatrialError`."""
        sources.look()
        for model in self.scan():
            for entry in model.entries:
                self.put(entry)
            self.select(model)

    def look(self, model: str | None = None) -> bool:
        """Look at the stores that may hold a model, by the name that clients call it.

        See `Sources.look`.
        """
        return self.sources.look(None if model == self._served_as else model)

    def scan(self) -> list[FoundModel]:
        """Return the models that the sources want served now; blocking, without a look at stores.

        Raises `DeclarationError` if a folder holds no bundle.
        """
        return self._found(self.sources.versions)

    def _found(self, versions: str) -> list[FoundModel]:
        known, served_as = self._selections, self._served_as
        homes = self.sources.homes().values()
        if served_as is not None and len(homes) > 1:
            raise DeclarationError(
                "setting 'model_name'", f"{len(homes)} models", "one model: its bundle's own folder"
            )
        return [
            found_model(home, versions, known.get(served_as or home.name), served_as)
            for home in homes
        ]

    def older(self, entry: Entry) -> list[Entry]:
        """Return the versions of a model that are here below one of them, the highest first.

        They are `Entry` values that nobody has loaded. Raises `DeclarationError`.
        """
        models = self._found("all")
        found = [other for model in models if model.name == entry.name for other in model.entries]
        return [other for other in found if version_key(other.version) < version_key(entry.version)]

    def stays(self, model: FoundModel) -> bool:
        """Does a model go on as it was, since its selection can be read no more?"""
        return bool(model.unreadable) and model.name in self._selections

    def is_served(self, model: FoundModel) -> bool:
        """Is what was found of a model what is served of it, as far as it could be loaded?"""
        there = self._entries.get(model.name, {})
        return (
            not model.unreadable
            and model.selection == self._selections.get(model.name)
            and len(there) == len(model.entries)
            and all(
                (served := there.get(entry.version)) is not None
                and served.stamp == entry.stamp
                and served.state is not State.FAILED
                for entry in model.entries
            )
        )

    def select(self, model: FoundModel) -> None:
        """Take up what an operator selects of a model that is here, where it could be read."""
        if not model.unreadable and model.name in self._entries:
            if model.selection != self._selections.get(model.name):
                tell_of_missing(model)
            self._selections[model.name] = model.selection
            self.choose_default(model.name)

    def put(self, entry: Entry) -> None:
        """Take an entry in, in the place of one of the same version."""
        there = [*self._entries.get(entry.name, {}).values(), entry]
        there.sort(key=lambda each: version_key(each.version), reverse=True)
        self._entries[entry.name] = {each.version: each for each in there}
        self.choose_default(entry.name)

    def drop(self, entry: Entry) -> None:
        """Take an entry out; a request that has its model already still gets its answer."""
        if self.holds(entry):
            del self._entries[entry.name][entry.version]
        self.choose_default(entry.name)

    def choose_default(self, name: str) -> None:
        """Decide anew what a model's own name stands for.

        It is the version labelled "stable", else the highest that is available, else the highest.
        """
        self.revision += 1
        entries = self._entries.get(name)
        if not entries:
            self._entries.pop(name, None)
            self._served.pop(name, None)
            self._selections.pop(name, None)
            return
        labels = self.labels(name)
        ready = [entry for entry in entries.values() if entry.is_available]
        stable = entries.get(labels.get(STABLE, ""))
        self._served[name] = (
            stable
            if stable in ready and stable is not None
            else max(ready or entries.values(), key=lambda entry: version_key(entry.version))
        )

    def find(self, name: str, version: str | None = None, label: str | None = None) -> Entry | None:
        """Return an entry by name, and version or label; None if there is none.

        Without either, it is the version that the model's own name stands for.
        """
        if label is not None:
            version = self.labels(name).get(label, "")
        return (
            self._served.get(name) if version is None else self._entries.get(name, {}).get(version)
        )

    @property
    def largest_body_bytes(self) -> int:
        """The longest body that a loaded model takes: at least what models take by default.

        Where versions are loaded on demand, it is what any may take.
        """
        if self.on_demand:
            return MOST_BODY_BYTES
        if self._largest[0] != self.revision:
            models = [entry.model for entry in self if entry.model is not None]
            sizes = [model.contract.max_body_bytes for model in models]
            self._largest = self.revision, max([DEFAULT_BODY_BYTES, *sizes])
        return self._largest[1]

    def expected_body_bytes(self) -> int:
        """The length of the longest body that a version here takes, loaded or not. Blocking.

        It is at least what models take by default. Of a version that is not loaded, the contract
        counts as far as it may be believed: see `describe`. One that may not be is passed over; it
        fails when it is loaded, and the failure says why. A contract of many bundles is read once.
        """
        largest, read = DEFAULT_BODY_BYTES, set[str]()
        for entry in self:
            try:
                found = self.describe(entry)
                contract = found.contract_sha256
                if contract not in read:
                    largest = max(largest, found.most_body_bytes)
                    read |= {contract} - {""}
            except SeatrialError:
                log.debug("no contract of %s %s to believe yet", entry.name, entry.version)
        return largest

    @property
    def default(self) -> Entry | None:
        """What a request that names no model is for.

        It is the default model, else the only one; None where there are none or several.
        """
        if self._default_model is not None:
            return self._served.get(self._default_model)
        return next(iter(self._served.values())) if len(self._served) == 1 else None

    def __iter__(self) -> Iterator[Entry]:
        """All entries, as they are now. Any thread may ask: each list is made in one step."""
        return iter(
            [
                entry
                for versions in list(self._entries.values())
                for entry in list(versions.values())
            ]
        )

    @property
    def served(self) -> Mapping[str, Entry]:
        """Model name -> the version that it stands for."""
        return self._served

    @property
    def standings(self) -> dict[tuple[str, str], Standing]:
        """How each version stands."""
        return {(entry.name, entry.version): entry.standing for entry in self}

    @property
    def pressures(self) -> dict[tuple[str, str], Pressure]:
        """How much waits for each version that takes traffic."""
        loaded = [(entry, entry.model) for entry in self if entry.takes_traffic]
        return {
            (entry.name, entry.version): model.pressure
            for entry, model in loaded
            if model is not None
        }

    @property
    def names(self) -> list[str]:
        """Model names, sorted."""
        return sorted(self._entries)

    def holds(self, entry: Entry) -> bool:
        """Is it still the entry of its version?"""
        return self.find(entry.name, entry.version) is entry

    def serves(self, name: str, version: str, digest: str) -> bool:
        """Does this bundle of a version take traffic, and do its sources still hold it?"""
        entry = self.find(name, version)
        if entry is None or not entry.takes_traffic or entry.digest != digest:
            return False
        homes = self.sources.homes().values()
        paths = [
            home.paths.get(version) for home in homes if (self._served_as or home.name) == name
        ]
        return any(path is not None and stamp_of(path) == entry.digest for path in paths)

    def versions(self, name: str) -> Mapping[str, Entry]:
        """Version -> entry, the highest first; empty where there is no such model."""
        return self._entries.get(name, {})

    def labels(self, name: str) -> Mapping[str, str]:
        """Label -> version."""
        return self._selections.get(name, NOTHING).labels

    @property
    def waiting(self) -> list[Entry]:
        """The versions that keep the server from being ready.

        They are those of models whose own name stands for none that takes traffic.
        """
        return [entry for entry in self._served.values() if not entry.takes_traffic]

    @property
    def ready(self) -> bool:
        """Do enough models take traffic: all of them, or any where that was asked for?

        One that is loaded on demand and has failed keeps no other from being asked.
        """
        ready = [entry.takes_traffic or entry.demand is not None for entry in self._served.values()]
        return all(ready) or (self._wanted == "any" and any(ready))

    def _below(self, entry: Entry) -> Entry | None:
        """The highest available version below one."""
        key = version_key(entry.version)
        versions = self.versions(entry.name).values()
        below = (each for each in versions if each.is_available and version_key(each.version) < key)
        return next(below, None)

    def known(self, entry: Entry) -> KnownModel:
        """The model of a version that takes traffic, or what is known of it before it is loaded.

        Blocking, where it is not loaded. Raises `Unavailable` where it takes no traffic, and a
        `SeatrialError` where its bundle cannot be read.
        """
        try:
            return entry.ready_model()
        except NotLoaded:
            found = self.describe(entry)
            _ = found.contract
            return found

    def check_replacement(self, entry: Entry, contract: Contract) -> None:
        """Raise `ModelError` if a version would break an older one's clients.

        That is so if it would take over from the older one under the same major version.
        """
        served = self._served.get(entry.name)
        if served is entry:  # nothing is in memory: what would it have taken over from?
            served = self._below(entry)
        if (
            served is None
            or not served.is_available
            or version_key(served.version) >= version_key(entry.version)
        ):
            return
        try:
            old = self.known(served).contract
        except BundleError as error:
            text = "%s %s: there is no contract of %s to compare its own with: %s"
            log.warning(text, entry.name, entry.version, served.version, error)
            return
        differences = compare_contracts(old, contract)
        if not may_replace(served.version, entry.version, differences):
            text = (
                f"it would break clients of {served.version} under the same major version: "
                f"{differences[0]}"
            )
            raise ModelError(
                "E_BREAKING",
                f"{text}; mend: raise the major version, or serve with --allow-breaking",
            )

    def check(self, entry: Entry) -> Manifest | None:
        """Read the manifest of a version that nobody has loaded, in the calling thread.

        None where it cannot be read, which is kept as the entry's state and reason, and logged.
        """
        try:
            return self.manifest(entry)
        except SeatrialError as error:
            entry.state, entry.code = State.FAILED, getattr(error, "code", "E_LOAD")
            entry.reason = str(error)
            log.error("%s %s is not ready: %s", entry.name, entry.version, entry.reason)
            record_load(entry, entry.code)
            return None

    def load(self, entry: Entry, build: Callable[[Entry], ServedModel]) -> None:
        """Load one entry in the calling thread.

        What goes wrong is kept as the entry's state and reason, and logged.

        A model that was built becomes READY once its batcher runs, which the event loop decides.
        """
        start, known, code, reason = time.perf_counter(), entry.reason, "", ""
        try:
            entry.model = build(entry)
        except SeatrialError as error:
            code, reason = getattr(error, "code", "E_LOAD"), str(error)
        except Exception:  # one model that cannot be loaded keeps no other from serving
            log.exception("loading %s %s: this is a bug in seatrial", entry.name, entry.version)
            code = "E_INTERNAL"
            reason = "seatrial failed while loading it; the server's log says more"
        entry.code, entry.reason = code, reason
        entry.load_s = time.perf_counter() - start
        if entry.reason:
            entry.state = State.FAILED
            if entry.reason != known:  # what is tried again and again is said once
                log.error("%s %s is not ready: %s", entry.name, entry.version, entry.reason)
                record_load(entry, entry.code)
        else:
            how = (
                ", by a kept receipt and one golden row"
                if entry.gate is not None and entry.gate.kept
                else ""
            )
            log.info(
                "%s %s passed its load gate after %.2f s%s",
                entry.name,
                entry.version,
                entry.load_s,
                how,
            )
            record_load(entry, "ok")


def record_load(entry: Entry, result: str) -> None:
    """Write to the audit log how a load ended."""
    record(
        "load",
        model=entry.name,
        version=entry.version,
        digest=entry.digest,
        signer=entry.signed.signer if entry.signed is not None else "",
        result=result,
    )


def open_repository(settings: Settings, told: Path | None = None) -> Repository:
    """The repository of a server's settings.

    `told`: the file by which a supervisor tells of stores; None: this process looks at them.
    Raises a `SeatrialError` where it has nothing.
    """
    make = Sources if told is None else partial(ToldSources, told)
    sources = make(
        settings.bundles,
        settings.versions,
        BundleCache(settings.bundle_cache_bytes),
        signed=settings.require_signature is not None,
        on_call=settings.multi_model,
    )
    return Repository(sources, settings.ready, settings.default_model, settings.model_name)


def tell_of_missing(model: FoundModel) -> None:
    """Log each label of a version that the folder does not have: such a label does not count."""
    there = {entry.version for entry in model.entries}
    for label, version in model.selection.labels.items():
        if version not in there:
            log.warning(
                "%s: the label '%s' stands for %s, which is not in the folder",
                model.name,
                label,
                version,
            )
