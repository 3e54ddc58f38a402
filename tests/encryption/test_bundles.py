"""Encrypted bundles: the same bundle for whoever has a key, and nothing for anybody else."""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyrage
import pytest
from support.encrypted import DATA, GRAPH, KNOWN, Key, encrypted, make_identity, seal, weights_of

import seatrial as st
from seatrial_contracts import decrypt, encrypt, shards
from seatrial_contracts.bundle import CONTRACT, MANIFEST, open_plain_bundle, verify_stored
from seatrial_contracts.canonical import canonical_json, sha256
from seatrial_contracts.decrypt import MemoryFile
from seatrial_contracts.encrypt import encrypt_bundle, read_recipients
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.identities import Identities
from seatrial_contracts.manifest import ENCRYPTION
from seatrial_serve.inference.engine import load_engine
from seatrial_serve.inference.kept_receipt import receipt_facts
from seatrial_serve.inference.load_gate import LoadGate, pass_load_gate
from seatrial_serve.runtimes.runtime import RuntimeOptions

AGE = shutil.which("age")
needs_age = pytest.mark.skipif(AGE is None, reason="no age here: apt-get install age (make judges)")


def code_of(path: Path, identities: Identities | None = None) -> str:
    with pytest.raises(BundleError) as caught:
        st.open_bundle(path, identities)
    return caught.value.code


def test_it_is_the_plain_bundle_for_whoever_has_a_key(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    plain, opened = st.open_bundle(tmp_path / "bundles-plain/net/1.0.0"), None
    opened = st.open_bundle(path, key.identities)
    assert opened.digest == plain.digest
    assert (path / MANIFEST).read_bytes() == (plain.path / MANIFEST).read_bytes()
    assert dict(opened.files) == dict(plain.files)
    assert opened.golden.rows == plain.golden.rows
    weights = opened.weights(GRAPH)
    assert isinstance(weights, MemoryFile)
    assert weights.memory[:] == plain.data[DATA].read_bytes()
    on_disk = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert on_disk == {MANIFEST, ENCRYPTION, *(f"{name}.age" for name in plain.manifest.files)}


def test_its_engine_answers_as_the_plain_one_and_reads_no_plain_file(
    tmp_path: Path, key: Key
) -> None:
    path = encrypted(tmp_path / "bundles", key)
    shutil.rmtree(tmp_path / "bundles-plain")
    bundle = st.open_bundle(path, key.identities)
    engine = load_engine(bundle, RuntimeOptions(cache=tmp_path / "graphs"))
    (answer,) = engine.answer([{"x": [1.0] * 64}])
    np.testing.assert_allclose(answer["y"], weights_of(64).sum(0), rtol=1e-4, atol=1e-4)
    assert pass_load_gate(engine).worst_error < 1
    assert not (tmp_path / "graphs").exists()
    assert receipt_facts(engine, RuntimeOptions()) is None


def test_weights_that_nobody_took_are_given_back(tmp_path: Path, key: Key) -> None:
    def mapped() -> int:
        sizes = re.findall(r"(?m)^Size: +(\d+) kB$", Path("/proc/self/smaps").read_text())
        return sizes.count("1024")

    path = encrypted(tmp_path / "bundles", key, width=512)
    before = mapped()
    bundle = st.open_bundle(path, key.identities)
    assert mapped() == before + 1
    bundle.let_go()
    assert mapped() == before
    assert bundle.weights(GRAPH) is not None, "decrypted anew"


def test_weights_are_hashed_by_gigabyte_as_plain_ones_are(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 5_000)
    path = encrypted(tmp_path / "bundles", key)
    bundle = st.open_bundle(path, key.identities)
    assert len(bundle.manifest.files[DATA].shards) == 4
    other = pyrage.encrypt(b"\1" * bundle.manifest.files[DATA].size, [key.to])
    replace(path, f"{DATA}.age", other)
    with pytest.raises(BundleError, match=f"{DATA}:0:5000"):
        st.open_bundle(path, key.identities)


def replace(path: Path, stored: str, data: bytes) -> None:
    """Put other bytes in the place of a file, as whoever may write there can: the record too."""
    (path / stored).write_bytes(data)
    record = json.loads((path / ENCRYPTION).read_bytes())
    record["files"][stored] = {"sha256": sha256(data), "size": len(data)}
    (path / ENCRYPTION).write_bytes(canonical_json(record))


def flipped(at: Callable[[bytes], int]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / f"{GRAPH}.age"
        data = bytearray(file.read_bytes())
        data[at(bytes(data))] ^= 1
        file.write_bytes(data)

    return change


def another_key(path: Path) -> None:
    """Another letter of base64 in the file's recipient."""
    file = path / f"{GRAPH}.age"
    data = bytearray(file.read_bytes())
    at = data.index(b"X25519") + 10
    data[at] = ord("C" if data[at] == ord("B") else "B")
    file.write_bytes(data)


def swapped(path: Path) -> None:
    replace(path, "profile.json.age", (path / "contract.json.age").read_bytes())


def plain_inside(path: Path) -> None:
    plain = path.parents[2] / "bundles-plain/net/1.0.0" / GRAPH
    replace(path, f"{GRAPH}.age", plain.read_bytes() + bytes(200))


def plain_beside(path: Path) -> None:
    (path / f"{GRAPH}.age").unlink()
    shutil.copy(path.parents[2] / "bundles-plain/net/1.0.0" / GRAPH, path / GRAPH)


def longer(path: Path) -> None:
    plain = (path.parents[2] / "bundles-plain/net/1.0.0" / GRAPH).read_bytes()
    key = pyrage.x25519.Identity.from_str(
        (path.parents[2] / "keys/key.txt").read_text().split()[-1]
    )
    replace(path, f"{GRAPH}.age", pyrage.encrypt(plain + b"more", [key.to_public()]))


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    record = json.loads((path / ENCRYPTION).read_bytes())
    change(record)
    (path / ENCRYPTION).write_bytes(canonical_json(record))


def linked(path: Path) -> None:
    (path / ENCRYPTION).rename(path.parent / "record")
    (path / ENCRYPTION).symlink_to(path.parent / "record")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (flipped(lambda data: len(data) - 5), "E_BUNDLE_CHANGED"),
        (flipped(lambda data: data.index(b"\n---") + 8), "E_BUNDLE_CHANGED"),
        (another_key, "E_BUNDLE_ENCRYPTED"),
        (flipped(lambda data: 3), "E_BUNDLE_CHANGED"),
        (lambda path: os_truncate(path / f"{GRAPH}.age", 20), "E_BUNDLE_CHANGED"),
        (lambda path: os_truncate(path / f"{DATA}.age", 20), "E_BUNDLE_CHANGED"),
        (swapped, "E_BUNDLE_CHANGED"),
        (plain_inside, "E_BUNDLE_CHANGED"),
        (plain_beside, "E_BUNDLE_EXTRA"),
        (longer, "E_BUNDLE_CHANGED"),
        (lambda path: (path / "extra.age").write_bytes(b""), "E_BUNDLE_EXTRA"),
        (lambda path: (path / ENCRYPTION).unlink(), "E_BUNDLE_EXTRA"),
        (linked, "E_BUNDLE_ENCRYPTION"),
        (lambda path: (path / ENCRYPTION).write_bytes(b"{}"), "E_BUNDLE_ENCRYPTION"),
        (lambda path: edit(path, lambda said: said["files"].popitem()), "E_BUNDLE_ENCRYPTION"),  # type: ignore[attr-defined]
        (lambda path: edit(path, lambda said: said.update(digest="0" * 64)), "E_BUNDLE_ENCRYPTION"),
    ],
)  # fmt: skip
def test_what_was_changed_is_refused(
    change: Callable[[Path], None], code: str, tmp_path: Path, key: Key
) -> None:
    path = encrypted(tmp_path / "bundles", key)
    change(path)
    assert code_of(path, key.identities) == code


def test_no_random_change_of_a_file_is_opened(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    # The digests in the record are for those who copy: what is opened is compared decrypted.
    files = [*sorted(path.rglob("*.age")), path / MANIFEST]
    record = (path / ENCRYPTION).read_bytes()
    was, chance, codes = {file: file.read_bytes() for file in files}, random.Random(0), Counter()
    for _ in range(200):
        file, other = chance.sample(files, 2)
        data = bytearray(was[file])
        match chance.randrange(4):
            case 0:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 1:
                del data[chance.randrange(len(data)) :]
            case 2:
                data += bytes(chance.randrange(1, 40))
            case _:
                data = bytearray(was[other])
        file.write_bytes(data)
        if chance.random() < 0.5 and file.suffix == ".age":  # and the record is written anew
            replace(path, str(file.relative_to(path)), bytes(data))
        codes[code_of(path, key.identities)] += 1
        file.write_bytes(was[file])
        (path / ENCRYPTION).write_bytes(record)
    assert set(codes) <= {
        "E_BUNDLE_CHANGED", "E_BUNDLE_ENCRYPTED", "E_BUNDLE_ENCRYPTION", "E_BUNDLE_MANIFEST",
    }  # fmt: skip
    assert codes["E_BUNDLE_CHANGED"] > 50
    assert st.open_bundle(path, key.identities), "as it was"


def os_truncate(path: Path, less: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-less])


def test_without_a_key_the_refusal_names_recipients_and_mend(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    with pytest.raises(BundleError, match=r"X25519.*no identity.*--identity FILE") as caught:
        st.open_bundle(path)
    assert caught.value.code == "E_BUNDLE_ENCRYPTED"
    wrong = make_identity(tmp_path / "wrong")
    with pytest.raises(BundleError, match=r"X25519.*opens none of them.*--identity FILE"):
        st.open_bundle(path, wrong.identities)


def test_the_environment_names_an_identity(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encrypted(tmp_path / "bundles", key)
    monkeypatch.setenv("SEATRIAL_IDENTITY", str(key.file))
    assert st.open_bundle(path).encryption is not None
    monkeypatch.delenv("SEATRIAL_IDENTITY")
    monkeypatch.setenv("SEATRIAL_IDENTITY_COMMAND", f"cat '{key.file}'")
    assert st.open_bundle(path).golden.rows[0]["x"][0] == KNOWN


def test_a_replaced_key_is_read_where_the_old_one_opens_nothing(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    file = tmp_path / "replaced"
    make_identity(file)
    identities = Identities(file)
    assert code_of(path, identities) == "E_BUNDLE_ENCRYPTED"
    shutil.copy(key.file, file)
    assert st.open_bundle(path, identities)
    file.unlink()
    assert st.open_bundle(path, identities), "what was read is kept"


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "no identity"),
        ("# nothing\n", "no identity"),
        ("AGE-SECRET-KEY-1QQQ", "line 1: got a damaged key"),
        ("age1adda", "line 1: got something else"),
        ("AGE-PLUGIN-YUBIKEY-1ABC", "line 1: got something else"),
        ("age-encryption.org/v1\n-> scrypt", "encrypted itself"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx", "an SSH key"),
    ],
)
def test_what_is_no_identity_is_told_without_its_text(text: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(DeclarationError, match=got) as caught:
        _ = Identities(tmp_path / "file").keys
    assert "QQQ" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "got"),
    [
        ("false", "exit status 1"),
        ("true", "no identity"),
        ("no-such-program-here", "No such file"),
        ("echo 'open", "words that a shell could not split"),
        (" ", "an empty command"),
    ],
)
def test_a_command_that_writes_no_identity_is_told(command: str, got: str) -> None:
    with pytest.raises(DeclarationError, match=got):
        _ = Identities(command=command).keys
    with pytest.raises(DeclarationError, match="one of both"):
        Identities(Path("x"), "true")


def ssh_key(folder: Path, *options: str) -> Path:
    file = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", file, *options], check=True)
    return file


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")
def test_ssh_keys_are_recipients_and_identities(tmp_path: Path, key: Key) -> None:
    plain = seal(tmp_path / "plain")
    secret = ssh_key(tmp_path, "-t", "ed25519")
    public = secret.with_suffix(".pub")
    (tmp_path / "both").write_text(f"# ours\n{public.read_text()}\n{key.recipient}\n")
    found = read_recipients([str(tmp_path / "both")])
    path = encrypt_bundle(plain, found, tmp_path / "bundles")
    for file in (secret, key.file):
        assert st.open_bundle(path, Identities(file)).digest == plain.digest
    with pytest.raises(BundleError, match="ssh-ed25519, X25519"):
        st.open_bundle(path)
    assert len(read_recipients([public.read_text(), key.recipient])) == 2


@pytest.mark.parametrize("text", ["age1zzz", "ecdsa-sha2-nistp256 AAAA", "no/such/file"])
def test_what_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="no recipient, and no file"):
        read_recipients([text])


def test_a_secret_key_as_recipient_is_refused_and_not_shown(key: Key) -> None:
    secret = key.file.read_text().split()[-1]
    for given in (secret, str(key.file)):
        with pytest.raises(DeclarationError) as caught:
            read_recipients([given])
        assert secret not in str(caught.value)
    assert "a secret key" in str(caught.value)


def test_encrypting_anew_changes_recipients_alone(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    new = make_identity(tmp_path / "new")
    again = encrypt_bundle(st.open_bundle(path, key.identities), [new.to], tmp_path / "again")
    assert (
        st.open_bundle(again, new.identities).digest == st.open_bundle(path, key.identities).digest
    )
    assert code_of(again, key.identities) == "E_BUNDLE_ENCRYPTED"
    with pytest.raises(BundleError, match="remove this one"):
        encrypt_bundle(st.open_bundle(path, key.identities), [new.to], tmp_path / "again")


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", [CONTRACT, DATA], ids=["of one chunk", "of several"])
@pytest.mark.parametrize(
    ("ends", "raised"), [(FULL, BundleError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_what_ends_the_writing_of_a_file_is_told_and_leaves_nothing(
    name: str, ends: BaseException, raised: type[BaseException], tmp_path: Path, key: Key,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plain = seal(tmp_path / "plain", width=256)

    class Ended:
        def __init__(self, file: BinaryIO) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            if self._file.name.endswith(f"{name}.age"):
                raise ends
            return self._file.write(data)

    hashed = encrypt._Hashed
    monkeypatch.setattr(encrypt, "_Hashed", lambda file: hashed(cast("BinaryIO", Ended(file))))
    with pytest.raises(raised) as caught:
        encrypt_bundle(plain, [key.to], tmp_path / "bundles")
    if isinstance(caught.value, BundleError):
        assert caught.value.code == "E_BUNDLE_WRITE"
        assert "No space left on device" in str(caught.value)
    assert list((tmp_path / "bundles" / "net").iterdir()) == []


def test_whoever_would_write_it_in_plain_is_refused(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    bundle = st.open_bundle(path, key.identities)
    with pytest.raises(BundleError, match="a path to"):
        _ = bundle.data[DATA]
    with pytest.raises(BundleError, match="a repository"):
        bundle.refuse_encrypted("a repository")
    with pytest.raises(BundleError, match="since a repository holds its files in plain"):
        open_plain_bundle(path, "a repository")


def test_stored_bytes_are_verified_without_a_key(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    assert verify_stored(path).name == "net"
    flipped(lambda data: len(data) - 5)(path)
    with pytest.raises(BundleError, match="other bytes than were encrypted"):
        verify_stored(path)


def test_a_failed_load_gate_tells_no_answer(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    bundle = st.open_bundle(path, key.identities)
    engine = load_engine(bundle, RuntimeOptions())
    bundle.golden.answers[0]["y"][:] += 1e9
    gate = LoadGate(engine)
    with pytest.raises(st.ModelError, match=r"sample 0, .* not shown") as caught:
        gate.run()
    assert "want" not in str(caught.value)


@needs_age
def test_age_itself_decrypts_what_is_encrypted_here(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    plain = tmp_path / "bundles-plain/net/1.0.0"
    for name in st.open_bundle(plain).manifest.files:
        said = subprocess.run(
            ["age", "--decrypt", "-i", key.file, path / f"{name}.age"], capture_output=True,
            check=True,
        )  # fmt: skip
        assert said.stdout == (plain / name).read_bytes()


@needs_age
def test_what_age_itself_encrypted_is_read_here(tmp_path: Path, key: Key) -> None:
    path = encrypted(tmp_path / "bundles", key)
    plain = tmp_path / "bundles-plain/net/1.0.0"
    for name in st.open_bundle(plain).manifest.files:
        stored = path / f"{name}.age"
        subprocess.run(
            ["age", "--encrypt", "-r", key.recipient, "-o", stored, plain / name], check=True
        )
        replace(path, f"{name}.age", stored.read_bytes())
    assert st.open_bundle(path, key.identities).weights(GRAPH) is not None


def test_memory_of_weights_is_kept_out_of_core_dumps(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decrypt, "DONT_DUMP", mmap.MADV_DONTDUMP)
    weights = st.open_bundle(encrypted(tmp_path / "bundles", key), key.identities).weights(GRAPH)
    assert isinstance(weights, MemoryFile)
    size, address = len(weights.memory), np.frombuffer(weights.memory, np.uint8).ctypes.data
    flags = []
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, end = (int(part, 16) for part in first.split("-"))
            inside = start <= address < end
        elif line.startswith("VmFlags") and inside:
            flags = line.split()[1:]
    assert size
    assert "dd" in flags


CHILD = """
import resource, sys
from pathlib import Path
from seatrial_contracts.identities import Identities
before = Path("/proc/self/maps").stat().st_uid, resource.getrlimit(resource.RLIMIT_CORE)
assert Identities(Path(sys.argv[1])).keys
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_process_with_a_key_leaves_no_core_dump(key: Key) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, key.file], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "0"], "PR_GET_DUMPABLE and the limit"
