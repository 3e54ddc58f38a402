"""Who a request comes from: verified once, found from then on, and followed in the file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.keyed import bearer, key_of
from support.waiting import until_here

from seatrial_contracts.errors import Refusal, Unavailable
from seatrial_serve.access import access as module
from seatrial_serve.access.access import Access, open_access
from seatrial_serve.access.caller import Caller, Grant, Scope
from seatrial_serve.access.keys_file import revoke_keys
from seatrial_serve.access.secret import Hash


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The secrets that a slow hash was worked out of."""
    secrets: list[str] = []
    of = Hash.of

    def counted(self: Hash, secret: str) -> bytes:
        secrets.append(secret)
        return of(self, secret)

    monkeypatch.setattr(Hash, "of", counted)
    return secrets


@pytest.fixture
def access(file: Path) -> Iterator[Access]:
    key_of(file, "first", "read")
    with open_access(file) as found:
        assert found is not None
        yield found


def headers(key: str) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in bearer(key).items()]


async def ask(access: Access, key: str, address: str = "a") -> Caller:
    return await access.caller_of(headers(key), address)


async def test_the_slow_hash_is_paid_once(file: Path, hashed: list[str]) -> None:
    key = key_of(file, "app", "infer")
    hashed.clear()
    with open_access(file) as access:
        assert access is not None
        hashed.clear()
        given = dict(headers(key))
        assert access.known(given) is None
        callers = await asyncio.gather(*(ask(access, key, str(place)) for place in range(20)))
        assert len({id(caller) for caller in callers}) == 1
        assert access.known(given) is callers[0]
        assert access.known({b"x-api-key": key.encode()}) is callers[0]
        assert len(hashed) == 1


async def test_a_crowd_of_one_address_waits_for_one_hash_of_its_key(
    file: Path, hashed: list[str]
) -> None:
    key = key_of(file, "app", "infer")
    with open_access(file) as access:
        assert access is not None
        hashed.clear()
        crowd = [ask(access, key, "a") for _ in range(4 * module.MOST_WAITING)]
        assert len({id(caller) for caller in await asyncio.gather(*crowd)}) == 1
        assert len(hashed) == 1
        wrong = [ask(access, "wrong", "a") for _ in range(4 * module.MOST_WAITING)]
        found = await asyncio.gather(*wrong, return_exceptions=True)
        assert {type(each) for each in found} == {Refusal}
        assert access._places.take("a")  # and gives its place back
        for place in range(module.MOST_OF_CLIENT - 2):
            assert access._places.take("a"), place


async def test_wrong_keys_all_take_one_hash_and_are_remembered(
    file: Path, access: Access, hashed: list[str]
) -> None:
    key = key_of(file, "app", "infer")
    access.reload()
    wrong = [key[:-4] + "AAAA", "st_000000000000_" + key.rpartition("_")[2], "anything", "x" * 500]
    for each in wrong:
        hashed.clear()
        for _ in range(3):
            with pytest.raises(Refusal, match="one that this server does not know") as refused:
                await ask(access, each)
            assert refused.value.code == "E_KEY"
            assert key.rpartition("_")[2] not in str(refused.value)
        assert len(hashed) == 1


async def test_wrong_keys_that_are_remembered_are_bounded(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WRONG", 2)
    for place in range(4):
        with pytest.raises(Refusal):
            await ask(access, f"wrong {place}")
    assert len(access._wrong) == 2


async def test_an_address_cannot_fill_the_queue_of_keys_to_verify(access: Access) -> None:
    asked = [ask(access, f"wrong {place}", "flood") for place in range(40)]
    flood = asyncio.gather(*asked, return_exceptions=True)
    await asyncio.sleep(0)
    with pytest.raises(Refusal):  # another address has its turn
        await ask(access, "wrong of another", "other")
    found = await flood
    kinds = {type(each) for each in found}
    assert kinds == {Refusal, Unavailable}
    refused = [each for each in found if isinstance(each, Unavailable)]
    assert len(refused) == 40 - module.MOST_OF_CLIENT
    assert {each.code for each in refused} == {"E_OVERLOADED"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "got no key"),
        ([(b"authorization", b"Basic YTpi")], "another scheme"),
        ([(b"authorization", b"Bearer ")], "an empty key"),
        ([(b"x-api-key", b"")], "an empty key"),
        ([(b"x-api-key", b"a"), (b"authorization", b"Bearer b")], "2 keys"),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], "2 keys"),
        ([(b"x-api-key", b"k" * 20_000)], "more than 16384 bytes"),
        ([(b"x-api-key", bytes(range(128, 256)))], "does not know"),
    ],
)
async def test_what_names_nobody_is_refused(
    access: Access, given: list[tuple[bytes, bytes]], said: str
) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        await access.caller_of(given, "a")
    assert refused.value.code == "E_KEY"


async def test_a_key_that_has_expired_or_was_revoked_says_so(file: Path) -> None:
    old = key_of(file, "old", "infer", expires=datetime.now(UTC) - timedelta(days=1))
    gone = key_of(file, "gone", "infer")
    revoke_keys(file, ["gone"], datetime.now(UTC))
    access = Access(file)
    with pytest.raises(Refusal, match=r"key 'old': got one that has expired"):
        await ask(access, old)
    with pytest.raises(Refusal, match=r"key 'gone': got one that was revoked"):
        await ask(access, gone)


async def test_a_key_ends_at_its_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(file, "app", "infer", expires=datetime.now(UTC) + timedelta(hours=1))
    access = Access(file)
    caller = await ask(access, key)
    assert caller.may(Scope.INFER, "m")
    then = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: then)
    assert not caller.may(Scope.INFER, "m")
    with pytest.raises(Refusal, match=r"key 'app': got one that counts no more") as refused:
        caller.check(Scope.INFER, "m")  # of a request that was on its way
    assert refused.value.code == "E_KEY"
    assert access.known(dict(headers(key))) is None
    with pytest.raises(Refusal, match="has expired"):
        await ask(access, key)


async def test_a_change_of_the_file_is_followed(file: Path, access: Access) -> None:
    new = key_of(file, "new", "infer")
    caller = None
    async with asyncio.timeout(20):
        while caller is None:
            try:
                caller = await ask(access, new)
            except Refusal:
                await asyncio.sleep(0.05)
    other = key_of(file, "other", "infer")
    revoke_keys(file, ["new"], datetime.now(UTC))
    await until_here(lambda: caller.over)
    assert access.known(dict(headers(new))) is None
    with pytest.raises(Refusal, match="was revoked"):
        await ask(access, new)
    assert not (await ask(access, other)).over


async def test_what_did_not_change_keeps_its_rate_and_costs_no_hash(
    file: Path, access: Access, hashed: list[str]
) -> None:
    key = key_of(file, "app", "infer", requests_per_s=1)
    access.reload()
    caller = await ask(access, key)
    caller.count()
    hashed.clear()
    key_of(file, "another", "infer")
    access.reload()
    hashed.clear()
    assert await ask(access, key) is caller
    assert not hashed
    with pytest.raises(Unavailable, match=r"more than 1 requests a second") as refused:
        caller.count()
    assert refused.value.code == "E_RATE"


async def test_a_file_that_cannot_be_read_changes_nothing(
    file: Path, access: Access, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_of(file, "app", "infer")
    access.reload()
    text = file.read_text()
    for broken in ("[", None):
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        caplog.clear()
        access.reload()
        assert "keys are as they were: file of keys" in caplog.text
        assert (await ask(access, key)).may(Scope.INFER)
    file.write_text(text.replace("infer", "read"))
    access.reload()
    caller = await ask(access, key)
    assert not caller.may(Scope.INFER)
    assert caller.may(Scope.READ)


def revoked(file: Path) -> str:
    """What an editor makes of a file whose key "app" is to be revoked."""
    return file.read_text().replace('name = "app"', 'name = "app"\nrevoked = 2026-01-01')


async def test_what_is_written_while_the_file_is_read_is_read_too(
    file: Path, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that writes in place has written half of it when the server looks."""
    key = key_of(file, "app", "infer")
    access.reload()
    caller = await ask(access, key)
    whole = revoked(file)
    read = module.read_keys

    def read_half(path: Path) -> Any:
        monkeypatch.setattr(module, "read_keys", read)
        file.write_text(whole[:-60])
        try:
            return read(path)
        finally:
            file.write_text(whole)

    monkeypatch.setattr(module, "read_keys", read_half)
    access.reload_soon()
    await until_here(lambda: caller.over)


async def test_a_mend_of_the_file_s_mode_is_followed(
    file: Path, access: Access, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_of(file, "app", "infer")
    access.reload()
    caller = await ask(access, key)
    file.chmod(0o666)
    file.write_text(revoked(file))
    access.reload()
    assert "a file that everybody may write" in caplog.text
    assert not caller.over
    file.chmod(0o600)
    await until_here(lambda: caller.over)


async def test_uses_are_told_to_the_last_also_of_a_key_that_is_revoked(
    file: Path, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        module, "record", lambda event, **said: told.append((event, said.get("requests")))
    )
    key = key_of(file, "app", "infer")
    access.reload()
    caller = await ask(access, key)
    for _ in range(3):
        caller.count()
    revoke_keys(file, ["app"], datetime.now(UTC))
    access.reload()
    access.record_uses()
    assert [each for each in told if each[0] == "key_used"] == [("key_used", 3)]


async def test_a_look_that_fails_is_not_the_last(
    file: Path, access: Access, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0
    stamps_of = module.stamps_of

    def failing(files: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError
        return stamps_of(files)

    monkeypatch.setattr(module, "stamps_of", failing)
    key = key_of(file, "app", "infer")
    await until_here(lambda: len(access._state.keys) == 2)
    assert "a look at the keys failed" in caplog.text
    assert (await ask(access, key)).name == "app"


async def test_a_link_that_is_turned_is_followed(tmp_path: Path) -> None:
    """As Kubernetes replaces a Secret that is mounted."""
    one, two = tmp_path / "1.toml", tmp_path / "2.toml"
    before, after = key_of(one, "a", "infer"), key_of(two, "b", "infer")
    link = tmp_path / "keys.toml"
    link.symlink_to(one)
    with open_access(link) as access:
        assert access is not None
        caller = await ask(access, before)
        (tmp_path / "new").symlink_to(two)
        (tmp_path / "new").replace(link)
        await until_here(lambda: caller.over)
        assert (await ask(access, after)).name == "b"


async def test_names_of_certificates_count_where_there_is_no_key(file: Path) -> None:
    key = key_of(file, "app", "read")
    with file.open("a") as more:
        more.write('[[certificates]]\nname = "dns:a.example"\nscopes = ["infer"]\n')
    access = Access(file)
    names = ("cn:b", "dns:a.example")
    caller = await access.caller_of([], "x", names)
    assert caller.may(Scope.INFER)
    assert (await access.caller_of(headers(key), "x", names)).name == "app"
    with pytest.raises(Refusal, match="no key"):
        await access.caller_of([], "x", ("dns:b.example",))


def test_grants_do_not_lend_their_models_to_one_another() -> None:
    infer, read = frozenset((Scope.INFER,)), frozenset((Scope.READ,))
    caller = Caller("c", "c", [Grant(infer, ("a*",)), Grant(read, ("b",))])
    asked = [(scope, model) for scope in Scope for model in ("a1", "b") if caller.may(scope, model)]
    assert asked == [(Scope.INFER, "a1"), (Scope.READ, "b")]
    with pytest.raises(Refusal, match=r"got a model that it is not for, want one of a\*, b"):
        caller.check(Scope.INFER, "b")
    with pytest.raises(Refusal, match=r"scopes infer, read, want one with the scope admin"):
        caller.check(Scope.ADMIN)
    assert not caller.may_all(Scope.INFER)
    assert Caller("c", "c", [Grant(infer)]).may_all(Scope.INFER)


def test_verdicts_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seatrial_serve.access.caller.MOST_KEPT", 3)
    caller = Caller("c", "c", [Grant(frozenset((Scope.INFER,)), ("a*",))])
    assert [caller.may(Scope.INFER, f"a{place}") for place in range(9)] == [True] * 9
    assert len(caller._verdicts) == 3
