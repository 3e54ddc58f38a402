"""The repository: a folder of bundles, and the state of each version in this server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from seatrial_contracts.bundle import MANIFEST, Bundle, open_bundle
from seatrial_contracts.errors import BundleError, DeclarationError, SeatrialError, Unavailable
from seatrial_contracts.manifest import NAME, VERSION
from seatrial_serve.model import ServedModel

log = logging.getLogger("seatrial.repository")


class State(StrEnum):
    """Where a version stands. Only a READY one takes traffic."""

    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass
class Entry:
    """One version of one model in this server."""

    name: str
    version: str
    path: Path
    state: State = State.LOADING
    reason: str = ""
    code: str = ""
    model: ServedModel | None = None
    load_s: float = 0.0

    def ready_model(self) -> ServedModel:
        """Its model. Raises `Unavailable` where it takes no traffic."""
        if self.state is State.READY and self.model is not None:
            return self.model
        text = f"{self.name} {self.version} is {self.state.lower()}" + (f": {self.code}" if self.code else "")
        raise Unavailable("E_NOT_READY", text, retry_after_s=2 if self.state is State.LOADING else 30)


def find_bundles(folder: Path, versions: str) -> list[Entry]:
    """The bundles below `folder` (<name>/<version>/manifest.json), or `folder` itself; "latest" keeps the highest version of each."""
    if not folder.is_dir():
        raise DeclarationError(
            f"bundles folder '{folder}'",
            "no such folder",
            "a folder of bundles",
            "make one: seatrial export file.py:pipeline --out bundles",
        )
    if (folder / MANIFEST).is_file():
        return [Entry(folder.resolve().parent.name, folder.resolve().name, folder)]
    found: dict[str, list[Entry]] = {}
    for path in sorted(folder.glob("*/*")):
        name, version = path.parent.name, path.name
        if NAME.fullmatch(name) and VERSION.fullmatch(version) and path.is_dir():
            found.setdefault(name, []).append(Entry(name, version, path))
    if not found:
        raise DeclarationError(
            f"bundles folder '{folder}'",
            "no bundle in it",
            "<name>/<version>/manifest.json",
            "make one: seatrial export file.py:pipeline --out bundles",
        )
    ordered = [sorted(entries, key=lambda entry: version_key(entry.version)) for entries in found.values()]
    return [entry for entries in ordered for entry in (entries[-1:] if versions == "latest" else entries)]


def version_key(version: str) -> tuple[int, ...]:
    """Versions in the order of their numbers."""
    return tuple(int(part) for part in version.split("."))


class Repository:
    """The entries by name and version. `load` turns an opened bundle into a model that passed its load gate."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.name, {})[entry.version] = entry
        self._served = {name: self.latest(name) for name in self._entries}

    def find(self, name: str, version: str | None = None) -> Entry | None:
        """An entry by name and version; without one, the version that the model's own name stands for. None where there is none."""
        return self._served.get(name) if version is None else self._entries.get(name, {}).get(version)

    def __iter__(self) -> Iterator[Entry]:
        return (entry for versions in self._entries.values() for entry in versions.values())

    @property
    def names(self) -> list[str]:
        """Model names, sorted."""
        return sorted(self._entries)

    def versions(self, name: str) -> Mapping[str, Entry]:
        """Version -> entry. Raises `KeyError`."""
        return self._entries[name]

    def latest(self, name: str) -> Entry:
        """The highest version of a model. Raises `KeyError`."""
        return max(self._entries[name].values(), key=lambda entry: version_key(entry.version))

    @property
    def ready(self) -> bool:
        """Does every version take traffic?"""
        return all(entry.state is State.READY for entry in self)

    def load(self, entry: Entry, build: Callable[[Entry], ServedModel]) -> None:
        """Load one entry in the calling thread; what goes wrong is kept as its state and reason, and logged.

        A model that was built becomes READY once its batcher runs, which is the event loop's to say.
        """
        start = time.perf_counter()
        try:
            entry.model = build(entry)
        except SeatrialError as error:
            entry.code, entry.reason = getattr(error, "code", "E_LOAD"), str(error)
        except Exception:
            log.exception("loading %s %s: this is a bug in seatrial", entry.name, entry.version)
            entry.code, entry.reason = "E_INTERNAL", "seatrial failed while loading it; the server's log says more"
        entry.load_s = time.perf_counter() - start
        if entry.reason:
            entry.state = State.FAILED
            log.error("%s %s is not ready: %s", entry.name, entry.version, entry.reason)
        else:
            log.info("%s %s passed its load gate after %.2f s", entry.name, entry.version, entry.load_s)


def open_entry(entry: Entry) -> Bundle:
    """The verified bundle of an entry. Raises `BundleError`, also where folder and manifest disagree about name or version."""
    bundle = open_bundle(entry.path)
    if (bundle.name, bundle.version) != (entry.name, entry.version):
        raise BundleError(
            "E_BUNDLE_NAME",
            f"folder {entry.name}/{entry.version}",
            f"bundle {bundle.name} {bundle.version}",
            "a folder named as the bundle",
        )
    return bundle
