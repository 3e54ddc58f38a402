"""Looks at stores that a supervisor makes for its workers: all serve what its last look found.

It tells them by a file. Workers ask no store.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, ValidationError

from seatrial_contracts.atomic_file import write_whole
from seatrial_contracts.errors import SeatrialError, StoreError
from seatrial_serve.models.sources import Held, RemoteSource, Sources, as_remembered
from seatrial_serve.stores.cache import BundleCache
from seatrial_serve.stores.remembered import Remembered

log = logging.getLogger("seatrial.sources")
FILE = "stores.json"


class ToldSource(BaseModel):
    """What an address stood for at the last look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held: Remembered
    fault: str
    asked_at: str


class Told(BaseModel):
    """What workers serve of stores, in the order of the addresses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """Counts the changes of what is held."""
    now: tuple[ToldSource, ...]
    start: tuple[ToldSource, ...]
    """What a worker starts with as long as none serves `now`, which a load gate may refuse."""


class SharedLooks:
    """The supervisor's side: it looks, and tells."""

    def __init__(self, sources: Sources) -> None:
        """Take sources that were looked at."""
        self._sources, self._telling = sources, Lock()
        self._told: Told | None = None
        self._kept: tuple[list[Held], list[Held]] = [], []
        """What `start` and `now` name: it stays in the cache."""

    def begin(self, folder: Path) -> Path:
        """Tell what the first look found, by a file in a folder; return it. Raises `OSError`."""
        self._file = folder / FILE
        self._tell()
        return self._file

    def look(self) -> bool:
        """Look at each store: is there anything that workers do not know yet? Blocks."""
        try:
            self._sources.look()
            return self._tell()
        except SeatrialError as error:
            log.error("not reloaded: %s", error)
        except OSError as error:
            got = error.strerror or "an error"
            log.error("not reloaded: writing %s: %s", self._file, got)
        return False

    def mend(self) -> bool:
        """As `look`, if the cache has lost what a worker would be told."""
        held = [source.held for source in self._sources.remote]
        whole = all(kept.there for each in held if each for kept in each.bundles.values())
        return not whole and self.look()

    def _tell(self) -> bool:
        """Write what is held, unless it was told: do workers have to know? Raises `OSError`."""
        with self._telling:
            before, kept = self._told, self._kept
            looked = [(each, each.held) for each in self._sources.remote if each.held is not None]
            held = [each for _, each in looked]
            now = tuple(told_source(source, each) for source, each in looked)
            if before is None:
                told, kept, changed = Told(number=1, now=now, start=now), (held, held), True
            elif same(kept[1], held):
                told = before.model_copy(update={"now": now})
                changed = [each.fault for each in now] != [each.fault for each in before.now]
            else:
                taken = taken_file(self._file, before.number).exists()
                start = before.now if taken else before.start
                told, changed = Told(number=before.number + 1, now=now, start=start), True
                kept = kept[1 if taken else 0], held
            if told != before:
                write_whole(self._file, told.model_dump_json().encode())
            self._told, self._kept = told, kept
            return changed


class ToldSources(Sources):
    """A worker's side: sources that its supervisor looks at."""

    def __init__(
        self, file: Path, addresses: Sequence[str], versions: str, cache: BundleCache,
        *, signed: bool, on_call: bool,
    ) -> None:  # fmt: skip
        """`file`: see `SharedLooks.begin`; the others: see `Sources`."""
        super().__init__(addresses, versions, cache, signed=signed, on_call=on_call)
        self._file, self._reading = file, Lock()

    def look(self, model: str | None = None) -> bool:  # noqa: ARG002  (a file is read whole)
        """Take what was told; return whether any address stands for something else.

        Raises `StoreError` where the cache has lost what a worker would start with.
        """
        with self._reading:
            told = self._read()
            first, new = not self.number, told.number != self.number
            self.number = told.number
            taken = taken_file(self._file, told.number).exists()
            if first and told.start != told.now and not taken:
                held = [self._held_of(each.held) for each in told.start]
                if all(held):
                    self.behind = True
                    return self._take(told.start, held)
            self.behind = self.behind or (new and not first)
            return self._take(told.now, [self._held_of(each.held) for each in told.now])

    def _read(self) -> Told:
        try:
            return Told.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError) as error:
            got, want = type(error).__name__, "what the supervisor's last look found"
            raise StoreError(f"file '{self._file}'", got, want) from error

    def _take(self, told: Sequence[ToldSource], found: Sequence[Held | None]) -> bool:
        changed = False
        for source, said, there in zip(self.remote, told, found, strict=True):
            before = source.held
            held = there or before
            if held is None:
                got = "no longer in the cache"
                raise StoreError(source.address.shown, got, "what the supervisor fetched")
            source.held, source.fault, source.asked_at = held, said.fault, said.asked_at
            changed = changed or before is None or not before.is_as(held)
        return changed

    def taken_up(self, number: int) -> None:
        """Let workers that start from now on begin with it."""
        super().taken_up(number)
        with suppress(OSError):  # on a full disk, they begin with what was served before
            taken_file(self._file, number).touch()


def told_source(source: RemoteSource, held: Held) -> ToldSource:
    """What workers are told of an address."""
    what = as_remembered(source.address.shown, held)
    return ToldSource(held=what, fault=source.fault, asked_at=source.asked_at)


def same(before: Sequence[Held], now: Sequence[Held]) -> bool:
    """Do addresses stand for what they stood for?"""
    return all(one.is_as(other) for one, other in zip(before, now, strict=True))


def taken_file(file: Path, number: int) -> Path:
    """It is there once a worker serves all of what was told under a number."""
    return file.with_name(f"{file.name}.{number}.taken")
