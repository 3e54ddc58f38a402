"""Encrypting a sealed bundle for recipients, by age."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from seatrial_contracts.bundle import (
    MANIFEST,
    Bundle,
    sync_folder,
    write_synced,
)
from seatrial_contracts.decrypt import MemoryFile
from seatrial_contracts.encryption import (
    Ciphertext,
    Encryption,
    encrypted_name,
)
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.identities import AGE_SECRET, age_library
from seatrial_contracts.manifest import DATA_SUFFIX, ENCRYPTION
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_contracts.signature_files import read_signatures, signature_name

MAX_RECIPIENTS_BYTES = 2**20
MOST_RECIPIENTS = 256
"""Their stanzas fit into `MAX_HEADER_BYTES`, those of SSH keys of 4,096 bits too."""
WANT = "age1..., an SSH public key (ssh-ed25519, ssh-rsa), or a file of them"


class _Hashed:
    """A file that is written, and its digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._size = file, hashlib.sha256(), 0
        self.fault: BaseException | None = None
        """What ended the writing.

        pyrage 1.4.0 raises an `EncryptError` in the place of it, and nothing at the last chunk.
        """

    def write(self, data: bytes) -> int:
        """Write all of it. Raises `OSError`."""
        try:
            self._digest.update(data)
            self._size += len(data)
            return self._file.write(data)
        except BaseException as error:  # whatever ends it: Ctrl-C too
            self.fault = error
            raise

    def flush(self) -> None:
        """Pass it on."""
        self._file.flush()

    @property
    def ciphertext(self) -> Ciphertext:
        """What was written."""
        return Ciphertext(sha256=self._digest.hexdigest(), size=self._size)


def read_recipients(texts: Sequence[str]) -> list[Any]:
    """Recipients, as pyrage has them, of texts that each name one, or a file of them.

    A file has a recipient a line, and comments after '#', as `age -R` takes it. Raises
    `DeclarationError`.
    """
    found: list[Any] = []
    for text in texts:
        recipient = parse_recipient(text)
        found += recipients_of(Path(text)) if recipient is None else [recipient]
    if not 0 < len(found) <= MOST_RECIPIENTS:
        raise DeclarationError("--to", f"{len(found)} recipients", f"1 to {MOST_RECIPIENTS}")
    return found


def recipients_of(path: Path) -> Iterator[Any]:
    """Those in a file. Raises `DeclarationError`, never with a secret key."""
    where = f"--to, file '{path}'" if AGE_SECRET not in str(path) else "--to"
    try:
        lines = read_plain_file(path, MAX_RECIPIENTS_BYTES, follow_links=True).splitlines()
    except (OSError, NotPlainFile) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise DeclarationError(where, f"no recipient, and no file ({got})", WANT) from None
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "replace").strip()
        if not text or text.startswith("#"):
            continue
        recipient = parse_recipient(text)
        if recipient is None:
            got = "a secret key" if text.startswith(AGE_SECRET) else "something else"
            raise DeclarationError(f"{where}, line {number}", got, "a recipient")
        yield recipient


def parse_recipient(text: str) -> Any:
    """A recipient; None for a text that is none."""
    pyrage = age_library()
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text.strip())
    except pyrage.RecipientError:
        return None


def encrypt_bundle(bundle: Bundle, recipients: Sequence[Any], folder: Path) -> Path:
    """Write an encrypted bundle as `folder`/name/version, and return that place.

    Every sealed file is encrypted to each of the recipients, and verified as it is read. The
    manifest and the signature beside it go along as they are; receipts stay where they are. The
    bundle appears by one rename. Raises `BundleError`.
    """
    target = folder / bundle.name / bundle.version
    if target.exists() or target.is_symlink():
        mend = "encrypt into another folder, or remove this one"
        got = f"a folder '{target}' already"
        raise BundleError("E_BUNDLE_EXISTS", bundle.shown, got, "none", mend)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{bundle.version}.", dir=target.parent))
        try:
            _write(bundle, recipients, temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        got, want = error.strerror or "an error", "a writable folder with room"
        where = f"writing {bundle.shown}"
        raise BundleError("E_BUNDLE_WRITE", where, got, want) from error
    return target


def _write(bundle: Bundle, recipients: Sequence[Any], into: Path) -> None:
    pyrage, files = age_library(), dict[str, Ciphertext]()
    for name in bundle.manifest.files:
        stored = encrypted_name(name)
        path = into / stored
        path.parent.mkdir(parents=True, exist_ok=True)
        with _plain(bundle, name) as plain, path.open("xb") as file:
            hashed = _Hashed(file)
            try:
                pyrage.encrypt_io(plain, hashed, recipients)
            finally:
                if hashed.fault is not None:
                    raise hashed.fault from None
            file.flush()
            os.fsync(file.fileno())
        files[stored] = hashed.ciphertext
    encryption = Encryption(schema=1, digest=bundle.digest, files=files)
    write_synced(into / ENCRYPTION, encryption.to_json())
    for number, signature in enumerate(read_signatures(bundle.path), 1):
        write_synced(into / signature_name(number), signature)
    write_synced(into / MANIFEST, bundle.manifest.to_json())
    for each in (*(path for path in into.rglob("*") if path.is_dir()), into):
        sync_folder(each)


@contextmanager
def _plain(bundle: Bundle, name: str) -> Iterator[Any]:
    """What reads a sealed file. Raises `BundleError` where it is not as it was sealed."""
    if name not in bundle.data:
        yield io.BytesIO(bundle.files[name])
        return
    graph = name.removesuffix(DATA_SUFFIX)
    weights = bundle.weights(graph)
    if isinstance(weights, MemoryFile):
        yield weights.memory
    else:
        with cast("Path", weights).open("rb") as file:
            yield file
