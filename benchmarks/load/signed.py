"""What checking a signature adds to opening a bundle of 100 MB, beside hashing it once.

    python benchmarks/load/signed.py [--turns 21]

In one process, in turns: hashing the bundle's files, opening the bundle, which hashes them too, and
opening it with the policy read and its signature checked first, as `serve --require-signature`
does at each load. Milliseconds of the clock and of the processor, medians.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pull import CHUNK_BYTES, make_bundle

from seatrial_contracts.bundle import open_bundle
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.policy import read_policy
from seatrial_serve.trust.signing import read_signing_key, sign_bundle


def make_keys(folder: Path) -> tuple[Path, Path]:
    """A private key and its public one, P-256, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def hashed(bundle: Path) -> None:
    """Hash each file of the bundle once."""
    for file in sorted(each for each in bundle.rglob("*") if each.is_file()):
        digest = hashlib.sha256()
        with file.open("rb") as read:
            while chunk := read.read(CHUNK_BYTES):
                digest.update(chunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=21)
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_bundle(folder / "bundles").path
        private, public = make_keys(folder)
        sign_bundle(bundle, read_signing_key(private))

        def checked() -> None:
            check_signature(bundle, read_policy(public))
            open_bundle(bundle)

        ways: dict[str, Callable[[], object]] = {
            "hashing once": lambda: hashed(bundle),
            "opening": lambda: open_bundle(bundle),
            "checking and opening": checked,
        }
        seen: dict[str, list[tuple[float, float]]] = {each: [] for each in ways}
        for turn in range(turns + 1):
            for each, way in ways.items():
                begun, cpu = time.perf_counter(), time.process_time()
                way()
                spent = (time.perf_counter() - begun) * 1e3, (time.process_time() - cpu) * 1e3
                seen[each] += [spent] if turn else []  # the first fills caches
    for each, times in seen.items():
        clock, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{each}: {clock:.1f} ms, {cpu:.1f} ms of processor")


if __name__ == "__main__":
    main()
