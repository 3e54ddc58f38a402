"""The cache of fetched bundles: whole ones, shared, within a bound, for this user alone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.toys import toy_bundle

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_serve.settings import Settings
from seatrial_serve.stores import cache as module
from seatrial_serve.stores.cache import (
    DEFAULT_BYTES,
    VARIABLE,
    BundleCache,
    cache_from_environment,
    size_of,
)
from seatrial_serve.stores.remembered import Remembered, RememberedBundle, recall, remember
from seatrial_serve.stores.resolve import open_kept
from seatrial_serve.stores.store import Offer


def copied(bundle: Bundle) -> Callable[[Path], None]:
    return lambda folder: shutil.copytree(bundle.path, folder, dirs_exist_ok=True) and None


def offered(bundle: Bundle) -> Offer:
    return Offer(bundle.name, bundle.version, bundle.digest, size_of(bundle.path))


def refuse(_: Path) -> None:
    raise AssertionError("fetched though it is there")


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")
    kept = cache.keep(offered(bundle), copied(bundle))
    assert kept.path.parts[-3:] == (bundle.digest, "toy", "1.0.0")
    assert cache.keep(offered(bundle), refuse).path == kept.path


@pytest.mark.parametrize("damage", ["gone", "shorter", "another manifest"])
def test_a_bundle_that_a_disk_damaged_is_fetched_anew(damage: str, tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")
    kept = cache.keep(offered(bundle), copied(bundle))
    if damage == "gone":
        (kept.path / "contract.json").unlink()
    elif damage == "shorter":
        (kept.path / "contract.json").write_bytes(b"")
    else:
        (kept.path / "manifest.json").write_bytes(b"{}")
    again = cache.keep(offered(bundle), copied(bundle))
    assert (again.path / "contract.json").read_bytes() == bundle.files["contract.json"]


def test_a_changed_byte_of_the_same_size_is_found_where_it_is_opened(tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")
    kept = cache.keep(offered(bundle), copied(bundle))
    size = (kept.path / "profile.json").stat().st_size
    (kept.path / "profile.json").write_bytes(b"x" * size)
    assert open_kept(cache, offered(bundle), copied(bundle)).digest == bundle.digest


def test_a_fetch_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")

    def half(folder: Path) -> None:
        copied(bundle)(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match="No space left"):
        cache.keep(offered(bundle), half)
    assert cache.find(bundle.digest, "toy", "1.0.0") is None
    assert cache.keep(offered(bundle), copied(bundle)).there


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENOSPC, BundleError, "No space left on device, want room for .* free inodes"),
        (errno.EROFS, DeclarationError, "Read-only file system"),
        (errno.ENOLCK, DeclarationError, "a file system without locks"),
    ],
)
def test_a_lock_that_cannot_be_had_is_named(
    number: int, kind: type[Exception], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.fcntl, "flock", fail)
    with pytest.raises(kind, match=says):
        cache.keep(offered(bundle), copied(bundle))


def test_what_was_used_longest_ago_goes_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
    bundles = [toy_bundle(tmp_path, version=f"1.{minor}.0") for minor in range(4)]
    sizes = [size_of(bundle.path) for bundle in bundles]
    cache = BundleCache(sum(sizes[:3]), tmp_path / "cache" / "bundles")
    kept = [cache.keep(offered(bundle), copied(bundle)) for bundle in bundles[:3]]
    for number, each in enumerate(kept):
        os.utime(each.path.parent.parent, (number, number))
    held = kept[0]
    kept.clear()
    cache.keep(offered(bundles[3]), copied(bundles[3]))
    assert held.there
    there = [cache.find(each.digest, each.name, each.version) is not None for each in bundles]
    assert there == [True, False, True, True]


def test_a_bundle_larger_than_the_bound_is_kept_all_the_same(tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(0, tmp_path / "cache" / "bundles")
    assert cache.keep(offered(bundle), copied(bundle)).there


def test_what_an_ended_process_left_is_removed(tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")
    folder = tmp_path / "cache" / "bundles"
    (folder / f".{'b' * 64}.part" / "x").mkdir(parents=True)
    (folder / f".{'c' * 64}.1.gone").mkdir()
    folder.chmod(0o700)
    folder.parent.chmod(0o700)
    cache.keep(offered(bundle), copied(bundle))
    assert sorted(each.name for each in folder.iterdir()) == [
        f".{bundle.digest}.lock",
        bundle.digest,
    ]


def test_a_cache_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=tmp_path / "cache" / "bundles")
    cache.keep(offered(bundle), copied(bundle))
    (tmp_path / "cache" / "bundles").chmod(0o777)
    for look in (lambda: cache.keep(offered(bundle), copied(bundle)),
                 lambda: cache.find(bundle.digest, "toy", "1.0.0")):  # fmt: skip
        with pytest.raises(DeclarationError, match="others may write"):
            look()


FETCHER = """
import os, shutil, sys, time
from pathlib import Path
from seatrial_serve.stores.cache import BundleCache
from seatrial_serve.stores.store import Offer

source, folder, log, digest, dies = sys.argv[1:]
def fetch(into):
    with open(log, "a") as file:
        file.write("fetched\\n")
    if dies == "dies":
        (into / "half").write_text("x")
        os._exit(9)
    time.sleep(0.2)
    shutil.copytree(source, into, dirs_exist_ok=True)
print(BundleCache(folder=Path(folder)).keep(Offer("toy", "1.0.0", digest, 1), fetch).path)
"""


def start(bundle: Bundle, tmp_path: Path, dies: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCHER, str(bundle.path), str(tmp_path / "c" / "b"),
               str(tmp_path / "log"), bundle.digest, dies]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_that_fetch_at_once_fetch_once_and_none_waits_for_a_dead_one(
    tmp_path: Path,
) -> None:
    bundle = toy_bundle(tmp_path)
    with start(bundle, tmp_path, "dies") as dying:
        assert dying.wait(30) == 9
    running = [start(bundle, tmp_path) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert len(set(said)) == 1
    assert (tmp_path / "log").read_text() == "fetched\n" * 2
    assert not (Path(said[0].strip()) / "half").exists()


def test_the_bound_is_the_servers_setting_by_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().bundle_cache_bytes == DEFAULT_BYTES
    monkeypatch.setenv(VARIABLE, "7")
    assert Settings().bundle_cache_bytes == cache_from_environment()._max_bytes == 7
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(DeclarationError, match="got 'much', want bytes"):
        cache_from_environment()


def test_what_an_address_held_is_remembered_for_this_user_alone(tmp_path: Path) -> None:
    one = RememberedBundle(name="toy", version="1.0.0", key="a" * 64)
    what = Remembered(
        address="oci://r.io/a:1", single=True, mark=None, bundles=(one,), selections={}
    )
    assert recall("oci://r.io/a:1") is None
    remember("oci://r.io/a:1", what)
    assert recall("oci://r.io/a:1") == what
    assert recall("oci://r.io/a:2") is None
    folder = tmp_path / "cache" / "seatrial" / "addresses"
    next(folder.iterdir()).chmod(0o666)
    assert recall("oci://r.io/a:1") is None


def test_locks_of_bundles_that_are_gone_go_too(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "bundles"
    bundle, cache = toy_bundle(tmp_path), BundleCache(folder=folder)
    kept = cache.keep(offered(bundle), copied(bundle))
    kept.discard()
    other = toy_bundle(tmp_path, version="2.0.0")
    cache.keep(offered(other), copied(other))
    assert [each.name for each in folder.glob(".*.lock")] == [f".{other.digest}.lock"]
    assert module.size_of(folder) > 0
