"""Several workers over stores: all serve what their supervisor's last look found."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.conformance import rows, seal
from support.registries import SmallRegistry
from support.toys import toy_bundle
from support.waiting import until

from seatrial_contracts.bundle import open_bundle
from seatrial_contracts.errors import StoreError
from seatrial_serve.models.shared_looks import SharedLooks, ToldSources
from seatrial_serve.models.sources import Sources
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.cache import BundleCache
from seatrial_serve.stores.in_registry import push_to_registry


class Shared:
    """A supervisor's looks at one tag, and the workers that are told of them."""

    def __init__(self, registry: SmallRegistry, tmp_path: Path, max_bytes: int = 2**30) -> None:
        self.registry, self.made, self.folder = registry, tmp_path / "made", tmp_path / "folder"
        self.folder.mkdir()
        self.cache = BundleCache(max_bytes)
        self.push("1.0.0")
        self.sources = Sources((self.address,), cache=self.cache)
        self.sources.look()
        self.looks = SharedLooks(self.sources)
        self.file = self.looks.begin(self.folder)

    def push(self, version: str) -> None:
        address = InRegistry(self.registry.host, "team/toy", "stable", None)
        push_to_registry(toy_bundle(self.made, version=version), address)
        self.address = address.shown

    def worker(self) -> ToldSources:
        """One that starts now."""
        found = ToldSources(
            self.file, (self.address,), "latest", self.cache, signed=False, on_call=False
        )
        found.look()
        return found


@pytest.fixture
def shared(registry: SmallRegistry, tmp_path: Path) -> Shared:
    return Shared(registry, tmp_path)


def versions(sources: Sources) -> list[str]:
    return sorted(version for home in sources.homes().values() for version in home.paths)


def test_a_worker_that_starts_serves_what_the_others_serve_and_asks_no_store(
    shared: Shared,
) -> None:
    first = shared.worker()
    shared.push("2.0.0")
    asked = len(shared.registry.asked)
    assert versions(shared.worker()) == versions(first) == ["1.0.0"]
    assert not first.look()
    assert len(shared.registry.asked) == asked


def test_all_workers_follow_a_look(shared: Shared) -> None:
    workers = [shared.worker(), shared.worker()]
    shared.push("2.0.0")
    assert shared.looks.look()
    assert not shared.looks.look()
    assert [worker.look() for worker in workers] == [True, True]
    assert [versions(worker) for worker in workers] == [["2.0.0"]] * 2
    assert not any(worker.look() for worker in workers)


def test_a_worker_starts_with_what_others_serve_until_one_has_taken_up_the_next(
    shared: Shared,
) -> None:
    old = shared.worker()
    for version in ("2.0.0", "3.0.0"):  # neither passes a load gate
        shared.push(version)
        shared.looks.look()
        old.look()
        new = shared.worker()
        assert versions(new) == ["1.0.0"]
        assert new.behind
        assert new.look()
        assert versions(new) == [version]
    new.taken_up(new.number)
    assert not new.behind
    assert versions(shared.worker()) == ["3.0.0"]
    shared.push("4.0.0")
    shared.looks.look()
    assert versions(shared.worker()) == ["3.0.0"]


def test_what_a_worker_would_start_with_stays_in_a_cache_without_room(
    registry: SmallRegistry, tmp_path: Path
) -> None:
    shared = Shared(registry, tmp_path, max_bytes=0)
    for version in ("2.0.0", "3.0.0"):
        shared.push(version)
        shared.looks.look()
    assert versions(shared.worker()) == ["1.0.0"]


def test_a_fault_is_told_once_it_comes_and_once_it_goes(shared: Shared) -> None:
    worker, manifests = shared.worker(), dict(shared.registry.manifests)
    shared.registry.manifests.clear()
    assert shared.looks.look()
    assert not shared.looks.look()
    assert not worker.look()
    assert "404" in worker.faults[shared.address]
    shared.registry.manifests.update(manifests)
    assert shared.looks.look()
    worker.look()
    assert worker.faults == {}


def test_what_the_cache_has_lost_is_fetched_before_a_worker_starts(shared: Shared) -> None:
    assert not shared.looks.mend()
    held = shared.sources.remote[0].held
    assert held is not None
    held.bundles["toy", "1.0.0"].discard()
    with pytest.raises(StoreError, match="no longer in the cache"):
        shared.worker()
    shared.looks.mend()
    assert versions(shared.worker()) == ["1.0.0"]


def test_a_file_that_cannot_be_written_leaves_workers_as_they_are(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = shared.worker()
    shared.push("2.0.0")
    with monkeypatch.context() as full:
        full.setattr(
            "seatrial_serve.models.shared_looks.write_whole", raising(OSError(28, "no space left"))
        )
        assert not shared.looks.look()
    assert "no space left" in caplog.text
    assert not worker.look()
    assert shared.looks.look()
    assert worker.look()
    assert versions(worker) == ["2.0.0"]


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> None:
        raise error

    return call


@pytest.mark.slow
def test_a_worker_that_is_started_anew_serves_the_version_of_the_others(
    registry: SmallRegistry, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    address = InRegistry(registry.host, "team/conformance", "stable", None)

    def push(version: str, *, wrong: bool = False) -> None:
        seal(tmp_path / "made", version, wrong=wrong)
        push_to_registry(open_bundle(tmp_path / "made" / "conformance" / version), address)

    push("1.0.0")
    server = serve(address.shown, "--workers", "2", "--drain-window-s", "0.1")
    server.wait_until_loaded()

    def told(words: str) -> set[int]:
        """The workers that live, and whose log has these words."""
        lines = [line for line in server.log if words in line]
        here = {child.pid for child in psutil.Process(server.process.pid).children()}
        return {pid for pid in here if any(f"[{pid}]" in line for line in lines)}

    def lose_one() -> None:
        lost = told("conformance 1.0.0 passed").pop()
        psutil.Process(lost).kill()
        until(lambda: len(told("conformance") - {lost}) == 2)
        until(lambda: server.wait_until_loaded()[0] == 200)

    def answered() -> set[str]:
        body = {"instances": rows()[:1]}
        url = f"{server.url}/v1/models/conformance:predict"
        return {httpx.post(url, json=body).json().get("model_version") for _ in range(20)}

    until(lambda: len(told("conformance 1.0.0 passed")) == 2)
    push("2.0.0", wrong=True)
    lose_one()
    assert answered() == {"1.0.0"}, "nobody has looked at the tag that moved"
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(told("conformance 2.0.0 is not ready")) == 2)
    lose_one()
    assert answered() == {"1.0.0"}, "no worker serves what does not pass its load gate"
    push("3.0.0")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: answered() == {"3.0.0"})
