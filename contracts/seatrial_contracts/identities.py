"""Identities: the secret keys that open encrypted bundles (age), of a file or of a command."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from seatrial_contracts.core_dumps import forbid_core_dumps
from seatrial_contracts.errors import DeclarationError, MissingExtra
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file

FILE_VARIABLE, COMMAND_VARIABLE = "SEATRIAL_IDENTITY", "SEATRIAL_IDENTITY_COMMAND"
"""The settings of `seatrial serve` by these names, which the other commands follow too."""
MAX_IDENTITY_BYTES = 2**20
COMMAND_TIMEOUT_S = 60.0
WANT = "an age identity file (AGE-SECRET-KEY-1...), or an SSH private key"
AGE_SECRET, SSH_SECRET = "AGE-SECRET-KEY-1", b"-----BEGIN "


class Identities:
    """Reads secret keys when they are needed first, and again where none of them fits.

    From the first key on, the process leaves no core dump.
    """

    def __init__(self, file: Path | None = None, command: str | None = None) -> None:
        """`command`: words as a shell has them; its standard output is an identity file.

        Raises `DeclarationError` where both are given.
        """
        if file is not None and command:
            got, want = "a file and a command", "one of both"
            raise DeclarationError("settings 'identity' and 'identity_command'", got, want)
        self._file, self._command = file, command or None
        self._lock, self._keys = Lock(), list[Any]()

    @property
    def any(self) -> bool:
        """Was a file or a command named?"""
        return self._file is not None or self._command is not None

    @property
    def keys(self) -> list[Any]:
        """The keys, as pyrage has them. Raises `DeclarationError` and `MissingExtra`."""
        with self._lock:
            if self.any and not self._keys:
                self._keys = self._read()
            return self._keys

    def read_anew(self) -> list[Any]:
        """The keys, read once more, since they may have been replaced. Raises as `keys` does."""
        with self._lock:
            self._keys = self._read() if self.any else []
            return self._keys

    def _read(self) -> list[Any]:
        forbid_core_dumps()
        if self._file is not None:
            where = f"identity file '{self._file}'"
            try:
                data = read_plain_file(self._file, MAX_IDENTITY_BYTES, follow_links=True)
            except (OSError, NotPlainFile) as error:
                got = getattr(error, "strerror", None) or str(error)
                raise DeclarationError(where, got, WANT) from None
            return parse_identities(data, where)
        assert self._command is not None
        return parse_identities(output_of(self._command), "the output of --identity-command")


def output_of(command: str) -> bytes:
    """What a command writes to its standard output. Raises `DeclarationError`."""
    where, want = "--identity-command", "a command that ends with 0 and writes an identity"
    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
            timeout=COMMAND_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        got = f"exit status {error.returncode}; its own words are in this standard error"
    except subprocess.TimeoutExpired:
        got = f"no end within {COMMAND_TIMEOUT_S:g} s"
    except ValueError:  # quotes that do not end
        got = "words that a shell could not split"
    except (OSError, IndexError) as error:
        got = getattr(error, "strerror", None) or "an empty command"
    else:
        return done.stdout
    raise DeclarationError(where, got, want)


def parse_identities(data: bytes, where: str) -> list[Any]:
    """The keys of an identity file, at least one. Raises `DeclarationError`, never with a key."""
    pyrage = age_library()
    if data.lstrip().startswith(SSH_SECRET) and b"AGE ENCRYPTED" not in data[:64]:
        try:
            return [pyrage.ssh.Identity.from_buffer(data)]
        except pyrage.IdentityError:
            got = "an SSH key with a password, or of another kind than Ed25519 and RSA"
            mend = "take an age identity: age-keygen -o FILE"
            raise DeclarationError(where, got, WANT, mend) from None
    if data.startswith(b"age-encryption.org/") or b"BEGIN AGE ENCRYPTED" in data[:64]:
        got, mend = "an identity that is encrypted itself", "open it first: age --decrypt"
        raise DeclarationError(where, got, WANT, mend)
    keys = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            keys.append(pyrage.x25519.Identity.from_str(text))
        except pyrage.IdentityError:
            kind = "a damaged key" if text.startswith(AGE_SECRET) else "something else"
            raise DeclarationError(f"{where}, line {number}", kind, WANT) from None
    if not keys:
        raise DeclarationError(where, "no identity", WANT)
    return keys


def age_library() -> Any:
    """Pyrage. Raises `MissingExtra`."""
    try:
        import pyrage
    except ImportError as error:
        raise MissingExtra("an encrypted bundle", "age") from error
    return pyrage


def identities_from_environment() -> Identities:
    """Those that the environment names, if any. Raises `DeclarationError`."""
    file, command = os.environ.get(FILE_VARIABLE), os.environ.get(COMMAND_VARIABLE)
    return _identities(file or None, command or None)


@lru_cache(maxsize=8)
def _identities(file: str | None, command: str | None) -> Identities:
    """One object for each setting, so that a command runs once."""
    return Identities(None if file is None else Path(file), command)
