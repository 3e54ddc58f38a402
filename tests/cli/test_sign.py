"""`seatrial sign` and `seatrial verify`: what they sign, what they say, and mends that help."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.signers import Keys, make_certificate, make_key, openssl
from support.toys import toy_bundle

from seatrial.main import cli
from seatrial_contracts.bundle import SIGNATURE_FILE, Bundle
from seatrial_contracts.errors import SeatrialError
from seatrial_contracts.receipt import Receipt, this_machine
from seatrial_contracts.signature_files import put_signatures, read_signatures


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key(tmp_path / "keys")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return toy_bundle(tmp_path / "bundles")


def run(*words: object) -> tuple[int, str]:
    """Exit status, and all that a command says."""
    done = CliRunner().invoke(cli, [*map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, SeatrialError), done.exception
    return done.exit_code, done.output + str(done.exception or "")


def receipt_of(bundle: Bundle, made_at: str = "2026-01-01T00:00:00.000Z") -> Path:
    return Receipt(
        schema=1, digest=bundle.digest, name=bundle.name, version=bundle.version, made_at=made_at,
        machine=this_machine({}), trials=(),
    ).write(bundle.path)  # fmt: skip


def encrypted_key(folder: Path, keys: Keys, password: str) -> Path:
    path = folder / "locked.key"
    openssl("ec", "-in", keys.private, "-aes256", "-passout", f"pass:{password}", "-out", path)
    return path


@pytest.mark.parametrize("written", ["s3cret", "s3cret\n", "s3cret\r\nanother line\n"])
def test_the_password_is_the_first_line_of_its_file(
    written: str, bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    locked, file = encrypted_key(tmp_path, keys, "s3cret"), tmp_path / "password"
    file.write_text(written, newline="")
    status, said = run("sign", bundle.path, "--key", locked, "--password-file", file)
    assert status == 0, said
    assert run("verify", bundle.path, keys.public)[0] == 0


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("wrong\n", "no private key of this password"),
        ("\ns3cret\n", "got an empty first line, want a file whose first line is the key's"),
        ("", "got an empty first line"),
        (None, "got No such file or directory, want a file whose first line is the key's password"),
    ],
)
def test_a_password_that_does_not_open_the_key_is_told(
    written: str | None, says: str, bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    locked, file = encrypted_key(tmp_path, keys, "s3cret"), tmp_path / "password"
    if written is not None:
        file.write_text(written)
    status, said = run("sign", bundle.path, "--key", locked, "--password-file", file)
    assert status == 1
    assert says in said
    assert "s3cret" not in said
    assert not (bundle.path / SIGNATURE_FILE).exists()


def test_a_password_is_asked_for_by_the_key_that_has_one_alone(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    locked = encrypted_key(tmp_path, keys, "s3cret")
    assert "give it: --password-file FILE" in run("sign", bundle.path, "--key", locked)[1]
    (tmp_path / "password").write_text("s3cret\n")
    more = ("--password-file", tmp_path / "password")
    assert "leave it out" in run("sign", bundle.path, "--key", keys.private, *more)[1]


def test_what_is_no_bundle_and_no_receipt_is_named(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    want = "want a bundle's folder, or a receipt: a file in receipts/ of a bundle"
    mistyped = tmp_path / "bundels" / "toy" / "1.0.0"
    status, said = run("sign", mistyped, "--key", keys.private)
    assert status == 1
    assert f"path '{mistyped}': got nothing there, {want}" in said
    status, said = run("sign", bundle.path / "manifest.json", "--key", keys.private)
    assert status == 1
    assert f"got a file that is no receipt, {want}" in said
    assert "remove it" not in said


def test_files_of_keys_and_certificates_that_are_missing_are_named_with_their_own_mend(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    none = tmp_path / "none.pem"
    said = run("sign", bundle.path, "--key", none)[1]
    assert "key file" in said
    assert "-genkey" in said
    said = run("sign", bundle.path, "--key", keys.private, "--certificate", none)[1]
    assert f"certificate file '{none}': got No such file or directory, want certificates" in said
    assert "-genkey" not in said
    run("sign", bundle.path, "--key", keys.private)
    said = run("verify", bundle.path, none)[1]
    assert f"file '{none}': got No such file or directory, want a public key or cert" in said
    assert "-pubout" in said
    assert "-genkey" not in said


def test_a_certificate_of_another_key_is_refused(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    made = make_certificate(tmp_path / "made")
    said = run("sign", bundle.path, "--key", keys.private, "--certificate", made.chain)[1]
    assert "the certificate of another key first" in said


def test_inspect_names_whom_each_signature_names(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    assert "unsigned" in run("inspect", bundle.path)[1]
    other, found = make_key(tmp_path / "other"), []
    for private in (keys.private, other.private):
        run("sign", bundle.path, "--key", private)
        found += read_signatures(bundle.path)
    assert run("inspect", bundle.path)[1].count("key ") == 1
    put_signatures(bundle.path, found)
    said = " ".join(run("inspect", bundle.path)[1].split())
    assert said.count("key ") == 2
    assert "which was not verified" in said


# --- receipts


def test_a_signed_receipt_is_verified_with_its_bundle(bundle: Bundle, keys: Keys) -> None:
    path = receipt_of(bundle)
    run("sign", bundle.path, "--key", keys.private)
    assert f"receipt {path.name}: unsigned" in run("verify", bundle.path, keys.public)[1]
    status, said = run("sign", path, "--key", keys.private)
    assert status == 0
    assert f"{path.name}.sig  (key " in said
    status, said = run("verify", bundle.path, keys.public)
    assert status == 0
    assert f"receipt {path.name}: signed by release" in said


def test_a_receipt_that_was_changed_after_it_was_signed_is_refused(
    bundle: Bundle, keys: Keys
) -> None:
    path = receipt_of(bundle)
    run("sign", bundle.path, path, "--key", keys.private)
    receipt = json.loads(path.read_bytes())
    receipt["machine"]["processor"] = "another"
    path.write_text(json.dumps(receipt))
    status, said = run("verify", bundle.path, keys.public)
    assert status == 1
    assert f"receipt '{path.name}': got the signature of another file" in said
    assert "seatrial sign RECEIPT" in said
    path.write_bytes(b"{}")
    assert "the signature of another file" in run("verify", bundle.path, keys.public)[1]


def test_the_signature_of_another_receipt_is_refused(bundle: Bundle, keys: Keys) -> None:
    one, other = receipt_of(bundle), receipt_of(bundle, "2026-01-02T00:00:00.000Z")
    run("sign", bundle.path, one, other, "--key", keys.private)
    assert run("verify", bundle.path, keys.public)[0] == 0
    shutil.copy(f"{one}.sig", f"{other}.sig")
    status, said = run("verify", bundle.path, keys.public)
    assert status == 1
    assert f"receipt '{other.name}': got the signature of another file" in said


def test_the_signature_of_a_bundle_is_none_of_its_receipt(bundle: Bundle, keys: Keys) -> None:
    path = receipt_of(bundle)
    run("sign", bundle.path, "--key", keys.private)
    shutil.copy(bundle.path / SIGNATURE_FILE, f"{path}.sig")
    assert "the signature of another file" in run("verify", bundle.path, keys.public)[1]


def test_a_signed_receipt_of_another_bundle_is_refused(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    path = receipt_of(toy_bundle(tmp_path / "others", version="0.9.0"))
    run("sign", bundle.path, path, "--key", keys.private)
    (bundle.path / "receipts").mkdir()
    for name in (path.name, f"{path.name}.sig"):
        shutil.copy(path.with_name(name), bundle.path / "receipts")
    status, said = run("verify", bundle.path, keys.public)
    assert status == 1
    assert f"receipt '{path.name}': got a receipt of another bundle" in said


def test_a_receipt_counts_by_whom_the_policy_names_for_its_model(
    bundle: Bundle, keys: Keys, tmp_path: Path
) -> None:
    path, other = receipt_of(bundle), make_key(tmp_path / "keys", "machine")
    run("sign", bundle.path, "--key", keys.private)
    run("sign", path, "--key", other.private)
    status, said = run("verify", bundle.path, keys.public)
    assert status == 1
    assert "that the policy does not name" in said
    policy = tmp_path / "keys" / "policy.toml"
    release = '[[signer]]\nname = "release"\nkey = "release.pub.pem"\n'
    machine = '[[signer]]\nname = "lab"\nkey = "machine.pub.pem"\n'
    policy.write_text(release + machine)
    assert f"receipt {path.name}: signed by lab" in run("verify", bundle.path, policy)[1]
    policy.write_text(release + machine + 'models = ["other"]\n')
    assert "it may sign other alone" in run("verify", bundle.path, policy)[1]
    said = run("verify", bundle.path, policy)[1]
    assert "signer 'lab' for model 'toy'" in said
