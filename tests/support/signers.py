"""Keys and certificates of signers, as openssl makes them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

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
