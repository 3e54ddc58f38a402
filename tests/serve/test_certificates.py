"""Certificates by file: what is refused at start, and how changed files are followed."""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.tls import Authority, Pair

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.process.audit_lines import follow_chain
from seatrial_serve.process.audit_log import recording
from seatrial_serve.process.certificates import Certificates, peer_of, read_credentials
from seatrial_serve.process.tls_files import TlsFiles
from seatrial_serve.settings import load_settings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue()


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def files(pair: Pair, client_ca: Path | None = None) -> TlsFiles:
    return TlsFiles(pair.certificate, pair.key, client_ca)


def refused(tls: TlsFiles) -> str:
    with pytest.raises(DeclarationError) as caught:
        read_credentials(tls)
    return str(caught.value)


def test_a_missing_file_is_named_with_its_setting(pair: Pair, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    for tls, setting in (
        (TlsFiles(gone, pair.key), "tls_cert"),
        (TlsFiles(pair.certificate, gone), "tls_key"),
        (TlsFiles(pair.certificate, pair.key, gone), "tls_client_ca"),
    ):
        said = refused(tls)
        assert f"setting '{setting}', '{gone}': got No such file or directory" in said


def test_a_folder_and_a_huge_file_are_no_certificates(pair: Pair, tmp_path: Path) -> None:
    assert "got no plain file" in refused(TlsFiles(tmp_path, pair.key))
    (tmp_path / "huge.pem").write_bytes(bytes(2**20 + 1))
    assert "more than the" in refused(TlsFiles(tmp_path / "huge.pem", pair.key))


def test_the_key_of_another_certificate_is_refused(authority: Authority, pair: Pair) -> None:
    other = authority.issue("other")
    said = refused(TlsFiles(pair.certificate, other.key))
    assert "got a key that is not the certificate's" in said
    chain = authority.path.read_bytes() + pair.certificate.read_bytes()
    pair.certificate.write_bytes(chain)  # the issuer's first: a common mistake
    assert "want the key of the file's first certificate" in refused(files(pair))


def test_what_is_no_pem_is_refused_and_the_mend_mends_it(pair: Pair) -> None:
    der = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    pair.certificate.write_bytes(der.public_bytes(Encoding.DER))
    said = refused(files(pair))
    assert "got no certificate in PEM" in said
    openssl(*said.partition("openssl ")[2].split())
    mended = Path(f"{pair.certificate}.pem")
    openssl("pkey", "-in", pair.key, "-outform", "der", "-out", f"{pair.key}.der")
    said = refused(TlsFiles(mended, Path(f"{pair.key}.der")))
    assert "got no private key in PEM" in said
    openssl(*said.partition("openssl ")[2].split())
    assert read_credentials(TlsFiles(mended, Path(f"{pair.key}.der.pem"))).subject == "CN=server"


@pytest.mark.parametrize("traditional", [False, True])
def test_an_encrypted_key_is_refused_without_a_prompt(pair: Pair, traditional: bool) -> None:
    form = ["-traditional"] if traditional else []
    secret = pair.key.with_suffix(".secret")
    openssl("pkey", "-in", pair.key, "-aes256", "-passout", "pass:x", *form, "-out", secret)
    said = refused(TlsFiles(pair.certificate, secret))
    assert "got an encrypted key, want a key without a password" in said
    openssl(*said.partition("openssl ")[2].split(), "-passin", "pass:x")
    assert read_credentials(TlsFiles(pair.certificate, Path(f"{secret}.plain")))


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl(
        "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", key, "-out", cert,
        "-subj", "/CN=short",
    )  # fmt: skip
    assert "got ee key too small" in refused(TlsFiles(cert, key))


def test_authorities_without_a_certificate_are_refused(pair: Pair) -> None:
    assert "setting 'tls_client_ca'" in refused(files(pair, pair.key))


def test_one_file_may_hold_certificate_and_key(pair: Pair) -> None:
    both = pair.key.with_name("both.pem")
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    assert read_credentials(TlsFiles(both, both)).subject == "CN=server"


def test_only_tls_1_2_with_aead_and_1_3_are_spoken(pair: Pair) -> None:
    context = read_credentials(files(pair)).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    found = context.get_ciphers()
    assert all(each["aead"] for each in found)
    assert all(each["kea"] in ("kx-ecdhe", "kx-any") for each in found)


def test_a_secret_is_in_no_text(pair: Pair) -> None:
    assert "PRIVATE" not in repr(read_credentials(files(pair)))


def test_an_expired_certificate_is_served_at_start_and_said(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    for pair, said in (
        (authority.issue("old", from_days=-9, days=-2), "has expired on"),
        (authority.issue("new", from_days=2), "is not valid before"),
    ):
        Certificates(files(pair))
        (told,) = (each for each in caplog.records if each.levelno == logging.ERROR)
        assert said in told.message
        caplog.clear()


class Followed:
    """Certificates, and what was told of them."""

    def __init__(self, tls: TlsFiles) -> None:
        self.told: list[str] = []
        self.certificates = Certificates(tls, self.told.append)

    def look(self) -> str:
        self.certificates.look()
        return self.certificates.current.subject


def move(pair: Pair, onto: Pair) -> None:
    pair.certificate.replace(onto.certificate)
    pair.key.replace(onto.key)


def test_changed_files_are_taken_and_unchanged_ones_are_not_read(
    authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(files(pair))
    before = followed.certificates.current
    assert followed.look() == "CN=server"
    assert followed.certificates.current is before
    move(authority.issue("next"), pair)
    assert followed.look() == "CN=next"
    assert followed.told == ["replaced"]
    pair.key.touch()  # the same bytes again
    before = followed.certificates.current
    assert followed.look() == "CN=next"
    assert followed.certificates.current is before
    assert followed.told == ["replaced"]


def test_a_pair_that_is_half_written_leaves_the_old_one_until_it_is_whole(
    authority: Authority, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    followed, new = Followed(files(pair)), authority.issue("next")
    new.certificate.replace(pair.certificate)
    for _ in range(3):  # tried at each look, told of once
        assert followed.look() == "CN=server"
    assert followed.told == ["failed"]
    said = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert len(said) == 1
    assert "the last good ones go on: settings 'tls_cert' and 'tls_key'" in said[0]
    new.key.replace(pair.key)
    assert followed.look() == "CN=next"
    assert followed.told == ["failed", "replaced"]


def test_a_swapped_link_of_kubernetes_is_a_change(authority: Authority, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    for name in ("first", "second"):
        pair = authority.issue("tls", subject=name, folder=volume / f"..{name}")
        pair.certificate.rename(pair.certificate.with_name("tls.crt"))
    (volume / "..data").symlink_to("..first")
    for name in ("tls.crt", "tls.key"):
        (volume / name).symlink_to(Path("..data") / name)
    followed = Followed(TlsFiles(volume / "tls.crt", volume / "tls.key"))
    assert followed.look() == "CN=first"
    (volume / "..data_tmp").symlink_to("..second")
    (volume / "..data_tmp").replace(volume / "..data")
    assert followed.look() == "CN=second"


def test_a_file_that_is_gone_leaves_what_was_there(pair: Pair) -> None:
    followed = Followed(files(pair))
    data = pair.key.read_bytes()
    pair.key.unlink()
    assert followed.look() == "CN=server"
    assert followed.told == ["failed"]
    pair.key.write_bytes(data)
    assert followed.look() == "CN=server"
    assert followed.told == ["failed"]


def test_a_fault_that_is_over_is_told_again_when_it_comes_back(pair: Pair) -> None:
    followed, kept = Followed(files(pair)), pair.key.with_suffix(".kept")
    kept.hardlink_to(pair.key)
    for number in (1, 2):
        pair.key.unlink()
        followed.look()
        assert followed.told == ["failed"] * number
        pair.key.hardlink_to(kept)  # the very file that was there
        followed.look()


def test_an_expired_certificate_replaces_none_that_is_valid(
    authority: Authority, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(files(pair))
    move(authority.issue("old", from_days=-9, days=-2), pair)
    assert followed.look() == "CN=server"
    assert "the new certificate has expired on" in caplog.text
    move(authority.issue("next"), pair)
    assert followed.look() == "CN=next"


def test_sighup_has_files_read_whose_stamps_did_not_change(
    authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_serve.process.certificates.file_stamp", lambda path: None)
    followed = Followed(files(pair))
    move(authority.issue("next"), pair)
    assert followed.look() == "CN=server"
    followed.certificates.ask()
    assert followed.look() == "CN=next"


def test_changed_authorities_are_taken(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    followed = Followed(files(pair, authority.path))
    other = Authority(tmp_path / "other", "other")
    other.path.replace(authority.path)
    followed.look()
    assert followed.told == ["replaced"]
    (held,) = followed.certificates.current.context.get_ca_certs()
    assert held["subject"] == ((("commonName", "other"),),)


def test_the_audit_log_records_reloads(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with recording(path):
        followed, new = Followed(files(pair)), authority.issue("next")
        new.certificate.replace(pair.certificate)
        followed.look()
        new.key.replace(pair.key)
        followed.look()
    assert follow_chain([path]).fault == ""
    said = [json.loads(line) for line in path.read_text().splitlines()][1:-1]
    assert [(each["event"], each["result"]) for each in said] == [
        ("certificate", "failed"),
        ("certificate", "replaced"),
    ]
    assert said[1]["subject"] == "CN=next"
    assert len(said[1]["sha256"]) == 64


def test_the_thread_follows_the_files(
    authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seatrial_serve.process.certificates.POLL_S", 0.01)
    followed = Followed(files(pair))
    followed.certificates.start()
    try:
        move(authority.issue("next"), pair)
        while "replaced" not in followed.told:  # pytest-timeout bounds it
            pass
        assert followed.certificates.current.subject == "CN=next"
    finally:
        followed.certificates.close()


def test_the_names_of_a_client_cannot_be_confused(authority: Authority) -> None:
    names = [
        x509.DNSName("a.example.org"),
        x509.RFC822Name("a@example.org"),
        x509.UniformResourceIdentifier("spiffe://example.org/a"),
    ]
    pair = authority.issue("client", subject="dns:a.example.org", alternative=names)
    pem = pair.certificate.read_bytes()
    want = (
        "uri:spiffe://example.org/a",
        "dns:a.example.org",
        "email:a@example.org",
        "cn:dns:a.example.org",
    )
    assert peer_of(pem).names == want
    assert peer_of(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).names == want
    plain = authority.issue("plain", alternative=())
    assert peer_of(plain.certificate.read_bytes()).names == ("cn:plain",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_cert": "a"}, "its key as well: --tls-key FILE"),
        ({"tls_key": "a"}, "its certificate as well: --tls-cert FILE"),
        ({"tls_client_ca": "a"}, "the server's own certificate as well"),
        ({"tls_clients": "optional"}, "authorities as well: --tls-client-ca FILE"),
    ],
)
def test_settings_of_tls_that_say_half_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        load_settings(**given)
