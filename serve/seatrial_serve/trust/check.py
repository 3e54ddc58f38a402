"""Is a bundle signed by somebody whose signatures count?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from seatrial_contracts.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    SIGNATURE_FILE,
    parse_manifest,
)
from seatrial_contracts.bundle_files import reading
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, MissingExtra
from seatrial_contracts.manifest import Manifest
from seatrial_contracts.plain_file import read_plain_file
from seatrial_contracts.receipts_folder import parse_receipt, read_receipt_file
from seatrial_contracts.signature_files import read_signatures, signature_name
from seatrial_serve.trust.keys import (
    NotTrusted,
    fingerprint,
    is_signed,
    names_of,
    signing_certificate,
)
from seatrial_serve.trust.policy import Signer, TrustPolicy
from seatrial_serve.trust.signature import (
    Signature,
    parse_signature,
    read_signature,
    read_statement,
)
from seatrial_serve.trust.signed import Signed
from seatrial_serve.trust.signing import receipt_signature
from seatrial_serve.trust.sigstore import check_sigstore
from seatrial_serve.trust.statement import Statement


class NotSigned(Exception):
    """A signature that the key which it names did not make."""


class NotCounting(BundleError):
    """A signature of somebody whom the policy names, which does not count; the text says why."""


class _Made(NamedTuple):
    """A signer of the policy who made a signature, and by what."""

    signer: Signer
    identity: str
    fingerprints: tuple[str, ...]
    """Of the key, of the certificates that lead to it, and of their keys."""


def check_signature(folder: Path, policy: TrustPolicy, now: datetime | None = None) -> Signed:
    """Who signed the bundle in a folder, before anything of it but its manifest is parsed.

    Of several signatures the first that counts is taken. The signed digests are compared with those
    of the manifest; that the files have these is checked when the bundle is opened, so each byte is
    hashed once.

    Raises `BundleError`: E_UNSIGNED without a signature; E_SIGNATURE for one that is none, is wrong
    or is about other files; E_SIGNER for one of nobody whose signatures count for this model now;
    and `MissingExtra` for one of Sigstore. Of several errors, that of the signature that came
    closest is raised.
    """
    where = f"bundle '{folder.parent.name}/{folder.name}'"
    now = now or datetime.now(UTC)
    signatures = read_signatures(folder)
    if not signatures:
        mend = "sign it: seatrial sign BUNDLE --key KEY"
        raise BundleError("E_UNSIGNED", where, f"no {SIGNATURE_FILE}", "a signature", mend)
    faults: list[BundleError | MissingExtra] = []
    for number, data in enumerate(signatures, 1):
        among = f" ({number} of {len(signatures)} signatures)" if len(signatures) > 1 else ""
        try:
            return signed_by(data, folder, policy, now, f"{where}, {signature_name(number)}{among}")
        except (BundleError, MissingExtra) as error:
            faults.append(error)
    raise max(faults, key=closeness)  # the first of the closest


def closeness(fault: BundleError | MissingExtra) -> int:
    """Orders the faults of several signatures: the highest is of that which nearly counts."""
    if isinstance(fault, MissingExtra | NotCounting):
        return 2
    return 0 if fault.code == "E_SIGNER" else 1


def signed_by(data: bytes, folder: Path, policy: TrustPolicy, now: datetime, where: str) -> Signed:
    """Who made one signature, and that it is about the bundle in a folder.

    Raises `BundleError` and `MissingExtra`.
    """
    statement, made, method = verified(data, policy, now, where)
    manifest = signed_manifest(folder, statement, where)
    chosen = counting(made, policy, manifest.name, now, where)
    return Signed(chosen.signer.name, method, chosen.identity, manifest.digest)


def check_receipt(path: Path, policy: TrustPolicy, now: datetime | None = None) -> Signed:
    """Who signed a receipt. Raises `BundleError` as `check_signature` does."""
    where = f"receipt '{path.name}'"
    now = now or datetime.now(UTC)
    signature = read_signature(receipt_signature(path), where)
    statement, made, method = verified(signature, policy, now, where)
    data = read_receipt_file(path)
    if statement.digests != {path.name: sha256(data)}:
        got, mend = "the signature of another file", "seatrial sign RECEIPT --key KEY"
        raise BundleError("E_SIGNATURE", where, got, "the signature of this receipt", mend)
    receipt = parse_receipt(data, path.name)
    chosen = counting(made, policy, receipt.name, now, where)
    return Signed(chosen.signer.name, method, chosen.identity, receipt.digest)


def verified(
    data: bytes, policy: TrustPolicy, now: datetime, where: str
) -> tuple[Statement, list[_Made], str]:
    """The statement of a signature's bytes, by whom of the policy, and by which method.

    Raises `BundleError` and `MissingExtra`.
    """
    signature = parse_signature(data, where)
    made = makers(data, signature, policy, now, where)
    return read_statement(signature, where), made, signature.method


def signed_manifest(folder: Path, statement: Statement, where: str) -> Manifest:
    """The manifest of a folder, which a statement is about, as of all its files.

    Raises `BundleError` with E_SIGNATURE where it is about others.
    """
    with reading("E_BUNDLE_MANIFEST", f"{MANIFEST} of {where}", "a manifest of schema 1"):
        data = read_plain_file(folder / MANIFEST, MAX_MANIFEST_BYTES)
        if sha256(data) not in statement.digests.values():
            raise wrong(where, f"'{MANIFEST}' not signed, or signed with other bytes")
        manifest = parse_manifest(data)
    if difference := statement.difference(manifest, data):
        raise wrong(where, difference)
    return manifest


def makers(
    data: bytes, signature: Signature, policy: TrustPolicy, now: datetime, where: str
) -> list[_Made]:
    """The signers of the policy who made a signature: at least one.

    Raises `BundleError`: E_SIGNATURE where the signature is not of the key that it names, E_SIGNER
    where the policy names nobody who made it.
    """
    made, why = [], ""
    for signer in policy.signer:
        try:
            found = made_by(data, signature, signer, now)
        except NotTrusted as error:
            why = str(error)
        except NotSigned:
            raise wrong(where, "a signature that its key did not make") from None
        else:
            made += [found] if found is not None else []
    if not made:
        key = signature.verification_material.public_key
        named = key.hint if key is not None else None
        got = f"the key {named[:16]}" if named is not None else f"a {signature.method}"
        got, fault = f"{got} that the policy does not name", BundleError
        if why:
            got, fault = why, NotCounting
        raise fault("E_SIGNER", where, got, "a signer whom the policy names")
    return made


def made_by(data: bytes, signature: Signature, signer: Signer, now: datetime) -> _Made | None:
    """The signer, who made the signature; None if it is of another key or method.

    Raises `NotSigned` for a signature that its key did not make, and `NotTrusted`.
    """
    material, envelope = signature.verification_material, signature.dsse_envelope
    if material.public_key is not None and signer.public_key is not None:
        key = signer.public_key
        identity = fingerprint(key)
        if material.public_key.hint not in (None, identity):
            return None
        fingerprints = [identity]
    elif material.x509_certificate_chain is not None and signer.authorities:
        chain = [each.raw_bytes for each in material.x509_certificate_chain.certificates]
        first, key, fingerprints = signing_certificate(chain, signer.authorities, now)
        names = names_of(first)
        check_identity(names, signer.identities)
        identity = names[0]
    elif material.certificate is not None and signer.sigstore is not None:
        check_sigstore(data, envelope.payload, signer.sigstore)
        return _Made(signer, signer.sigstore.identity, (sha256(material.certificate.raw_bytes),))
    else:
        return None
    if not is_signed(envelope.signatures[0].sig, envelope.signed_text, key):
        if material.public_key is not None and material.public_key.hint is None:
            return None
        raise NotSigned
    return _Made(signer, identity, tuple(fingerprints))


def check_identity(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `NotTrusted` unless a certificate has one of the names that a signer may have."""
    if wanted and not any(fnmatchcase(name, pattern) for name in names for pattern in wanted):
        raise NotTrusted(f"a certificate of {ascii(names[0])[:120]}, whom the policy does not name")


def counting(
    made: Sequence[_Made], policy: TrustPolicy, model: str, now: datetime, where: str
) -> _Made:
    """The first of those who made a signature that counts for a model.

    Raises `BundleError` with E_SIGNER if there is none.
    """
    why = ""
    for each in made:
        revoked = policy.revoked.intersection(each.fingerprints)
        why = f"{min(revoked)[:16]} is revoked" if revoked else each.signer.fault(model, now)
        if not why:
            return each
    got = f"signer '{each.signer.name}' for model '{model}': {why}"
    raise NotCounting("E_SIGNER", where, got, "a signer whose signatures count now")


def wrong(where: str, got: str) -> BundleError:
    """The error about a signature that is about something else."""
    mend = "sign the bundle as it is: seatrial sign BUNDLE --key KEY"
    return BundleError("E_SIGNATURE", where, got, "the signature of this bundle", mend)
