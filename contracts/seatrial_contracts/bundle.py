"""A bundle: a sealed folder.

A bundle is written whole or not at all, and opened only when every byte is as it was sealed.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol
from weakref import WeakValueDictionary

from seatrial_contracts.bundle_files import (
    SealedData,
    SealedFiles,
    copy_data,
    move_data,
    reading,
    sealed_apart,
    sealed_bytes,
    sealed_data,
)
from seatrial_contracts.contract import Contract
from seatrial_contracts.decrypt import Decryption, MemoryFile
from seatrial_contracts.encrypted_files import EncryptedData, EncryptedFiles, on_no_disk
from seatrial_contracts.encryption import Ciphertext, Encryption, read_encryption, stored_files
from seatrial_contracts.errors import BundleError
from seatrial_contracts.golden import ANSWERS, GOLDEN, HELD_OUT, ROWS, Golden
from seatrial_contracts.graph_references import Reference, check_ranges, graph_references
from seatrial_contracts.host_stage import HostStage
from seatrial_contracts.identities import Identities, identities_from_environment
from seatrial_contracts.kinds.kind import TensorSpec
from seatrial_contracts.manifest import ENCRYPTION, ONNX, Manifest, SealedFile, data_name
from seatrial_contracts.measures import Measures, measure
from seatrial_contracts.plain_file import read_plain_file
from seatrial_contracts.profile import Profile
from seatrial_contracts.receipt import RECEIPTS_FOLDER, Receipt
from seatrial_contracts.receipts_folder import newest_files, read_receipt
from seatrial_contracts.shards import Shard, digests

MANIFEST, CONTRACT, PROFILE = "manifest.json", "contract.json", "profile.json"
MAX_MANIFEST_BYTES = 2**20
UNSEALED_SUFFIX = ".sig"
"""Signatures lie beside the manifest; they are about it, so it cannot hold their digests."""
SIGNATURE_FILE = f"model{UNSEALED_SUFFIX}"
"""The signature of a bundle, in its folder."""
MAX_SIGNATURE_BYTES = 2**22
"""The largest signature: a statement of as many files as a bundle may have is far smaller."""


CONTRACTS: WeakValueDictionary[str, Contract] = WeakValueDictionary()
"""SHA-256 of a contract's JSON -> the contract, as long as a bundle holds it.

A row's model alone takes a millisecond to make, and a fleet of models often has one contract.
"""


class Loads(Protocol):
    """What is loaded of a bundle once it is open."""

    def graph(self, manifest: Manifest) -> str:
        """The graph: its bytes are kept in memory until they are looked at once more."""
        ...

    def runs(self, graph: SealedFile) -> bool:
        """Is a graph of these bytes kept elsewhere as it runs, so that nobody looks at them?

        Its file is verified then, with a part of it in memory at a time. What is kept must need
        nothing that lies outside of it.
        """
        ...


@dataclass(frozen=True, repr=False)
class Bundle:
    """An opened bundle.

    `files` gives the bytes that were sealed, whatever lies on disk by then.
    """

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]
    """The sealed files, by name.

    Files of a bundle on disk are read and verified at each look-up: a caller that needs one keeps
    it.
    """
    data: Mapping[str, Path] = field(default_factory=dict)
    """The sealed files that hold weights of graphs, by name: where each lies.

    They are no part of `files`, since a runtime maps them. Those of a bundle on disk were verified
    before their path is given; those of an encrypted one have none: see `weights`.
    """
    encryption: Encryption | None = None
    """What lies on disk, if the sealed files are encrypted there."""
    hold: object = field(default=None, compare=False)
    """What keeps its folder there, in a cache, as long as the bundle is referred to."""

    def __repr__(self) -> str:
        """Name, version, graphs, size and digest: no byte of a file."""
        graphs = ", ".join(variant.name for variant in self.manifest.variants)
        size = f"{self.size_bytes / 1e6:.2f} MB"
        return (
            f"<{type(self).__name__} {self.name} {self.version}: {graphs}; {size}, "
            f"sha256:{self.digest[:12]}>"
        )

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version."""
        return self.manifest.version

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest."""
        return self.manifest.digest

    @property
    def stored(self) -> dict[str, SealedFile | Ciphertext]:
        """What lies in its folder beside the manifest: name on disk -> digest and size."""
        stored = dict(stored_files(self.manifest, self.encryption))
        if self.encryption is not None:
            stored[ENCRYPTION] = self.encryption.record
        return stored

    @property
    def size_bytes(self) -> int:
        """The sealed files together."""
        return sum(file.size for file in self.manifest.files.values())

    def weights(self, graph: str) -> Path | MemoryFile | None:
        """Where the weights of a graph are that lie outside of it; None if none do.

        Those of an encrypted bundle are decrypted into memory of their own. Raises `BundleError`
        where they are not as they were sealed.
        """
        name = data_name(graph)
        if isinstance(self.data, EncryptedData) and name in self.data:
            return self.data.in_memory(name)
        return self.data.get(name)

    def check_weights(self, graph: str) -> None:
        """Raise `BundleError` where what `weights` gave has changed on disk since."""
        if isinstance(self.data, SealedData) and data_name(graph) in self.data:
            self.data.check_rests(data_name(graph))

    def verified_sha256(self, name: str) -> str:
        """SHA-256 of a sealed file, which a look-up compares its bytes with; empty if none does."""
        return self.manifest.files[name].sha256 if isinstance(self.files, SealedFiles) else ""

    def refuse_encrypted(self, what: str) -> None:
        """Raise `BundleError` if it is encrypted: `what` would hold its files in plain."""
        if self.encryption is not None:
            raise on_no_disk(self.shown, what)

    @cached_property
    def contract(self) -> Contract:
        """The contract, rebuilt from its JSON alone. Raises `BundleError` where that is none.

        Bundles on disk that have the same contract, without files beside it, share one value.
        """
        self._require(CONTRACT)
        sha256 = self.verified_sha256(CONTRACT)
        if (shared := CONTRACTS.get(sha256)) is not None:
            return shared
        bare = self.bare_contract
        with self._reading_contract():
            beside = [name for each in bare.all_fields for name in each.kind.front_names(each.name)]
            for name in beside:
                self._require(name)
            contract = bare.with_files(self.files)
        if sha256 and not beside:
            CONTRACTS[sha256] = contract
        return contract

    @property
    def bare_contract(self) -> Contract:
        """The contract as its JSON has it: the files beside it are not read.

        Raises `BundleError` where the JSON is no contract.
        """
        self._require(CONTRACT)
        with self._reading_contract():
            return Contract.from_json(self.files[CONTRACT])

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs of the model graph.

        These are the contract's tensors, with those that prepare takes replaced by those that
        prepare makes.
        """
        prepare = self.manifest.prepare
        if prepare is None:
            return self.contract.tensors
        kept = tuple(spec for spec in self.contract.tensors if spec.name not in prepare.inputs)
        return kept + prepare.outputs

    @cached_property
    def golden(self) -> Golden:
        """The golden set. Raises `BundleError` where it does not fit the contract."""
        return self._golden(GOLDEN)

    @cached_property
    def held_out(self) -> Golden | None:
        """Rows that were not trained on, where the pipeline gave some.

        Only the trial replays these rows; no server does.
        """
        return self._golden(HELD_OUT) if f"{HELD_OUT}/{ROWS}" in self.files else None

    @cached_property
    def slices(self) -> frozenset[str]:
        """The names of all slices that its rows belong to."""
        sets = (self.golden, self.held_out)
        return frozenset(
            name for rows in sets if rows is not None for names in rows.slices for name in names
        )

    @cached_property
    def profile(self) -> Profile:
        """The profile of the reference rows.

        Raises `BundleError` where the profile does not fit the contract.
        """
        self._require(PROFILE)
        with self._reading(
            "E_BUNDLE_PROFILE", PROFILE, "a profile of schema 1, of the contract's fields"
        ):
            profile = Profile.from_json(self.files[PROFILE])
            profile.check(self.contract)
            return profile

    def let_go(self) -> None:
        """Keep golden and held-out rows, the graph that was loaded and decrypted weights no longer.

        Whoever looks at them again reads them anew.
        """
        for name in ("golden", "held_out"):
            self.__dict__.pop(name, None)
        if isinstance(self.files, SealedFiles):
            self.files.let_go()
        if isinstance(self.data, EncryptedData):
            self.data.let_go()

    def make_front(self) -> HostStage:
        """Make the host stage of the bundle.

        Raises `BundleError` where a file of the host stage cannot be read, and `MissingExtra` where
        a library for it is not installed.
        """
        with reading(
            "E_BUNDLE_FRONT",
            f"{self.shown}, host stage",
            "the files of its inputs, as they were sealed",
        ):
            return HostStage(self.contract, self.files)

    def graph(self, name: str) -> bytes:
        """The bytes of a graph, which needs nothing that lies outside of the bundle.

        Raises `BundleError` where it does.
        """
        files = self.files
        is_checked = isinstance(files, SealedFiles) and files.is_kept(name)
        if is_checked or name not in self.onnx_graphs:
            return files[name]
        return self._checked_graph(name)

    def check(self, loads: Loads | None = None) -> None:
        """Check the parts of the bundle against each other; `loads`: see `open_bundle`.

        Raises `BundleError` where parts do not fit, or a graph needs a file that is not in the
        bundle.
        """
        for variant in self.manifest.variants:
            self._require(variant.graph)
        loaded = loads.graph(self.manifest) if loads is not None else None
        for name in self.onnx_graphs:
            self._require(name)
            if loads is not None and loads.runs(self.manifest.files[name]):
                assert isinstance(self.files, SealedFiles)
                self.files.verify(name)
                continue
            graph = self._checked_graph(name)
            if name == loaded and isinstance(self.files, SealedFiles):
                self.files.keep(name, graph)
        self._check_prepare()
        for answer in self.contract.outputs:
            if not answer.kind.is_sealed:
                raise BundleError(
                    "E_BUNDLE_CONTRACT",
                    f"{self.shown}, output '{answer.name}'",
                    "a kind without what the export fills in",
                    "a contract that was sealed",
                    "export it again",
                )
        _ = self.profile, self.golden
        self._check_promises()

    @cached_property
    def onnx_graphs(self) -> tuple[str, ...]:
        """The files that are ONNX graphs: of variants, and of prepare."""
        variants = [variant.graph for variant in self.manifest.variants if variant.format == ONNX]
        return tuple(
            dict.fromkeys(
                [*variants, *([self.manifest.prepare.graph] if self.manifest.prepare else [])]
            )
        )

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"bundle {self.manifest.name} {self.manifest.version}"

    def _checked_graph(self, name: str) -> bytes:
        """A graph that names no file but that of its own weights, and lies within that one.

        A runtime would read other files from below the working directory, which nobody sealed.
        """
        where, data = f"{self.shown}, graph '{name}'", data_name(name)
        want = f"an ONNX graph with its weights inside, or in '{data}'"
        self._require(name)
        with reading("E_BUNDLE_GRAPH", where, want):
            graph = self.files[name]
            named = tuple(graph_references(graph))
        own = PurePosixPath(data).name
        outside = next((each for each in named if each.location != own), None)
        if outside is not None:
            got = f"data outside it: {ascii(outside.location)[:64]}"
            mend = "seal it anew: seatrial export and seatrial adopt bring weights inside"
            raise BundleError("E_BUNDLE_GRAPH", where, got, want, mend)
        if named:
            self._check_ranges(where, data, named)
        return graph

    def _check_ranges(self, where: str, data: str, named: Sequence[Reference]) -> None:
        sealed = self.manifest.files.get(data)
        if sealed is None:
            got = f"no '{data}' in the manifest, which holds weights of a graph"
            raise BundleError("E_BUNDLE_MISSING", self.shown, got, "a whole bundle")
        with reading("E_BUNDLE_GRAPH", where, f"weights apart from each other within '{data}'"):
            check_ranges(named, sealed.size)

    def _check_prepare(self) -> None:
        prepare = self.manifest.prepare
        names = [spec.name for spec in self.specs]
        known = {spec.name for spec in self.contract.tensors}
        if prepare is not None and (
            not set(prepare.inputs) <= known or len(set(names)) != len(names)
        ):
            got = "inputs or outputs that do not fit the contract"
            want = "inputs of the contract, outputs of other names"
            raise BundleError("E_BUNDLE_MANIFEST", f"{self.shown}, prepare", got, want)

    def _check_promises(self) -> None:
        """A part of a promise that no row shows would be kept by every model."""
        for variant in self.manifest.variants:
            for name, bar, _ in variant.promise.bars() if variant.promise else ():
                if not any(bar.is_measured(measures) for measures in self._own_measures()):
                    where = f"{self.shown}, variant '{variant.name}', promise of {name}"
                    raise BundleError(
                        "E_BUNDLE_PROMISE", where, "no sealed row that shows it", bar.shown_by
                    )

    def _own_measures(self) -> Iterator[Measures]:
        """Of the training side's own answers, in the golden set and in the held-out one."""
        for rows in (self.golden, self.held_out):
            if rows is not None:
                yield measure(self.contract, rows.answers, rows.answers, rows.truth, rows.notes)

    def _golden(self, folder: str) -> Golden:
        names = [name for name in self.files if name.startswith(f"{folder}/")]
        for name in (ROWS, ANSWERS):
            self._require(f"{folder}/{name}")
        with self._reading(
            "E_BUNDLE_GOLDEN", folder, "rows and answers of the contract, as they were sealed"
        ):
            return Golden.from_files(
                {name: self.files[name] for name in names}, self.contract, folder, self.make_front
            )

    def _require(self, name: str) -> None:
        if name not in self.files:
            raise BundleError(
                "E_BUNDLE_MISSING", self.shown, f"no '{name}' in the manifest", "a whole bundle"
            )

    def _reading(self, code: str, name: str, want: str) -> AbstractContextManager[None]:
        return reading(code, f"{self.shown}, '{name}'", want, "export it again with this seatrial")

    def _reading_contract(self) -> AbstractContextManager[None]:
        return self._reading("E_BUNDLE_CONTRACT", CONTRACT, "a contract of schema 1")

    def receipts(self) -> list[Receipt]:
        """The newest receipts beside the bundle that are about this digest, the oldest first.

        They are claims: nothing seals or signs them. Raises `BundleError` for a file that is none.
        """
        found = [read_receipt(file.path) for file in newest_files(self.path)]
        return sorted(
            (receipt for receipt in found if receipt.digest == self.digest),
            key=lambda receipt: receipt.made_at,
        )


def write_bundle(
    folder: Path,
    manifest: Manifest,
    files: Mapping[str, bytes],
    data: Mapping[str, Path] | None = None,
    moved: Mapping[str, Path] | None = None,
    *,
    replace: bool = False,
) -> Bundle:
    """Seal files as `folder`/name/version, and fill in `manifest.files`.

    `data` and `moved` are files on disk with weights of graphs, by their names in the bundle. The
    former are copied, the latter moved once all else is written.

    The bytes depend on the arguments alone. Writing is atomic: a temporary folder beside the
    target, every file and folder synced, one rename. A crash leaves the old bundle or none. A
    bundle of the same digest is left as it is. Another bundle of the same version raises
    `BundleError`, since a sealed bundle never changes, unless `replace` says that it goes.
    """
    sealed = {name: sealed_bytes(name, held) for name, held in sorted(files.items())}
    copied, moved = dict(data or {}), dict(moved or {})
    weights = {**copied, **moved}
    target = folder / manifest.name / manifest.version
    try:
        sealed |= {name: sealed_data(name, path) for name, path in sorted(weights.items())}
    except OSError as error:
        raise _not_written(manifest, error) from error
    manifest = manifest.model_copy(update={"files": sealed})
    bundle = Bundle(target, manifest, dict(files), {name: target / name for name in weights})
    bundle.check()
    _ = bundle.held_out
    if target.exists() or target.is_symlink():
        there = _digest_at(target)
        if there == bundle.digest:
            return bundle
        if not replace:
            raise _other_there(bundle, there)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{manifest.version}.", dir=target.parent))
    except OSError as error:
        raise _not_written(manifest, error) from error
    try:
        for name, held in {**files, MANIFEST: manifest.to_json()}.items():
            write_synced(temporary / name, held)
        for name, path in copied.items():
            copy_data(path, temporary / name)
        for name, path in moved.items():
            move_data(path, temporary / name)
        for directory in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
            sync_folder(directory)
        temporary.chmod(0o755)
        _rename_over(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise _not_written(manifest, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return bundle


def _not_written(manifest: Manifest, error: OSError) -> BundleError:
    return BundleError(
        "E_BUNDLE_WRITE",
        f"writing bundle {manifest.name} {manifest.version}",
        error.strerror or "an error",
        "a writable folder with room",
    )


def _rename_over(temporary: Path, target: Path) -> None:
    """Rename to `target`; what is there is removed once the new folder has its name."""
    if not target.exists() and not target.is_symlink():
        temporary.rename(target)
        return
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    old = folder / target.name
    try:
        target.rename(old)
        temporary.rename(target)
    except OSError:
        if old.exists() or old.is_symlink():
            old.rename(target)
        folder.rmdir()
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _digest_at(target: Path) -> str:
    try:
        return open_bundle(target).digest
    except BundleError:
        return "a damaged bundle"


def _other_there(bundle: Bundle, there: str) -> BundleError:
    return BundleError(
        "E_BUNDLE_EXISTS",
        f"bundle {bundle.name} {bundle.version}",
        f"{there[:16]} there already, now {bundle.digest[:16]}",
        mend="a sealed bundle never changes: raise the version, or remove the old folder",
    )


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


def open_bundle(
    path: Path,
    identities: Identities | None = None,
    loads: Loads | None = None,
    digest: str | None = None,
) -> Bundle:
    """Read and verify a bundle folder. Nothing but the manifest is parsed before it is verified.

    `identities` open the sealed files of an encrypted bundle; None: those that the environment
    names. Without one that fits it raises `BundleError` with E_BUNDLE_ENCRYPTED.

    `loads`: what the caller loads next, so that a graph is read and hashed once for both. `digest`:
    the one bundle that the caller means, so that nothing of another is parsed; None: whichever.

    Raises `BundleError` for files that are extra, missing, changed, linked or not plain, for names
    that leave the folder, for parts that do not fit each other or are beyond their bounds, for
    graphs that need what lies outside of them, and where something cannot be read. Every other file
    is in memory while it is looked at, and no longer.
    """
    path = Path(path)
    where = f"bundle '{path.name}'"
    with reading("E_BUNDLE_UNREADABLE", where, "a sealed bundle: <bundles>/<name>/<version>"):
        if path.is_symlink() or not path.is_dir():
            raise BundleError(
                "E_BUNDLE_MISSING", where, "no folder", "a folder that holds manifest.json"
            )
        bundle = folder_bundle(path, read_manifest(path), identities)
        if digest not in (None, bundle.digest):
            got, want = f"digest {bundle.digest[:16]}, after {digest[:16]}", "a bundle that rests"
            raise BundleError("E_BUNDLE_CHANGED", bundle.shown, got, want)
        files, data = bundle.files, bundle.data
        assert isinstance(files, SealedFiles)
        assert isinstance(data, SealedData)
        _check_names(bundle)
        # Those are verified as they are looked at.
        for name in files.keys() - {*bundle.onnx_graphs}:
            files.verify(name)
        # The weights of the first variant come last: encrypted ones are kept until it is loaded.
        first = data_name(bundle.manifest.variants[0].graph)
        for name in sorted(data, key=first.__eq__):
            data.verify(name)
        bundle.check(loads)
    return bundle


def open_plain_bundle(path: Path, what: str) -> Bundle:
    """`open_bundle` for whoever writes `what`, which would hold sealed files in plain.

    Raises `BundleError` for an encrypted bundle, whatever its identity.
    """
    refuse_encrypted_folder(path, what)
    return open_bundle(path)


def refuse_encrypted_folder(path: Path, what: str) -> None:
    """Raise `BundleError` for the folder of an encrypted bundle: see `Bundle.refuse_encrypted`."""
    if (path / ENCRYPTION).exists():
        raise on_no_disk(f"bundle '{path.name}'", what)


def verify_stored(path: Path) -> Manifest:
    """The manifest of a bundle folder whose files are as they were sealed, or encrypted.

    It needs no identity: of an encrypted bundle the encrypted bytes are compared. Raises
    `BundleError`.
    """
    bundle = folder_bundle(path, read_manifest(path))
    if bundle.encryption is None:
        return open_bundle(path).manifest
    _check_names(bundle)
    for name, stored in bundle.encryption.files.items():
        with reading("E_BUNDLE_CHANGED", f"{bundle.shown}, '{name}'", "the encrypted bytes"):
            found = digests(path / name, stored.size, [Shard(name, 0, stored.size)])
        if found != [stored.sha256]:
            got, want = f"'{name}' with other bytes than were encrypted", "the encrypted bytes"
            raise BundleError("E_BUNDLE_CHANGED", bundle.shown, got, want)
    return bundle.manifest


def folder_bundle(path: Path, manifest: Manifest, identities: Identities | None = None) -> Bundle:
    """The bundle of a folder with this manifest. Each file is verified when it is looked at.

    `identities`: see `open_bundle`. Raises `BundleError` for a record of an encryption that is
    none, or another bundle's.
    """
    read, mapped = sealed_apart(manifest.files)
    shown = f"bundle {manifest.name} {manifest.version}"
    encryption = read_encryption(path, manifest)
    if encryption is None:
        files, data = SealedFiles(path, read, shown), SealedData(path, mapped, shown)
        return Bundle(path, manifest, files, data)
    by = Decryption(path, encryption, identities or identities_from_environment(), shown)
    return Bundle(
        path, manifest, EncryptedFiles(path, read, shown, by),
        EncryptedData(path, mapped, shown, by), encryption,
    )  # fmt: skip


def _check_names(bundle: Bundle) -> None:
    """The sealed files are there, as plain files, and no other."""
    missing = {*bundle.stored, MANIFEST}
    for name in _plain_files(bundle.path):
        if name not in missing:
            got = f"a file that was not sealed: {ascii(name)[:64]}"
            raise BundleError("E_BUNDLE_EXTRA", bundle.shown, got, "the sealed files alone")
        missing.remove(name)
    if missing:
        raise BundleError(
            "E_BUNDLE_MISSING", bundle.shown, f"no file '{min(missing)}'", "every sealed file"
        )


def read_manifest(path: Path) -> Manifest:
    """The manifest of a bundle's folder alone. Raises `BundleError`."""
    where = f"{MANIFEST} of bundle '{path.name}'"
    mend = None if (path / MANIFEST).exists() else bundle_within(path)
    with reading("E_BUNDLE_MANIFEST", where, "a manifest of schema 1", mend):
        return parse_manifest(read_plain_file(path / MANIFEST, MAX_MANIFEST_BYTES))


def bundle_within(path: Path) -> str | None:
    """For a mend: the first bundle below a folder that is none itself."""
    for depth in ("*", "*/*"):
        found = sorted(path.glob(f"{depth}/{MANIFEST}"))
        if found:
            return f"a folder of bundles; name one in it: {found[0].parent.relative_to(path)}"
    return None


def parse_manifest(data: bytes) -> Manifest:
    """A manifest from its bytes. Raises `ValueError`, also for another spelling of it."""
    manifest = Manifest.model_validate_json(data)
    if manifest.to_json() != data:
        raise ValueError("another spelling than canonical JSON, whose digest names the bundle")
    return manifest


def _plain_files(path: Path) -> Iterator[str]:
    """Yield the names of all files below, receipts and signatures aside.

    Raises `BundleError` for a link or a device anywhere, and `OSError`.
    """

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(path, onerror=fail):
        for name in (*folders, *names):
            file = Path(folder, name)
            mode = file.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                got = f"{ascii(str(file.relative_to(path)))[:64]} is a link or no plain file"
                raise BundleError(
                    "E_BUNDLE_LINK", f"bundle '{path.name}'", got, "plain files alone"
                )
        if Path(folder) == path and RECEIPTS_FOLDER in folders:
            folders.remove(RECEIPTS_FOLDER)
        for name in names:
            if not name.endswith(UNSEALED_SUFFIX):
                yield Path(folder, name).relative_to(path).as_posix()
