"""Signatures against what others have of OpenSSF Model Signing: vectors, schemas, the command.

`test_oms_cases.py` names the cases of its conformance list.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from cryptography.x509 import ObjectIdentifier, load_pem_x509_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID
from referencing import Registry, Resource
from support.servers import ROOT
from support.signers import Certified, Keys, make_certificate, make_chain, make_key
from support.toys import toy_bundle

from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.signature_files import PREDICATE
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.keys import (
    NotTrusted,
    is_signed,
    load_private_key,
    public_key_of,
    signing_certificate,
)
from seatrial_serve.trust.policy import Sigstore, read_policy
from seatrial_serve.trust.signature import parse_signature, read_statement
from seatrial_serve.trust.signing import SigningKey, read_signing_key, sign_bundle
from seatrial_serve.trust.sigstore import check_sigstore
from seatrial_serve.trust.statement import SIGNATURE_FILE, make_statement

OMS = ROOT.parent / "shared" / "schemas" / "oms"
needs_oms = pytest.mark.skipif(not OMS.is_dir(), reason="the specification's files are not here")
VALID = OMS / "test-vectors" / "v1.0" / "valid"
COMMAND = Path(sys.executable).with_name("model_signing")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's folder."""
    return toy_bundle(tmp_path / "bundles").path


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return make_certificate(tmp_path_factory.mktemp("certified"))


def signed(folder: Path, keys: Keys) -> dict[str, Any]:
    """A bundle's signature, as JSON."""
    sign_bundle(folder, read_signing_key(keys.private))
    found: dict[str, Any] = json.loads((folder / SIGNATURE_FILE).read_bytes())
    return found


def by_command(*words: object) -> bool:
    """Does `model_signing` succeed?"""
    done = subprocess.run(
        [COMMAND, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode == 0


def code_of(folder: Path, signers: Path, now: datetime | None = None) -> str:
    """The code of a refusal, or "signed"."""
    try:
        check_signature(folder, read_policy(signers), now)
    except BundleError as error:
        return error.code
    return "signed"


# --- vectors and schemas


@needs_oms
@pytest.mark.parametrize("method", ["key", "certificate", "sigstore"])
def test_valid_vectors_are_read(method: str) -> None:
    signature = parse_signature((VALID / f"{method}.bundle.json").read_bytes(), "vector")
    assert signature.method == method
    assert read_statement(signature, "vector").digests.keys() == {"signme-1", "signme-2"}


@needs_oms
@pytest.mark.parametrize(
    "name",
    [
        "invalid/empty",
        "invalid/missing-envelope",
        "invalid/missing-verification-material",
        "invalid-payload/wrong-predicate",
    ],
)
def test_invalid_vectors_are_refused(name: str) -> None:
    data = (VALID.parent / f"{name}.bundle.json").read_bytes()
    with pytest.raises(BundleError) as refused:
        signature = parse_signature(data, "vector")
        read_statement(signature, "vector")
    assert refused.value.code == "E_SIGNATURE"


@needs_oms
def test_sigstore_does_not_vouch_without_an_entry_of_its_log() -> None:
    data = (VALID.parent / "invalid" / "missing-tlog-entries.bundle.json").read_bytes()
    payload = parse_signature(data, "vector").dsse_envelope.payload
    with pytest.raises(NotTrusted):
        check_sigstore(data, payload, Sigstore(identity="a@b.example", issuer="https://c.example"))


@needs_oms
def test_the_certificate_of_the_vectors_leads_to_its_root() -> None:
    signature = parse_signature((VALID / "certificate.bundle.json").read_bytes(), "vector")
    material = signature.verification_material.x509_certificate_chain
    assert material is not None
    from cryptography.x509 import load_der_x509_certificate

    chain = [each.raw_bytes for each in material.certificates]
    root = [load_der_x509_certificate(chain[-1])]
    first, key, way = signing_certificate(chain, root, datetime(2026, 1, 1, tzinfo=UTC))
    envelope = signature.dsse_envelope
    assert is_signed(envelope.signatures[0].sig, envelope.signed_text, key)
    assert len(way) == 2 * len(chain)  # each certificate, and its key
    with pytest.raises(NotTrusted, match="validity"):
        signing_certificate(chain, root, first.not_valid_after_utc + timedelta(seconds=1))


@needs_oms
def test_sigstore_vouches_for_whom_it_certified() -> None:
    data = (VALID / "sigstore.bundle.json").read_bytes()
    payload = parse_signature(data, "vector").dsse_envelope.payload
    issuer = "https://sigstore.verify.ibm.com/oauth2"
    who = certified_for(data)
    check_sigstore(data, payload, Sigstore(identity=who, issuer=issuer))
    for wrong in (
        Sigstore(identity="a@b.example", issuer=issuer),
        Sigstore(identity=who, issuer="https://c.example"),
    ):
        with pytest.raises(NotTrusted):
            check_sigstore(data, payload, wrong)
    with pytest.raises(NotTrusted, match="payload"):
        check_sigstore(data, payload + b" ", Sigstore(identity=who, issuer=issuer))


def trust_config(place: str) -> dict[str, Any]:
    """The roots of one of Sigstore's two places, as its library brings them."""
    kept = resources.files("sigstore._store").joinpath(quote(f"https://{place}", safe=""))
    return {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads(kept.joinpath("trusted_root.json").read_text()),
        "signingConfig": json.loads(kept.joinpath("signing_config.v0.2.json").read_text()),
    }


@needs_oms
def test_sigstore_vouches_by_the_roots_of_a_file(tmp_path: Path) -> None:
    data = (VALID / "sigstore.bundle.json").read_bytes()
    payload = parse_signature(data, "vector").dsse_envelope.payload
    path = tmp_path / "roots.json"

    def check() -> None:
        issuer = "https://sigstore.verify.ibm.com/oauth2"
        by = Sigstore(identity=certified_for(data), issuer=issuer, trust_config=path)
        check_sigstore(data, payload, by)

    path.write_text(json.dumps(trust_config("tuf-repo-cdn.sigstore.dev")))
    check()
    path.write_text(json.dumps(trust_config("tuf-repo-cdn.sigstage.dev")))
    with pytest.raises(NotTrusted):
        check()
    path.write_text(json.dumps(trust_config("tuf-repo-cdn.sigstore.dev")["trustedRoot"]))
    with pytest.raises(DeclarationError, match="ClientTrustConfig"):
        check()


def certified_for(data: bytes) -> str:
    """The address in Sigstore's certificate."""
    from cryptography.x509 import (
        RFC822Name,
        SubjectAlternativeName,
        load_der_x509_certificate,
    )

    certificate = parse_signature(data, "vector").verification_material.certificate
    assert certificate is not None
    extensions = load_der_x509_certificate(certificate.raw_bytes).extensions
    names = extensions.get_extension_for_class(SubjectAlternativeName).value
    found: str = names.get_values_for_type(RFC822Name)[0]
    return found


@needs_oms
@pytest.mark.parametrize("method", ["key", "certificate"])
def test_what_is_written_passes_the_schemas(
    method: str, folder: Path, keys: Keys, certified: Certified
) -> None:
    if method == "key":
        sign_bundle(folder, read_signing_key(keys.private))
    else:
        sign_bundle(folder, read_signing_key(certified.private, certificates=certified.chain))
    schemas = [json.loads(path.read_text()) for path in (OMS / "schemas" / "v1.0").glob("*.json")]
    known = Registry().with_resources(
        [(schema["$id"], Resource.from_contents(schema)) for schema in schemas]
    )
    said = json.loads((folder / SIGNATURE_FILE).read_bytes())
    statement = json.loads(base64.b64decode(said["dsseEnvelope"]["payload"]))
    for name, value in (("bundle", said), ("statement", statement)):
        (schema,) = [each for each in schemas if each["$id"].endswith(f"{name}/v1.0/schema")]
        jsonschema.Draft202012Validator(schema, registry=known).validate(value)
    resources = statement["predicate"]["resources"]
    assert [each["name"] for each in resources] == sorted(each["name"] for each in resources)
    assert statement["subject"][0]["name"] == folder.name
    assert "shard_size" not in statement["predicate"]["serialization"]
    assert SIGNATURE_FILE not in {each["name"] for each in resources}


# --- the command, both ways


@pytest.mark.slow
def test_keys_both_ways(folder: Path, keys: Keys, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    path = sign_bundle(folder, read_signing_key(keys.private))
    verify = "verify", "key", folder, "--signature", path, "--public_key"
    assert by_command(*verify, keys.public)
    assert not by_command(*verify, other.public)
    path.unlink()
    assert by_command(
        "sign", "key", folder, "--private_key", keys.private, "--signature", path,
    )  # fmt: skip
    assert code_of(folder, keys.public) == "signed"
    assert code_of(folder, other.public) == "E_SIGNER"


@pytest.mark.slow
def test_certificates_both_ways(folder: Path, certified: Certified, tmp_path: Path) -> None:
    path = sign_bundle(folder, read_signing_key(certified.private, certificates=certified.chain))
    verify = "verify", "certificate", folder, "--signature", path, "--certificate_chain"
    assert by_command(*verify, certified.authority)
    another = make_certificate(tmp_path / "another")
    assert not by_command(*verify, another.authority)
    assert code_of(folder, certified.authority) == "signed"
    assert code_of(folder, another.authority) == "E_SIGNER"
    path.unlink()
    leaf, between = certified.chain.with_name("leaf.pem"), certified.chain.with_name("between.pem")
    assert by_command(
        "sign", "certificate", folder, "--private_key", certified.private,
        "--signing_certificate", leaf, "--certificate_chain", between, "--signature", path,
    )  # fmt: skip
    assert code_of(folder, certified.authority) == "signed"


@pytest.mark.slow
def test_what_the_command_refuses_is_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    signed(folder, keys)
    for number, change in enumerate((append, remove, add, link)):
        copy = tmp_path / f"{number}" / folder.parent.name / folder.name
        shutil.copytree(folder, copy)
        change(copy)
        verify = ("verify", "key", copy, "--signature", copy / SIGNATURE_FILE)
        assert not by_command(*verify, "--public_key", keys.public)
        done = subprocess.run(
            [sys.executable, "-m", "seatrial", "verify", str(copy), str(keys.public)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "E_" in done.stderr or "got" in done.stderr


@pytest.mark.parametrize("change", ["empty", "link", "link out of it", "cycle"])
def test_a_folder_that_is_no_bundle_is_not_signed(
    change: str, folder: Path, keys: Keys, tmp_path: Path
) -> None:
    match change:
        case "empty":
            folder = tmp_path / "empty"
            folder.mkdir()
        case "link":
            link(folder)
        case "link out of it":
            (folder / "out").symlink_to(tmp_path)
        case _:
            (folder / "cycle").symlink_to(".")
    with pytest.raises(BundleError):
        sign_bundle(folder, read_signing_key(keys.private))
    assert not (folder / SIGNATURE_FILE).exists()


def append(folder: Path) -> None:
    with (folder / "contract.json").open("ab") as file:
        file.write(b"\n")


def remove(folder: Path) -> None:
    (folder / "profile.json").unlink()


def add(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"1")


def link(folder: Path) -> None:
    (folder / "link").symlink_to("contract.json")


# --- statements and envelopes that are signed, and wrong


def resigned(folder: Path, keys: Keys, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the statement, and sign it."""
    said = signed(folder, keys)
    statement = json.loads(base64.b64decode(said["dsseEnvelope"]["payload"]))
    change(statement)
    data = read_signing_key(keys.private).signature(json.dumps(statement).encode())
    (folder / SIGNATURE_FILE).write_bytes(data)


STATEMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "malformed-wrong-predicate_fail": lambda s: s.update(predicateType=PREDICATE + "x"),
    "key-simple-wrong-statement-type_fail": lambda s: s.update(
        _type="https://in-toto.io/Statement/v0.1"
    ),
    "key-simple-empty-resources_fail": lambda s: s["predicate"].update(resources=[]),
    "key-simple-missing-serialization_fail": lambda s: s["predicate"].pop("serialization"),
    "symbolic links": lambda s: s["predicate"]["serialization"].update(allow_symlinks=True),
    "another hash": lambda s: s["predicate"]["serialization"].update(hash_type="blake2b"),
    "a shard size with files": lambda s: s["predicate"]["serialization"].update(shard_size=10**9),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
    "no subject": lambda s: s.update(subject=[]),
    "another root digest": lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
    "a file twice": lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_a_statement_of_another_form_is_refused(case: str, folder: Path, keys: Keys) -> None:
    resigned(folder, keys, STATEMENTS[case])
    assert code_of(folder, keys.public) == "E_SIGNATURE"


ENVELOPES: dict[str, Callable[[dict[str, Any]], object]] = {
    "key-simple-wrong-mediatype_fail": lambda s: s.update(
        mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"
    ),
    "key-simple-no-signature_fail": lambda s: s["dsseEnvelope"].update(signatures=[]),
    "malformed-missing-envelope_fail": lambda s: s.pop("dsseEnvelope"),
    "key-simple-wrong-payload-type_fail": lambda s: s["dsseEnvelope"].update(
        payloadType="application/octet-stream"
    ),
    "another signature": lambda s: s["dsseEnvelope"]["signatures"][0].update(
        sig=base64.b64encode(b"0" * 70).decode()
    ),
    "no base64": lambda s: s["dsseEnvelope"].update(payload="!"),
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_an_envelope_of_another_form_is_refused(case: str, folder: Path, keys: Keys) -> None:
    said = signed(folder, keys)
    ENVELOPES[case](said)
    (folder / SIGNATURE_FILE).write_text(json.dumps(said))
    assert code_of(folder, keys.public) == "E_SIGNATURE"


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_file_that_ends_too_early_is_refused(keep: int, folder: Path, keys: Keys) -> None:
    signed(folder, keys)
    path = folder / SIGNATURE_FILE
    path.write_bytes(path.read_bytes()[:keep] if keep >= 0 else b"{" * 5000)
    assert code_of(folder, keys.public) == "E_SIGNATURE"


@pytest.mark.parametrize("keyid", ["", None, "anything"])
def test_what_a_signature_calls_its_key_does_not_matter(
    keyid: str | None, folder: Path, keys: Keys
) -> None:
    said = signed(folder, keys)
    said["dsseEnvelope"]["signatures"][0]["keyid"] = keyid
    (folder / SIGNATURE_FILE).write_text(json.dumps(said))
    assert code_of(folder, keys.public) == "signed"


def test_a_key_that_is_named_by_its_bytes_is_found_by_trying(
    folder: Path, keys: Keys, tmp_path: Path
) -> None:
    said = signed(folder, keys)
    said["verificationMaterial"] = {"publicKey": {"rawBytes": "AAAA", "keyDetails": "x"}}
    (folder / SIGNATURE_FILE).write_text(json.dumps(said))
    assert code_of(folder, keys.public) == "signed"
    assert code_of(folder, make_key(tmp_path / "other").public) == "E_SIGNER"


def test_the_same_bundle_has_the_same_statement(folder: Path, keys: Keys) -> None:
    first, second = (signed(folder, keys)["dsseEnvelope"]["payload"] for _ in range(2))
    assert first == second


def test_shards_are_compared_as_files_are(folder: Path, keys: Keys) -> None:
    from seatrial_contracts.bundle import read_manifest
    from seatrial_serve.trust.statement import resources_of

    manifest = read_manifest(folder)
    parts = resources_of(manifest, manifest.to_json(), "shards")

    def as_shards(statement: dict[str, Any]) -> None:
        made = json.loads(make_statement(folder.name, parts))
        made["predicate"]["serialization"] |= {"method": "shards", "shard_size": 10**9}
        statement.update(made)

    resigned(folder, keys, as_shards)
    assert code_of(folder, keys.public) == "signed"
    parts[min(parts)] = "0" * 64
    resigned(folder, keys, as_shards)
    assert code_of(folder, keys.public) == "E_SIGNATURE"


# --- methods, certificates


def test_methods_do_not_stand_for_each_other(
    folder: Path, keys: Keys, certified: Certified, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[[signer]]\nname = "s"\nsigstore = {identity = "a@b.example", issuer = "https://c"}\n'
    )
    signed(folder, keys)
    assert code_of(folder, certified.authority) == "E_SIGNER"
    assert code_of(folder, policy) == "E_SIGNER"
    sign_bundle(folder, read_signing_key(certified.private, certificates=certified.chain))
    assert code_of(folder, keys.public) == "E_SIGNER"
    assert code_of(folder, policy) == "E_SIGNER"


def test_a_certificate_counts_within_its_validity(folder: Path, certified: Certified) -> None:
    sign_bundle(folder, read_signing_key(certified.private, certificates=certified.chain))
    now = datetime.now(UTC)
    assert code_of(folder, certified.authority, now) == "signed"
    for days in (-1, 31):
        assert code_of(folder, certified.authority, now + timedelta(days=days)) == "E_SIGNER"


def test_a_certificate_that_is_its_own_authority(folder: Path, tmp_path: Path) -> None:
    keys = make_key(tmp_path / "own")
    from support.signers import openssl

    path = tmp_path / "own" / "own.pem"
    openssl(
        "req", "-x509", "-new", "-key", keys.private, "-subj", "/CN=own", "-out", path,
        "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
        "-addext", "extendedKeyUsage=codeSigning",
    )  # fmt: skip
    sign_bundle(folder, read_signing_key(keys.private, certificates=path))
    assert code_of(folder, path) == "signed"


NOT_FOR_SIGNING: dict[str, dict[str, Any]] = {
    "of a TLS server": {"uses": [ExtendedKeyUsageOID.SERVER_AUTH], "signs": True},
    "of a TLS server, without key usage": {"uses": [ExtendedKeyUsageOID.SERVER_AUTH]},
    "of a person": {
        "uses": [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION],
        "signs": True,
    },
    "for digital signatures, of no purpose": {"uses": None, "signs": True},
    "of no usage at all": {"uses": None},
    "for any purpose": {"uses": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], "signs": True},
    "for code, whose key may not sign": {"signs": False},
}


@pytest.mark.parametrize("case", NOT_FOR_SIGNING)
def test_a_certificate_for_something_else_signs_nothing(
    case: str, folder: Path, tmp_path: Path
) -> None:
    made = make_chain(tmp_path / "made", **NOT_FOR_SIGNING[case])
    with pytest.raises(DeclarationError, match="not for signing code, want one with the extended"):
        read_signing_key(made.private, certificates=made.chain)
    signed_all_the_same(folder, made)
    assert "not for signing code" in refusal_of(folder, made.authority)


@pytest.mark.parametrize("uses", [None, [ExtendedKeyUsageOID.CODE_SIGNING]])
def test_an_authority_for_code_certifies_signers(
    uses: list[ObjectIdentifier] | None, folder: Path, tmp_path: Path
) -> None:
    made = make_chain(tmp_path / "made", between_uses=uses, signs=True)
    sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
    assert code_of(folder, made.authority) == "signed"


@pytest.mark.parametrize("use", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
def test_an_authority_for_something_else_certifies_no_signers(
    use: ObjectIdentifier, folder: Path, tmp_path: Path
) -> None:
    made = make_chain(tmp_path / "made", between_uses=[use])
    sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
    assert "leads to no authority" in refusal_of(folder, made.authority)


PAST, FUTURE = (-9, -2), (2, 9)
DATES: dict[str, dict[str, tuple[int, int]]] = {
    "certificate-expired_fail": {"leaf": PAST},
    "certificate-not-yet-valid_fail": {"leaf": FUTURE},
    "certificate-expired-intermediate_fail": {"between": PAST},
    "certificate-expired-root_fail": {"root": PAST},
    "certificate-all-expired_fail": {"root": PAST, "between": PAST, "leaf": (-8, -3)},
    "an intermediate that is not yet valid": {"between": FUTURE},
    "an intermediate and a leaf that expired": {"between": PAST, "leaf": PAST},
}


@pytest.mark.parametrize("case", DATES)
def test_each_certificate_on_the_way_counts_within_its_validity(
    case: str, folder: Path, tmp_path: Path
) -> None:
    made = make_chain(tmp_path / "made", days=DATES[case])
    sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
    assert code_of(folder, made.authority) == "E_SIGNER"


def signed_all_the_same(folder: Path, made: Certified) -> None:
    """Sign a bundle by a certificate that `seatrial sign` does not take."""
    key = SigningKey(
        load_private_key(made.private), load_pem_x509_certificates(made.chain.read_bytes())
    )
    sign_bundle(folder, key)


def refusal_of(folder: Path, signers: Path) -> str:
    """Why a bundle is refused, by E_SIGNER."""
    with pytest.raises(BundleError) as refused:
        check_signature(folder, read_policy(signers))
    assert refused.value.code == "E_SIGNER"
    return str(refused.value)


def test_a_public_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from support.signers import openssl

    path = tmp_path / "rsa.pem"
    openssl("genrsa", "-out", tmp_path / "rsa.key", "2048")
    openssl("rsa", "-in", tmp_path / "rsa.key", "-pubout", "-out", path)
    with pytest.raises(DeclarationError, match=r"P-256, P-384 or P-521"):
        public_key_of(path.read_bytes(), "key")
