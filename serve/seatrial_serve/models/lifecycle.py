"""The life cycle of models: folders and stores of bundles decide what is served.

No request is lost by a change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from seatrial_contracts.errors import DeclarationError, ModelError, Refusal, Unavailable
from seatrial_serve.engines.footprint import ROOM, footprint
from seatrial_serve.metrics.demand import DemandMetrics
from seatrial_serve.metrics.process_metrics import resident_bytes
from seatrial_serve.models.entry import Entry, State
from seatrial_serve.models.folder_rest import FolderRest
from seatrial_serve.models.on_demand import OnDemand
from seatrial_serve.models.repository import Repository, record_load
from seatrial_serve.models.scan import FoundModel
from seatrial_serve.models.served_model import ServedModel
from seatrial_serve.process.audit_log import record
from seatrial_serve.process.daemon_threads import in_daemon
from seatrial_serve.process.resources import granted_bytes

log = logging.getLogger("seatrial.keeper")
RETRY_S = 1.0


@dataclass(frozen=True)
class DemandPlan:
    """Which versions are loaded at their first request: all but those of pinned models."""

    pinned: frozenset[str]
    limit_bytes: int
    """What all versions in memory may take together."""
    metrics: DemandMetrics
    loads_at_once: int = 1


class ModelLifecycle:
    """Loads, swaps and retires versions. Use `async with`.

    Changes of one model happen one after another, in the order in which the folder was looked at;
    changes of different models wait for each other only where `pool` has no thread left.

    A version takes traffic once it passed its load gate; until then, and if it fails, the one
    before goes on. A retired version answers the requests that have it already, and then gives its
    memory back; nothing else waits for that.
    """

    def __init__(
        self, repository: Repository, build: Callable[[Entry], ServedModel], pool: Executor, *,
        watch: bool = False, poll_s: float = 30.0, join_loaded: bool = False,
        remote: bool = False, tidy: Callable[[], None] = lambda: None,
        demand: DemandPlan | None = None,
    ) -> None:  # fmt: skip
        """`build` loads one entry, blocking, in `pool`, whose threads bound the loads at once.

        With `watch`, folders are followed, and stores are looked at every `poll_s` seconds.
        `tidy` is called, in a thread, after whatever takes or frees much memory, but for loads on
        demand: a full round of Python's collector after each would hold up every request.

        With `join_loaded`, `async with` waits for the first load; `remote`: the runtime is another
        process, which may come later. `demand`: which versions are loaded at their first request;
        None: none.
        """
        self._repository, self._pool = repository, pool
        self._build = build
        self._watch, self._remote, self._tidy, self._poll_s = watch, remote, tidy, poll_s
        self.changed: Callable[[], Awaitable[None]] | None = None
        """Told after every change."""
        self.unloaded: Callable[[ServedModel], None] | None = None
        """Told of each model that is unloaded for others, so that nobody keeps it in memory."""
        self._scanning = asyncio.Lock()
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining: set[asyncio.Task[None]] = set()
        """Retired versions that requests still have."""
        self._stopping = asyncio.Event()
        self._join_loaded, self._stops, self._reload_waits = join_loaded, False, False
        self._look_again = False
        """Did something not load, in the place of what goes on, for want of its runtime?"""
        self.first_load_done = asyncio.Event()
        """Each model of the start has been loaded, or has failed."""
        self._plan = demand
        self._demand: OnDemand | None = None
        if demand is not None:
            self._demand = OnDemand(
                self._load_cold, self._unload_cold, self._spawn, demand.limit_bytes,
                demand.metrics, loads_at_once=demand.loads_at_once, stops=lambda: self._stops,
            )  # fmt: skip
            repository.on_demand = True
            for entry in repository:
                self._begin(entry)
                repository.choose_default(entry.name)

    async def __aenter__(self) -> ModelLifecycle:
        self._loop = asyncio.get_running_loop()
        first = self._spawn(
            self._load_all(
                [
                    self._spawn(self._load_first(entry))
                    for entry in self._repository
                    if entry.state is State.LOADING
                ]
                + [self._spawn(self._check_cold())]
            )
        )
        if self._join_loaded:
            await first
        if self._watch and self._repository.sources.folders:
            self._spawn(self._follow(self._repository.sources.folders))
        if self._watch and self._repository.sources.remote:
            self._spawn(self._follow_stores())
        if self._remote:
            self._spawn(self._follow_runtime())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self._repository.sources.stop()
        self.stop_loading()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.sleep(0)  # a task that is cancelled before its first step does nothing at all
        for drain in self._draining:
            drain.cancel()
        if self._draining:
            await asyncio.wait(self._draining)
        for entry in self._repository:
            if entry.model is not None:
                await entry.model.close()

    def _spawn(
        self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        tasks = self._tasks if among is None else among
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _begin(self, entry: Entry) -> Entry:
        """Say of a version that nobody has loaded who will."""
        if self._plan is not None and entry.name not in self._plan.pinned:
            entry.demand, entry.state = self._demand, State.COLD
        return entry

    def _change_of(self, name: str) -> asyncio.Lock:
        """Whoever holds it changes this model. It lets in whoever waits for it in order."""
        return self._changing.setdefault(name, asyncio.Lock())

    def stop_loading(self) -> None:
        """Load no more than what is being loaded. A signal's handler may call it."""
        self._stops = True

    @property
    def stops(self) -> bool:
        """Was it told to load no more? Any thread may ask."""
        return self._stops

    def reload_soon(self) -> None:
        """Reload in the background, on the event loop.

        Calls while a reload waits for its turn are that one reload.
        """
        if not self._reload_waits:
            self._reload_waits = True
            self._spawn(self._reload_and_log())

    async def _reload_and_log(self) -> None:
        sources = self._repository.sources
        try:
            if sources.folders and sources.remote:  # folders wait for no store
                await self.reload(look=False)
            await self.reload()
        except DeclarationError as error:
            log.error("not reloaded: %s", error)
        except Exception:  # nobody waits for this task: what it raised would be lost
            log.exception("not reloaded: this is a bug in seatrial")

    async def _load_all(self, loads: list[asyncio.Task[None]]) -> None:
        if loads:
            await asyncio.wait(loads)
        for error in filter(None, (load.exception() for load in loads)):
            log.error("a model was not loaded: this is a bug in seatrial", exc_info=error)
        await asyncio.to_thread(self._tidy)
        self.first_load_done.set()
        if self._repository.sources.behind:
            self.reload_soon()

    async def _load_first(self, entry: Entry) -> None:
        async with self._change_of(entry.name):
            if not self._stops:
                await self._load(entry)

    async def _check_cold(self) -> None:
        """Tell of each version that is loaded on demand, and cannot be, before it is asked for."""
        for entry in [each for each in self._repository if each.state is State.COLD]:
            if self._stops:
                return
            async with self._change_of(entry.name):
                if entry.state is State.COLD and self._repository.holds(entry):
                    await self._check(entry)
                    if not entry.is_available:
                        self._repository.choose_default(entry.name)
                        await self._tell()

    async def _check(self, entry: Entry) -> None:
        """Read the manifest of a COLD version; it has FAILED where that is wrong."""
        assert self._demand is not None
        manifest = await asyncio.to_thread(self._repository.check, entry)
        if manifest is not None:
            self._demand.check_fits(entry, footprint(manifest, entry.variant))

    async def reload(
        self, name: str | None = None, rest: FolderRest | None = None, *, look: bool = True
    ) -> list[FoundModel]:
        """Serve what the sources hold now, of all models or of one, and return what that is.

        Stores are looked at first, unless `look` is off or with `rest`.

        A model whose selection (`labels.json`, `variants.json`) can be read no more stays as it
        was. With `rest`, a version is loaded once its folder rests, and not again before it
        changes, and a model that is changing already is left to a later look.

        Raises `DeclarationError` if a folder holds no bundle, `Refusal` for an unknown name.
        """
        if look and rest is None:
            await self._look_at_stores(name)
        async with self._scanning:
            self._reload_waits = self._reload_waits and name is not None
            if rest is not None:
                rest.look_anew()
            number = self._repository.sources.number
            found = [
                model
                for model in await asyncio.to_thread(self._repository.scan)
                if name in (None, model.name)
            ]
            if name is not None and not found:
                raise Refusal(
                    "E_MODEL_NOT_FOUND",
                    "model",
                    "an unknown name",
                    "the name of a folder of bundles",
                )
            # each waits for its model's turn before a later look at the folder does
            gone = (
                set(self._repository.names) - {model.name for model in found}
                if name is None
                else ()
            )
            moved = [model for model in found if name is not None or self._has_moved(model, rest)]
            now = [model for model in moved if rest is None or self._may_follow(model, rest)]
            changes = [self._spawn(self._change(model, rest)) for model in now]
            changes += [self._spawn(self._retire_all(each)) for each in gone]
        if changes:
            await asyncio.wait(changes)  # which cancels none of them where nobody waits any more
        for change in changes:
            change.result()
        if name is None and self._repository.sources.behind and self._serves_stores(found):
            self._repository.sources.taken_up(number)
        return found

    def _serves_stores(self, found: Sequence[FoundModel]) -> bool:
        """Is all that was found in stores available, with those very bytes?"""
        wanted = [entry for model in found for entry in model.entries if entry.hold is not None]
        there = [self._repository.find(entry.name, entry.version) for entry in wanted]
        return all(
            one is not None and one.stamp == entry.stamp and one.is_available
            for one, entry in zip(there, wanted, strict=True)
        )

    def _has_moved(self, model: FoundModel, rest: FolderRest | None) -> bool:
        """Is there anything to follow, or does the model change just now?"""
        changing = self._changing.get(model.name)
        if (changing is not None and changing.locked()) or not self._repository.is_served(model):
            return True
        if rest is not None:
            rest.forget(model.home)
        return False

    def _may_follow(self, model: FoundModel, rest: FolderRest) -> bool:
        """May a look at the folder follow this model, or does it change just now?"""
        changes = self._change_of(model.name).locked()
        if changes:
            rest.wait_for(model.home)
        return not changes

    async def _change(self, model: FoundModel, rest: FolderRest | None) -> None:
        """Follow what was found of a model, and tell."""
        async with self._change_of(model.name):
            if not self._repository.stays(model):
                await self._follow_model(model, rest)
            elif rest is None or rest.may_tell(model.home, model.unreadable):
                log.error("%s stays as it was: %s", model.name, model.unreadable)
            if rest is not None and not model.unreadable:
                rest.forget(model.home)
        await self._tell()

    async def _retire_all(self, name: str) -> None:
        """Retire every version of a model, and tell."""
        async with self._change_of(name):
            for entry in list(self._repository.versions(name).values()):
                await self._retire(entry)
        await self._tell()

    async def _follow_model(self, model: FoundModel, rest: FolderRest | None) -> None:
        """Load what is new of a model, take up its selection, and retire its other versions."""
        waits = False
        for entry in model.entries:
            if self._stops:
                return
            there = self._repository.find(entry.name, entry.version)
            if there is not None and there.stamp == entry.stamp and there.state is not State.FAILED:
                continue
            may_try = rest is None or await asyncio.to_thread(rest.may_try, entry.path, entry.stamp)
            self._begin(entry)
            if may_try and entry.state is State.COLD and not self._repository.versions(entry.name):
                await self._check(entry)
                self._repository.put(entry)  # nobody has asked for it: it replaces nothing
            elif may_try:
                entry.state = State.LOADING
                if there is not None and there.digest != entry.digest:
                    text = "%s %s: other bytes under the same version: %s before, %s now"
                    log.warning(
                        text,
                        entry.name,
                        entry.version,
                        there.digest or "none",
                        entry.digest or "none",
                    )
                await self._replace(there, entry)
            else:
                waits = True
        self._repository.select(model)
        followed = any(map(self._takes_traffic, model.entries))
        wanted = {entry.version for entry in model.entries}
        there_too = self._repository.versions(model.name).values()
        for entry in [entry for entry in there_too if entry.version not in wanted]:
            if followed or not entry.is_available:
                await self._retire(entry)
            elif not waits:
                log.warning(
                    "%s %s goes on: nothing in the folder is ready to follow it",
                    entry.name,
                    entry.version,
                )

    async def load(self, name: str) -> None:
        """Load a model, or load it anew.

        Raises `ModelError` if its version in the folder does not pass its load gate, and
        `Unavailable` if there is no room for it.
        """
        for model in await self.reload(name):
            for entry in model.entries:
                there = self._repository.find(entry.name, entry.version)
                if there is not None and there.demand is not None and there.state is State.COLD:
                    await there.demand.wait(there, math.inf)
                if model.unreadable or not self._serves(entry):
                    text = f"{name} {entry.version} did not load; the server's log says why"
                    raise ModelError("E_LOAD", text)

    def _takes_traffic(self, entry: Entry) -> bool:
        """Does its version?"""
        there = self._repository.find(entry.name, entry.version)
        return there is not None and there.is_available

    def _serves(self, entry: Entry) -> bool:
        """Does its version, with these very bytes?"""
        there = self._repository.find(entry.name, entry.version)
        return there is not None and there.stamp == entry.stamp and there.state is State.READY

    async def unload(self, name: str) -> None:
        """Retire every version of a model, until it is loaded again.

        Raises `Refusal` if there is no such model.
        """
        if self._repository.find(name) is None:
            raise Refusal("E_MODEL_NOT_FOUND", "model", "an unknown name", "one of GET /v1/models")
        await asyncio.shield(self._spawn(self._retire_all(name)))

    async def mount(self, name: str, folder: str, check: Callable[[str], object]) -> None:
        """Load the bundle in a folder, and serve it under a name.

        `check`: see `Sources.mount`.

        Raises `Refusal` for a name that is served already and for a folder elsewhere,
        `Unavailable` with E_MEMORY if there is no room for it, and `DeclarationError` or
        `ModelError` if it does not load.
        """
        if self._repository.find(name) is not None:
            raise Refusal("E_LOADED", "model_name", "a name that is served", "another, or DELETE")
        sources = self._repository.sources
        size = await asyncio.to_thread(sources.mount, name, folder, check)
        try:
            if resident_bytes() + round(ROOM * size) > granted_bytes():
                raise Unavailable("E_MEMORY", f"no room for {size} bytes more: unload a model")
            await self.load(name)
        except BaseException as error:  # one that nobody waits for any more leaves nothing either
            failed = self._repository.find(name)
            await self.unmount(name)
            if isinstance(error, ModelError) and failed is not None:
                raise ModelError(failed.code or error.code, failed.reason) from None
            raise

    async def unmount(self, name: str) -> None:
        """Serve what was mounted under a name no more."""
        self._repository.sources.unmount(name)
        await asyncio.shield(self._spawn(self._retire_all(name)))

    def distrust_soon(self, model: ServedModel, code: str, reason: str, *, fall_back: bool) -> None:
        """`distrust` in the background: what another thread may call."""
        work = lambda: self._spawn(self.distrust(model, code, reason, fall_back=fall_back))
        self._loop.call_soon_threadsafe(work)

    async def distrust(
        self, model: ServedModel, code: str, reason: str, *, fall_back: bool
    ) -> None:
        """Let a version take no more traffic, until it is loaded anew.

        If `fall_back`, the highest version below it that passes its load gate follows it.
        """
        async with self._change_of(model.name):
            entry = self._repository.find(model.name, model.bundle.version)
            if entry is None or not (
                entry.model is model
                or (entry.state is State.COLD and entry.digest == model.bundle.digest)
            ):
                return
            log.error("%s %s takes no more traffic: %s", entry.name, entry.version, reason)
            record("distrust", model=entry.name, version=entry.version, code=code)
            if fall_back:
                await self._load_older(entry)
            entry.state, entry.code, entry.reason = State.FAILED, code, reason
            self._repository.choose_default(entry.name)
            self._let_go(entry)
        await self._tell()
        self._spawn(self._drain(model), self._draining)

    async def _load_older(self, entry: Entry) -> None:
        try:
            found = await asyncio.to_thread(self._repository.older, entry)
        except DeclarationError as error:
            log.error("no version below %s %s: %s", entry.name, entry.version, error)
            return
        for older in found:
            there = self._repository.find(older.name, older.version)
            if there is None or not there.is_available:
                self._begin(older).state = State.LOADING
                self._repository.put(older)
                await self._load(older)
            if self._takes_traffic(older):
                log.warning("%s %s follows it", older.name, older.version)
                return
        log.error("%s: no version below %s is ready to follow it", entry.name, entry.version)

    async def _load(self, entry: Entry) -> None:
        """An entry that is in the repository already."""
        was_available = entry.is_available
        await self._load_in_pool(entry)
        if not was_available or not entry.is_available:
            self._repository.choose_default(entry.name)
            await self._tell()

    async def _load_in_pool(self, entry: Entry) -> None:
        """Load an entry once there is room for it; READY or FAILED afterwards."""
        if self._demand is None:
            room: AbstractContextManager[None] = nullcontext()
        else:
            try:
                room = await self._demand.room(entry, lambda: not self._stops)
            except Unavailable as error:
                entry.state, entry.code, entry.reason = State.FAILED, error.code, str(error)
                log.error("%s %s is not ready: %s", entry.name, entry.version, error)
                record_load(entry, entry.code)
                return
        with room:
            await self._load_now(entry)

    async def _load_now(self, entry: Entry) -> None:
        await asyncio.get_running_loop().run_in_executor(
            self._pool, self._repository.load, entry, self._build
        )
        if entry.model is not None:
            await entry.model.__aenter__()
            entry.state = State.READY
            if self._demand is not None:
                self._demand.hold(entry)

    async def _load_cold(self, entry: Entry, wanted: Callable[[], bool]) -> bool:
        """Load a version that somebody asks for, if it is still cold: see `OnDemand`."""
        assert self._demand is not None
        async with self._change_of(entry.name):
            if not self._repository.holds(entry):
                text = f"{entry.name} {entry.version} is no longer served"
                raise Unavailable("E_NOT_READY", text)
            if entry.state is not State.COLD:
                return False
            with await self._demand.room(entry, wanted):
                await self._load_now(entry)
            if not entry.is_available:
                self._repository.choose_default(entry.name)
                await self._tell()
            return True

    async def _unload_cold(self, entry: Entry) -> None:
        """Free the memory of a version that no request has, until somebody asks for it again."""
        model = entry.model
        if model is None:
            return
        entry.state = State.COLD
        self._let_go(entry)
        if self.unloaded is not None:
            self.unloaded(model)
        await model.retire()  # the load that wants its memory gives it back: see `Loader`

    def _let_go(self, entry: Entry) -> None:
        entry.model = None
        if self._demand is not None:
            self._demand.let_go(entry)

    async def _replace(self, old: Entry | None, new: Entry) -> None:
        """Load `new`; where it fails and `old` is available, `old` stays."""
        if old is None or not old.is_available:
            self._repository.put(new)
            await self._load(new)
            return
        await self._load_in_pool(new)
        if new.model is None:
            self._look_again = self._look_again or new.wants_runtime
            log.error(
                "%s %s goes on as it was: what lies in the folder now did not load",
                old.name,
                old.version,
            )
            return
        self._repository.put(new)
        await self._retire(old)

    async def _retire(self, entry: Entry) -> None:
        """Take a version out. Requests that have it already are waited for in the background."""
        self._repository.drop(entry)
        log.info("%s %s is no longer served", entry.name, entry.version)
        record("retire", model=entry.name, version=entry.version, digest=entry.digest)
        if entry.model is None:
            return
        held, drain = entry.model.held, self._spawn(self._drain(entry.model), self._draining)
        self._let_go(entry)
        if not held:
            await asyncio.wait([drain])

    async def _drain(self, model: ServedModel) -> None:
        """Close a retired model once no request has it, and give its memory back."""
        await model.retire()
        there = weakref.ref(model)
        del model
        await asyncio.to_thread(self._tidy)
        self._tidy_after(there())

    def _tidy_after(self, model: ServedModel | None) -> None:
        """Tidy once more when the last holder of a retired model is done with it.

        A holder is an observer or a thread.
        """
        if model is not None:
            weakref.finalize(model, self._last_holder_left).atexit = False

    def _last_holder_left(self) -> None:
        """In whichever thread that was."""
        if not (self._stopping.is_set() or self._loop.is_closed()):
            self._loop.call_soon_threadsafe(lambda: self._spawn(asyncio.to_thread(self._tidy)))

    async def _tell(self) -> None:
        if self.changed is not None:
            await self.changed()

    async def _follow_runtime(self) -> None:
        """Load what failed for want of its runtime, again and again; report how each stands.

        The runtime is another process, which sends no event.
        """
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RETRY_S)
            for entry in [entry for entry in self._repository if entry.wants_runtime]:
                async with self._change_of(entry.name):
                    if (
                        self._repository.find(entry.name, entry.version) is entry
                        and entry.wants_runtime
                    ):
                        await self._load(entry)
                        self._look_again = self._look_again or entry.is_available
            models = [each.model for each in self._repository if each.model is not None]
            if self._look_again or any(model.engine.refused for model in models):
                self._look_again = False
                self.reload_soon()  # which retires what a version takes over from
            await self._tell()

    async def _look_at_stores(self, model: str | None = None) -> bool:
        """Look at the stores, of all models or of one: does any stand for something else?

        A store may hang: what is asked of it when the server stops is waited for no longer.
        """
        if not self._repository.sources.remote:
            return False
        look = asyncio.ensure_future(in_daemon(partial(self._repository.look, model)))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((look, stop), return_when=asyncio.FIRST_COMPLETED)
            return look.done() and look.result()
        finally:
            look.cancel()
            stop.cancel()

    async def _follow_stores(self) -> None:
        """Look at the stores again and again, and reload when one stands for something else."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._poll_s)
                return
            try:
                if await self._look_at_stores() and not self._stopping.is_set():
                    await self.reload(look=False)
            except DeclarationError as error:
                log.error("not reloaded: %s", error)
            except Exception:  # what one look raises must not end the others
                log.exception("not reloaded: this is a bug in seatrial")

    async def _follow(self, folders: Sequence[Path]) -> None:
        """Reload whenever one of the folders has changed, until the server stops."""
        from watchfiles import awatch

        rest = FolderRest()
        self._look_soon(rest, rest.rest_s)  # what changed between the first look and the watch
        try:
            async for _ in awatch(
                *folders, stop_event=self._stopping, recursive=True, raise_interrupt=False
            ):
                self._look_soon(rest)
        except Exception:  # the system's own, such as a limit of watches; requests go on
            shown = ", ".join(map(str, folders))
            log.exception("%s is watched no more; SIGHUP still reloads", shown)

    def _look_soon(self, rest: FolderRest, after_s: float = 0.0) -> None:
        """Look at the folder in the background. Calls while a look waits are that one look."""
        if not (rest.look_waits or self._stopping.is_set()):
            rest.look_waits = True
            self._spawn(self._look(rest, after_s))

    async def _look(self, rest: FolderRest, after_s: float) -> None:
        """Reload what rests, and look again as long as something moves.

        A model that takes long to load holds up no look at the others.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), after_s)
            return
        folder = self._repository.sources.folders[0]
        try:
            await self.reload(rest=rest)
            rest.forget(folder)
        except DeclarationError as error:
            if rest.may_tell(folder, str(error)):
                log.error("not reloaded: %s", error)
        except Exception:  # nobody waits for this task: what it raised would be lost
            log.exception("not reloaded: this is a bug in seatrial")
        if rest.moving:
            self._look_soon(rest, rest.rest_s)
