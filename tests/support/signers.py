"""Keys and certificates of signers, as openssl makes them; odd ones by `cryptography`."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CODE = ExtendedKeyUsageOID.CODE_SIGNING
CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


@dataclass(frozen=True)
class Keys:
    """A key's two files."""

    private: Path
    public: Path


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def make_key(folder: Path, name: str = "release", curve: str = "P-256") -> Keys:
    """A new key."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = Keys(folder / f"{name}.key", folder / f"{name}.pub.pem")
    openssl("ecparam", "-name", CURVES[curve], "-genkey", "-noout", "-out", keys.private)
    openssl("ec", "-in", keys.private, "-pubout", "-out", keys.public)
    return keys


@dataclass(frozen=True)
class Certified:
    """A key with its certificate, and the authority's."""

    private: Path
    chain: Path
    """The key's certificate, then that of who issued it."""
    authority: Path


def make_certificate(
    folder: Path, subject: str = "/CN=build.example.org", days: int = 30, use: str = "codeSigning"
) -> Certified:
    """A key certified by an authority of its own, by way of one between both."""
    root, between, leaf = (make_key(folder, name) for name in ("root", "between", "leaf"))
    paths = {name: folder / f"{name}.pem" for name in ("root", "between", "leaf", "chain")}
    signs = "keyUsage=critical,keyCertSign,cRLSign"
    for name, key, issuer, extensions, of in (
        ("root", root, None, ["basicConstraints=critical,CA:TRUE", signs], "/CN=root"),
        ("between", between, "root", ["basicConstraints=critical,CA:TRUE", signs], "/CN=between"),
        ("leaf", leaf, "between", [f"extendedKeyUsage={use}"], subject),
    ):
        added = [word for each in extensions for word in ("-addext", each)]
        by = ["-CA", paths[issuer], "-CAkey", folder / f"{issuer}.key"] if issuer else []
        openssl(
            "req", "-x509", "-new", "-key", key.private, "-subj", of, "-days", days,
            "-out", paths[name], *added, *by,
        )  # fmt: skip
    paths["chain"].write_bytes(paths["leaf"].read_bytes() + paths["between"].read_bytes())
    return Certified(leaf.private, paths["chain"], paths["root"])


def make_chain(
    folder: Path,
    *,
    days: Mapping[str, tuple[int, int]] | None = None,
    uses: Sequence[x509.ObjectIdentifier] | None = (CODE,),
    signs: bool | None = None,
    between_uses: Sequence[x509.ObjectIdentifier] | None = None,
) -> Certified:
    """A key certified by way of an authority between, with odd dates or purposes.

    `days`: of "root", "between" and "leaf", from when and until when, in days from now; 30 days
    each by default. `uses`: the leaf's extended key usages; `signs`: does its key usage have
    digital signatures; `between_uses`: the extended key usages of the authority between.
    """
    folder.mkdir(parents=True)
    made: dict[str, tuple[x509.Certificate, ec.EllipticCurvePrivateKey]] = {}
    for name, issuer in (("root", "root"), ("between", "root"), ("leaf", "between")):
        key = ec.generate_private_key(ec.SECP256R1())
        by = made[issuer][1] if issuer in made else key
        start, end = (days or {}).get(name, (-1, 30))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) + timedelta(days=start))
            .not_valid_after(datetime.now(UTC) + timedelta(days=end))
        )
        of = {"root": None, "between": between_uses, "leaf": uses}[name]
        for extension, critical in _extensions(name, key, by, signs):
            builder = builder.add_extension(extension, critical)
        if of is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(of), critical=False)
        made[name] = builder.sign(by, hashes.SHA256()), key
    pems = {name: each.public_bytes(Encoding.PEM) for name, (each, _) in made.items()}
    private = made["leaf"][1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certified = Certified(folder / "leaf.key", folder / "chain.pem", folder / "root.pem")
    certified.private.write_bytes(private)
    certified.chain.write_bytes(pems["leaf"] + pems["between"])
    certified.authority.write_bytes(pems["root"])
    return certified


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _extensions(
    name: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, signs: bool | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """What a certificate has beside its extended key usages, and whether it is critical."""
    is_leaf = name == "leaf"
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=not is_leaf, path_length=None), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False),
    ]
    if not is_leaf or signs is not None:
        usage = x509.KeyUsage(
            digital_signature=bool(is_leaf and signs), content_commitment=False,
            key_encipherment=is_leaf, data_encipherment=False, key_agreement=False,
            key_cert_sign=not is_leaf, crl_sign=not is_leaf, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        found.append((usage, True))
    return found
