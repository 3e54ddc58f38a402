"""Certificates by file: read as a pair that matches, and read again when they change."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.process.audit_log import record
from seatrial_serve.process.file_stamp import file_stamp
from seatrial_serve.process.tls_files import TlsFiles

log = logging.getLogger("seatrial.tls")
POLL_S = 1.0
"""Between two looks at the files. A look is a `stat` of each."""
MOST_BYTES = 2**20
"""Of each file."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, in OpenSSL's notation: forward secrecy and AEAD (RFC 9325, 4.2).

TLS 1.3 has no others.
"""
KEPT_PEERS = 1024
"""Certificates of clients that are remembered as they were read."""
REPLACED, FAILED = "replaced", "failed"
"""How a look at changed files ends: the closed set of a metric's label."""


@dataclass(frozen=True)
class Credentials:
    """What the files held at one moment: a certificate, its key, the authorities of clients."""

    chain: bytes
    key: bytes = field(repr=False)
    authorities: bytes | None
    """In PEM."""
    context: ssl.SSLContext = field(repr=False, compare=False)
    subject: str
    fingerprint: str
    """SHA-256 of the certificate, in hexadecimal."""
    begins_s: float
    expires_s: float
    """When the certificate's validity begins and ends, in seconds since 1970."""
    authorities_expire_s: float | None
    """When the first of the authorities expires."""

    @property
    def expiries(self) -> dict[str, float]:
        """When the certificate of each file expires, by the file's setting."""
        found = {"tls_cert": self.expires_s}
        if self.authorities_expire_s is not None:
            found["tls_client_ca"] = self.authorities_expire_s
        return found

    def valid(self, now_s: float) -> bool:
        """Is the certificate valid at that time?"""
        return self.begins_s <= now_s <= self.expires_s

    def __str__(self) -> str:
        """The certificate, for a line of the log."""
        return f"{self.subject}, valid until {written(self.expires_s)}, SHA-256 {self.fingerprint}"


class Certificates:
    """The credentials that new connections take, followed by a thread of its own.

    Files that cannot be used leave the last good ones in place, and are tried again at each look.
    A connection keeps the credentials that it began with.
    """

    def __init__(
        self,
        files: TlsFiles,
        ended: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:
        """Read the files. Raises `DeclarationError`.

        `ended` is called with `REPLACED` or `FAILED` after changed files were read. A certificate
        that is not valid now is taken at start, and a line of the log says so.
        """
        self.files, self._ended, self._clock = files, ended, clock
        self._stamps = stamps_of(files)
        self.current = read_credentials(files)
        self._fault, self._asked = "", False
        self._stopped = False
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._thread = threading.Thread(target=self._follow, name="seatrial-tls", daemon=True)
        log.info("TLS 1.2 and 1.3 with the certificate of %s", self.current)
        if not self.current.valid(clock()):
            log.error("the certificate %s: clients that verify it will refuse it", self._invalid())

    def start(self) -> None:
        """Follow the files from here on."""
        self._thread.start()

    def close(self) -> None:
        """Follow them no more."""
        self._stopped = True
        self._ring()
        self._thread.join()
        os.close(self._wakes)
        os.close(self._wake)

    def ask(self) -> None:
        """Have the files read now, changed or not. Takes no lock."""
        self._asked = True
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._wake, b"!")

    def _follow(self) -> None:
        while True:
            if select.select([self._wakes], [], [], POLL_S)[0]:
                os.read(self._wakes, 4096)
            if self._stopped:
                return
            try:
                self.look()
            except Exception:  # the next look may be luckier; the thread must not end
                log.exception("a look at the certificates failed; this is a bug in seatrial")

    def look(self) -> None:
        """Take the files' content, if it has changed and can be used."""
        asked, self._asked = self._asked, False
        stamps = stamps_of(self.files)
        if stamps == self._stamps and not asked and not self._fault:
            return
        try:
            fresh = read_credentials(self.files)
        except DeclarationError as error:
            self._fail(str(error))
            return
        if self.current.valid(self._clock()) and not fresh.valid(self._clock()):
            self._fail(f"the new certificate {self._invalid(fresh)}")
            return
        self._stamps, self._fault = stamps, ""
        if fresh == self.current:
            return
        self.current = fresh
        log.info("certificate replaced: %s", fresh)
        record(
            "certificate", result=REPLACED, subject=fresh.subject, sha256=fresh.fingerprint,
            until=written(fresh.expires_s),
        )  # fmt: skip
        self._ended(REPLACED)

    def _fail(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        log.error("certificates not replaced, the last good ones go on: %s", fault)
        record("certificate", result=FAILED, fault=fault)
        self._ended(FAILED)

    def _invalid(self, credentials: Credentials | None = None) -> str:
        found = credentials or self.current
        if found.expires_s < self._clock():
            return f"has expired on {written(found.expires_s)}"
        return f"is not valid before {written(found.begins_s)}"


def stamps_of(files: TlsFiles) -> tuple[object, ...]:
    """What changes with the files: links are followed, as Kubernetes swaps them."""
    return tuple(file_stamp(path) for path in files[:3] if isinstance(path, Path))


def read_credentials(files: TlsFiles) -> Credentials:
    """Read certificate, key and authorities as they lie together at one moment.

    Raises `DeclarationError` for what is missing, unreadable, no PEM, encrypted, too weak, or does
    not match, also if a file changes meanwhile.
    """
    chain, key = read(files.certificate, "tls_cert"), read(files.key, "tls_key")
    authorities = read(files.client_ca, "tls_client_ca") if files.client_ca is not None else None
    own = certificates_in(chain, files.certificate, "tls_cert")[0]
    if own.public_key() != key_in(key, files.key).public_key():
        raise DeclarationError(
            f"settings 'tls_cert' and 'tls_key', '{files.certificate}' and '{files.key}'",
            "a key that is not the certificate's",
            "the key of the file's first certificate",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # OpenSSL would ask a terminal for the password of an encrypted key
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        got = (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
        want = "a certificate and key that OpenSSL takes: RSA of 2048 bits or more, or P-256"
        raise DeclarationError(
            f"settings 'tls_cert' and 'tls_key', '{files.certificate}' and '{files.key}'", got, want
        ) from None
    # OpenSSL reads files alone: what it read is what was checked, if nothing has changed since
    if (chain, key) != (read(files.certificate, "tls_cert"), read(files.key, "tls_key")):
        raise DeclarationError("settings 'tls_cert' and 'tls_key'", "files that change", "a pair")
    trusted: list[x509.Certificate] = []
    if authorities is not None:
        assert files.client_ca is not None
        trusted = certificates_in(authorities, files.client_ca, "tls_client_ca")
        context.load_verify_locations(
            cadata=b"".join(each.public_bytes(Encoding.DER) for each in trusted)
        )
        context.verify_mode = ssl.CERT_REQUIRED if files.required else ssl.CERT_OPTIONAL
        # A resumed session would outlive the certificate that it was begun with.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return Credentials(
        chain,
        key,
        b"".join(each.public_bytes(Encoding.PEM) for each in trusted) or None,
        context,
        own.subject.rfc4514_string() or "no subject",
        own.fingerprint(SHA256()).hex(),
        own.not_valid_before_utc.timestamp(),
        own.not_valid_after_utc.timestamp(),
        min((each.not_valid_after_utc.timestamp() for each in trusted), default=None),
    )


def read(path: Path, setting: str) -> bytes:
    """A file's bytes. Raises `DeclarationError` that names the setting."""
    try:
        return read_plain_file(path, MOST_BYTES, follow_links=True)
    except (NotPlainFile, OSError) as error:
        got = (error.strerror or "an error") if isinstance(error, OSError) else str(error)
        where = f"setting '{setting}', '{path}'"
        raise DeclarationError(where, got, "a readable file in PEM") from None


def certificates_in(data: bytes, path: Path, setting: str) -> list[x509.Certificate]:
    """The certificates of a file in PEM, at least one. Raises `DeclarationError`."""
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        mend = f"write DER as PEM: openssl x509 -inform der -in {path} -out {path}.pem"
        raise DeclarationError(
            f"setting '{setting}', '{path}'",
            "no certificate in PEM",
            "-----BEGIN CERTIFICATE-----",
            mend,
        ) from None


def key_in(data: bytes, path: Path) -> PrivateKeyTypes:
    """The private key of a file in PEM. Raises `DeclarationError`."""
    where = f"setting 'tls_key', '{path}'"
    try:
        return load_pem_private_key(data, None)
    except TypeError:  # the library's word for a key with a password
        mend = f"write it without: openssl pkey -in {path} -out {path}.plain"
        raise DeclarationError(
            where, "an encrypted key", "a key without a password", mend
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        mend = f"write DER as PEM: openssl pkey -inform der -in {path} -out {path}.pem"
        raise DeclarationError(
            where, "no private key in PEM", "-----BEGIN PRIVATE KEY-----", mend
        ) from None


def written(at_s: float) -> str:
    """A time as ISO 8601 has it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Peer(NamedTuple):
    """What the verified certificate of a client says."""

    names: tuple[str, ...]
    """Each with its kind before it: `uri:`, `dns:`, `email:`, then `cn:` of the subject."""
    expires_s: float
    """In seconds since 1970."""

    def names_at(self, now_s: float) -> tuple[str, ...]:
        """The names that count at that time: a connection may outlast its certificate."""
        return self.names if now_s <= self.expires_s else ()


@lru_cache(maxsize=KEPT_PEERS)
def peer_of(certificate: bytes) -> Peer:
    """Return what a certificate in DER or PEM says, which must have been verified.

    One whose alternative names or subject are malformed has no names.
    """
    pem = certificate.startswith(b"-----")
    found = (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(certificate)
    return Peer(names_in(found), found.not_valid_after_utc.timestamp())


def names_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """See `Peer.names`."""
    names: list[str] = []
    try:
        with contextlib.suppress(x509.ExtensionNotFound):
            others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            for kind, form in (
                ("uri", x509.UniformResourceIdentifier),
                ("dns", x509.DNSName),
                ("email", x509.RFC822Name),
            ):
                names += (f"{kind}:{name}" for name in others.value.get_values_for_type(form))
        subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ()
    return (*names, *(f"cn:{each.value!s}" for each in subject))
