"""Tokens of an OpenID Connect issuer (RFC 7519), verified by PyJWT with keys from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jwt

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.access.caller import Caller, Grant
from seatrial_serve.access.keys_file import Oidc

OF_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS = (*OF_RSA, "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by private keys. A shared secret would let whoever reads the file make tokens."""
LEEWAY_S = 30
"""How far the issuer's clock may be from ours."""
MOST_JWKS_BYTES = 2**20
MOST_TOKEN_BYTES = 16 * 1024
WHERE = "token"


class IssuerKey(NamedTuple):
    """A public key of the issuer."""

    id: str | None
    key: Any
    algorithms: tuple[str, ...]
    """By which it signs: the one that the set names, or those that are for keys of its type."""


class TokenVerifier:
    """Verifies tokens of one issuer. Use in any thread."""

    def __init__(self, oidc: Oidc) -> None:
        """Read the issuer's keys. Raises `DeclarationError`."""
        self._oidc = oidc
        self._keys = read_key_set(oidc)

    def caller(self, token: str) -> Caller:
        """Whom a token names. Raises `Refusal` where it does not count."""
        try:
            signed = self._key(token)
            claims = jwt.decode(
                token,
                signed.key,
                algorithms=signed.algorithms,
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise refused(WHY.get(type(error), "one that does not count")) from None
        subject = str(claims["sub"])
        granted = [
            Grant(frozenset(each.scopes), each.models)
            for each in self._oidc.grants
            if each.value in words(claims.get(self._oidc.claim))
        ]
        return Caller(
            f"token {self._oidc.issuer} {subject}", subject, granted,
            float(claims["exp"]) + LEEWAY_S,
        )  # fmt: skip

    def _key(self, token: str) -> IssuerKey:
        """The key that a token names, or the only one there is. Raises `jwt.PyJWTError`."""
        named = jwt.get_unverified_header(token).get("kid")
        if named is None and len(self._keys) == 1:
            return self._keys[0]
        for key in self._keys:
            if key.id == named and named is not None:
                return key
        raise jwt.InvalidKeyError


WHY: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "one that has expired",
    jwt.ImmatureSignatureError: "one that does not count yet",
    jwt.InvalidAudienceError: "one for another audience",
    jwt.InvalidIssuerError: "one of another issuer",
    jwt.InvalidKeyError: "one that is signed by an unknown key",
    jwt.InvalidSignatureError: "one with a wrong signature",
    jwt.MissingRequiredClaimError: "one without exp, iss, aud and sub",
}


def refused(got: str) -> Refusal:
    """A token that does not count, and why: whoever holds it may know."""
    return Refusal("E_KEY", WHERE, got, "a token of the issuer that this server trusts")


def words(claim: Any) -> list[str]:
    """The values of a claim: the words of a text, or a list."""
    if isinstance(claim, str):
        return claim.split()
    return [str(each) for each in claim] if isinstance(claim, list) else []


def read_key_set(oidc: Oidc) -> Sequence[IssuerKey]:
    """The issuer's public keys. Raises `DeclarationError`."""
    where, want = f"file of keys '{oidc.jwks}'", "a JSON Web Key Set (RFC 7517) of public keys"
    try:
        data = read_plain_file(oidc.jwks, MOST_JWKS_BYTES, follow_links=True)
        usable = list(keys_that_sign(json.loads(data)["keys"]))
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), want) from None
    except OSError as error:
        raise DeclarationError(where, error.strerror or "no file", want) from None
    except (ValueError, LookupError, TypeError) as error:
        raise DeclarationError(where, f"no such set ({error})", want) from None
    if not usable:
        got = "no key for signatures by a private key"
        raise DeclarationError(where, got, f"keys for {', '.join(ALGORITHMS)}")
    return usable


def keys_that_sign(entries: Sequence[Any]) -> Iterator[IssuerKey]:
    """Those keys of a set by which tokens may be signed; others may be for something else.

    An entry need not name its algorithm (RFC 7517, 4.4). Then a key of RSA signs by any for RSA;
    one of a curve has a single one.
    """
    for entry in entries:
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, AttributeError):
            continue
        if key.algorithm_name in ALGORITHMS and key.public_key_use != "enc":
            any_of_rsa = key.key_type == "RSA" and not entry.get("alg")
            yield IssuerKey(key.key_id, key.key, OF_RSA if any_of_rsa else (key.algorithm_name,))
