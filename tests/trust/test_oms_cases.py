"""The conformance list of OpenSSF Model Signing: each case runs here, or says why it does not.

The names are those of `conformance/TEST_CASES.md` of the specification's repository: 37 roundtrip
and 53 verify cases. Its models are folders of any files; a bundle of the same shape stands for
each. Where a bundle can have no such shape, the case is that it is refused. The other side of a
roundtrip is the command `model_signing`, in this process.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.x509 import load_der_x509_certificate
from support.signers import CURVES, Certified, Keys, make_certificate, make_chain, make_key
from support.toys import toy_files, toy_manifest
from trust import test_oms
from trust.test_oms import (
    DATES,
    ENVELOPES,
    OMS,
    STATEMENTS,
    VALID,
    code_of,
    resigned,
    signed,
    signed_all_the_same,
)

from seatrial_contracts.bundle import SIGNATURE_FILE, open_bundle, write_bundle
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.manifest import check_path
from seatrial_contracts.signature_files import PREDICATE
from seatrial_serve.trust import check
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.keys import fingerprint, is_signed, public_key_of
from seatrial_serve.trust.policy import read_policy
from seatrial_serve.trust.signature import parse_signature, read_statement
from seatrial_serve.trust.signing import read_signing_key, sign_bundle, sign_receipt

NETWORK = "signing asks Sigstore over the network; seatrial verifies what others signed so"
FROZEN = (
    "the frozen signature by Sigstore is not here; the vector of this method is verified by "
    "sigstore-wrong-identity_fail"
)
ROUNDTRIP_NAMES = """
key-simple certificate-simple key-multi-file certificate-multi-file certificate-self-signed
key-single-file key-git-and-ignore-combined key-ignore-paths key-ignore-unsigned key-deeply-nested
key-deeply-nested-with-git key-default-ignores key-dotfile-included key-files-in-hidden-dir
key-empty-file key-assets-subdir key-binary-content key-unicode-filename key-special-chars-path
key-p384 key-p521 key-p256 key-multi-git-dirs key-multi-gitignore key-nested-git-not-excluded
key-ignore-paths-exact-match key-simple-deterministic key-sig-inside-model key-empty-model-rejected
key-symlink-default-rejected key-symlink-outside-root key-symlink-cycle sigstore-simple
sigstore-multi-file sigstore-ignore-paths sigstore-single-file sigstore-sig-inside-model
"""
VERIFY_NAMES = """
key-simple certificate-simple key-multi-file key-ignore-paths key-single-file
key-simple-ignore-unsigned-files go-interop-key go-interop-certificate historical-v0.2.0-certificate
historical-v0.3.1-elliptic-key historical-v0.3.1-certificate historical-v1.0.0-elliptic-key
historical-v1.0.0-certificate historical-v1.0.1-elliptic-key historical-v1.0.1-certificate
historical-v1.1.0-elliptic-key historical-v1.1.0-certificate historical-v0.3.1-sigstore
historical-v1.0.0-sigstore historical-v1.0.1-sigstore historical-v1.1.0-sigstore
key-simple-tampered-content_fail key-simple-wrong-key_fail key-simple-missing-file_fail
key-simple-extra-file_fail certificate-simple-wrong-ca_fail key-simple-corrupted-bundle_fail
key-simple-truncated-bundle_fail key-simple-wrong-mediatype_fail key-simple-no-signature_fail
malformed-empty-bundle_fail malformed-missing-envelope_fail malformed-wrong-predicate_fail
certificate-no-code-signing-eku_fail certificate-expired_fail certificate-not-yet-valid_fail
certificate-expired-intermediate_fail certificate-expired-root_fail certificate-all-expired_fail
key-verify-as-certificate_fail sigstore-wrong-identity_fail sigstore-wrong-issuer_fail
sigstore-verify-as-key_fail sigstore-tampered-content_fail certificate-verify-as-key_fail
key-simple-wrong-payload-type_fail key-simple-wrong-statement-type_fail
key-simple-empty-resources_fail key-simple-missing-serialization_fail
key-tampered-with-ignore-unsigned_fail key-missing-file-with-ignore-unsigned_fail
key-verify-as-sigstore_fail certificate-verify-as-sigstore_fail
"""
ROUNDTRIP, VERIFY = ROUNDTRIP_NAMES.split(), VERIFY_NAMES.split()
NOT_RUN: Mapping[str, str] = {
    **{f"roundtrip {name}": NETWORK for name in ROUNDTRIP if name.startswith("sigstore")},
    **{f"verify historical-{each}-sigstore": FROZEN
       for each in ("v0.3.1", "v1.0.0", "v1.0.1", "v1.1.0")},
}  # fmt: skip


class Place:
    """Where a case runs: a folder for its bundle, and keys."""

    def __init__(self, path: Path, keys: Keys, certified: Certified) -> None:
        self.path, self.keys, self.certified = path, keys, certified

    def bundle(self, files: Mapping[str, bytes] | None = None) -> Path:
        """The folder of a bundle that has these files too."""
        return write_bundle(
            self.path / "bundles", toy_manifest(), {**toy_files(), **(files or {})}
        ).path

    def signed(self, files: Mapping[str, bytes] | None = None) -> Path:
        """The same, signed by the key."""
        folder = self.bundle(files)
        sign_bundle(folder, read_signing_key(self.keys.private))
        return folder

    def certificate_signed(self) -> Path:
        """A bundle's folder, signed by the certified key."""
        folder, made = self.bundle(), self.certified
        sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
        return folder

    def sigstore_signed(self) -> Path:
        """A bundle's folder, and a signature as Sigstore's signers write one."""
        folder = self.signed()
        said = json.loads((folder / SIGNATURE_FILE).read_bytes())
        said["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": [{}]}
        (folder / SIGNATURE_FILE).write_text(json.dumps(said))
        return folder

    def sigstore_policy(self) -> Path:
        """A policy that names somebody by Sigstore."""
        path = self.path / "policy.toml"
        signer = 'sigstore = {identity = "a@b.example", issuer = "https://c"}'
        path.write_text(f'[[signer]]\nname = "s"\n{signer}\n')
        return path


Case = Callable[[Place], object]
CASES: dict[str, Case] = {}
"""List and name -> what runs."""


def case(*names: str) -> Callable[[Case], Case]:
    """Let a function be these cases of the list."""

    def take(run: Case) -> Case:
        for name in names:
            assert name not in CASES
            CASES[name] = run
        return run

    return take


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return make_certificate(tmp_path_factory.mktemp("certified"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_key(tmp_path_factory.mktemp("keys"))


@pytest.mark.parametrize("name", CASES_TO_RUN := sorted({
    *(f"roundtrip {each}" for each in ROUNDTRIP), *(f"verify {each}" for each in VERIFY)
} - NOT_RUN.keys()))  # fmt: skip
def test_case(name: str, tmp_path: Path, keys: Keys, certified: Certified) -> None:
    CASES[name](Place(tmp_path, keys, certified))


def test_each_case_runs_or_says_why_it_does_not() -> None:
    assert (len(ROUNDTRIP), len(VERIFY)) == (37, 53)
    assert sorted(CASES) == CASES_TO_RUN


# --- the other side


def command(*words: object) -> bool:
    """Does `model_signing` succeed?"""
    from model_signing._cli import main

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own calls
        done = CliRunner().invoke(main, [*map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code == 0


def both_ways(folder: Path, keys: Keys) -> None:
    """Sign here and verify there, then sign there and verify here, whole bundles alike."""
    path = sign_bundle(folder, read_signing_key(keys.private))
    well_formed(folder)
    verify = ("verify", "key", folder, "--signature", path, "--public_key")
    assert command(*verify, keys.public)
    path.unlink()
    assert command("sign", "key", folder, "--private_key", keys.private, "--signature", path)
    whole(folder, keys.public)


def certificate_both_ways(folder: Path, made: Certified) -> None:
    path = sign_bundle(folder, read_signing_key(made.private, certificates=made.chain))
    well_formed(folder)
    verify = ("verify", "certificate", folder, "--signature", path, "--certificate_chain")
    assert command(*verify, made.authority)
    path.unlink()
    leaf, between = made.chain.with_name("leaf.pem"), made.chain.with_name("between.pem")
    assert command(
        "sign", "certificate", folder, "--private_key", made.private,
        "--signing_certificate", leaf, "--certificate_chain", between, "--signature", path,
    )  # fmt: skip
    whole(folder, made.authority)


def whole(folder: Path, signers: Path) -> None:
    """A bundle is signed by one of the signers, and every byte is as it was sealed."""
    assert check_signature(folder, read_policy(signers)).digest == open_bundle(folder).digest


def well_formed(folder: Path) -> dict[str, Any]:
    """What the list's harness asserts of every signature that was made; the statement."""
    said = json.loads((folder / SIGNATURE_FILE).read_bytes())
    statement: dict[str, Any] = json.loads(base64.b64decode(said["dsseEnvelope"]["payload"]))
    resources, how = (statement["predicate"][each] for each in ("resources", "serialization"))
    names = [each["name"] for each in resources]
    assert names == sorted(names)
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(names) == on_disk - {SIGNATURE_FILE}
    for each in resources:
        data = (folder / each["name"]).read_bytes()
        assert each["digest"] == hashlib.sha256(data).hexdigest()
        assert each["algorithm"] == how["hash_type"] == "sha256"
    root = hashlib.sha256(b"".join(bytes.fromhex(each["digest"]) for each in resources))
    assert statement["subject"] == [{"name": folder.name, "digest": {"sha256": root.hexdigest()}}]
    assert "shard_size" not in how
    assert statement["predicateType"] == PREDICATE
    material = said["verificationMaterial"]
    assert set(material) <= {"publicKey", "x509CertificateChain"}
    assert "hint" in material.get("publicKey", {"hint": ""})
    return statement


# --- roundtrip: shapes that a bundle can have


@case("roundtrip key-simple", "roundtrip key-multi-file", "roundtrip key-p256")
def _several_files(place: Place) -> None:
    both_ways(place.bundle(), place.keys)


def _of_curve(curve: str) -> Case:
    def run(place: Place) -> None:
        both_ways(place.bundle(), make_key(place.path / "keys", curve=curve))

    return run


for _curve in ("P-384", "P-521"):
    assert _curve in CURVES
    case(f"roundtrip key-{_curve.replace('-', '').lower()}")(_of_curve(_curve))


@case("roundtrip certificate-simple", "roundtrip certificate-multi-file")
def _certified(place: Place) -> None:
    certificate_both_ways(place.bundle(), place.certified)


@case("roundtrip certificate-self-signed")
def _self_signed(place: Place) -> None:
    test_oms.test_a_certificate_that_is_its_own_authority(place.bundle(), place.path)


def _with_files(files: Mapping[str, bytes]) -> Case:
    def run(place: Place) -> None:
        folder = place.bundle(files)
        both_ways(folder, place.keys)
        assert files.keys() <= open_bundle(folder).manifest.files.keys()
        for name in files:
            (folder / name).write_bytes(b"other bytes")
            with pytest.raises(BundleError):
                open_bundle(folder)
            (folder / name).write_bytes(files[name])

    return run


for _name, _files in {
    "key-empty-file": {"empty.bin": b""},
    "key-binary-content": {
        "header.bin": b"\x89PNG\r\n\x1a\n\x00", "weights.bin": bytes(range(256)) * 4 + b"\r\n\n\r",
    },
    "key-deeply-nested": {"a/deep/tree/weights.bin": b"deep"},
    "key-assets-subdir": {"assets/vocab.txt": b"a\nb\n", "assets/tokenizer.bin": b"\x00\x01"},
}.items():  # fmt: skip
    case(f"roundtrip {_name}")(_with_files(_files))


@case("roundtrip key-simple-deterministic")
def _deterministic(place: Place) -> None:
    test_oms.test_the_same_bundle_has_the_same_statement(place.bundle(), place.keys)


@case("roundtrip key-sig-inside-model")
def _signature_inside(place: Place) -> None:
    folder = place.signed()
    statement = well_formed(folder)
    names = {each["name"] for each in statement["predicate"]["resources"]}
    assert SIGNATURE_FILE not in names
    whole(folder, place.keys.public)


# --- roundtrip: what a bundle cannot have; its manifest is a closed list of plain ASCII names


def _closed(files: Mapping[str, str], sealed: Mapping[str, bytes] | None = None) -> Case:
    """A bundle with such files beside the sealed ones is not signed, and not opened if signed."""

    def run(place: Place) -> None:
        folder = place.bundle(sealed)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        with pytest.raises(BundleError) as refused:
            sign_bundle(folder, read_signing_key(place.keys.private))
        assert refused.value.code == "E_BUNDLE_EXTRA"
        assert not (folder / SIGNATURE_FILE).exists()
        sign = ("sign", "key", folder, "--private_key", place.keys.private)
        ignored = [word for name in files for word in ("--ignore-paths", folder / name)]
        assert command(*sign, "--signature", folder / SIGNATURE_FILE, *ignored)
        assert code_of(folder, place.keys.public) == "signed"
        with pytest.raises(BundleError) as opened:
            open_bundle(folder)
        assert opened.value.code == "E_BUNDLE_EXTRA"

    return run


GIT = {".git/HEAD": "ref", ".gitignore": "*", ".gitattributes": "*"}
DEEP = {"a/deep/tree/weights.bin": b"deep"}
for _name, _run in {
    "key-ignore-paths": _closed({"ignore-me": "x"}),
    "key-ignore-paths-exact-match": _closed({"ignore-me": "x", "subdir/ignore-me": "x"}),
    "key-default-ignores": _closed({**GIT, ".github/ci.yml": "on: push"}),
    "key-git-and-ignore-combined": _closed({**GIT, "ignored-file.tmp": "x"}),
    "key-deeply-nested-with-git": _closed({".git/HEAD": "ref"}, DEEP),
    "key-multi-git-dirs": _closed({".git/HEAD": "ref", "submodule/.git/HEAD": "ref"}),
    "key-multi-gitignore": _closed({".gitignore": "*", "subdir/.gitignore": "*"}),
    "key-nested-git-not-excluded": _closed({"subdir/.gitignore": "*"}),
    "key-ignore-unsigned": _closed({"injected.bin": "x"}),
}.items():
    case(f"roundtrip {_name}")(_run)


def _unnameable(*names: str) -> Case:
    """No manifest can name such a file, so no bundle holds it, and none beside it is passed."""

    def run(place: Place) -> None:
        for name in names:
            with pytest.raises(ValueError, match="plain parts"):
                check_path(name)
        _closed(dict.fromkeys(names, "x"))(place)

    return run


for _name, _names in {
    "key-dotfile-included": (".config", ".env.example"),
    "key-files-in-hidden-dir": (".cache/weights.bin", ".local/share/data.bin"),
    "key-unicode-filename": ("模型.bin",),
    "key-special-chars-path": ("file (copy).bin", "path with spaces/model.bin"),
}.items():
    case(f"roundtrip {_name}")(_unnameable(*_names))


@case("roundtrip key-single-file", "verify key-single-file")
def _one_file(place: Place) -> None:
    """A bundle is a folder, so one file is not signed as a model, and no signature is about it."""
    file = place.bundle() / "graphs" / "toy.fake"
    key = read_signing_key(place.keys.private)
    with pytest.raises(DeclarationError, match="a file that is no receipt"):
        sign_receipt(file, key)
    with pytest.raises(BundleError):
        sign_bundle(file, key)
    assert code_of(file, place.keys.public) == "E_SIGNATURE"  # not a folder


def _no_bundle(change: str) -> Case:
    def run(place: Place) -> None:
        test_oms.test_a_folder_that_is_no_bundle_is_not_signed(
            change, place.bundle(), place.keys, place.path
        )

    return run


for _name, _change in {
    "key-empty-model-rejected": "empty",
    "key-symlink-default-rejected": "link",
    "key-symlink-outside-root": "link out of it",
    "key-symlink-cycle": "cycle",
}.items():
    case(f"roundtrip {_name}")(_no_bundle(_change))


# --- verify: signatures that count


def needs_vectors() -> None:
    if not OMS.is_dir():
        pytest.skip("the specification's files are not here")


@case("verify key-simple")
def _key_vector(place: Place) -> None:
    """The vector of the key method was made by the key of that of the certificate method."""
    needs_vectors()
    certificate, key = (
        parse_signature((VALID / f"{method}.bundle.json").read_bytes(), "vector")
        for method in ("certificate", "key")
    )
    chain = certificate.verification_material.x509_certificate_chain
    assert chain is not None
    made_by = load_der_x509_certificate(chain.certificates[0].raw_bytes).public_key()
    assert key.verification_material.public_key is not None
    assert key.verification_material.public_key.hint == fingerprint(made_by)  # type: ignore[arg-type]
    envelope = key.dsse_envelope
    assert is_signed(envelope.signatures[0].sig, envelope.signed_text, made_by)  # type: ignore[arg-type]
    assert read_statement(key, "vector").digests.keys() == {"signme-1", "signme-2"}
    other = public_key_of(place.keys.public.read_bytes(), "key")
    assert not is_signed(envelope.signatures[0].sig, envelope.signed_text, other)


@case("verify certificate-simple")
def _certificate_vector(_place: Place) -> None:
    needs_vectors()
    test_oms.test_the_certificate_of_the_vectors_leads_to_its_root()


@case("verify key-multi-file")
def _nested(place: Place) -> None:
    folder = place.signed(DEEP)
    names = {each["name"] for each in well_formed(folder)["predicate"]["resources"]}
    assert {"graphs/toy.fake", *DEEP} <= names
    whole(folder, place.keys.public)


@case("verify key-ignore-paths")
def _ignored_paths(place: Place) -> None:
    """Paths that a statement names as ignored are no reason to pass over a file."""
    folder = place.bundle()
    ignoring = {"ignore_paths": ["contract.json", "ignore-me"]}
    resigned(folder, place.keys, lambda s: s["predicate"]["serialization"].update(ignoring))
    whole(folder, place.keys.public)
    (folder / "contract.json").write_bytes(b"{}")
    with pytest.raises(BundleError):
        open_bundle(folder)


@case("verify key-simple-ignore-unsigned-files", "verify key-simple-extra-file_fail")
def _extra_file(place: Place) -> None:
    """There is no flag to pass over files that were not signed."""
    folder = place.signed()
    (folder / "injected.bin").write_bytes(b"1")
    with pytest.raises(BundleError) as refused:
        open_bundle(folder)
    assert refused.value.code == "E_BUNDLE_EXTRA"


def _key_in_the_form_of(change: Callable[[dict[str, Any]], object], **statement: Any) -> Case:
    """A signature of a bundle in the form of an older or another implementation.

    The frozen files of the list are signatures of two plain files, which are no bundle.
    """

    def run(place: Place) -> None:
        folder = place.bundle()
        resigned(folder, place.keys, lambda said: _older(said, **statement))
        said = json.loads((folder / SIGNATURE_FILE).read_bytes())
        change(said)
        (folder / SIGNATURE_FILE).write_text(json.dumps(said))
        whole(folder, place.keys.public)
        assert code_of(folder, make_key(place.path / "other").public) == "E_SIGNER"

    return run


def _older(said: dict[str, Any], *, ignores: bool = False, name: str = "model") -> None:
    said["subject"][0]["name"] = name
    if not ignores:
        said["predicate"]["serialization"].pop("ignore_paths", None)


def _raw_key(said: dict[str, Any]) -> None:
    """The key by its bytes, and `keyid` null: before version 1.1."""
    said["dsseEnvelope"]["signatures"][0]["keyid"] = None
    raw = {"rawBytes": "AAAA", "keyDetails": "PKIX_ECDSA_P384_SHA_384"}
    said["verificationMaterial"] = {"publicKey": raw}


def _python_1_1(said: dict[str, Any]) -> None:
    said["dsseEnvelope"]["signatures"][0]["keyid"] = ""
    said["verificationMaterial"]["tlogEntries"] = []


def _go(said: dict[str, Any]) -> None:
    said["dsseEnvelope"]["signatures"][0].pop("keyid", None)
    said["verificationMaterial"].pop("tlogEntries", None)


case("verify go-interop-key")(_key_in_the_form_of(_go, ignores=True, name="1.0.0"))
case("verify historical-v1.1.0-elliptic-key")(_key_in_the_form_of(_python_1_1, ignores=True))
for _version in ("v0.3.1", "v1.0.0", "v1.0.1"):
    case(f"verify historical-{_version}-elliptic-key")(_key_in_the_form_of(_raw_key))


def _certificate_in_the_form_of(**keyid: Any) -> Case:
    def run(place: Place) -> None:
        folder = place.certificate_signed()
        said = json.loads((folder / SIGNATURE_FILE).read_bytes())
        said["dsseEnvelope"]["signatures"][0] |= keyid
        said["verificationMaterial"]["tlogEntries"] = []
        (folder / SIGNATURE_FILE).write_text(json.dumps(said))
        whole(folder, place.certified.authority)

    return run


case("verify go-interop-certificate")(_certificate_in_the_form_of())
case("verify historical-v1.1.0-certificate")(_certificate_in_the_form_of(keyid=""))
for _version in ("v0.3.1", "v1.0.0", "v1.0.1"):
    case(f"verify historical-{_version}-certificate")(_certificate_in_the_form_of(keyid=None))


@case("verify historical-v0.2.0-certificate")
def _before_1_0(place: Place) -> None:
    """The predicate before 1.0, which verifiers may support: it is refused here."""
    folder = place.bundle()
    old = "https://model_signing/Digests/v0.1"
    resigned(folder, place.keys, lambda said: said.update(predicateType=old))
    assert code_of(folder, place.keys.public) == "E_SIGNATURE"


# --- verify: content that was changed


@case("verify key-simple-tampered-content_fail", "verify key-tampered-with-ignore-unsigned_fail")
def _tampered(place: Place) -> None:
    folder = place.signed()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(BundleError):
            check_signature(folder, read_policy(place.keys.public))
            open_bundle(folder)
        path.write_bytes(before)
    whole(folder, place.keys.public)


@case("verify key-simple-missing-file_fail", "verify key-missing-file-with-ignore-unsigned_fail")
def _missing(place: Place) -> None:
    folder = place.signed()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        path.rename(place.path / "away")
        with pytest.raises(BundleError):
            check_signature(folder, read_policy(place.keys.public))
            open_bundle(folder)
        (place.path / "away").rename(path)
    whole(folder, place.keys.public)


@case("verify sigstore-tampered-content_fail")
def _sigstore_tampered(place: Place) -> None:
    """What Sigstore vouches for is compared with the bundle as any signature is."""
    folder, policy = place.sigstore_signed(), read_policy(place.sigstore_policy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "check_sigstore", lambda *_: None)
        assert check_signature(folder, policy).method == "sigstore"
        path = folder / "contract.json"
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(BundleError, match=r"contract\.json"):
            open_bundle(folder)
        other = write_bundle(
            place.path / "others", toy_manifest(version="1.0.1"), dict(toy_files())
        ).path
        (other / SIGNATURE_FILE).write_bytes((folder / SIGNATURE_FILE).read_bytes())
        with pytest.raises(BundleError, match="not signed, or signed with other bytes"):
            check_signature(other, policy)


# --- verify: signatures of other forms


def _form(test: Callable[[str, Path, Keys], None], name: str) -> Case:
    def run(place: Place) -> None:
        test(name, place.bundle(), place.keys)

    return run


for _forms, _test in (
    (STATEMENTS, test_oms.test_a_statement_of_another_form_is_refused),
    (ENVELOPES, test_oms.test_an_envelope_of_another_form_is_refused),
):
    for _name in set(_forms) & set(VERIFY):
        case(f"verify {_name}")(_form(_test, _name))


def _file_of(change: Callable[[bytes], bytes]) -> Case:
    def run(place: Place) -> None:
        folder = place.signed()
        path = folder / SIGNATURE_FILE
        path.write_bytes(change(path.read_bytes()))
        assert code_of(folder, place.keys.public) == "E_SIGNATURE"

    return run


case("verify malformed-empty-bundle_fail")(_file_of(lambda _data: b""))
case("verify key-simple-truncated-bundle_fail")(_file_of(lambda data: data[:100]))
case("verify key-simple-corrupted-bundle_fail")(_file_of(lambda _data: b"\x00{not json"))


# --- verify: signers


@case("verify key-simple-wrong-key_fail")
def _wrong_key(place: Place) -> None:
    """Another key is no signer, and one that only claims the signer's fingerprint did not sign."""
    other = make_key(place.path / "other")
    folder = place.signed()
    assert code_of(folder, other.public) == "E_SIGNER"
    hint = json.loads((folder / SIGNATURE_FILE).read_bytes())["verificationMaterial"]
    said = signed(folder, other) | {"verificationMaterial": hint}
    (folder / SIGNATURE_FILE).write_text(json.dumps(said))
    assert code_of(folder, place.keys.public) == "E_SIGNATURE"


@case("verify certificate-simple-wrong-ca_fail")
def _wrong_authority(place: Place) -> None:
    another = make_certificate(place.path / "another")
    assert code_of(place.certificate_signed(), another.authority) == "E_SIGNER"


@case("verify certificate-no-code-signing-eku_fail")
def _no_code_signing(place: Place) -> None:
    made = make_chain(place.path / "made", uses=None, signs=True)
    with pytest.raises(DeclarationError, match="codeSigning"):
        read_signing_key(made.private, certificates=made.chain)
    folder = place.bundle()
    signed_all_the_same(folder, made)
    assert code_of(folder, made.authority) == "E_SIGNER"


def _dated(name: str) -> Case:
    def run(place: Place) -> None:
        test_oms.test_each_certificate_on_the_way_counts_within_its_validity(
            name, place.bundle(), place.path
        )

    return run


for _name in set(DATES) & set(VERIFY):
    case(f"verify {_name}")(_dated(_name))


@case("verify key-verify-as-certificate_fail")
def _key_as_certificate(place: Place) -> None:
    assert code_of(place.signed(), place.certified.authority) == "E_SIGNER"


@case("verify key-verify-as-sigstore_fail")
def _key_as_sigstore(place: Place) -> None:
    assert code_of(place.signed(), place.sigstore_policy()) == "E_SIGNER"


@case("verify certificate-verify-as-key_fail")
def _certificate_as_key(place: Place) -> None:
    """Also where the policy names the very key that the certificate is of."""
    leaf = place.certified.private.with_name("leaf.pub.pem")
    assert code_of(place.certificate_signed(), leaf) == "E_SIGNER"


@case("verify certificate-verify-as-sigstore_fail")
def _certificate_as_sigstore(place: Place) -> None:
    assert code_of(place.certificate_signed(), place.sigstore_policy()) == "E_SIGNER"


@case("verify sigstore-verify-as-key_fail")
def _sigstore_as_key(place: Place) -> None:
    """Also where the policy names the very key that made it."""
    assert code_of(place.sigstore_signed(), place.keys.public) == "E_SIGNER"


@case("verify sigstore-wrong-identity_fail", "verify sigstore-wrong-issuer_fail")
def _sigstore_of_others(_place: Place) -> None:
    needs_vectors()
    test_oms.test_sigstore_vouches_for_whom_it_certified()
