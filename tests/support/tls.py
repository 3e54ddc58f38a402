"""Authorities, certificates and clients of TLS, as tests have them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, by file."""

    certificate: Path
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """Of `seatrial serve`."""
        return ("--tls-cert", str(self.certificate), "--tls-key", str(self.key))


class Authority:
    """An authority of its own, in a folder; its certificate is `path`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            _builder(self._name, self._name, self._key.public_key(), -1, 365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str = "server",
        *,
        alternative: Sequence[x509.GeneralName] = LOCAL,
        subject: str = "",
        from_days: float = -1,
        days: float = 30,
        folder: Path | None = None,
    ) -> Pair:
        """A new certificate, of a server and a client at once, written as NAME.pem, NAME.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        of = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject or name)])
        made = _builder(of, self._name, key.public_key(), from_days, days)
        if alternative:
            made = made.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        signed = made.add_extension(x509.ExtendedKeyUsage(usage), critical=False).sign(
            self._key, SHA256()
        )
        folder = folder or self._folder
        folder.mkdir(parents=True, exist_ok=True)
        pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        pair.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair

    @staticmethod
    def trusting(certificate: str, own: str = "") -> ssl.SSLContext:
        """The context of a client that trusts this file, with OWN.pem and OWN.key if they exist."""
        context = ssl.create_default_context(cafile=certificate)
        if Path(f"{own}.pem").exists():
            context.load_cert_chain(f"{own}.pem", f"{own}.key")
        return context

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """The context of a client that trusts this authority, with a certificate if given."""
        context = ssl.create_default_context(cafile=str(self.path))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: float, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin))
        .not_valid_after(now + timedelta(days=days))
    )
