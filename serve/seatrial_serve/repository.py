"""The repository: a folder of bundles, and the state of each version in this server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from seatrial_contracts.bundle import MANIFEST, MAX_MANIFEST_BYTES, Bundle, open_bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.contract import Contract
from seatrial_contracts.difference import compare_contracts, may_replace
from seatrial_contracts.errors import BundleError, DeclarationError, ModelError, SeatrialError, Unavailable
from seatrial_contracts.manifest import NAME, VERSION
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.metrics.standing import GateResult, Held, Standing
from seatrial_serve.model import ServedModel
from seatrial_serve.wishes import Selection, read_selection

log = logging.getLogger("seatrial.repository")
STABLE = "stable"
NOTHING = Selection()


class State(StrEnum):
    """Where a version stands. Only a READY one takes traffic."""

    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(eq=False)
class Entry:
    """One version of one model in this server. Each is equal to itself alone."""

    name: str
    version: str
    path: Path
    stamp: str = ""
    """sha256 of its manifest when it was found, and what was selected of it."""
    variant: str | None = None
    """What `variants.json` beside it wants it served as; None: its first."""
    unselected: str = ""
    """Why nobody knows what its operator selects: a reason not to load it."""
    state: State = State.LOADING
    reason: str = ""
    code: str = ""
    model: ServedModel | None = None
    load_s: float = 0.0
    gate: GateResult | None = None
    """What its load gate found; None where it was not reached."""
    held: Held | None = None
    """With what its model is served."""

    @property
    def digest(self) -> str:
        """sha256 of its manifest when it was found: what names the bundle; empty where there was none to read."""
        return self.stamp.partition(" ")[0]

    @property
    def takes_traffic(self) -> bool:
        """Is it ready, and what runs it there?"""
        return self.state is State.READY and (self.model is None or self.model.engine.healthy)

    @property
    def standing(self) -> Standing:
        """How it stands, for the metrics."""
        gate = self.gate or (GateResult(False) if self.state is State.FAILED else None)
        return Standing(self.takes_traffic, gate, self.held if self.model is not None else None, self.load_s)

    @property
    def wants_runtime(self) -> bool:
        """Did it fail for want of the right runtime in another process, which may come yet?"""
        return self.state is State.FAILED and self.code.startswith("E_RUNTIME")

    def ready_model(self) -> ServedModel:
        """Its model. Raises `Unavailable` where it takes no traffic."""
        if self.takes_traffic and self.model is not None:
            return self.model
        if self.state is State.READY:
            raise Unavailable("E_RUNTIME_DOWN", f"the runtime behind {self.name} {self.version} is not there")
        text = f"{self.name} {self.version} is {self.state.lower()}" + (f": {self.code}" if self.code else "")
        soon = self.state is State.LOADING or self.wants_runtime
        raise Unavailable("E_NOT_READY", text, retry_after_s=2 if soon else 30)


@dataclass(frozen=True)
class FoundModel:
    """One model of the folder: what its operator selects, and which of its versions are to be served, the highest first."""

    name: str
    home: Path
    """The folder of its selection and its versions."""
    selection: Selection
    entries: tuple[Entry, ...]
    """Nobody has loaded them."""
    unreadable: str = ""
    """Why the selection could not be read; `selection` is then the last one that could, or empty."""


def find_models(folder: Path, versions: str, known: Mapping[str, Selection] | None = None) -> list[FoundModel]:
    """The models below `folder` (<name>/<version>/manifest.json), or the one bundle that `folder` itself is.

    "latest" keeps the highest version of each, and those with a label. `known` has the selections that stand in for those that
    cannot be read. Raises `DeclarationError` where there is no bundle.
    """
    known, make = known or {}, "make one: seatrial export file.py:pipeline --out bundles"
    if not is_folder(folder):
        raise DeclarationError(f"bundles folder '{folder}'", "no such folder", "a folder of bundles", make)
    if os.path.lexists(folder / MANIFEST):
        place = folder.resolve()
        if not (NAME.fullmatch(place.parent.name) and VERSION.fullmatch(place.name)):
            want = "a bundle's own folder, <name>/<version>, as it was sealed"
            raise DeclarationError(f"bundles folder '{folder}'", "a manifest.json in a folder of another name", want)
        return [found_model(place.parent, {place.name: folder}, "all", known.get(place.parent.name))]
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*")):
        name, version = path.parent.name, path.name
        if NAME.fullmatch(name) and VERSION.fullmatch(version) and is_folder(path):
            found.setdefault(name, {})[version] = path
    if not found:
        raise DeclarationError(f"bundles folder '{folder}'", "no bundle in it", "<name>/<version>/manifest.json", make)
    return [found_model(folder / name, paths, versions, known.get(name)) for name, paths in found.items()]


def found_model(home: Path, paths: Mapping[str, Path], versions: str, known: Selection | None) -> FoundModel:
    """A model from the folder beside whose versions its selection stands, and its versions' own folders."""
    selection, unreadable = known or NOTHING, ""
    try:
        selection = read_selection(home)
    except DeclarationError as error:
        unreadable = str(error)
    highest = sorted(paths, key=version_key, reverse=True)
    labelled = set(selection.labels.values())
    entries = [
        found_entry(home.name, version, paths[version], selection.variant(version), "" if known else unreadable)
        for version in highest
        if versions == "all" or version == highest[0] or version in labelled
    ]
    return FoundModel(home.name, home, selection, tuple(entries), unreadable)


def found_entry(name: str, version: str, path: Path, variant: str | None, unselected: str) -> Entry:
    """The entry of a bundle's folder that nobody has loaded."""
    return Entry(name, version, path, f"{stamp_of(path)} {variant or ''} {unselected}", variant, unselected)


def is_folder(path: Path) -> bool:
    """Is it one that this process may look into?"""
    try:
        return path.is_dir()
    except OSError:  # the folder above it may not be passed through
        return False


def stamp_of(bundle: Path) -> str:
    """sha256 of a bundle's manifest, which names every byte of it; empty where it cannot be read."""
    try:
        return sha256(read_plain_file(bundle / MANIFEST, MAX_MANIFEST_BYTES))
    except (OSError, NotPlainFile):
        return ""


def version_key(version: str) -> tuple[int, ...]:
    """Versions in the order of their numbers."""
    return tuple(int(part) for part in version.split("."))


class Repository:
    """The entries by name and version, and which of them a model's own name stands for."""

    def __init__(self, folder: Path, versions: str) -> None:
        """Raises `DeclarationError` where there is nothing to serve."""
        self.folder, self._policy = folder, versions
        self._entries: dict[str, dict[str, Entry]] = {}
        self._served: dict[str, Entry] = {}
        self._selections: dict[str, Selection] = {}
        """The last of each model that could be read."""
        self.revision = 0
        """Counts changes of what is served: an equal number is an equal state."""
        for model in self.scan():
            for entry in model.entries:
                self.put(entry)
            self.select(model)

    def scan(self) -> list[FoundModel]:
        """What the folder wants served now; blocking. Raises `DeclarationError` where it holds no bundle."""
        return find_models(self.folder, self._policy, self._selections)

    def older(self, entry: Entry) -> list[Entry]:
        """The versions of a model in the folder below one of them, the highest first; `Entry` values that nobody has loaded. Raises `DeclarationError`."""
        models = find_models(self.folder, "all", self._selections)
        found = [other for model in models if model.name == entry.name for other in model.entries]
        return [other for other in found if version_key(other.version) < version_key(entry.version)]

    def stays(self, model: FoundModel) -> bool:
        """Does a model go on as it was, since its selection can be read no more?"""
        return bool(model.unreadable) and model.name in self._selections

    def select(self, model: FoundModel) -> None:
        """Take up what an operator selects of a model that is here, where it could be read."""
        if not model.unreadable and model.name in self._entries:
            self._selections[model.name] = model.selection
            self.settle(model.name)

    def put(self, entry: Entry) -> None:
        """Take an entry in, in the place of one of the same version."""
        there = [*self._entries.get(entry.name, {}).values(), entry]
        there.sort(key=lambda each: version_key(each.version), reverse=True)
        self._entries[entry.name] = {each.version: each for each in there}
        self.settle(entry.name)

    def drop(self, entry: Entry) -> None:
        """Take an entry out; a request that has its model already still gets its answer."""
        if self._entries.get(entry.name, {}).get(entry.version) is entry:
            del self._entries[entry.name][entry.version]
        self.settle(entry.name)

    def settle(self, name: str) -> None:
        """Decide anew what a model's own name stands for: the version labelled "stable", else the highest that is ready, else the highest."""
        self.revision += 1
        entries = self._entries.get(name)
        if not entries:
            self._entries.pop(name, None)
            self._served.pop(name, None)
            self._selections.pop(name, None)
            return
        labels = self.labels(name)
        ready = [entry for entry in entries.values() if entry.state is State.READY]
        stable = entries.get(labels.get(STABLE, ""))
        self._served[name] = (
            stable
            if stable in ready and stable is not None
            else max(ready or entries.values(), key=lambda entry: version_key(entry.version))
        )

    def find(self, name: str, version: str | None = None, label: str | None = None) -> Entry | None:
        """An entry by name, and version or label; without either, the version that the model's own name stands for. None where there is none."""
        if label is not None:
            version = self.labels(name).get(label, "")
        return self._served.get(name) if version is None else self._entries.get(name, {}).get(version)

    def __iter__(self) -> Iterator[Entry]:
        """All entries, as they are now. Any thread may ask: each list is made in one step."""
        return iter([entry for versions in list(self._entries.values()) for entry in list(versions.values())])

    @property
    def served(self) -> Mapping[str, Entry]:
        """Model name -> the version that it stands for."""
        return self._served

    @property
    def standings(self) -> dict[tuple[str, str], Standing]:
        """How each version stands."""
        return {(entry.name, entry.version): entry.standing for entry in self}

    @property
    def names(self) -> list[str]:
        """Model names, sorted."""
        return sorted(self._entries)

    def versions(self, name: str) -> Mapping[str, Entry]:
        """Version -> entry, the highest first; empty where there is no such model."""
        return self._entries.get(name, {})

    def labels(self, name: str) -> Mapping[str, str]:
        """Label -> version."""
        return self._selections.get(name, NOTHING).labels

    @property
    def waiting(self) -> list[Entry]:
        """Versions that keep the server from being ready: where a model's own name stands for none that takes traffic."""
        return [entry for entry in self._served.values() if not entry.takes_traffic]

    @property
    def ready(self) -> bool:
        """Does every model take traffic?"""
        return all(entry.takes_traffic for entry in self._served.values())

    def check_replacement(self, entry: Entry, contract: Contract) -> None:
        """Raise `ModelError` where a version would take over from an older one and break its clients under the same major version."""
        served = self._served.get(entry.name)
        if served is None or served.model is None or version_key(served.version) >= version_key(entry.version):
            return
        differences = compare_contracts(served.model.contract, contract)
        if not may_replace(served.version, entry.version, differences):
            text = f"it would break clients of {served.version} under the same major version: {differences[0]}"
            raise ModelError("E_BREAKING", f"{text}; mend: raise the major version, or serve with --allow-breaking")

    def load(self, entry: Entry, build: Callable[[Entry], ServedModel]) -> None:
        """Load one entry in the calling thread; what goes wrong is kept as its state and reason, and logged.

        A model that was built becomes READY once its batcher runs, which is the event loop's to say.
        """
        start, known, code, reason = time.perf_counter(), entry.reason, "", ""
        try:
            entry.model = build(entry)
        except SeatrialError as error:
            code, reason = getattr(error, "code", "E_LOAD"), str(error)
        except Exception:  # one model that cannot be loaded keeps no other from serving
            log.exception("loading %s %s: this is a bug in seatrial", entry.name, entry.version)
            code, reason = "E_INTERNAL", "seatrial failed while loading it; the server's log says more"
        entry.code, entry.reason = code, reason
        entry.load_s = time.perf_counter() - start
        if entry.reason:
            entry.state = State.FAILED
            if entry.reason != known:  # what is tried again and again is said once
                log.error("%s %s is not ready: %s", entry.name, entry.version, entry.reason)
        else:
            log.info("%s %s passed its load gate after %.2f s", entry.name, entry.version, entry.load_s)


def open_entry(entry: Entry) -> Bundle:
    """The verified bundle of an entry.

    Raises `BundleError`, also where folder and manifest disagree about name or version, and `ModelError` where nobody knows what
    is selected of it.
    """
    if entry.unselected:
        raise ModelError("E_SELECTION", entry.unselected)
    bundle = open_bundle(entry.path)
    if (bundle.name, bundle.version) != (entry.name, entry.version):
        raise BundleError(
            "E_BUNDLE_NAME",
            f"folder {entry.name}/{entry.version}",
            f"bundle {bundle.name} {bundle.version}",
            "a folder named as the bundle",
        )
    return bundle
