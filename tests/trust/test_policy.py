"""Whose signatures count."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import pytest
from support.signers import Keys, make_certificate, make_key
from support.toys import toy_bundle

from seatrial_contracts.bundle import SIGNATURE_FILE
from seatrial_contracts.errors import BundleError, DeclarationError, MissingExtra
from seatrial_contracts.signature_files import put_signatures
from seatrial_serve.trust import check
from seatrial_serve.trust import policy as policy_module
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.policy import read_policy
from seatrial_serve.trust.signing import read_signing_key, sign_bundle

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, keys: Keys) -> Path:
    """A signed bundle's folder."""
    made = toy_bundle(tmp_path / "bundles").path
    sign_bundle(made, read_signing_key(keys.private))
    return made


def outcome(folder: Path, policy: str, tmp_path: Path) -> str:
    """Who signed, or why it does not count."""
    path = tmp_path / "keys" / "policy.toml"
    path.write_text(policy)
    try:
        return check_signature(folder, read_policy(path), NOW).signer
    except BundleError as error:
        return f"{error.code}: {error}"


SIGNER = '[[signer]]\nname = "release"\nkey = "release.pub.pem"\n'


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("", "release"),
        ('models = ["toy"]', "release"),
        ('models = ["other", "t*"]', "release"),
        ('models = ["other-*"]', "it may sign other-* alone"),
        ("not_before = 2026-06-01", "release"),
        ("not_before = 2026-06-02", "it counts from 2026-06-02 on"),
        ("not_after = 2026-06-02", "release"),
        ("not_after = 2026-06-01T12:00:00Z", "it counted until 2026-06-01 12:00:00+00:00"),
        ("not_after = 2026-06-01T12:00:00", "it counted until"),
    ],
)
def test_a_signer_counts_for_its_models_and_in_its_time(
    more: str, says: str, folder: Path, tmp_path: Path
) -> None:
    said = outcome(folder, SIGNER + more, tmp_path)
    assert says in said
    assert said == "release" or said.startswith("E_SIGNER")


def test_a_revoked_key_counts_no_more_whoever_names_it(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "policy.toml"
    path.write_text(SIGNER)
    key = check_signature(folder, read_policy(path), NOW).identity
    assert "is revoked" in outcome(folder, f'revoked = ["{key}"]\n{SIGNER}', tmp_path)
    assert outcome(folder, f'revoked = ["{"0" * 64}"]\n{SIGNER}', tmp_path) == "release"


def test_the_first_signer_that_counts_is_named(folder: Path, tmp_path: Path) -> None:
    other = '[[signer]]\nname = "a team"\nkey = "release.pub.pem"\nmodels = ["x"]\n'
    assert outcome(folder, other + SIGNER, tmp_path) == "release"


def test_a_certificate_counts_by_its_names_and_until_it_is_revoked(tmp_path: Path) -> None:
    folder = toy_bundle(tmp_path / "bundles").path
    made = make_certificate(tmp_path / "keys", "/CN=build.example.org/O=Example")
    sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
    signer = '[[signer]]\nname = "ci"\nauthority = "root.pem"\n'
    now = datetime.now(UTC)
    path = tmp_path / "keys" / "policy.toml"

    def says(policy: str) -> str:
        path.write_text(policy)
        try:
            return check_signature(folder, read_policy(path), now).identity
        except BundleError as error:
            return str(error)

    identity = says(signer)
    assert "build.example.org" in identity
    assert says(signer + 'identities = ["*CN=build.example.org*"]') == identity
    assert "whom the policy does not name" in says(signer + 'identities = ["CN=other"]')
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import load_pem_x509_certificate

    for name in ("leaf", "between", "root"):
        certificate = load_pem_x509_certificate((tmp_path / "keys" / f"{name}.pem").read_bytes())
        key = (tmp_path / "keys" / f"{name}.pub.pem").read_bytes()
        for revoked in (certificate.fingerprint(SHA256()).hex(), sha256(key).hexdigest()):
            assert "is revoked" in says(f'revoked = ["{revoked}"]\n{signer}')


def test_a_folder_of_keys_and_certificates(folder: Path, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "made")
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    for number, path in enumerate((certificate.authority, make_key(tmp_path / "other").public)):
        (trusted / f"{number}.pem").write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match="does not name"):
        check_signature(folder, read_policy(trusted), NOW)
    (trusted / "ours.pem").write_bytes((tmp_path / "keys" / "release.pub.pem").read_bytes())
    assert check_signature(folder, read_policy(trusted), NOW).signer == "ours"
    (trusted / "ours.pem").rename(trusted / ".ours.pem")
    assert check_signature(folder, read_policy(trusted), NOW).signer == ".ours.pem"


def test_a_folder_of_more_files_than_there_may_be_signers_is_none(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_module, "MAX_SIGNERS", 1)
    for name in ("one.pem", "two.pem"):
        (tmp_path / "keys" / name).write_bytes(keys.public.read_bytes())
    keys.private.unlink()
    with pytest.raises(DeclarationError, match=r"got 3 files, want .*, 1 at most"):
        read_policy(tmp_path / "keys")


def test_a_file_of_several_keys_is_none_since_one_alone_would_count(
    keys: Keys, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other").public.read_bytes()
    authority = make_certificate(tmp_path / "made").authority.read_bytes()
    for more in (other, authority):
        both = tmp_path / "both.pem"
        both.write_bytes(keys.public.read_bytes() + more)
        with pytest.raises(
            DeclarationError, match=r"both\.pem': got more than a key, want one key"
        ):
            read_policy(both)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("signer = []", "signer"),
        ("x = 1\n" + SIGNER, "x"),
        ('[[signer]]\nname = "a"\n', "one of key, authority and sigstore"),
        ('[[signer]]\nname = "a"\nkey = "none.pem"\n', "No such file"),
        ('[[signer]]\nname = "a"\nkey = "policy.toml"\n', "no public key"),
        (SIGNER + 'identities = ["x"]', "identities are of an authority"),
        (SIGNER + "not_after = 5", "not_after"),
        ('revoked = ["x"]\n' + SIGNER, "revoked"),
        ("[[signer", "TOML"),
        ("signer = 5", "signer"),
        (
            '[[signer]]\nname = "s"\nsigstore={identity="a", issuer="b", trust_config="none.json"}',
            r"none\.json': got No such file",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_says_why(
    policy: str, says: str, keys: Keys, tmp_path: Path
) -> None:
    path = keys.public.with_name("policy.toml")
    path.write_text(policy)
    with pytest.raises(DeclarationError, match=says):
        read_policy(path)


def test_a_private_key_is_no_signers_file(keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="want the public one"):
        read_policy(keys.private)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeclarationError, match="no file"):
        read_policy(tmp_path / "empty")


def test_one_of_several_signatures_that_counts_is_enough(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another one cannot be judged here, for want of Sigstore's library."""
    own = (folder / SIGNATURE_FILE).read_bytes()
    by_sigstore = json.loads(own)
    by_sigstore["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}}
    theirs, policy = json.dumps(by_sigstore).encode(), tmp_path / "keys" / "policy.toml"
    sigstore = (
        '[[signer]]\nname = "s"\nsigstore = {identity = "a@b.example", issuer = "https://c"}\n'
    )
    policy.write_text(SIGNER + sigstore)

    def missing(*_: object) -> None:
        raise MissingExtra("a signature by Sigstore", "sigstore")

    monkeypatch.setattr(check, "check_sigstore", missing)
    for signatures in ((b"junk", theirs, own), (own, theirs), (theirs, own, b"{}")):
        put_signatures(folder, signatures)
        assert check_signature(folder, read_policy(policy), NOW).signer == "release"
    put_signatures(folder, (b"junk", theirs, b"{}"))
    with pytest.raises(MissingExtra, match="sigstore"):
        check_signature(folder, read_policy(policy), NOW)
    put_signatures(folder, (b"junk", b"{}"))
    with pytest.raises(BundleError, match=r"model\.sig \(1 of 2 signatures\)") as refused:
        check_signature(folder, read_policy(policy), NOW)
    assert refused.value.code == "E_SIGNATURE"


def test_a_certificate_of_no_known_version_hides_no_signature_that_counts(
    folder: Path, tmp_path: Path
) -> None:
    own = (folder / SIGNATURE_FILE).read_bytes()
    made = make_certificate(tmp_path / "made")
    sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
    theirs = json.loads((folder / SIGNATURE_FILE).read_bytes())
    certificates = theirs["verificationMaterial"]["x509CertificateChain"]["certificates"]
    der = b64decode(certificates[1]["rawBytes"])
    odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x26", 1)
    certificates[1]["rawBytes"] = b64encode(odd).decode()
    authority = '[[signer]]\nname = "ci"\nauthority = "root.pem"\n'
    (tmp_path / "keys" / "root.pem").write_bytes(made.authority.read_bytes())
    put_signatures(folder, [json.dumps(theirs).encode()])
    said = outcome(folder, authority + SIGNER, tmp_path)
    assert said.startswith("E_SIGNER")
    assert "cannot be read" in said
    put_signatures(folder, [json.dumps(theirs).encode(), own])
    assert outcome(folder, authority + SIGNER, tmp_path) == "release"
    (tmp_path / "odd.pem").write_text(DER_cert_to_PEM_cert(odd))
    with pytest.raises(DeclarationError, match="no certificate"):
        read_policy(tmp_path / "odd.pem")


def test_a_signature_that_is_a_link_is_none(folder: Path, tmp_path: Path) -> None:
    moved = (folder / SIGNATURE_FILE).rename(tmp_path / "moved")
    (folder / SIGNATURE_FILE).symlink_to(moved)
    assert outcome(folder, SIGNER, tmp_path).startswith("E_SIGNATURE: bundle 'toy/1.0.0', model")
    (folder / SIGNATURE_FILE).unlink()
    (folder / SIGNATURE_FILE).write_bytes(moved.read_bytes())
    (folder / "signatures").mkdir()
    (folder / "signatures" / "2.sig").symlink_to(moved)
    assert "signatures/2.sig" in outcome(folder, SIGNER, tmp_path)
