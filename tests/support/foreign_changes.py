"""Signed bundles that somebody without the key changed: one generator for each kind of change.

Each kind says which codes may refuse it. `SIGNED` are changes that even the signer's key does not
help: their manifest is signed rightly.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from seatrial_contracts.bundle import MANIFEST, SIGNATURE_FILE
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.manifest import ENCRYPTION
from seatrial_contracts.receipt import Receipt, Trial, now, this_machine
from seatrial_serve.trust.signing import read_signing_key, sign_receipt
from seatrial_serve.trust.statement import BESIDE, make_statement
from support.signers import Keys

SCHEMA = re.compile(rb'("schema": ?)1')


class Stock(NamedTuple):
    """What somebody may have who changes bundles."""

    sealed: Path
    """The signed bundle that is changed."""
    another: Path
    """Another one of the same signer, with other bytes in files of the same names."""
    signer: Keys
    stranger: Keys


Change = Callable[[Path, Stock, random.Random], None]
"""Changes a copy of `Stock.sealed`."""


class Kind(NamedTuple):
    """A kind of change, and the codes that may refuse it."""

    change: Change
    codes: frozenset[str]


def names_of(folder: Path) -> list[str]:
    """The files of a bundle, manifest and signature among them, but empty ones."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def sealed_names(folder: Path) -> list[str]:
    """Those that the manifest names, as they lie there."""
    beside = (MANIFEST, SIGNATURE_FILE, ENCRYPTION)
    return [each for each in names_of(folder) if each not in beside]


def contents(folder: Path) -> dict[Path, bytes | None]:
    """What lies in a bundle's folder, by path; None of a folder, a link."""
    return {
        path.relative_to(folder): path.read_bytes()
        if path.is_file() and not path.is_symlink()
        else None
        for path in folder.rglob("*")
    }


def cut(folder: Path, name: str, chance: random.Random) -> None:
    """Leave a part of a file."""
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def flip(folder: Path, name: str, chance: random.Random) -> None:
    """Flip one bit of a file; of a signature within what is claimed, not in the text around it."""
    path = folder / name
    data = bytearray(path.read_bytes())
    start, most = 0, len(data)
    if name == SIGNATURE_FILE:
        start, most = data.index(b'"payload":"') + 11, 200
    data[start + chance.randrange(most)] ^= 1 << chance.randrange(7)
    path.write_bytes(data)


def rehash(folder: Path) -> None:
    """Let the manifest name what is there now; of an encrypted bundle, the record of ciphertexts.

    That record is not signed: the plain bytes are what the manifest names.
    """
    path = folder / (ENCRYPTION if (folder / ENCRYPTION).exists() else MANIFEST)
    said = json.loads(path.read_bytes())
    for name in said["files"]:
        data = (folder / name).read_bytes()
        said["files"][name] |= {"sha256": sha256(data), "size": len(data)}
    path.write_bytes(canonical_json(said))


def sign_anyway(folder: Path, keys: Keys) -> None:
    """Sign what is there, whatever it is: `sign_bundle` verifies it first."""
    names = [name for name in names_of(folder) if name not in BESIDE]
    digests = {name: sha256((folder / name).read_bytes()) for name in names}
    payload = make_statement(folder.name, digests, BESIDE)
    (folder / SIGNATURE_FILE).write_bytes(read_signing_key(keys.private).signature(payload))


def cut_a_file(folder: Path, _: Stock, chance: random.Random) -> None:
    cut(folder, chance.choice(names_of(folder)), chance)


def flip_a_bit(folder: Path, _: Stock, chance: random.Random) -> None:
    flip(folder, chance.choice(flipped_names(folder)), chance)


def flipped_names(folder: Path) -> list[str]:
    """The files in which each bit counts.

    Digests of ciphertexts are for whoever copies them: a server compares the plain bytes.
    """
    return [each for each in names_of(folder) if each != ENCRYPTION]


def swap(folder: Path, stock: Stock, chance: random.Random) -> None:
    """A file, or all of them, out of another signed bundle."""
    theirs = {name: (stock.another / name).read_bytes() for name in names_of(stock.another)}
    differ = [
        name for name in names_of(folder)
        if name != SIGNATURE_FILE and theirs.get(name) not in (None, (folder / name).read_bytes())
    ]  # fmt: skip
    if chance.random() < 0.2:
        shutil.rmtree(folder)
        shutil.copytree(stock.another, folder)
        return
    name = chance.choice(differ)
    (folder / name).write_bytes(theirs[name])


def hash_anew(folder: Path, _: Stock, chance: random.Random) -> None:
    flip(folder, chance.choice(sealed_names(folder)), chance)
    rehash(folder)


def sign_by_another(folder: Path, stock: Stock, chance: random.Random) -> None:
    if chance.random() < 0.7:
        flip(folder, chance.choice(sealed_names(folder)), chance)
        rehash(folder)
    sign_anyway(folder, stock.stranger)


def take_another_signature(folder: Path, stock: Stock, chance: random.Random) -> None:
    if chance.random() < 0.5:
        flip(folder, chance.choice(sealed_names(folder)), chance)
    shutil.copy(stock.another / SIGNATURE_FILE, folder)


def unsign(folder: Path, _: Stock, chance: random.Random) -> None:
    if chance.random() < 0.5:
        flip(folder, chance.choice(sealed_names(folder)), chance)
        rehash(folder)
    (folder / SIGNATURE_FILE).unlink()


def name_twice(folder: Path, _: Stock, chance: random.Random) -> None:
    """A sealed file's name twice in the manifest; readers of JSON keep the last one."""
    path, name = folder / MANIFEST, chance.choice(sealed_names(folder))
    name = name.removesuffix(".age")
    digest = "".join(chance.choices("0123456789abcdef", k=64))
    entry = f'"{name}":{{"sha256":"{digest}","size":1}},'.encode()
    data = path.read_bytes()
    start = data.index(b'"files":{') + 9
    path.write_bytes(data[:start] + entry + data[start:])


def change_case(folder: Path, _: Stock, chance: random.Random) -> None:
    path = folder / chance.choice(names_of(folder))
    path.rename(path.with_name(path.name.swapcase()))


def link(folder: Path, _: Stock, chance: random.Random) -> None:
    """A link to the same bytes in the place of a file or a folder."""
    places = [path for path in sorted(folder.rglob("*")) if path.name != SIGNATURE_FILE]
    path = chance.choice(places)
    away = folder.parent.parent.parent / "away" / f"{chance.randrange(2**40):x}"
    away.parent.mkdir(exist_ok=True)
    path.symlink_to(path.rename(away))


def add(folder: Path, _: Stock, chance: random.Random) -> None:
    name = chance.choice(["a.bin", "graphs/b.onnx", ".hidden", "golden/more.json"])
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")


def make_older(folder: Path, _: Stock, chance: random.Random) -> None:
    """A manifest or a contract of a schema before ours."""
    names = [MANIFEST, *(["contract.json"] if (folder / "contract.json").exists() else [])]
    path = folder / chance.choice(names)
    path.write_bytes(SCHEMA.sub(rb"\g<1>0", path.read_bytes(), count=1))
    if path.name != MANIFEST:
        rehash(folder)


def lie(folder: Path, stock: Stock, chance: random.Random) -> None:
    """Changed bytes, and receipts that say of them that all trials were passed."""
    flip(folder, chance.choice(sealed_names(folder)), chance)
    if chance.random() < 0.5:
        rehash(folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    trial = Trial(runner="http", variant="fp32", rows=9, worst_error=0.0, allowed=1.0, passed=True)
    receipt = Receipt(
        schema=1, digest=sha256((folder / MANIFEST).read_bytes()), name=manifest["name"],
        version=manifest["version"], made_at=now(), machine=this_machine({}), trials=(trial,),
    )  # fmt: skip
    sign_receipt(receipt.write(folder), read_signing_key(stock.stranger.private))


def signed(change: Change) -> Change:
    """The change, with a signature of the signer over what it left."""

    def apply(folder: Path, stock: Stock, chance: random.Random) -> None:
        change(folder, stock, chance)
        sign_anyway(folder, stock.signer)

    return apply


def codes(*names: str) -> frozenset[str]:
    return frozenset(f"E_{name}" for name in names)


CHANGED = codes("SIGNATURE", "BUNDLE_CHANGED")
KINDS: dict[str, Kind] = {
    "cut": Kind(cut_a_file, CHANGED),
    "bit-flipped": Kind(flip_a_bit, CHANGED),
    "swapped between two signed bundles": Kind(swap, CHANGED | codes("BUNDLE_NAME")),
    "manifest hashed anew": Kind(hash_anew, codes("SIGNATURE")),
    "re-signed by another key": Kind(sign_by_another, codes("SIGNER")),
    "signature of another bundle": Kind(take_another_signature, codes("SIGNATURE")),
    "unsigned": Kind(unsign, codes("UNSIGNED")),
    "duplicate names": Kind(name_twice, codes("SIGNATURE")),
    "case-changed names": Kind(
        change_case, codes("BUNDLE_EXTRA", "BUNDLE_MISSING", "UNSIGNED", "SIGNATURE")
    ),
    "symlink": Kind(link, codes("BUNDLE_LINK", "BUNDLE_MANIFEST")),
    "extra unsigned file": Kind(add, codes("BUNDLE_EXTRA")),
    "older schema": Kind(make_older, codes("SIGNATURE")),
    "receipts that lie": Kind(lie, CHANGED),
}
"""What whoever may write to the folder can do."""
SIGNED: dict[str, Kind] = {
    "duplicate names, signed": Kind(signed(name_twice), codes("BUNDLE_MANIFEST", "SIGNATURE")),
    "older schema, signed": Kind(signed(make_older), codes("BUNDLE_MANIFEST", "BUNDLE_CONTRACT")),
    "extra file, signed": Kind(signed(add), codes("SIGNATURE", "BUNDLE_EXTRA")),
    "cut, signed": Kind(
        signed(lambda folder, _, chance: cut(folder, chance.choice(sealed_names(folder)), chance)),
        codes("SIGNATURE", "BUNDLE_CHANGED"),
    ),
}


def changed_copies(
    stock: Stock, place: Path, count: int, seed: int = 0
) -> Iterator[tuple[str, Kind]]:
    """Lay `count` changed copies of each kind at a place, one after another.

    Beside these, each file is cut once and has a bit flipped once, with manifest and signature as
    they were.
    """
    chance, whole = random.Random(seed), contents(stock.sealed)

    def laid(name: str, kind: Kind) -> Iterator[tuple[str, Kind]]:
        shutil.copytree(stock.sealed, place)
        kind.change(place, stock, chance)
        assert contents(place) != whole, name
        yield name, kind
        shutil.rmtree(place)

    for change, name, list_files in (
        (cut, "cut", names_of),
        (flip, "bit-flipped", flipped_names),
    ):
        for file in list_files(stock.sealed):

            def apply(folder: Path, _: Stock, chance: random.Random, do=change, at=file) -> None:
                do(folder, at, chance)

            yield from laid(name, Kind(apply, KINDS[name].codes))
    for name, kind in {**KINDS, **SIGNED}.items():
        for _ in range(count):
            yield from laid(name, kind)
