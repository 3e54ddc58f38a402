"""Stores that accept and never answer hold up no folder, no other store and no stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.conformance import seal
from support.registries import SmallRegistry
from support.running import run_app
from support.toys import fake_runtimes, toy_bundle
from support.waiting import until

from seatrial_contracts.bundle import open_bundle
from seatrial_serve.models.sources import Sources
from seatrial_serve.process.daemon_threads import call_each
from seatrial_serve.stores.address import InRegistry, InStore
from seatrial_serve.stores.in_files import push_to_files
from seatrial_serve.stores.in_registry import push_to_registry


class Hanging(dict[str, tuple[str, bytes]]):
    """The manifests of a registry that accepts, and never answers."""

    def __init__(self, there: dict[str, tuple[str, bytes]]) -> None:
        super().__init__(there)
        self.ends, self.asked = threading.Event(), threading.Event()

    def get(self, *_: Any) -> Any:
        self.asked.set()
        self.ends.wait()
        return "", b""


@pytest.fixture
def hang(registry: SmallRegistry) -> Iterator[Callable[[], Hanging]]:
    made: list[Hanging] = []

    def begin() -> Hanging:
        made.append(Hanging(registry.manifests))
        registry.manifests = made[-1]
        return made[-1]

    yield begin
    for each in made:
        each.ends.set()


def push(registry: SmallRegistry, tmp_path: Path) -> str:
    address = InRegistry(registry.host, "team/toy", "stable", None)
    push_to_registry(toy_bundle(tmp_path / "made"), address)
    return address.shown


async def test_a_stop_does_not_wait_for_a_look(
    tmp_path: Path, registry: SmallRegistry, hang: Callable[[], Hanging],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fake_runtimes(monkeypatch)
    address = push(registry, tmp_path)
    async with asyncio.timeout(30):
        async with run_app(address, watch=True, poll_s=1.0) as running:
            hung = hang()
            running.lifecycle.reload_soon()
            await asyncio.to_thread(hung.asked.wait)
        assert not hung.ends.is_set()


async def test_models_of_folders_do_not_wait_for_a_look(
    tmp_path: Path, registry: SmallRegistry, hang: Callable[[], Hanging],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fake_runtimes(monkeypatch)
    addresses = (push(registry, tmp_path), str(tmp_path / "here"))
    toy_bundle(tmp_path / "here", name="local")
    async with asyncio.timeout(30), run_app(addresses) as running:
        hung = hang()
        running.lifecycle.reload_soon()
        await asyncio.to_thread(hung.asked.wait)
        toy_bundle(tmp_path / "here", name="local", version="2.0.0")
        await running.lifecycle.load("local")
        assert list(running.repository.versions("local")) == ["2.0.0"]
        toy_bundle(tmp_path / "here", name="local", version="3.0.0")
        running.lifecycle.reload_soon()
        while list(running.repository.versions("local")) != ["3.0.0"]:
            await asyncio.sleep(0.01)
        assert not hung.ends.is_set()


def test_a_store_that_hangs_holds_up_no_other(
    tmp_path: Path, registry: SmallRegistry, hang: Callable[[], Hanging]
) -> None:
    toy_bundle(tmp_path / "made", name="other")
    first, other = push(registry, tmp_path), f"memory://{tmp_path.name}"
    push_to_files(open_bundle(tmp_path / "made/other/1.0.0"), InStore("memory", other))
    sources = Sources((first, other))
    sources.look()
    push_to_files(
        toy_bundle(tmp_path / "made", name="other", version="2.0.0"), InStore("memory", other)
    )
    hung = hang()
    look = threading.Thread(target=sources.look)
    look.start()
    until(lambda: "2.0.0" in sources.homes()["other"].paths)
    assert not hung.ends.is_set()
    hung.ends.set()
    look.join()


def test_calls_are_made_beside_each_other_and_the_first_fault_is_raised() -> None:
    together = threading.Barrier(3, timeout=30)

    def call(number: int) -> int:
        together.wait()
        if number:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="1"):
        call_each(call, [0, 1, 2])
    assert call_each(str, [*range(20)], at_once=3) == [str(each) for each in range(20)]
    assert call_each(str, []) == []


@pytest.mark.slow
def test_a_server_ends_while_a_registry_hangs(
    tmp_path: Path, registry: SmallRegistry, hang: Callable[[], Hanging], serve: Callable[..., Any]
) -> None:
    address = InRegistry(registry.host, "team/conformance", "stable", None)
    seal(tmp_path / "made")
    push_to_registry(open_bundle(tmp_path / "made/conformance/1.0.0"), address)
    flags = ("--watch", "--poll-s", "1", "--drain-window-s", "0")
    server = serve(address.shown, *flags)
    server.wait_until_loaded()
    hung = hang()
    hung.asked.wait(30)
    assert server.stop() == 0  # which waits for half of what the registry is waited for
    assert not hung.ends.is_set()
