"""Signatures in registries: several of one bundle, other tools' beside them, on several pages."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.registries import SmallRegistry, small_registry
from support.running import Running, run_app
from support.signers import Keys, make_key
from support.toys import ROWS, fake_runtimes, toy_bundle

import seatrial as st
from seatrial_contracts import signature_files
from seatrial_contracts.errors import BundleError, StoreError
from seatrial_contracts.signature_files import MAX_SIGNATURES, read_signatures
from seatrial_serve.stores import registry as registry_module
from seatrial_serve.stores.address import InRegistry
from seatrial_serve.stores.in_registry import push_to_registry
from seatrial_serve.stores.referrers import CREATED_NOTE, PREDICATE_NOTE, find_signatures
from seatrial_serve.stores.registry import Registry
from seatrial_serve.stores.resolve import open_address, pull
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.policy import read_policy
from seatrial_serve.trust.signing import read_signing_key, sign_bundle
from seatrial_serve.trust.statement import SIGNATURE_FILE

COSIGN, SLSA = "https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runtimes(monkeypatch)


@pytest.fixture
def old(tmp_path: Path) -> Keys:
    return make_key(tmp_path / "keys", "old")


@pytest.fixture
def new(tmp_path: Path) -> Keys:
    return make_key(tmp_path / "keys", "new")


@pytest.fixture(params=["referrers", "tag"])
def registry(request: pytest.FixtureRequest) -> Iterator[SmallRegistry]:
    """A registry that lists referrers, and one whose clients keep the list under a tag."""
    with small_registry() as running:
        running.lists_referrers = request.param == "referrers"
        yield running


@pytest.fixture
def listing() -> Iterator[SmallRegistry]:
    """A registry that lists referrers."""
    with small_registry() as running:
        running.lists_referrers = True
        yield running


@pytest.fixture
def bundle(tmp_path: Path) -> st.Bundle:
    return toy_bundle(tmp_path / "bundles")


def at(registry: SmallRegistry) -> InRegistry:
    return InRegistry(registry.host, "team/toy", "now", None)


def push(registry: SmallRegistry, bundle: st.Bundle, keys: Keys | None = None) -> str:
    """Sign and push a bundle; the digest of its index."""
    if keys is not None:
        sign_bundle(bundle.path, read_signing_key(keys.private))
    return push_to_registry(bundle, at(registry)).index.digest


def listed(registry: SmallRegistry, subject: str) -> list[dict[str, Any]]:
    """What the registry has beside a bundle, as its clients see it."""
    with Registry(at(registry)) as asked:
        return asked.referrers(subject)


def sigstore(predicate: str) -> bytes:
    """A Sigstore bundle of another tool, about the same subject."""
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate}
    envelope = {"payload": base64.b64encode(json.dumps(statement).encode()).decode()}
    return json.dumps({"dsseEnvelope": envelope | {"signatures": []}}).encode()


async def version_of(running: Running) -> str:
    reply = await running.ask([ROWS[0]])
    assert reply.status_code == 200, reply.text
    return str(reply.json()["model_version"])


async def state(running: Running) -> dict[str, Any]:
    (told,) = (await running.client.get("/v1/models/toy")).json()["versions"]
    return dict(told)


def served(registry: SmallRegistry, keys: Keys, **options: Any) -> Any:
    return run_app(at(registry).shown, require_signature=keys.public, **options)


async def test_a_signature_is_a_referrer(
    registry: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys, tmp_path: Path
) -> None:
    push(registry, bundle)
    async with served(registry, new) as running:
        assert (await state(running))["code"] == "E_UNSIGNED"
        push(registry, bundle, old)
        await running.lifecycle.reload()
        assert (await state(running))["code"] == "E_SIGNER"
        push(registry, bundle, new)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
    tags = [each for each in registry.manifests if each.startswith("sha256-")]
    assert len(tags) == (0 if registry.lists_referrers else 1)
    pulled, _ = pull(at(registry), tmp_path / "pulled")
    assert read_signatures(pulled.path)[0] == (bundle.path / SIGNATURE_FILE).read_bytes()


@pytest.mark.parametrize("turned", [False, True])
async def test_a_bundle_that_was_signed_anew_counts_by_either_key(
    turned: bool, registry: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys
) -> None:
    registry.order = reversed_list if turned else list
    for keys in (old, new):
        push(registry, bundle, keys)
    for keys, name in ((old, "old"), (new, "new")):
        async with served(registry, keys) as running:
            assert (await state(running)).get("signed_by", {}).get("signer") == name


def reversed_list(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return found[::-1]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("notes", [True, False], ids=["annotated", "bare"])
async def test_other_tools_bundles_beside_a_signature_change_nothing(
    notes: bool, turned: bool, registry: SmallRegistry, bundle: st.Bundle, old: Keys
) -> None:
    registry.order = reversed_list if turned else list
    subject = push(registry, bundle)
    for predicate in (COSIGN, SLSA, ""):
        said = {PREDICATE_NOTE: predicate, CREATED_NOTE: "2999-01-01T00:00:00Z"} if notes else None
        registry.attach(subject, sigstore(predicate), said)
    async with served(registry, old) as running:
        assert (await state(running))["code"] == "E_UNSIGNED"
        push(registry, bundle, old)
        registry.attach(subject, sigstore(SLSA + "#later"))
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
    assert len(listed(registry, subject)) == 5
    assert len(read_signatures(open_address(at(registry).shown).path)) == 1


async def test_what_is_annotated_for_another_predicate_is_not_fetched(
    registry: SmallRegistry, bundle: st.Bundle, old: Keys
) -> None:
    subject = push(registry, bundle, old)
    other = registry.attach(subject, sigstore(SLSA), {PREDICATE_NOTE: SLSA})["digest"]
    async with served(registry, old) as running:
        assert await version_of(running) == "1.0.0"
    assert not any(path.endswith(other) for _, path in registry.asked)


async def test_a_list_of_several_pages_is_read_to_its_end(
    listing: SmallRegistry, bundle: st.Bundle, old: Keys
) -> None:
    listing.a_page = 2
    subject = push(listing, bundle)
    for number in range(4):
        listing.attach(subject, sigstore(f"{SLSA}#{number}"))
    async with served(listing, old) as running:
        push(listing, bundle, old)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
    assert len(listed(listing, subject)) == 5


@pytest.mark.parametrize(
    ("next_page", "says"),
    [
        (lambda _path, page: f"http://127.0.0.1:9/?page={page}", "referrers elsewhere"),
        (lambda path, _page: f"{path}?page=0", "more than 5 pages"),
    ],
    ids=["elsewhere", "without end"],
)
async def test_pages_that_lead_elsewhere_or_to_no_end_change_nothing(
    next_page: Callable[[str, int], str],
    says: str,
    listing: SmallRegistry,
    bundle: st.Bundle,
    old: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry_module, "MAX_PAGES", 5)
    subject = push(listing, bundle, old)
    async with served(listing, old) as running:
        listing.a_page, listing.next_page = 1, next_page
        listing.attach(subject, sigstore(SLSA))
        with pytest.raises(StoreError, match=says):
            listed(listing, subject)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        assert says in (await state(running))["source"]["fault"]


async def test_why_none_counts_is_said_of_the_one_that_came_closest(
    listing: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys, tmp_path: Path
) -> None:
    push(listing, bundle, old)
    push(listing, bundle, make_key(tmp_path / "third"))
    sign_bundle(bundle.path, read_signing_key(old.private))
    said = json.loads((bundle.path / SIGNATURE_FILE).read_bytes())
    said["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
    (bundle.path / SIGNATURE_FILE).write_text(json.dumps(said))
    push(listing, bundle)
    async with served(listing, old) as running:
        assert await version_of(running) == "1.0.0"
    async with served(listing, new) as running:
        told = await state(running)
    assert told["code"] == "E_SIGNER"
    assert "model.sig (1 of 3 signatures): got the key" in told["reason"]
    policy = tmp_path / "keys" / "policy.toml"
    policy.write_text('[[signer]]\nname = "old"\nkey = "old.pub.pem"\nmodels = ["other"]\n')
    with pytest.raises(BundleError, match=r"signatures/3\.sig \(3 of 3 signatures\).*other alone"):
        check_signature(open_address(at(listing).shown).path, read_policy(policy))


BROKEN: dict[str, Callable[[SmallRegistry, dict[str, Any]], object]] = {
    "gone": lambda registry, each: registry.manifests.pop(each["digest"]),
    "another manifest": lambda registry, each: registry.manifests.update(
        {each["digest"]: ("x", b"{}")}
    ),
    "another signature": lambda registry, each: registry.blobs.update(
        {layer_of(registry, each): b"{}"}
    ),
    "gone signature": lambda registry, each: registry.blobs.pop(layer_of(registry, each)),
}


def layer_of(registry: SmallRegistry, descriptor: dict[str, Any]) -> str:
    manifest = json.loads(registry.manifests[descriptor["digest"]][1])
    return str(manifest["layers"][0]["digest"])


@pytest.mark.parametrize("case", BROKEN)
async def test_a_signature_that_cannot_be_read_hides_no_other(
    case: str, registry: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys
) -> None:
    push(registry, bundle, old)
    subject = push(registry, bundle, new)
    descriptors = listed(registry, subject)
    newest = max(descriptors, key=lambda each: str(each["annotations"][CREATED_NOTE]))
    registry.order = lambda _found: descriptors
    whole = dict(registry.manifests), dict(registry.blobs)
    BROKEN[case](registry, newest)
    async with served(registry, old) as running:
        assert await version_of(running) == "1.0.0"
    async with served(registry, new) as running:
        assert (await state(running))["code"] == "E_SIGNER"
        registry.manifests, registry.blobs = whole
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"


async def test_a_pinned_bundle_is_found_signed_anew(
    registry: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys
) -> None:
    pinned = at(registry).pinned(push(registry, bundle, old)).shown
    async with run_app(pinned, require_signature=new.public) as running:
        assert (await state(running))["code"] == "E_SIGNER"
        push(registry, bundle, new)
        await running.lifecycle.reload()
        assert await version_of(running) == "1.0.0"
        asked = len(registry.asked)
        await running.lifecycle.reload()
        paths = [path for _, path in registry.asked[asked:]]
        assert len(paths) == (1 if registry.lists_referrers else 2)
        assert all("referrers" in path or "sha256-" in path for path in paths)
    registry.manifests.clear()
    registry.lists_referrers = False
    registry.login = "nobody:knows"
    async with run_app(pinned, require_signature=new.public) as running:
        assert await version_of(running) == "1.0.0"  # out of the cache


async def test_an_address_without_a_signature_takes_none_from_another(
    listing: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys, tmp_path: Path
) -> None:
    """Both give the same bundle, which the cache holds once."""
    push(listing, bundle, old)
    with small_registry() as other:
        (bundle.path / SIGNATURE_FILE).unlink()
        push(other, bundle)
        both = [at(listing).shown, at(other).shown]
        for addresses in (both, both[::-1]):
            async with run_app(addresses, require_signature=old.public) as running:
                assert await version_of(running) == "1.0.0"


def test_a_bundle_that_the_disk_damaged_is_fetched_anew_with_its_signatures(
    listing: SmallRegistry, bundle: st.Bundle, old: Keys
) -> None:
    push(listing, bundle, old)
    kept = open_address(at(listing).shown).path
    path = kept / "contract.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    again = open_address(at(listing).shown)
    assert check_signature(again.path, read_policy(old.public)).digest == bundle.digest


def test_signatures_that_cannot_be_put_beside_a_bundle_are_told(
    listing: SmallRegistry,
    bundle: st.Bundle,
    old: Keys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(listing, bundle)
    pulled, _ = pull(at(listing), tmp_path / "pulled")
    push(listing, bundle, old)
    (pulled.path / SIGNATURE_FILE).mkdir()
    with pytest.raises(BundleError, match=r"model\.sig: got no plain file"):
        pull(at(listing), tmp_path / "pulled")
    (pulled.path / SIGNATURE_FILE).rmdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(signature_files, "write_whole", full)
    with pytest.raises(BundleError, match=r"writing signatures into.*No space left") as refused:
        pull(at(listing), tmp_path / "pulled")
    assert refused.value.code == "E_BUNDLE_WRITE"


def test_the_newest_signatures_are_taken_of_very_many(
    listing: SmallRegistry,
    bundle: st.Bundle,
    old: Keys,
    new: Keys,
    caplog: pytest.LogCaptureFixture,
) -> None:
    subject = push(listing, bundle, old)
    theirs = json.loads((bundle.path / SIGNATURE_FILE).read_bytes())
    for number in range(MAX_SIGNATURES):
        data = json.dumps(theirs | {"number": number}).encode()
        created = f"2020-01-01T00:00:{number:02}Z"
        said = {PREDICATE_NOTE: "https://model_signing/signature/v1.0", CREATED_NOTE: created}
        listing.attach(subject, data, said)
    push(listing, bundle, new)
    with Registry(at(listing)) as asked:
        found = find_signatures(asked, subject)
    assert found.signatures[0] == (bundle.path / SIGNATURE_FILE).read_bytes()
    assert len(found.signatures) == MAX_SIGNATURES
    assert not found.passed_over
    assert f"34 signatures, of which the newest {MAX_SIGNATURES} are tried" in caplog.text


def test_a_signature_is_pushed_once(registry: SmallRegistry, bundle: st.Bundle, old: Keys) -> None:
    subject = push(registry, bundle, old)
    push(registry, bundle)
    assert len(listed(registry, subject)) == 1


def test_a_file_that_is_no_signature_is_not_pushed(
    registry: SmallRegistry, bundle: st.Bundle
) -> None:
    for data in (b"a signature", sigstore(SLSA), b"[]", b'{"dsseEnvelope": {"payload": "!"}}'):
        (bundle.path / SIGNATURE_FILE).write_bytes(data)
        with pytest.raises(BundleError, match=r"model\.sig: got another file"):
            push(registry, bundle)
    assert not registry.manifests


def test_all_signatures_are_pulled_and_pushed_again(
    registry: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys, tmp_path: Path
) -> None:
    push(registry, bundle, old)
    pulled, _ = pull(at(registry), tmp_path / "pulled")
    assert len(read_signatures(pulled.path)) == 1
    push(registry, bundle, new)
    assert pull(at(registry), tmp_path / "pulled") == (pulled, True)
    found = read_signatures(pulled.path)
    assert len(found) == 2
    assert found[0] == (bundle.path / SIGNATURE_FILE).read_bytes()
    for keys in (old, new):
        assert check_signature(pulled.path, read_policy(keys.public)).method == "key"
    with small_registry() as other:
        other.lists_referrers = registry.lists_referrers
        push_to_registry(pulled, at(other))
        again, _ = pull(at(other), tmp_path / "again")
    assert read_signatures(again.path) == found
    sign_bundle(pulled.path, read_signing_key(new.private))
    assert len(read_signatures(pulled.path)) == 1
    assert not (pulled.path / "signatures").exists()


@pytest.mark.slow
def test_the_command_verifies_a_bundle_with_several_signatures(
    listing: SmallRegistry, bundle: st.Bundle, old: Keys, new: Keys, tmp_path: Path
) -> None:
    for keys in (old, new):
        push(listing, bundle, keys)
    pulled, _ = pull(at(listing), tmp_path / "pulled")
    command = Path(sys.executable).with_name("model_signing")
    for name, keys in ((SIGNATURE_FILE, new), ("signatures/2.sig", old)):
        done = subprocess.run(
            [command, "verify", "key", pulled.path, "--signature", pulled.path / name,
             "--public_key", keys.public],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
