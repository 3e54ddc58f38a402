"""A bundle: a sealed folder, written whole or not at all, and opened only when every byte is as it was sealed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from seatrial_contracts.canonical import sha256
from seatrial_contracts.contract import Contract
from seatrial_contracts.errors import BundleError
from seatrial_contracts.golden import ANSWERS, GOLDEN, HELD_OUT, ROWS, Golden
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.manifest import Manifest, SealedFile
from seatrial_contracts.profile import Profile
from seatrial_contracts.receipt import RECEIPTS_FOLDER, Receipt

MANIFEST, CONTRACT, PROFILE = "manifest.json", "contract.json", "profile.json"
MAX_MANIFEST_BYTES = 2**20
UNSEALED_SUFFIX = ".sig"
"""Signatures lie beside the manifest; they are about it, so it cannot hold their digests."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: the bytes here are the bytes that were checked; nothing is read from disk again."""

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self.manifest.version

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest."""
        return self.manifest.digest

    @property
    def size_bytes(self) -> int:
        """The sealed files together."""
        return sum(len(data) for data in self.files.values())

    @cached_property
    def contract(self) -> Contract:
        """The contract, rebuilt from its JSON alone."""
        try:
            return Contract.from_json(self.files[CONTRACT])
        except (ValidationError, ValueError):
            raise BundleError(
                "E_BUNDLE_CONTRACT", CONTRACT, "a contract that this seatrial cannot read", "schema 1"
            ) from None

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """What the model graph takes: the contract's tensors, with those that prepare takes replaced by those it makes."""
        prepare = self.manifest.prepare
        if prepare is None:
            return self.contract.tensors
        kept = tuple(spec for spec in self.contract.tensors if spec.name not in prepare.inputs)
        return kept + prepare.outputs

    @cached_property
    def golden(self) -> Golden:
        """The golden set."""
        return Golden.from_files(self.files, self.contract)

    @cached_property
    def held_out(self) -> Golden | None:
        """Rows that were not trained on, where the pipeline gave some: the trial asks them too, no server does."""
        if f"{HELD_OUT}/{ROWS}" not in self.files:
            return None
        return Golden.from_files(self.files, self.contract, HELD_OUT)

    @cached_property
    def slices(self) -> frozenset[str]:
        """The names of all slices that its rows belong to."""
        sets = (self.golden, self.held_out)
        return frozenset(name for rows in sets if rows is not None for names in rows.slices for name in names)

    @cached_property
    def profile(self) -> Profile:
        """How the reference rows are spread."""
        try:
            return Profile.from_json(self.files[PROFILE])
        except (ValidationError, ValueError):
            raise BundleError(
                "E_BUNDLE_PROFILE", PROFILE, "a profile that this seatrial cannot read", "schema 1"
            ) from None

    def receipts(self) -> list[Receipt]:
        """The receipts beside the bundle that are about this digest, the oldest first. Raises `BundleError` for a file that is none."""
        found = map(read_receipt, (self.path / RECEIPTS_FOLDER).glob("*.json"))
        return sorted(
            (receipt for receipt in found if receipt.digest == self.digest), key=lambda receipt: receipt.made_at
        )


def read_receipt(file: Path) -> Receipt:
    """A receipt from its file. Raises `BundleError` where it is none."""
    try:
        return Receipt.model_validate_json(file.read_bytes())
    except ValidationError:
        got, mend = "a file that this seatrial cannot read", "remove it, and run seatrial parity again"
        raise BundleError("E_BUNDLE_RECEIPT", f"receipt '{file.name}'", got, "a receipt of schema 1", mend) from None


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Seal `files` as `folder`/name/version; `manifest.files` is filled in here. The bytes depend on the arguments alone.

    Writing is atomic: a temporary folder beside the target, every file and folder synced, one rename. A crash leaves the old
    bundle or none. A bundle of the same digest is left as it is; another one of the same version raises `BundleError`, since a
    sealed bundle never changes.
    """
    sealed = {name: SealedFile(sha256=sha256(data), size=len(data)) for name, data in sorted(files.items())}
    manifest = manifest.model_copy(update={"files": sealed})
    target = folder / manifest.name / manifest.version
    bundle = Bundle(target, manifest, dict(files))
    _ = bundle.contract, bundle.golden, bundle.held_out, bundle.profile
    if target.exists() or target.is_symlink():
        _same_or_raise(target, bundle)
        return bundle
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{manifest.version}.", dir=target.parent))
    try:
        for name, data in {**files, MANIFEST: manifest.to_json()}.items():
            write_synced(temporary / name, data)
        for directory in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
            sync_folder(directory)
        temporary.chmod(0o755)
        temporary.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise BundleError(
            "E_BUNDLE_WRITE",
            f"writing bundle {manifest.name} {manifest.version}",
            error.strerror or "an error",
            "a writable folder with room",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return bundle


def _same_or_raise(target: Path, bundle: Bundle) -> None:
    try:
        there = open_bundle(target).digest
    except BundleError:
        there = "a damaged bundle"
    if there != bundle.digest:
        raise BundleError(
            "E_BUNDLE_EXISTS", f"bundle {bundle.name} {bundle.version}", f"{there[:16]} there already, now {bundle.digest[:16]}",
            mend="a sealed bundle never changes: raise the version, or remove the old folder",
        )  # fmt: skip


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_bundle(path: Path) -> Bundle:
    """Read and verify a bundle folder. Nothing is parsed, but for the manifest, before every byte is verified.

    Raises `BundleError` for files that are extra, missing, changed, linked or not plain, and for names that leave the folder.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_dir():
        raise BundleError("E_BUNDLE_MISSING", f"bundle '{path.name}'", "no folder", "a folder that holds manifest.json")
    present = _plain_files(path)
    if MANIFEST not in present:
        raise BundleError(
            "E_BUNDLE_MISSING",
            f"bundle '{path.name}'",
            "no manifest.json",
            "a sealed bundle: <bundles>/<name>/<version>",
        )
    manifest = _read_manifest(path)
    extra = present - set(manifest.files) - {MANIFEST}
    if extra:
        raise BundleError(
            "E_BUNDLE_EXTRA",
            _shown(manifest),
            f"a file that was not sealed: '{min(extra)[:64]}'",
            "the sealed files alone",
        )
    missing = set(manifest.files) - present
    if missing:
        raise BundleError("E_BUNDLE_MISSING", _shown(manifest), f"no file '{min(missing)}'", "every sealed file")
    files = {}
    for name, sealed in manifest.files.items():
        data = _read_plain(path / name, sealed.size)
        if len(data) != sealed.size or sha256(data) != sealed.sha256:
            raise BundleError(
                "E_BUNDLE_CHANGED",
                _shown(manifest),
                f"'{name}' with other bytes than were sealed",
                "the sealed bytes",
                "copy or export it again",
            )
        files[name] = data
    bundle = Bundle(path, manifest, files)
    _check_parts(bundle)
    return bundle


def _check_parts(bundle: Bundle) -> None:
    graphs = [variant.graph for variant in bundle.manifest.variants] + (
        [bundle.manifest.prepare.graph] if bundle.manifest.prepare else []
    )
    for name in (CONTRACT, PROFILE, *graphs, f"{GOLDEN}/{ROWS}", f"{GOLDEN}/{ANSWERS}"):
        if name not in bundle.files:
            raise BundleError(
                "E_BUNDLE_MISSING", _shown(bundle.manifest), f"no '{name}' in the manifest", "a whole bundle"
            )


def _shown(manifest: Manifest) -> str:
    return f"bundle {manifest.name} {manifest.version}"


def _read_manifest(path: Path) -> Manifest:
    data = _read_plain(path / MANIFEST, MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:80]
        raise BundleError(
            "E_BUNDLE_MANIFEST",
            f"{MANIFEST} of bundle '{path.name}'",
            f"'{place}': {first['msg']}"[:160],
            "a manifest of schema 1",
        ) from None
    if manifest.to_json() != data:
        raise BundleError(
            "E_BUNDLE_MANIFEST",
            f"{MANIFEST} of {_shown(manifest)}",
            "another spelling",
            "canonical JSON: its digest names the bundle",
        )
    return manifest


def _plain_files(path: Path) -> set[str]:
    """Names of all files below, receipts and signatures aside. A link or a device anywhere is refused."""
    found = set()
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            file = Path(folder, name)
            mode = file.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise BundleError(
                    "E_BUNDLE_LINK",
                    f"bundle '{path.name}'",
                    f"'{file.relative_to(path)}' is a link or no plain file",
                    "plain files alone",
                )
        if Path(folder) == path and RECEIPTS_FOLDER in folders:
            folders.remove(RECEIPTS_FOLDER)
        found |= {
            Path(folder, name).relative_to(path).as_posix() for name in names if not name.endswith(UNSEALED_SUFFIX)
        }
    return found


def _read_plain(path: Path, most_bytes: int) -> bytes:
    """At most one byte more than `most_bytes`, without following a link at the last part."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read(most_bytes + 1)
