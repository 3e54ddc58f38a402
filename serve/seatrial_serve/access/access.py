"""Access: who a request comes from, and whether that one may ask it.

The slow hash of a key is worked out once, in a thread of its own. From then on the key is found by
a digest under a secret of this process, so that neither the time of a lookup nor what it compares
tells anything of the keys that there are.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from seatrial_contracts.errors import (
    DeclarationError,
    MissingExtra,
    Refusal,
    SeatrialError,
    Unavailable,
)
from seatrial_serve.access.caller import Caller, EndedKey, Use
from seatrial_serve.access.keys_file import Certificate, Granted, Key, Oidc, read_keys
from seatrial_serve.access.secret import Hash, hash_of, parts_of
from seatrial_serve.process.audit_log import record
from seatrial_serve.process.budget import Places
from seatrial_serve.process.file_stamp import file_stamp

if TYPE_CHECKING:
    from seatrial_serve.access.tokens import TokenVerifier

log = logging.getLogger("seatrial.access")
AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
BEARER = b"bearer "
MOST_CREDENTIAL_BYTES = 16 * 1024
MOST_WRONG, MOST_TOKENS, MOST_SUBJECTS = 4096, 4096, 4096
"""How many wrong credentials, tokens and subjects of tokens are remembered: the latest."""
MOST_WAITING, MOST_OF_CLIENT = 64, 8
"""Credentials that may wait to be verified at once, and those of one address. One that many
requests carry counts once."""
LOOK_S = 0.5
"""How often the files are looked at."""
COUNT_S = 3600.0
"""How often the audit log is told how often each key was used."""
WANT = "Authorization: Bearer KEY, or X-API-Key: KEY"
MEND = "ask whoever runs this server for a key"


G = TypeVar("G", bound=Granted)


class State(NamedTuple):
    """What the files say."""

    keys: Mapping[str, tuple[Key, Caller]]
    """By id."""
    certificates: Mapping[str, tuple[Certificate, Caller]]
    """By name."""
    tokens: TokenVerifier | None
    oidc: Oidc | None
    files: tuple[Path, ...]
    stamps: tuple[object, ...]
    """Of the files, from before they were read."""


class Access:
    """Who may ask what, by a file of keys. Use in any thread; `with` follows the file's changes."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `DeclarationError` or `MissingExtra`."""
        self._path = path
        self._pepper = secrets.token_bytes(32)
        self._nobody = hash_of(secrets.token_hex(16))
        """Stands for the hash of an id that is not there: it takes as long."""
        self._state = self._read(None)
        self._verified: dict[bytes, Caller] = {}
        self._tokens: OrderedDict[bytes, Caller] = OrderedDict()
        self._subjects: OrderedDict[Hashable, tuple[str, Use]] = OrderedDict()
        """Of tokens: what shares go by -> name and use."""
        self._wrong: OrderedDict[bytes, Refusal] = OrderedDict()
        self._running: dict[bytes, Future[Caller | Refusal]] = {}
        self._lock = threading.Lock()
        self._places = Places(MOST_OF_CLIENT, MOST_WAITING)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="seatrial-keys")
        self._look, self._closing, self._wanted = threading.Event(), False, False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._follow, name="seatrial-keys", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._look.set()
        assert self._thread is not None
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.record_uses()

    def known(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """Whom these headers name, if that was verified before and holds. Any thread, no waiting.

        None does not mean that nobody may ask: `caller_of` finds that out.
        """
        value = headers.get(AUTHORIZATION)
        if value is not None:
            if value[: len(BEARER)].lower() != BEARER or API_KEY in headers:
                return None
            value = value[len(BEARER) :].strip()
        else:
            value = headers.get(API_KEY)
            if value is None:
                return None
        digest = self._digest(value)
        caller = self._verified.get(digest) or self._tokens.get(digest)
        return None if caller is None or caller.over else caller

    def by_certificate(self, names: Iterable[str]) -> Caller | None:
        """Whom a client's certificate names; None where no name of it may ask anything."""
        certificates = self._state.certificates
        caller = next((certificates[name][1] for name in names if name in certificates), None)
        if caller is not None and not caller.use.seen:
            self._record_first_use(caller)
        return caller

    async def caller_of(
        self, headers: Sequence[tuple[bytes, bytes]], address: Hashable, names: Iterable[str] = ()
    ) -> Caller:
        """Whom a request comes from.

        `headers`: in lower case. `address`: the client's. `names`: those of its certificate, which
        count where there is no key. Raises `Refusal`, and `Unavailable` where too many wait.
        """
        given = [pair for pair in headers if pair[0] in (AUTHORIZATION, API_KEY)]
        if not given:
            caller = self.by_certificate(names)
            if caller is None:
                raise Refusal("E_KEY", "request", "no key", WANT, MEND)
            return caller
        caller = self.known(dict(given)) if len(given) == 1 else None
        return caller or await self._verified_caller(credential_of(given), address)

    async def _verified_caller(self, value: bytes, address: Hashable) -> Caller:
        digest = self._digest(value)
        known = self._wrong.get(digest)
        if known is not None:
            raise again(known)
        with self._lock:
            running = self._running.get(digest)
            new = running is None
            if running is None:
                if not self._places.take(address):
                    text = "keys: got more that are not verified yet than there may be, want fewer"
                    raise Unavailable("E_OVERLOADED", text)
                running = self._pool.submit(self._verify, value.decode("latin-1"), digest)
                self._running[digest] = running
        if new:
            running.add_done_callback(partial(self._ended, digest, address))
        found = await asyncio.shield(asyncio.wrap_future(running))
        if isinstance(found, Refusal):
            raise again(found)
        return found

    def _ended(self, digest: bytes, address: Hashable, _: Future[Caller | Refusal]) -> None:
        with self._lock:
            del self._running[digest]
            self._places.give_back(address)

    def _verify(self, value: str, digest: bytes) -> Caller | Refusal:
        """Whom a credential names, or why nobody, in the thread of keys."""
        state = self._state
        tokens = state.tokens if parts_of(value) is None and value.count(".") == 2 else None
        try:
            if tokens is None:
                caller = self._holder(state, value)
            else:
                caller = tokens.caller(value)
                caller.use = self._use_of(caller, state)
            self._record_first_use(caller)
        except Refusal as refusal:
            with self._lock:
                # a token may count later, and a key once the file has changed
                if tokens is None and state is self._state:
                    self._wrong[digest] = refusal
                    if len(self._wrong) > MOST_WRONG:
                        self._wrong.popitem(last=False)
            return refusal
        with self._lock:
            if tokens is None:
                self._verified[digest] = caller
            elif state is self._state:
                self._tokens[digest] = caller
                if len(self._tokens) > MOST_TOKENS:
                    self._tokens.popitem(last=False)
        return caller

    def _holder(self, state: State, value: str) -> Caller:
        """Whose key it is. An unknown id takes as long as a known one."""
        key_id, secret = parts_of(value) or ("", value)
        found = state.keys.get(key_id)
        kept = self._nobody if found is None else Hash.parse(found[0].hash)
        if not kept.fits(secret) or found is None:
            raise Refusal("E_KEY", "key", "one that this server does not know", "another", MEND)
        key, caller = found
        if caller.over:
            got = "one that was revoked" if key.revoked is not None else "one that has expired"
            raise EndedKey(caller, got)
        return caller

    def _record_first_use(self, caller: Caller) -> None:
        with self._lock:
            seen, caller.use.seen = caller.use.seen, True
        if not seen:
            record("key_first_used", key=caller.client, name=caller.name)

    def _use_of(self, caller: Caller, state: State) -> Use:
        """What all tokens of a subject share: its rate, and how often it asked."""
        with self._lock:
            known = self._subjects.get(caller.client)
            if known is not None:
                self._subjects.move_to_end(caller.client)
                return known[1]
            use = Use(rate_of(state))
            self._subjects[caller.client] = caller.name, use
            if len(self._subjects) > MOST_SUBJECTS:
                client, (name, oldest) = self._subjects.popitem(last=False)
                record_use(client, name, oldest)
                for other in self._tokens.values():
                    if other.use is oldest:
                        other.end()  # which is verified again, and counted anew
        return use

    def _digest(self, value: bytes) -> bytes:
        return hashlib.blake2b(value, key=self._pepper, digest_size=32).digest()

    def reload_soon(self) -> None:
        """Read the files again. Takes no lock: a signal's handler may call it."""
        self._wanted = True
        self._look.set()

    def _follow(self) -> None:
        """Read the files when they change; tell the audit log how often keys were used."""
        told_s = time.monotonic()
        while not self._closing:
            self._look.wait(LOOK_S)
            self._look.clear()
            try:
                if self._wanted or stamps_of(self._state.files) != self._state.stamps:
                    self._wanted = False
                    self.reload()
                if time.monotonic() - told_s > COUNT_S:
                    told_s = time.monotonic()
                    self.record_uses()
            except Exception:  # the thread must not end: keys are revoked by it
                log.exception("a look at the keys failed; this is a bug in seatrial")

    def reload(self) -> None:
        """Read the files again. If they cannot be read, what was read before goes on."""
        before = self._state
        stamps = stamps_of(before.files)
        try:
            state = self._read(before)
        except SeatrialError as error:
            # said once, and tried again when a file has changed since before it was read
            self._state = before._replace(stamps=stamps)
            log.error("keys are as they were: %s", error)
            record("keys_reloaded", result="refused")
            return
        with self._lock:
            self._state = state
            self._wrong.clear()
            end_changed(before.keys, state.keys)
            end_changed(before.certificates, state.certificates)
            if state.tokens is not before.tokens:
                for caller in self._tokens.values():
                    caller.end()
                self._tokens.clear()
            record_uses_of(before, self._subjects)  # also of what has ended, to the last request
            if rate_of(state) != rate_of(before):
                self._subjects.clear()
            self._verified = {
                digest: caller for digest, caller in self._verified.items() if not caller.over
            }
        valid = sum(not caller.over for _, caller in state.keys.values())
        log.info("keys were read again: %d of %d are valid", valid, len(state.keys))
        record("keys_reloaded", result="ok", keys=len(state.keys), valid=valid)

    def _read(self, before: State | None) -> State:
        """What the files say now; what is as before keeps its caller. Raises `DeclarationError`."""
        stamps = stamps_of((self._path,) if before is None else before.files)
        found = read_keys(self._path)
        keys = {key.id: kept(before.keys if before else {}, key.id, key) for key in found.keys}
        certificates = {
            each.name: kept(before.certificates if before else {}, each.name, each)
            for each in found.certificates
        }
        files: tuple[Path, ...] = (self._path,)
        tokens = None
        if found.oidc is not None:
            oidc = found.oidc.beside(self._path)
            files = (self._path, oidc.jwks)
            new = before is None or files != before.files
            stamps = stamps_of(files) if new else stamps
            if before is not None and before.oidc == found.oidc and stamps[1:] == before.stamps[1:]:
                tokens = before.tokens
            else:
                try:
                    tokens = open_tokens(oidc)
                except DeclarationError as error:
                    if before is None or before.oidc != found.oidc:
                        raise
                    # a key that was revoked must not count on because of the issuer's file
                    tokens = before.tokens
                    log.error("the issuer's keys are as they were: %s", error)
                    record("keys_reloaded", result="refused")
        return State(keys, certificates, tokens, found.oidc, files, stamps)

    def record_uses(self) -> None:
        """Tell the audit log how often each key was used since it was last told."""
        with self._lock:
            record_uses_of(self._state, self._subjects)


def record_uses_of(state: State, subjects: Mapping[Hashable, tuple[str, Use]]) -> None:
    """See `Access.record_uses`."""
    for _, caller in (*state.keys.values(), *state.certificates.values()):
        record_use(caller.client, caller.name, caller.use)
    for client, (name, use) in subjects.items():
        record_use(client, name, use)


def record_use(client: Hashable, name: str, use: Use) -> None:
    """Tell the audit log how often somebody asked since it was last told."""
    since = use.since()
    if since:
        record("key_used", key=client, name=name, requests=since)


def rate_of(state: State) -> float | None:
    """How many requests a second a subject of tokens may send; None: any number."""
    return None if state.oidc is None else state.oidc.requests_per_s


def kept(before: Mapping[str, tuple[G, Caller]], name: str, granted: G) -> tuple[G, Caller]:
    """An entry of the file with its caller: the one before, if the entry is as it was."""
    known = before.get(name)
    return known if known is not None and known[0] == granted else (granted, granted.caller)


def end_changed(
    before: Mapping[str, tuple[G, Caller]], now: Mapping[str, tuple[G, Caller]]
) -> None:
    """End the callers of entries that are gone or changed."""
    for name, (_, caller) in before.items():
        if name not in now or now[name][1] is not caller:
            caller.end()


def open_tokens(oidc: Oidc) -> TokenVerifier:
    """The verifier of an issuer's tokens. Raises `DeclarationError` or `MissingExtra`."""
    try:
        from seatrial_serve.access.tokens import TokenVerifier
    except ImportError as error:
        raise MissingExtra("verifying tokens", "oidc") from error
    return TokenVerifier(oidc)


def again(refusal: Refusal) -> Refusal:
    """The same refusal, to be raised once more: an exception keeps the frames it came through."""
    return refusal.at(refusal.where)


def stamps_of(files: Sequence[Path]) -> tuple[object, ...]:
    """What changes with the files."""
    return tuple(map(file_stamp, files))


def credential_of(given: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The one credential of headers. Raises `Refusal`."""
    if len(given) > 1:
        raise Refusal("E_KEY", "request", f"{len(given)} keys", "one", f"send {WANT}")
    name, value = given[0]
    if name == AUTHORIZATION:
        if value[: len(BEARER)].lower() != BEARER:
            raise Refusal("E_KEY", "header Authorization", "another scheme", WANT)
        value = value[len(BEARER) :].strip()
    if not value or len(value) > MOST_CREDENTIAL_BYTES:
        got = "an empty key" if not value else f"more than {MOST_CREDENTIAL_BYTES} bytes"
        raise Refusal("E_KEY", "request", got, "a key", MEND)
    return value


@contextmanager
def open_access(path: Path | None) -> Iterator[Access | None]:
    """What a file of keys allows; None without one. Raises `DeclarationError` or `MissingExtra`."""
    if path is None:
        yield None
        return
    with Access(path) as access:
        yield access
