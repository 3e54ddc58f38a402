"""What an address is, and what of it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from seatrial_contracts.errors import DeclarationError
from seatrial_serve.stores.address import Folder, InRegistry, InStore, is_loopback, read_address

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("bundles/churn/1.0.0", Folder(Path("bundles/churn/1.0.0"))),
        ("file:///srv/my%20bundles", Folder(Path("/srv/my bundles"))),
        ("oci://ghcr.io/team/churn:1.0.0", InRegistry("ghcr.io", "team/churn", "1.0.0", None)),
        (f"oci://localhost/churn@{DIGEST}", InRegistry("localhost", "churn", None, DIGEST)),
        ("oci://[::1]:5000/a/b_c:x", InRegistry("[::1]:5000", "a/b_c", "x", None)),
        (f"oci://r.io:5000/a:1@{DIGEST}", InRegistry("r.io:5000", "a", "1", DIGEST)),
        ("s3://bucket/models/", InStore("s3", "s3://bucket/models")),
        ("http://127.0.0.1:8000/x", InStore("http", "http://127.0.0.1:8000/x")),
    ],
)
def test_an_address_is_read(text: str, address: object) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oci://ghcr.io/team/churn", "neither tag nor digest"),
        ("oci://churn:1.0.0", "no reference"),
        ("oci://team/churn:1.0.0", "no reference with its registry's host"),
        ("oci://ghcr.io/Team/churn:1", "no reference"),
        ("oci://ghcr.io/churn@sha256:12", "no reference"),
        ("ftp://host/x", "the scheme ftp://"),
        ("https://host/x?sig=secret", "a query"),
        ("http://example.org/x", "plain HTTP"),
        ("file://elsewhere/x", "a file of another machine"),
        (f"s3://{'a' * 3000}", "3005 characters"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(text: str, says: str) -> None:
    with pytest.raises(DeclarationError, match=says) as refused:
        read_address(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["https://me:pass@host/b", "https://me:p@ss@host/b", "s3://key:pass@bucket/b"]
)
def test_name_and_password_are_never_shown(text: str) -> None:
    shown = read_address(text).shown
    assert not any(secret in shown for secret in ("pass", "p@ss", "me"))
    with pytest.raises(DeclarationError) as refused:
        read_address("oci://me:pass@ghcr.io/churn")
    assert "pass" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("127.0.0.1:5000", True), ("localhost", True), ("[::1]:5000", True), ("::1", True),
        ("127.0.0.1.example.org", False), ("ghcr.io", False), ("10.0.0.1:5000", False),
    ],
)  # fmt: skip
def test_only_the_loopback_is_reached_without_tls(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one
