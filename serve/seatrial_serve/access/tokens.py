"""Tokens of an OpenID Connect issuer (RFC 7519), verified by PyJWT with keys from a file."""

from __future__ import annotations

import json
from typing import Any

import jwt

from seatrial_contracts.errors import DeclarationError, Refusal
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.access.caller import Caller, Grant
from seatrial_serve.access.keys_file import Oidc

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "EdDSA")  # fmt: skip
"""Signatures by private keys. A shared secret would let whoever reads the file make tokens."""
LEEWAY_S = 30
"""How far the issuer's clock may be from ours."""
MOST_JWKS_BYTES = 2**20
MOST_TOKEN_BYTES = 16 * 1024
WHERE = "token"


class TokenVerifier:
    """Verifies tokens of one issuer. Use in any thread."""

    def __init__(self, oidc: Oidc) -> None:
        """Read the issuer's keys. Raises `DeclarationError`."""
        self._oidc = oidc
        self._keys = read_key_set(oidc)

    def caller(self, token: str) -> Caller:
        """Whom a token names. Raises `Refusal` where it does not count."""
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=list(ALGORITHMS),
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

    def _key(self, token: str) -> jwt.PyJWK:
        """The key that a token names, or the only one there is. Raises `jwt.PyJWTError`."""
        named = jwt.get_unverified_header(token).get("kid")
        if named is None and len(self._keys) == 1:
            return self._keys[0]
        for key in self._keys:
            if key.key_id == named and named is not None:
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


def read_key_set(oidc: Oidc) -> list[jwt.PyJWK]:
    """The issuer's public keys. Raises `DeclarationError`."""
    where, want = f"file of keys '{oidc.jwks}'", "a JSON Web Key Set (RFC 7517) of public keys"
    try:
        data = read_plain_file(oidc.jwks, MOST_JWKS_BYTES, follow_links=True)
        keys = jwt.PyJWKSet.from_dict(json.loads(data)).keys
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), want) from None
    except OSError as error:
        raise DeclarationError(where, error.strerror or "no file", want) from None
    except (ValueError, AttributeError, jwt.PyJWTError) as error:
        raise DeclarationError(where, f"no such set ({error})", want) from None
    usable = [key for key in keys if key.algorithm_name in ALGORITHMS]
    if not usable:
        got = "no key for signatures by a private key"
        raise DeclarationError(where, got, f"keys for {', '.join(ALGORITHMS)}")
    return usable
