"""Tokens of an OpenID Connect issuer, signed by keys that a test makes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from support.keyed import key_of
from support.waiting import until_here

from seatrial_contracts.errors import DeclarationError, Refusal, Unavailable
from seatrial_serve.access.access import Access
from seatrial_serve.access.caller import Scope
from seatrial_serve.access.keys_file import revoke_keys

ISSUER, AUDIENCE = "https://login.example", "seatrial"
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
FILE = f"""
[oidc]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks = "jwks.json"
[[oidc.grants]]
value = "models:ask"
scopes = ["infer", "read"]
models = ["churn-*"]
[[oidc.grants]]
value = "scrape"
scopes = ["metrics"]
"""
SHARED = '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}'
Token = Callable[..., str]


def public(algorithm: str, kid: str) -> dict[str, Any]:
    """A key's entry in a set, as PyJWT writes it."""
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(PRIVATE[algorithm].public_key())
    return json.loads(made) | {"kid": kid, "alg": algorithm, "use": "sig"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text(
        json.dumps({"keys": [public(each, each) for each in PRIVATE]})
    )
    (tmp_path / "keys.toml").write_text(FILE)
    return tmp_path / "keys.toml"


def token(algorithm: str = "ES256", kid: str | None = None, **changed: Any) -> str:
    """A token that counts, with changes; a claim of None is left out."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 600, "iat": now,
        "scope": "openid models:ask",
    } | changed  # fmt: skip
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, PRIVATE[algorithm], algorithm, headers={"kid": kid or algorithm})


async def ask(access: Access, value: str) -> Any:
    return await access.caller_of([(b"authorization", f"Bearer {value}".encode())], "a")


@pytest.mark.parametrize("algorithm", list(PRIVATE))
async def test_a_token_grants_what_its_claim_says(file: Path, algorithm: str) -> None:
    access = Access(file)
    value = token(algorithm)
    caller = await ask(access, value)
    assert caller.name == "ann"
    assert caller.may(Scope.INFER, "churn-eu")
    assert not caller.may(Scope.INFER, "penguins")
    assert not caller.may(Scope.METRICS)
    assert access.known({b"x-api-key": value.encode()}) is caller
    both = await ask(access, token(algorithm, scope=["scrape", "models:ask"], sub="bo"))
    assert both.may(Scope.METRICS)
    assert both.may(Scope.READ, "churn-us")
    none = await ask(access, token(algorithm, scope=None))
    assert not any(none.may(scope) for scope in Scope)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "EdDSA"])
async def test_a_key_need_not_name_its_algorithm(file: Path, algorithm: str) -> None:
    kind = algorithm if algorithm in PRIVATE else "RS256"
    entry = {name: said for name, said in public(kind, "it").items() if name != "alg"}
    (file.parent / "jwks.json").write_text(json.dumps({"keys": [entry]}))
    claims = jwt.decode(token(kind), options={"verify_signature": False})
    value = jwt.encode(claims, PRIVATE[kind], algorithm, headers={"kid": "it"})
    assert (await ask(Access(file), value)).name == "ann"


async def test_a_key_signs_by_the_algorithm_that_its_set_names_alone(file: Path) -> None:
    claims = jwt.decode(token("RS256"), options={"verify_signature": False})
    value = jwt.encode(claims, PRIVATE["RS256"], "PS256", headers={"kid": "RS256"})
    with pytest.raises(Refusal, match="token: got one that does not count"):
        await ask(Access(file), value)


async def test_a_key_for_encryption_verifies_nothing(file: Path) -> None:
    keys = [public("RS256", "it") | {"use": "enc"}, public("ES256", "it")]
    (file.parent / "jwks.json").write_text(json.dumps({"keys": keys}))
    assert (await ask(Access(file), token("ES256", kid="it"))).name == "ann"
    with pytest.raises(Refusal, match="token: got one that does not count"):
        await ask(Access(file), token("RS256", kid="it"))


def forged() -> str:
    """Signed by HMAC with the issuer's public key, as RFC 8725, 2.1 warns."""
    public_pem = (
        PRIVATE["RS256"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 600}
    signed = f"{part({'alg': 'HS256', 'kid': 'RS256'})}.{part(claims)}"
    digest = hmac.digest(public_pem, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def unsigned() -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 600}
    return jwt.encode(claims, None, "none", headers={"kid": "RS256"})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: token(exp=int(time.time()) - 3600), "one that has expired"),
        (lambda: token(nbf=int(time.time()) + 3600), "one that does not count yet"),
        (lambda: token(aud="other"), "one for another audience"),
        (lambda: token(iss="https://evil.example"), "one of another issuer"),
        (lambda: token(exp=None), "without exp, iss, aud and sub"),
        (lambda: token(sub=None), "without exp, iss, aud and sub"),
        (lambda: token(kid="nosuch"), "signed by an unknown key"),
        (lambda: token("ES256", kid="RS256"), "token: got one"),
        (lambda: token()[:-6] + "AAAAAA", "token: got one"),
        (forged, "token: got one"),
        (unsigned, "token: got one"),
        (lambda: "a.b.c", "token: got one"),
    ],
)
async def test_a_token_that_does_not_count_is_refused(
    file: Path, made: Callable[[], str], said: str
) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        await ask(Access(file), made())
    assert refused.value.code == "E_KEY"


async def test_a_token_that_counts_later_is_taken_then(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, now = Access(file), time.time()
    early = token(nbf=int(now) + 600, exp=int(now) + 1200)
    with pytest.raises(Refusal, match="does not count yet"):
        await ask(access, early)
    moment = datetime.fromtimestamp(now + 700, UTC)

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment.astimezone(tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Later)
    assert (await ask(access, early)).name == "ann"


async def test_a_key_set_that_changes_is_followed(file: Path) -> None:
    with Access(file) as access:
        before = await ask(access, token())
        jwks = file.with_name("jwks.json")
        jwks.write_text(json.dumps({"keys": [public("RS256", "new")]}))
        await until_here(lambda: before.over)
        with pytest.raises(Refusal, match="unknown key"):
            await ask(access, token())
        assert (await ask(access, token("RS256", kid="new"))).name == "ann"


async def test_a_key_is_revoked_also_while_the_key_set_cannot_be_read(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = key_of(file, "app", "infer")
    with Access(file) as access:
        caller, of_token = await ask(access, key), await ask(access, token())
        jwks = file.with_name("jwks.json")
        jwks.write_text("<html>")
        revoke_keys(file, ["app"], datetime.now(UTC))
        await until_here(lambda: caller.over)
        assert "the issuer's keys are as they were: file of keys" in caplog.text
        assert not of_token.over
        jwks.write_text(json.dumps({"keys": [public("RS256", "new")]}))
        await until_here(lambda: of_token.over)


async def test_tokens_that_are_remembered_are_bounded(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_serve.access.access.MOST_TOKENS", 2)
    access = Access(file)
    for place in range(4):
        await ask(access, token(sub=f"s{place}"))
    assert len(access._tokens) == 2


async def test_a_rate_is_one_of_a_subject_and_not_of_each_token(file: Path) -> None:
    file.write_text(FILE.replace("[[oidc", "requests_per_s = 1\n[[oidc", 1))
    access = Access(file)
    taken, refused = 0, set()
    for place in range(10):
        caller = await ask(access, token(jti=str(place)))
        try:
            caller.count()
            taken += 1
        except Unavailable as error:
            refused.add(error.code)
    assert (taken, refused) == (1, {"E_RATE"})
    (await ask(access, token(sub="bo"))).count()
    access.reload()
    with pytest.raises(Unavailable):  # nor of each time that the file is read
        (await ask(access, token(jti="after"))).count()


async def test_a_token_s_subject_is_recorded_at_first_and_by_count(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        "seatrial_serve.access.access.record",
        lambda event, **said: told.append((event, said.get("key"), said.get("requests"))),
    )
    with Access(file) as access:
        for place in range(3):
            caller = await ask(access, token(jti=str(place)))
            caller.count()
            caller.count()
    client = f"token {ISSUER} ann"
    assert told == [("key_first_used", client, None), ("key_used", client, 6)]


async def test_subjects_that_are_remembered_are_bounded_and_counted(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(
        "seatrial_serve.access.access.record",
        lambda event, **said: told.append((event, said.get("name"), said.get("requests"))),
    )
    monkeypatch.setattr("seatrial_serve.access.access.MOST_SUBJECTS", 2)
    access, value = Access(file), token(sub="s0")
    first = await ask(access, value)
    first.count()
    for place in range(1, 3):
        await ask(access, token(sub=f"s{place}"))
    assert len(access._subjects) == 2
    assert [each for each in told if each[0] == "key_used"] == [("key_used", "s0", 1)]
    assert first.over, "it is verified again, and counted anew"
    assert (await ask(access, value)).use is not first.use


@pytest.mark.parametrize(
    "keys",
    [
        "[",
        "{}",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}',
        None,
    ],
)
def test_a_key_set_that_is_none_is_refused(file: Path, keys: str | None) -> None:
    jwks = file.with_name("jwks.json")
    if keys is None:
        jwks.unlink()
    else:
        jwks.write_text(keys)
    with pytest.raises(DeclarationError, match=r"jwks\.json.*JSON Web Key Set|keys for RS256"):
        Access(file)
