"""Servers that require signatures: what is refused, what goes on, and what is shown."""

from __future__ import annotations

import errno
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import generate_latest
from support import changed_bundles
from support.encrypted import Key, make_identity
from support.foreign_changes import KINDS, SIGNED, Stock, changed_copies, codes
from support.real_mlflow import mlflow_database
from support.registries import SmallRegistry, debian_registry, small_registry
from support.running import Running, run_app
from support.signers import Keys, make_key
from support.toys import ROWS, fake_runtimes, toy_bundle, toy_golden

import seatrial as st
from seatrial_contracts.encrypt import encrypt_bundle
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_serve.inference import engine
from seatrial_serve.metrics.metrics import Metrics
from seatrial_serve.models.loader import Loader
from seatrial_serve.models.repository import Repository
from seatrial_serve.process.resources import ThreadPlan
from seatrial_serve.scheduling.fair_pool import FairPool
from seatrial_serve.settings import Settings
from seatrial_serve.stores.address import InMlflow, InRegistry, InStore, read_address
from seatrial_serve.stores.in_files import push_to_files
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.resolve import pull
from seatrial_serve.trust import seen as seen_module
from seatrial_serve.trust.seen import SeenVersions
from seatrial_serve.trust.signing import read_signing_key, sign_bundle
from seatrial_serve.trust.statement import SIGNATURE_FILE


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runtimes(monkeypatch)


def put(tmp_path: Path, version: str, keys: Keys | None) -> st.Bundle:
    """A bundle of a version, signed by a key."""
    bundle = toy_bundle(tmp_path / "bundles", version=version)
    if keys is not None:
        sign_bundle(bundle.path, read_signing_key(keys.private))
    return bundle


def serving(tmp_path: Path, keys: Keys, **options: Any) -> Any:
    return run_app(tmp_path / "bundles", require_signature=keys.public, admin=True, **options)


async def version_of(running: Running) -> str:
    reply = await running.client.post("/v1/models/toy:predict", json={"instances": [ROWS[0]]})
    assert reply.status_code == 200, reply.text
    found: str = reply.json()["model_version"]
    return found


async def states(running: Running) -> dict[str, dict[str, Any]]:
    told = (await running.client.get("/v1/models/toy")).json()
    return {each["version"]: each for each in told["versions"]}


async def test_who_signed_is_shown(tmp_path: Path, keys: Keys) -> None:
    put(tmp_path, "1.0.0", keys)
    async with serving(tmp_path, keys) as running:
        assert await version_of(running) == "1.0.0"
        signed = (await states(running))["1.0.0"]["signed_by"]
        assert (signed["signer"], signed["method"]) == ("release", "key")
        ready = (await running.client.get("/v2/models/toy/ready")).json()
        assert ready["signed_by"] == signed
        running.metrics.flush()
        assert 'signer="release"' in generate_latest(running.metrics.registry).decode()


async def test_without_the_setting_nobody_is_named(tmp_path: Path, keys: Keys) -> None:
    put(tmp_path, "1.0.0", keys)
    async with run_app(tmp_path / "bundles") as running:
        assert "signed_by" not in (await states(running))["1.0.0"]


@pytest.mark.parametrize("case", ["unsigned", "by another", "of another bundle", "changed"])
async def test_what_is_not_signed_is_refused_and_the_old_one_goes_on(
    case: str, tmp_path: Path, keys: Keys
) -> None:
    old = put(tmp_path, "1.0.0", keys)
    async with serving(tmp_path, keys) as running:
        match case:
            case "unsigned":
                put(tmp_path, "1.1.0", None)
                code = "E_UNSIGNED"
            case "by another":
                put(tmp_path, "1.1.0", make_key(tmp_path / "other"))
                code = "E_SIGNER"
            case "of another bundle":
                new = put(tmp_path, "1.1.0", None)
                shutil.copy(old.path / SIGNATURE_FILE, new.path)
                code = "E_SIGNATURE"
            case _:
                new = put(tmp_path, "1.1.0", keys)
                path = new.path / "profile.json"
                path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
                code = "E_BUNDLE_CHANGED"
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        assert (await states(running))["1.1.0"]["code"] == code
        sign_bundle(put(tmp_path / "again", "1.1.0", None).path, read_signing_key(keys.private))
        shutil.rmtree(tmp_path / "bundles" / "toy" / "1.1.0")
        shutil.copytree(
            tmp_path / "again" / "bundles" / "toy" / "1.1.0",
            tmp_path / "bundles" / "toy" / "1.1.0",
        )
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"


async def test_a_revoked_key_is_noticed_at_the_next_load(tmp_path: Path, keys: Keys) -> None:
    policy = tmp_path / "keys" / "policy.toml"
    signer = '[[signer]]\nname = "release"\nkey = "release.pub.pem"\n'
    policy.write_text(signer)
    put(tmp_path, "1.0.0", keys)
    async with run_app(tmp_path / "bundles", require_signature=policy) as running:
        key = (await states(running))["1.0.0"]["signed_by"]["identity"]
        policy.write_text(f'revoked = ["{key}"]\n{signer}')
        put(tmp_path, "1.1.0", keys)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        assert "revoked" in (await states(running))["1.1.0"]["reason"]
        policy.write_text("no policy")
        await running.lifecycle.reload()
        reason = (await states(running))["1.1.0"]["reason"]
        assert reason.startswith("setting 'require_signature', trust policy '")
        assert "TOML" in reason
        assert await version_of(running) == "1.0.0"


def test_a_policy_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(require_signature=tmp_path / "none.pem")
    with FairPool(1) as pool, pytest.raises(DeclarationError, match="No such file") as refused:
        Loader(settings, ThreadPlan(runs=1), pool, pool, Metrics(on=False), Mock())
    said = str(refused.value)
    assert said.startswith("setting 'require_signature', file '")
    assert "-genkey" not in said


# --- rollbacks


async def test_an_older_version_is_no_follower(tmp_path: Path, keys: Keys) -> None:
    put(tmp_path, "1.0.0", keys)
    new = put(tmp_path, "1.1.0", keys)
    async with serving(tmp_path, keys) as running:
        assert await version_of(running) == "1.1.0"
        shutil.rmtree(new.path)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"  # in memory
        assert (await states(running))["1.0.0"]["code"] == "E_ROLLBACK"
    async with serving(tmp_path, keys) as running:  # a server that is new
        assert (await states(running))["1.0.0"]["code"] == "E_ROLLBACK"
    async with serving(tmp_path, keys, allow_rollback=True) as running:
        assert await version_of(running) == "1.0.0"
    async with serving(tmp_path, keys) as running:  # which is the highest now
        assert await version_of(running) == "1.0.0"


async def test_versions_beside_the_highest_are_no_rollback(tmp_path: Path, keys: Keys) -> None:
    put(tmp_path, "1.0.0", keys)
    put(tmp_path, "1.1.0", keys)
    for _ in range(2):
        async with serving(tmp_path, keys, versions="all") as running:
            assert {each["state"] for each in (await states(running)).values()} == {"READY"}


async def test_versions_in_memory_go_on_without_the_highest_until_the_next_start(
    tmp_path: Path, keys: Keys
) -> None:
    put(tmp_path, "1.0.0", keys)
    new = put(tmp_path, "1.1.0", keys)
    async with serving(tmp_path, keys, versions="all") as running:
        assert await version_of(running) == "1.1.0"
        shutil.rmtree(new.path)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
    async with serving(tmp_path, keys, versions="all") as running:
        assert (await states(running))["1.0.0"]["code"] == "E_ROLLBACK"


@pytest.mark.parametrize(("named", "ready"), [("toy", 200), ("other", 503)])
async def test_a_policy_is_about_the_sealed_name_whatever_clients_say(
    named: str, ready: int, tmp_path: Path, keys: Keys
) -> None:
    put(tmp_path, "1.0.0", keys)
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[signer]]\nname = "us"\nkey = "{keys.public}"\nmodels = ["{named}"]\n')
    options = {"require_signature": policy, "model_name": "other"}
    async with run_app(tmp_path / "bundles", **options) as running:
        reply = await running.client.get("/v2/models/other/ready")
        assert reply.status_code == ready


async def test_other_bytes_of_a_version_that_was_served_are_refused(
    tmp_path: Path, keys: Keys
) -> None:
    put(tmp_path, "1.0.0", keys)
    async with serving(tmp_path, keys) as running:
        await version_of(running)
    shutil.rmtree(tmp_path / "bundles")
    other = toy_bundle(tmp_path / "bundles", version="1.0.0", limits=st.Limits(max_rows=7))
    sign_bundle(other.path, read_signing_key(keys.private))
    async with serving(tmp_path, keys) as running:
        assert (await states(running))["1.0.0"]["code"] == "E_ROLLBACK"


def deny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the record of served versions lie where nothing can be written."""
    full = Mock(side_effect=OSError(errno.EROFS, "Read-only file system"))
    monkeypatch.setattr(seen_module, "replace_private", full)


async def test_a_version_whose_record_cannot_be_written_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "1.0.0", keys)
    async with serving(tmp_path, keys) as running:
        assert await version_of(running) == "1.0.0"
        put(tmp_path, "1.1.0", keys)
        with monkeypatch.context() as patch:
            deny(patch)
            await running.lifecycle.reload()
            assert await version_of(running) == "1.0.0"
            told = (await states(running))["1.1.0"]
        assert told["code"] == "E_ROLLBACK"
        assert str(tmp_path) not in told["reason"]
        assert "cannot be written: Read-only file system" in caplog.text
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"


async def test_a_server_that_can_keep_no_record_is_not_ready_but_by_allow_rollback(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "1.0.0", keys)
    deny(monkeypatch)
    async with serving(tmp_path, keys) as running:
        reply = await running.client.get("/v2/health/ready")
        assert reply.status_code == 503
        assert "XDG_STATE_HOME" in (await states(running))["1.0.0"]["reason"]
    async with serving(tmp_path, keys, allow_rollback=True) as running:
        assert await version_of(running) == "1.0.0"


async def test_a_version_that_was_served_needs_no_record_that_can_be_written(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "1.0.0", keys)
    async with serving(tmp_path, keys) as running:
        assert await version_of(running) == "1.0.0"
    deny(monkeypatch)
    async with serving(tmp_path, keys) as running:
        assert await version_of(running) == "1.0.0"


DAMAGED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "no record": lambda path: path.write_text("{}"),
    "too long": lambda path: path.write_bytes(path.read_bytes() + bytes(10_000)),
    "another's": lambda path: path.chmod(0o666),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
    "below a folder of others": lambda path: path.parent.chmod(0o777),
}


@pytest.mark.parametrize("case", DAMAGED)
async def test_a_damaged_record_is_no_empty_one(case: str, tmp_path: Path, keys: Keys) -> None:
    put(tmp_path, "1.0.0", keys)
    new = put(tmp_path, "1.1.0", keys)
    async with serving(tmp_path, keys) as running:
        assert await version_of(running) == "1.1.0"
    shutil.rmtree(new.path)
    DAMAGED[case](tmp_path / "state" / "seatrial" / "versions" / "toy.json")
    async with serving(tmp_path, keys) as running:
        told = (await states(running))["1.0.0"]
        assert told["code"] == "E_ROLLBACK"
        assert "damaged" in told["reason"]
    async with serving(tmp_path, keys, allow_rollback=True) as running:
        assert await version_of(running) == "1.0.0"


def test_a_record_needs_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("no home")))
    with pytest.raises(DeclarationError, match="XDG_STATE_HOME"):
        SeenVersions()


def test_of_two_processes_that_serve_at_once_the_higher_version_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (
        SeenVersions(tmp_path / "state" / "seen"),
        SeenVersions(tmp_path / "state" / "seen"),
    )
    write = seen_module.replace_private
    later = Thread(target=other.remember, args=("toy", "1.2.0", "b" * 64))

    def write_late(*arguments: Any) -> None:
        monkeypatch.setattr(seen_module, "replace_private", write)
        later.start()
        later.join(0.2)  # it writes now, unless it waits for this one
        write(*arguments)

    monkeypatch.setattr(seen_module, "replace_private", write_late)
    one.remember("toy", "1.1.0", "a" * 64)
    later.join()
    found = SeenVersions(tmp_path / "state" / "seen").highest("toy")
    assert found is not None
    assert found.version == "1.2.0"


def test_of_two_processes_that_load_other_bytes_of_a_version_at_once_one_serves(
    tmp_path: Path,
) -> None:
    one, other = (SeenVersions(tmp_path / "state" / "seen") for _ in range(2))
    for seen, digest in ((one, "a" * 64), (other, "b" * 64)):
        seen.check("toy", "1.0.0", digest, lambda *_: False)
    one.remember("toy", "1.0.0", "a" * 64)
    with pytest.raises(BundleError, match=f"after {'a' * 16} was served") as refused:
        other.remember("toy", "1.0.0", "b" * 64)
    assert refused.value.code == "E_ROLLBACK"
    found = other.highest("toy")
    assert found is not None
    assert found.digest == "a" * 64


# --- stores


def push(registry: str, bundle: st.Bundle, tag: str = "now") -> InRegistry:
    address = read_address(f"oci://{registry}/team/toy:{tag}")
    assert isinstance(address, InRegistry)
    push_to_registry(bundle, address)
    return address


Push = Callable[[st.Bundle], str]
"""Pushes a bundle, with its signature; gives the address that is served."""


async def test_a_signature_travels_through_an_object_store(tmp_path: Path, keys: Keys) -> None:
    address = read_address(f"memory://{tmp_path.name}/models")
    assert isinstance(address, InStore)

    def push(bundle: st.Bundle) -> str:
        push_to_files(bundle, address)
        return address.shown

    await travels(push, tmp_path, keys)


@pytest.mark.slow
async def test_a_signature_travels_through_mlflow(tmp_path: Path, keys: Keys) -> None:
    (tmp_path / "mlflow").mkdir()
    with mlflow_database(tmp_path / "mlflow"):
        from seatrial_serve.mlflow.push import push_to_mlflow

        address = read_address("mlflow:models:/toy@stable")
        assert isinstance(address, InMlflow)

        def push(bundle: st.Bundle) -> str:
            push_to_mlflow(bundle, address)
            return address.shown.partition(" ")[0]

        await travels(push, tmp_path, keys)


@pytest.mark.slow
async def test_a_signature_travels_through_debians_registry(tmp_path: Path, keys: Keys) -> None:
    with debian_registry(tmp_path) as host:
        await travels(lambda bundle: push(host, bundle).shown, tmp_path, keys)


async def travels(push: Push, tmp_path: Path, keys: Keys) -> None:
    """Unsigned it is refused, and signed by somebody else; signed later, it is taken up.

    A changed signature is refused, and what is served goes on.
    """
    bundle = put(tmp_path, "1.0.0", None)
    shown = push(bundle)
    async with run_app(shown, require_signature=keys.public) as running:
        assert (await states(running))["1.0.0"]["code"] == "E_UNSIGNED"
        sign_bundle(bundle.path, read_signing_key(make_key(tmp_path / "other").private))
        push(bundle)
        await running.lifecycle.reload()
        assert (await states(running))["1.0.0"]["code"] == "E_SIGNER"
        sign_bundle(bundle.path, read_signing_key(keys.private))
        push(bundle)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        newer = put(tmp_path, "1.1.0", None)
        shutil.copy(bundle.path / SIGNATURE_FILE, newer.path)
        push(newer)
        await running.lifecycle.reload()
        assert (await states(running))["1.1.0"]["code"] == "E_SIGNATURE"
        assert await version_of(running) == "1.0.0"
        sign_bundle(newer.path, read_signing_key(keys.private))
        push(newer)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"
    theirs = read_address(shown)
    if not isinstance(theirs, InStore):  # which holds both versions
        pulled, _ = pull(theirs, tmp_path / "pulled")  # type: ignore[arg-type]
        ours = (newer.path / SIGNATURE_FILE).read_bytes()
        assert (pulled.path / SIGNATURE_FILE).read_bytes() == ours


ODD_REFERRERS: dict[str, Callable[[SmallRegistry, str], object]] = {
    "no index": lambda registry, tag: registry.manifests.update({tag: ("x", b"[]")}),
    "no such manifest": lambda registry, tag: registry.manifests.update(
        {tag: ("x", json.dumps({"manifests": [{
            "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "digest": "sha256:" + "0" * 64}]}).encode())}
    ),
    "other bytes": lambda registry, tag: registry.blobs.update(
        {digest: bytes(len(data)) for digest, data in registry.blobs.items() if b"dsse" in data}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD_REFERRERS)
async def test_a_registry_that_answers_oddly_changes_nothing(
    case: str, tmp_path: Path, keys: Keys
) -> None:
    with small_registry() as registry:
        address = push(registry.host, put(tmp_path, "1.0.0", keys))
        async with run_app(address.shown, require_signature=keys.public) as running:
            assert await version_of(running) == "1.0.0"
            push(registry.host, put(tmp_path, "1.1.0", keys))
            tag = [each for each in registry.manifests if each.startswith("sha256-")][-1]
            ODD_REFERRERS[case](registry, tag)
            await running.lifecycle.reload()
            assert await version_of(running) == "1.0.0"


# --- bundles that somebody changed


def test_no_bundle_of_any_signer_that_was_changed_at_random_is_served(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes within files, each hashed anew: what `changed_bundles` does to unsigned ones."""
    monkeypatch.setattr(engine, "runtimes", lambda: {"fake": changed_bundles.load_fake})
    sealed = changed_bundles.seal(tmp_path / "sealed").path
    sign_bundle(sealed, read_signing_key(keys.private))
    settings = Settings(prove="always", allow_rollback=True, require_signature=keys.public)
    with FairPool(1) as pool:
        repository = Mock(spec=Repository)
        loader = Loader(settings, ThreadPlan(runs=1), pool, pool, Metrics(on=True), repository)
        assert changed_bundles.outcome(sealed, loader) == "served"
        for seed in range(20):
            copy = tmp_path / "copies" / str(seed) / "toy" / "1.0.0"
            shutil.copytree(sealed, copy)
            changed_bundles.change(copy, random.Random(seed))
            assert changed_bundles.outcome(copy, loader) != "served", f"seed {seed}"


async def judge(count: int, tmp_path: Path, keys: Keys, key: Key | None = None) -> Counter[str]:
    """Offer changed copies of 1.1.0 to a server that has 1.0.0; count them by kind.

    `key`: 1.1.0 is encrypted to it.
    """
    put(tmp_path, "1.0.0", keys)
    made = toy_bundle(tmp_path / "made", version="1.1.0", limits=st.Limits(max_rows=2048))
    another = toy_bundle(tmp_path / "another", version="1.2.0", golden=toy_golden(ROWS[:5]))
    for bundle in (made, another):
        sign_bundle(bundle.path, read_signing_key(keys.private))
    sealed, other = made.path, another.path
    if key is not None:
        sealed = encrypt_bundle(made, [key.to], tmp_path / "encrypted")
        other = encrypt_bundle(another, [key.to], tmp_path / "encrypted")
    stock = Stock(sealed, other, keys, make_key(tmp_path / "stranger"))
    place, came = tmp_path / "bundles" / "toy" / "1.1.0", Counter[str]()
    options = {} if key is None else {"identity": key.file}
    also = (
        codes("BUNDLE_CHANGED", "BUNDLE_ENCRYPTION", "BUNDLE_ENCRYPTED")
        if key is not None
        else frozenset()
    )
    async with serving(tmp_path, keys, **options) as running:
        for name, kind in changed_copies(stock, place, count):
            await running.lifecycle.reload()
            told = (await states(running))["1.1.0"]
            assert told["state"] == "FAILED", (name, came)
            assert told["code"] in kind.codes | also, (name, told)
            assert await version_of(running) == "1.0.0"
            came[name] += 1
        shutil.copytree(sealed, place)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.1.0"  # as it was signed it is served
    return came


@pytest.mark.parametrize("how", ["plain", "encrypted"])
async def test_no_changed_bundle_is_served_and_the_version_before_goes_on(
    how: str, tmp_path: Path, keys: Keys
) -> None:
    key = make_identity(tmp_path / "identity") if how == "encrypted" else None
    came = await judge(3, tmp_path, keys, key)
    assert came.keys() == KINDS.keys() | SIGNED.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_changed_bundle_of_a_thousand_is_served_and_the_version_before_goes_on(
    tmp_path: Path, keys: Keys
) -> None:
    came = await judge(60, tmp_path, keys)
    assert sum(came.values()) >= 1000
    assert min(came.values()) >= 60
