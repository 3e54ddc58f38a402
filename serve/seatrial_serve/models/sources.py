"""Where the server's bundles come from: folders of this machine, and stores by way of the cache."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seatrial_contracts.bundle import read_manifest
from seatrial_contracts.errors import (
    BundleError,
    DeclarationError,
    Refusal,
    SeatrialError,
    shortened,
)
from seatrial_contracts.manifest import version_key
from seatrial_contracts.receipt import now
from seatrial_contracts.signature_files import read_signatures
from seatrial_serve.models.scan import Home, chosen_versions, folder_homes
from seatrial_serve.models.selection import Selection, parse_selection
from seatrial_serve.process.audit_log import record
from seatrial_serve.process.daemon_threads import call_each
from seatrial_serve.stores.address import Folder, Remote, is_pinned, read_address
from seatrial_serve.stores.cache import BundleCache, KeptBundle
from seatrial_serve.stores.remembered import Remembered, RememberedBundle, recall, remember
from seatrial_serve.stores.resolve import keep_signed
from seatrial_serve.stores.store import Look, Offer, fetch_into, look_at, mark_of

log = logging.getLogger("seatrial.sources")
OK, FAILED = "ok", "failed"
"""How looks at a store end, beside the codes of bundles that are refused."""


@dataclass
class Held:
    """What an address of a store stood for when it was last looked at: bundles in the cache."""

    bundles: Mapping[tuple[str, str], KeptBundle]
    """Model and version -> the bundle."""
    selections: Mapping[str, Mapping[str, bytes]]
    single: bool
    mark: str | None = None
    signatures: Mapping[tuple[str, str], tuple[bytes, ...]] = field(default_factory=dict)
    """Model and version -> the bundle's signatures there."""

    @property
    def keys(self) -> dict[tuple[str, str], str]:
        """What the bundles are kept under: see `Offer.key`."""
        return {each: kept.key for each, kept in self.bundles.items()}

    def is_as(self, other: Held) -> bool:
        """Are both the same bundles, selections and signatures?"""
        return (self.keys, self.selections, self.signatures) == (
            other.keys, other.selections, other.signatures,
        )  # fmt: skip


@dataclass
class RemoteSource:
    """An address of a store, and what is known of it."""

    address: Remote
    held: Held | None = None
    fault: str = ""
    """Why the last look failed; what was held before is then still served."""
    asked_at: str = ""
    """When the store answered last (RFC 3339); empty where it never did."""
    told: str = field(default="", repr=False)
    looking: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def pinned(self) -> bool:
        """Can it never stand for anything else?"""
        return is_pinned(self.address)

    def holds(self, model: str) -> bool:
        """Did it hold a version of this model at the last look?"""
        return self.held is not None and any(name == model for name, _ in self.held.bundles)


class Sources:
    """The addresses that are served. Looks at stores block; one of each is made at a time."""

    def __init__(
        self,
        addresses: Sequence[str],
        versions: str = "latest",
        cache: BundleCache | None = None,
        *,
        signed: bool = False,
        on_call: bool = False,
    ) -> None:
        """`versions`: "latest" or "all", of folders of bundles; a bundle's own address counts.

        `signed`: signatures are wanted, so a look asks for those of a pinned digest too.
        `on_call`: of folders, that alone is served which is mounted by name.

        Raises `DeclarationError` for an address that is none.
        """
        read = [read_address(text) for text in addresses]
        self.folders = [each.path for each in read if isinstance(each, Folder)]
        self.remote = [RemoteSource(each) for each in read if not isinstance(each, Folder)]
        self.versions, self._cache, self._signed = versions, cache or BundleCache(), signed
        self._stops = threading.Event()
        self._selected: Mapping[str, Selection] = {}
        self._on_call, self.mounted = on_call, dict[str, str]()
        """Model name -> the folder that was mounted under it."""
        self.number = 0
        """Counts what a supervisor told."""
        self.behind = False
        """Was something told that is not known to be served?"""

    def select(self, selected: Mapping[str, Selection]) -> None:
        """Let these selections win over the files of their models, by the name in the bundle.

        The next look at the stores fetches what they add.
        """
        self._selected = selected
        for source in self.remote:
            if source.held is not None:
                source.held.mark = None

    def mount(self, name: str, folder: str, check: Callable[[str], object]) -> int:
        """Let the bundle in a folder be served under a name; return its size in bytes.

        `check` is called with the name that the bundle was sealed with, and raises `Refusal` where
        it may not be served. Raises that too for a folder that does not lie below those of this
        server, and `DeclarationError` for one that holds no bundle, or several models.
        """
        path = Path(folder).resolve()
        if not any(path.is_relative_to(each.resolve()) for each in self.folders):
            want = "a folder below that of the server's bundles"
            raise Refusal("E_PARAMETER", "url", "a folder elsewhere", want)
        home = mounted_home(name, path)
        check(home.sealed_as)
        self.mounted[name] = folder
        newest = home.paths[max(home.paths, key=version_key)]
        try:
            return sum(file.size for file in read_manifest(newest).files.values())
        except BundleError:
            return 0  # which is told when it is loaded

    def unmount(self, name: str) -> None:
        """Serve the folder of a name no more."""
        self.mounted.pop(name, None)

    def taken_up(self, number: int) -> None:
        """Learn that all of what was told under a number is served."""
        self.behind = self.behind and number != self.number

    def stop(self) -> None:
        """End a look that fetches; later ones end at once."""
        self._stops.set()

    @property
    def faults(self) -> dict[str, str]:
        """Address -> why its store could not be asked, where that is so."""
        return {each.address.shown: each.fault for each in self.remote if each.fault}

    def source_of(self, path: Path) -> RemoteSource | None:
        """The address that a bundle in the cache comes from; None for a folder's."""
        for source in self.remote:
            held = source.held
            if held is not None and any(kept.path == path for kept in held.bundles.values()):
                return source
        return None

    def look(self, model: str | None = None) -> bool:
        """Look at each store and fetch what is new; return whether any stands for something else.

        With `model`, only stores that may hold it are looked at: none, if it lies in a folder.

        Stores are looked at beside each other, so that one that hangs holds up no other. One that
        cannot be asked, and a bundle that cannot be fetched, change nothing: the fault is kept and
        logged. At the first look of an address, what the cache remembers of it takes its place.
        Raises a `SeatrialError` where the cache has nothing of it.
        """
        return any(call_each(self._look_at, self._that_may_hold(model)))

    def _that_may_hold(self, model: str | None) -> list[RemoteSource]:
        known = [each for each in self.remote if model is None or each.holds(model)]
        return known or ([] if self._in_a_folder(model) else self.remote)

    def _in_a_folder(self, model: str | None) -> bool:
        try:
            return any(home.name == model for each in self.folders for home in folder_homes(each))
        except DeclarationError:  # told by the scan that follows
            return False

    def _look_at(self, source: RemoteSource) -> bool:
        with source.looking:
            return self._look_alone(source)

    def _look_alone(self, source: RemoteSource) -> bool:
        before, code = source.held, OK
        try:
            held = before if self._is_as_before(source) else self._fetch(source)
            source.fault = ""
        except SeatrialError as error:
            held = before or self._recall(source)
            source.fault, code = str(error), getattr(error, "code", FAILED)
            if held is None:
                record_fetch(source, code)
                raise
        source.held = held
        self._tell(source, code, from_cache=before is None)
        assert held is not None
        return before is None or not before.is_as(held)

    def _is_as_before(self, source: RemoteSource) -> bool:
        """Has the address the mark of the last look, and does the cache still hold its bundles?"""
        held = source.held
        if held is None or held.mark is None:
            return False
        if not all(kept.there for kept in held.bundles.values()):
            return False
        if self._is_settled(source):
            return True
        mark = mark_of(source.address, self._stops.is_set, signed=self._signed)
        source.asked_at = now()
        return mark == held.mark

    def _is_settled(self, source: RemoteSource) -> bool:
        """Can an address never stand for anything else, and are no signatures wanted?"""
        return source.pinned and not self._signed

    def _fetch(self, source: RemoteSource) -> Held:
        address, known = source.address, None
        if source.held is None:
            known = self._recall(source)
        if known is not None and self._is_settled(source):
            return known  # a digest stands for the same for ever: no need to ask
        mark = mark_of(address, self._stops.is_set, signed=self._signed)
        if known is not None and mark is not None and known.mark == mark:
            source.asked_at = now()
            return known
        look = look_at(address, self._stops.is_set)
        source.asked_at = now()
        selections = {name: look.selection(name) for name in look.versions}
        offers = {
            (name, version): look.offer(name, version)
            for name, versions in look.versions.items()
            for version in self._wanted(name, versions, selections[name], single=look.single)
        }
        bundles = {key: self._kept(look, offer, address.shown) for key, offer in offers.items()}
        if any(offer.passed_over for offer in offers.values()):
            mark = None  # the next look tries again
        signatures = {key: offer.signatures for key, offer in offers.items()}
        held = Held(bundles, selections, look.single, mark, signatures)
        remember(address.shown, as_remembered(address.shown, held))
        return held

    def _wanted(
        self, name: str, versions: Sequence[str], files: Mapping[str, bytes], *, single: bool
    ) -> Collection[str]:
        """Which versions of a store are fetched: those that would be served."""
        if single:
            return versions
        try:
            selection = self._selected.get(name) or parse_selection(name, files)
        except DeclarationError:  # told when the selection is taken up
            selection = Selection()
        return chosen_versions(versions, selection, self.versions)

    def _kept(self, look: Look, offer: Offer, where: str) -> KeptBundle:
        """A bundle from the cache, or fetched into it."""

        def fetch(folder: Path) -> None:
            log.info(
                "fetching %s %s from %s, %.1f MB", offer.name, offer.version, where,
                offer.size / 1e6,
            )  # fmt: skip
            fetch_into(look, offer, folder, where, self._stops.is_set)

        return keep_signed(self._cache, offer, fetch)

    def _recall(self, source: RemoteSource) -> Held | None:
        """What the cache remembers of an address, if all of it is still there."""
        known = recall(source.address.shown)
        return None if known is None else self._held_of(known)

    def _held_of(self, known: Remembered) -> Held | None:
        """What is known of an address, if all of it is in the cache."""
        bundles, signatures = {}, {}
        for each in known.bundles:
            kept = self._cache.find(each.key, each.name, each.version)
            if kept is None:
                return None
            bundles[each.name, each.version] = kept
            signatures[each.name, each.version] = read_signatures(kept.path)
        selections = {
            name: {file: text.encode() for file, text in files.items()}
            for name, files in known.selections.items()
        }
        return Held(bundles, selections, known.single, known.mark, signatures)

    def _tell(self, source: RemoteSource, code: str, *, from_cache: bool) -> None:
        """Log and record a fault when it comes, changes or goes; not at each look."""
        if source.fault == source.told:
            return
        record_fetch(source, code)
        if not source.fault:
            log.info("%s answers again", source.address.shown)
        elif from_cache:
            log.error("%s; what the cache holds of it is served", source.fault)
        else:
            log.error("%s; what is served of it goes on as it was", source.fault)
        source.told = source.fault

    def homes(self) -> dict[str, Home]:
        """Model name -> where its versions lie, and its selection.

        Raises `DeclarationError` if a folder holds no bundle, or if two addresses hold different
        bundles of one version.
        """
        found: dict[str, Home] = {}
        for folder in () if self._on_call else self.folders:
            for home in folder_homes(folder):
                add(found, home)
        for name, mounted in self.mounted.items():
            found[name] = mounted_home(name, Path(mounted))
        for source in self.remote:
            if source.held is not None:
                for home in held_homes(source.held):
                    add(found, home)
        for name in found.keys() & self._selected.keys():
            found[name] = selected_home(found[name], self._selected[name])
        return found


def record_fetch(source: RemoteSource, result: str) -> None:
    """Write to the audit log how a look at a store ended."""
    record("fetch", address=source.address.shown, result=result, fault=shortened(source.fault))


def held_homes(held: Held) -> list[Home]:
    """The models of an address, as the cache holds them."""
    names = sorted({name for name, _ in held.bundles})
    return [held_home(name, held) for name in names]


def held_home(name: str, held: Held) -> Home:
    """Where one model's versions lie in the cache."""
    paths = {version: kept.path for (each, version), kept in held.bundles.items() if each == name}
    holds = {version: kept for (each, version), kept in held.bundles.items() if each == name}
    files = held.selections.get(name, {})
    return Home(
        name,
        next(iter(paths.values())).parent,
        paths,
        lambda: parse_selection(name, files),
        frozenset(paths) if held.single else frozenset(),
        holds,
    )


def mounted_home(name: str, folder: Path) -> Home:
    """The model in a folder, under a name. Raises `DeclarationError`."""
    homes = folder_homes(folder)
    if len(homes) > 1:
        got = f"{len(homes)} models"
        raise DeclarationError(f"the folder of model '{name}'", got, "one bundle")
    return replace(homes[0], name=name, sealed_as=homes[0].name)


def selected_home(home: Home, selection: Selection) -> Home:
    """The same home under another selection than that of its files."""
    return replace(home, read_selection=lambda: selection)


def add(found: dict[str, Home], home: Home) -> None:
    """Take a home in, beside another of the same model. Raises `DeclarationError`."""
    there = found.get(home.name)
    found[home.name] = home if there is None else there.joined(home)


def as_remembered(address: str, held: Held) -> Remembered:
    """What the cache shall remember of an address."""
    return Remembered(
        address=address,
        single=held.single,
        mark=held.mark,
        bundles=tuple(
            RememberedBundle(name=name, version=version, key=key)
            for (name, version), key in held.keys.items()
        ),
        selections={
            name: {file: data.decode("utf-8", "replace") for file, data in files.items()}
            for name, files in held.selections.items()
        },
    )
