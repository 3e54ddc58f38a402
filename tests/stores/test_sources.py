"""A server whose bundles come from stores: what it serves when they change, fail or are down."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from support.registries import SmallRegistry
from support.running import Running, run_app
from support.toys import fake_runtimes, toy_bundle, toy_golden

from seatrial_contracts import signature_files
from seatrial_contracts.errors import DeclarationError, StoreError
from seatrial_serve.models.sources import Sources
from seatrial_serve.process.audit_log import recording
from seatrial_serve.stores import cache as cache_module
from seatrial_serve.stores import received
from seatrial_serve.stores.address import InRegistry, InStore
from seatrial_serve.stores.in_files import push_to_files
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.resolve import open_address

ROW = {"x": 2.0, "word": "a"}


@pytest.fixture(autouse=True)
def runtimes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fake_runtimes(monkeypatch)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield
    memory.store.clear()


def push(registry: SmallRegistry, tmp_path: Path, version: str, tag: str = "stable") -> str:
    address = InRegistry(registry.host, "team/toy", tag, None)
    push_to_registry(toy_bundle(tmp_path / "made", version=version), address)
    return address.shown


async def version_of(running: Running) -> str:
    reply = await running.ask([ROW])
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    assert answer["predictions"][0]["twice"] == 4.0
    return str(answer["model_version"])


async def told(running: Running, path: str = "/v2/health/ready") -> dict[str, Any]:
    return dict((await running.client.get(path)).json())


def full(*_: object, **__: object) -> None:
    """What a system call answers on a disk without room, or without inodes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def take_down(registry: SmallRegistry) -> None:
    """Answer everything with 404, as a registry does that lost its storage."""
    registry.manifests.clear()
    registry.blobs.clear()


async def test_a_tag_is_served_and_its_next_bundle_takes_over(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    address = push(registry, tmp_path, "1.0.0")
    async with run_app(address) as running:
        assert await version_of(running) == "1.0.0"
        source = (await told(running, "/v1/models"))["models"][0]["versions"][0]["source"]
        assert source["address"] == address
        assert "fault" not in source
        push(registry, tmp_path, "1.1.0")
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"
        assert list(running.repository.versions("toy")) == ["1.1.0"]


async def test_a_watched_tag_is_polled(tmp_path: Path, registry: SmallRegistry) -> None:
    address = push(registry, tmp_path, "1.0.0")
    async with run_app(address, watch=True, poll_s=1.0) as running:
        push(registry, tmp_path, "1.1.0")
        async with asyncio.timeout(20):
            while await version_of(running) != "1.1.0":
                await asyncio.sleep(0.05)
        asked = len(registry.asked)
        running.repository.sources.look()
        assert [method for method, _ in registry.asked[asked:]] == ["HEAD"]


@pytest.mark.parametrize(
    ("break_it", "says", "code"),
    [
        (lambda registry, _: take_down(registry), "404", "failed"),
        (
            lambda registry, _: setattr(registry, "cut", 2000),
            "layer|no connection",
            "failed",
        ),
        (
            lambda registry, _: setattr(registry, "blob", lambda data: bytes(len(data))),
            "manifest none",
            "E_BUNDLE_CHANGED",
        ),
        (
            lambda _, disk: disk.setattr(received, "write_all", full),
            "No space left",
            "E_BUNDLE_WRITE",
        ),
        (
            lambda _, disk: disk.setattr(cache_module, "locked", full),
            "No space left",
            "E_BUNDLE_WRITE",
        ),
    ],
    ids=["gone", "stops half way", "other bytes", "full disk", "no inodes"],
)
async def test_a_store_that_fails_changes_nothing_and_is_named(
    break_it: Callable[[SmallRegistry, pytest.MonkeyPatch], None],
    says: str,
    code: str,
    tmp_path: Path,
    registry: SmallRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    address = push(registry, tmp_path, "1.0.0")
    with recording(tmp_path / "audit.jsonl"):
        await fail_and_mend(registry, address, tmp_path, break_it, says, caplog)
    lines = map(json.loads, (tmp_path / "audit.jsonl").read_bytes().splitlines())
    fetches = [line for line in lines if line["event"] == "fetch"]
    assert [(line["address"], line["result"]) for line in fetches] == [
        (address, code), (address, "ok"),
    ]  # fmt: skip
    assert any(part in fetches[0]["fault"] for part in says.split("|"))


async def fail_and_mend(
    registry: SmallRegistry,
    address: str,
    tmp_path: Path,
    break_it: Callable[[SmallRegistry, pytest.MonkeyPatch], None],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with run_app(address) as running:
        push(registry, tmp_path, "1.1.0")
        with pytest.MonkeyPatch.context() as disk:
            break_it(registry, disk)
            for _ in range(2):
                await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        assert store_faults(running) == 1
        ready = await told(running)
        assert ready["ready"]
        assert [each["address"] for each in ready["from_cache"]] == [address]
        source = (await told(running, "/v2/models/toy/ready"))["source"]
        assert any(part in source["fault"] for part in says.split("|"))
        assert caplog.text.count("goes on as it was") == 1
        registry.cut, registry.blob = None, lambda data: data
        push(registry, tmp_path, "1.1.0")
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"
        assert (await told(running))["from_cache"] == []
        assert store_faults(running) == 0


def store_faults(running: Running) -> float | None:
    running.metrics.flush()
    return running.metrics.registry.get_sample_value("seatrial_store_faults")


async def test_a_registry_that_is_down_at_the_start_is_served_from_the_cache(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    address = push(registry, tmp_path, "1.0.0")
    async with run_app(address) as running:
        assert await version_of(running) == "1.0.0"
    take_down(registry)
    async with run_app(address) as running:
        assert await version_of(running) == "1.0.0"
        assert (await told(running))["from_cache"][0]["address"] == address


def test_a_registry_that_is_down_and_was_never_asked_stops_the_start(tmp_path: Path) -> None:
    address, log = "oci://127.0.0.1:9/toy:1", tmp_path / "audit.jsonl"
    with pytest.raises(StoreError, match="no connection"), recording(log):
        Sources((address,)).look()
    _, line = map(json.loads, log.read_bytes().splitlines())
    assert (line["event"], line["address"], line["result"]) == ("fetch", address, "failed")


async def test_a_cache_that_is_only_read_serves_what_it_holds(
    tmp_path: Path, registry: SmallRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = push(registry, tmp_path, "1.0.0")
    Sources((address,)).look()
    for owner, name in (
        (os, "utime"), (cache_module, "locked"), (signature_files, "put_signatures"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, only_read)
    assert open_address(address).version == "1.0.0"
    async with run_app(address) as running:
        assert await version_of(running) == "1.0.0"
        assert (await told(running))["from_cache"] == []
    take_down(registry)
    async with run_app(address) as running:
        assert await version_of(running) == "1.0.0"


def only_read(*_: object, **__: object) -> None:
    """What a system call answers on a file system that is mounted to be read."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


async def test_a_digest_that_the_cache_holds_needs_no_registry(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    bundle = toy_bundle(tmp_path / "made")
    pushed = push_to_registry(bundle, InRegistry(registry.host, "team/toy", "1", None))
    address = f"oci://{registry.host}/team/toy@{pushed.index.digest}"
    async with run_app(address) as running:
        assert await version_of(running) == "1.0.0"
    asked = len(registry.asked)
    async with run_app(address) as running:
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        assert (await told(running))["from_cache"] == []
    assert len(registry.asked) == asked


async def test_a_prefix_is_served_with_its_labels_and_follows_what_is_added(
    tmp_path: Path,
) -> None:
    at, memory = InStore("memory", "memory://models"), fsspec.filesystem("memory")
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        push_to_files(toy_bundle(tmp_path / "made", version=version), at)
    memory.pipe_file("/models/toy/labels.json", b'{"stable": "1.0.0"}')
    async with run_app("memory://models") as running:
        assert await version_of(running) == "1.0.0"
        assert list(running.repository.versions("toy")) == ["1.2.0", "1.0.0"]
        memory.pipe_file("/models/toy/labels.json", b'{"stable": "1.1.0"}')
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"
        memory.pipe_file("/models/toy/labels.json", b"[]")
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"


async def test_addresses_and_folders_are_served_beside_each_other(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    one, other = (push(registry, tmp_path, each, each) for each in ("1.0.0", "1.1.0"))
    toy_bundle(tmp_path / "here", name="local")
    addresses = (one, other, str(tmp_path / "here"))
    async with run_app(addresses) as running:
        assert list(running.repository.versions("toy")) == ["1.1.0", "1.0.0"]
        assert running.repository.names == ["local", "toy"]
        assert "source" not in (await told(running, "/v2/models/local/ready"))


def test_two_bundles_of_one_version_are_refused(tmp_path: Path, registry: SmallRegistry) -> None:
    address = push(registry, tmp_path, "1.0.0")
    toy_bundle(tmp_path / "here", golden=toy_golden([{"x": 1.5, "word": "a"}] * 3))
    sources = Sources((address, str(tmp_path / "here")))
    sources.look()
    with pytest.raises(DeclarationError, match="two different bundles"):
        sources.homes()


async def test_a_damaged_bundle_of_the_cache_is_fetched_anew(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    address = push(registry, tmp_path, "1.0.0")
    async with run_app(address) as running:
        path = next(iter(running.repository)).path / "profile.json"
    path.write_bytes(b"x" * path.stat().st_size)
    async with run_app(address) as running:
        ready = await told(running)
        assert ready["not_ready"][0]["code"] == "E_BUNDLE_CHANGED"
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"


async def test_a_bundle_that_is_served_is_not_removed_for_room(
    tmp_path: Path, registry: SmallRegistry
) -> None:
    address = push(registry, tmp_path, "1.0.0")
    async with run_app(address, bundle_cache_bytes=0) as running:
        first = next(iter(running.repository)).path
        push(registry, tmp_path, "1.1.0")
        await running.lifecycle.reload()
        second = next(iter(running.repository)).path
        push(registry, tmp_path, "1.2.0")
        await running.lifecycle.reload()
        assert second.exists()
        assert not first.exists()
        assert json.loads((await running.client.get("/v1/models/toy")).text)["ready"]
