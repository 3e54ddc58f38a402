"""The file of keys, certificates' names and the issuer of tokens: TOML that operators may edit."""

from __future__ import annotations

import math
import os
import stat
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError

from seatrial_contracts.bundle_files import described
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.access.caller import EVERY, Caller, Grant, Scope, Use
from seatrial_serve.access.secret import Hash, new_key
from seatrial_serve.process.folder_lock import locked_folder

MOST_FILE_BYTES = 8 * 2**20
Text = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[datetime, Strict()] | Annotated[date, Strict()]
Scopes = Annotated[tuple[Scope, ...], Field(min_length=1)]
Patterns = Annotated[tuple[Text, ...], Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, le=1e6)]


def a_hash(text: str) -> str:
    """The text of a hash. Raises `ValueError`."""
    Hash.parse(text)
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Granted(_Strict):
    """What somebody may ask."""

    scopes: Scopes
    models: Patterns = EVERY
    """Patterns of model names, with `*`."""
    requests_per_s: Rate | None = None

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Its scopes and models."""
        return (Grant(frozenset(self.scopes), self.models),)

    @property
    def caller(self) -> Caller:
        """Whoever has it."""
        raise NotImplementedError


class Key(Granted):
    """A key, without its secret."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: Text
    """What logs call it."""
    hash: Annotated[str, AfterValidator(a_hash)]
    created: Moment | None = None
    expires: Moment | None = None
    """It counts until then; a date is its first moment in UTC."""
    revoked: Moment | None = None

    @property
    def caller(self) -> Caller:
        """See `Granted`."""
        client = f"key {self.id}"
        return Caller(client, self.name, self.grants, self.until_s, Use(self.requests_per_s))

    @property
    def until_s(self) -> float:
        """Unix time until which it counts."""
        if self.revoked is not None:
            return 0.0
        return math.inf if self.expires is None else moment(self.expires).timestamp()


class Certificate(Granted):
    """A name of a client's certificate, and what its holder may ask."""

    name: Text
    """With what it is: `dns:checkout.internal`, `uri:spiffe://...`."""

    @property
    def caller(self) -> Caller:
        """See `Granted`."""
        client = f"certificate {self.name}"
        return Caller(client, self.name, self.grants, use=Use(self.requests_per_s))


class TokenGrant(_Strict):
    """A value of a token's claim, and what it allows."""

    value: Text
    scopes: Scopes
    models: Patterns = EVERY


class Oidc(_Strict):
    """An OpenID Connect issuer whose tokens count."""

    issuer: Text
    audience: Text
    jwks: Path
    """A file with the issuer's public keys (RFC 7517); a relative path begins at the keys' file."""
    claim: Text = "scope"
    """The claim that holds values: a text of words, or a list."""
    grants: Annotated[tuple[TokenGrant, ...], Field(min_length=1)]
    requests_per_s: Rate | None = None
    """For each subject, whatever tokens it comes with."""

    def beside(self, path: Path) -> Oidc:
        """The same with its relative path begun at the folder of the file of keys."""
        return self.model_copy(update={"jwks": path.parent / self.jwks})


WRITTEN = ("id", "name", "scopes", "models", "requests_per_s", "created", "expires", "hash")
"""What is written of a new key, in that order."""


class KeysFile(_Strict):
    """The whole file."""

    format: Literal["seatrial-keys-1"] = "seatrial-keys-1"
    keys: tuple[Key, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    oidc: Oidc | None = None


def moment(when: datetime | date) -> datetime:
    """The moment of a date or time of TOML, in UTC where it names no zone."""
    if not isinstance(when, datetime):
        when = datetime.combine(when, time(), UTC)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def read_keys(path: Path) -> KeysFile:
    """Read the file. Raises `DeclarationError`."""
    return parse_keys(read_text(path), path)


def read_text(path: Path) -> str:
    """The file's text. Raises `DeclarationError`, also where everybody may write it."""
    where, want = f"file of keys '{path}'", "a TOML file that `seatrial keys new` wrote"
    try:
        text = read_plain_file(path, MOST_FILE_BYTES, follow_links=True).decode()
        mode = path.stat().st_mode
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), want) from None
    except OSError as error:
        got = error.strerror or "no file"
        raise DeclarationError(where, got, want) from None
    except UnicodeDecodeError:
        raise DeclarationError(where, "no UTF-8", want) from None
    if mode & stat.S_IWOTH:
        mend = f"run: chmod o-w {path}"
        raise DeclarationError(where, "a file that everybody may write", "its owner's alone", mend)
    return text


def parse_keys(text: str, path: Path) -> KeysFile:
    """What a file's text says. Raises `DeclarationError`."""
    where = f"file of keys '{path}'"
    try:
        found = KeysFile.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DeclarationError(where, str(error), "TOML") from None
    except ValidationError as error:
        raise DeclarationError(
            where, described(error), "keys as docs/how-to/keys.md has them"
        ) from None
    for what, names in (
        ("id", [key.id for key in found.keys]),
        ("certificate", [each.name for each in found.certificates]),
    ):
        twice = next((name for name, times in Counter(names).items() if times > 1), None)
        if twice is not None:
            raise DeclarationError(where, f"the {what} '{twice}' twice", "each once")
    return found


def add_key(path: Path, key: Key) -> None:
    """Write a key into the file, which is made where there is none. Raises `DeclarationError`."""
    with edited(path) as document:
        table = tomlkit.table()
        said = key.model_dump(exclude_none=True, exclude_defaults=True)
        for name in [name for name in WRITTEN if name in said]:
            value = said[name]
            table.add(name, list(map(str, value)) if isinstance(value, tuple) else value)
        table.add(tomlkit.nl())
        listed = document.setdefault("keys", tomlkit.aot())
        listed.append(table)


def revoke_keys(path: Path, named: Sequence[str], at: datetime) -> list[str]:
    """Revoke the keys of these ids or names; return their ids.

    Raises `DeclarationError` for one that is not there, and then revokes none.
    """
    revoked: list[str] = []
    with edited(path) as document:
        listed = document.get("keys", [])
        for each in named:
            found = [key for key in listed if each in (key["id"], key["name"])]
            if not found:
                names = sorted({str(key["name"]) for key in listed})
                want = f"one of {', '.join(names)}" if names else "a file with keys"
                mend = f"list them: seatrial keys list --file {path}"
                raise DeclarationError(f"key '{each}'", "no such id or name", want, mend)
            for key in found:
                if "revoked" not in key:
                    key["revoked"] = at
                revoked.append(str(key["id"]))
    return revoked


@contextmanager
def edited(path: Path) -> Iterator[tomlkit.TOMLDocument]:
    """The file's document, written back as a whole once it is valid. Raises `DeclarationError`.

    One edits at a time; a server that reads meanwhile sees the file before or after.
    """
    where = f"file of keys '{path}'"
    path = path.resolve()  # of a link, the file behind it is replaced
    try:
        with locked_folder(path.parent):
            text = read_text(path) if path.exists() else ""
            parse_keys(text, path)
            document = tomlkit.parse(text)
            if "format" not in document:
                document.add("format", "seatrial-keys-1")
            yield document
            written = tomlkit.dumps(document)
            parse_keys(written, path)
            replace(path, written)
    except OSError as error:
        raise DeclarationError(where, error.strerror or "an error", "a writable folder") from None


def replace(path: Path, text: str) -> None:
    """Write a file as a whole, readable by its owner where it is new.

    It stays whose it was: a server that cannot read it would revoke no key.
    """
    before = path.stat() if path.exists() else None
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(text.encode())
            if before is not None:
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:  # whatever ends it, no half file is left
        Path(name).unlink(missing_ok=True)
        raise


def rows_of(found: KeysFile, now: datetime) -> list[dict[str, Any]]:
    """The keys as a list shows them: never a hash."""
    rows = []
    for key in found.keys:
        state = "revoked" if key.revoked is not None else "valid"
        if state == "valid" and key.expires is not None and moment(key.expires) <= now:
            state = "expired"
        rows.append(
            {
                "id": key.id,
                "name": key.name,
                "state": state,
                "scopes": [str(scope) for scope in key.scopes],
                "models": list(key.models),
                "expires": None if key.expires is None else key.expires.isoformat(),
                "requests_per_s": key.requests_per_s,
            }
        )
    return rows


def new_entry(
    path: Path,
    name: str,
    scopes: Sequence[str],
    models: Sequence[str] = (),
    expires: datetime | None = None,
    requests_per_s: float | None = None,
) -> tuple[Key, str]:
    """Add a new key to the file; return its entry, and the key itself.

    Raises `DeclarationError`.
    """
    key, key_id, kept = new_key()
    try:
        entry = Key(
            id=key_id,
            name=name,
            hash=str(kept),
            scopes=tuple(map(Scope, dict.fromkeys(scopes))),
            models=tuple(models) or EVERY,
            created=datetime.now(UTC).replace(microsecond=0),
            expires=expires,
            requests_per_s=requests_per_s,
        )
    except ValidationError as error:
        want = "a name of 1 to 200 characters, and patterns of models"
        raise DeclarationError("new key", described(error), want) from None
    add_key(path, entry)
    return entry, key
