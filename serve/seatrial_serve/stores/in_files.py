"""Bundles in object stores and behind web servers, by way of fsspec."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from seatrial_contracts.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_FILE,
    Bundle,
    parse_manifest,
)
from seatrial_contracts.bundle_files import reading
from seatrial_contracts.canonical import sha256
from seatrial_contracts.encryption import MAX_ENCRYPTION_BYTES, parse_encryption, stored_files
from seatrial_contracts.errors import BundleError, MissingExtra, SeatrialError, StoreError
from seatrial_contracts.manifest import ENCRYPTION, NAME, VERSION, Manifest
from seatrial_contracts.signature_files import read_signatures
from seatrial_serve.process.library_logs import quieten
from seatrial_serve.stores.address import EXTRA_OF, InStore
from seatrial_serve.stores.layer import sealed_pieces
from seatrial_serve.stores.received import ReceivedBundle
from seatrial_serve.stores.store import Offer

log = logging.getLogger("seatrial.stores")
SELECTION_FILES = ("labels.json", "variants.json")
MAX_SELECTION_BYTES = 64 * 1024
CREDENTIALS = {
    "s3": "AWS's variables, a profile or a role give credentials",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or gcloud auth application-default login gives them",
    "az": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and a key, gives them",
}
"""Scheme of a store -> where its library finds credentials."""
BLOCK_BYTES = 16 * 2**20
"""How much is read at once of an object store, where each request takes a while."""
quieten()


class FilesLook:
    """What lies below a URL: one bundle, or a folder of bundles, <name>/<version>.

    A version counts once its manifest is there: whoever uploads a bundle writes that last. Over
    HTTP nothing is listed, so the URL names one bundle.
    """

    def __init__(self, address: InStore) -> None:
        """List what is there. Raises `StoreError`, `BundleError` and `MissingExtra`."""
        self._store = FileStore(address)
        self._places: dict[tuple[str, str], str] = {}
        self._beside: dict[str, list[str]] = {}
        self._manifests: dict[tuple[str, str], bytes] = {}
        self._records: dict[tuple[str, str], bytes | None] = {}
        own = self._store.read(MANIFEST, MAX_MANIFEST_BYTES)
        self.single = own is not None
        if own is not None:
            manifest = parsed(own, address.shown)
            self._places[manifest.name, manifest.version] = ""
            self._manifests[manifest.name, manifest.version] = own
        elif not self._store.lists:
            want = "one bundle's own URL: nothing is listed over HTTP"
            raise StoreError(address.shown, f"no {MANIFEST}", want)
        else:
            self._find()
        if not self._places:
            want = f"<name>/<version>/{MANIFEST} below it"
            raise StoreError(address.shown, "no bundle", want, "seatrial push BUNDLE URL")
        self.versions: dict[str, list[str]] = {}
        for name, version in self._places:
            self.versions.setdefault(name, []).append(version)

    def _find(self) -> None:
        for path in self._store.list():
            match path.split("/"):
                case [name, version, file] if file == MANIFEST:
                    if NAME.fullmatch(name) and VERSION.fullmatch(version):
                        self._places[name, version] = f"{name}/{version}/"
                case [name, file] if file in SELECTION_FILES:
                    self._beside.setdefault(name, []).append(file)

    def selection(self, name: str) -> Mapping[str, bytes]:
        """What lies beside the versions."""
        read = {
            file: self._store.read(f"{name}/{file}", MAX_SELECTION_BYTES)
            for file in self._beside.get(name, ())
        }
        return {file: data for file, data in read.items() if data is not None}

    def offer(self, name: str, version: str) -> Offer:
        """Read the manifest of a version."""
        place = self._places[name, version]
        data = self._manifests.get((name, version))
        if data is None:
            data = self._store.read(f"{place}{MANIFEST}", MAX_MANIFEST_BYTES)
        if data is None:
            raise StoreError(self._store.where, f"no {name} {version} any more", "its manifest")
        self._manifests[name, version] = data
        manifest = parsed(data, self._store.where)
        if (manifest.name, manifest.version) != (name, version):
            got = f"bundle {manifest.name} {manifest.version} in {name}/{version}"
            raise BundleError(
                "E_BUNDLE_NAME", self._store.where, got, "a folder named as the bundle"
            )
        size = sum(file.size for file in manifest.files.values())
        signature = self._store.read_optional(f"{place}{SIGNATURE_FILE}", MAX_SIGNATURE_BYTES)
        record = self._store.read_optional(f"{place}{ENCRYPTION}", MAX_ENCRYPTION_BYTES)
        self._records[name, version] = record
        encryption = "" if record is None else sha256(record)
        signatures = () if signature is None else (signature,)
        return Offer(name, version, sha256(data), size, signatures, encryption)

    def fetch(self, offer: Offer, received: ReceivedBundle) -> None:
        """Read file after file, as the manifest names them, or the record of its encryption."""
        place = self._places[offer.name, offer.version]
        data = self._manifests[offer.name, offer.version]
        received.write(MANIFEST, len(data), pieces_of(data))
        manifest, record = received.manifest(offer.digest), self._records[offer.name, offer.version]
        encryption = None
        if record is not None:
            encryption = parse_encryption(record, manifest, f"{received.where}, {ENCRYPTION}")
            received.write(ENCRYPTION, len(record), pieces_of(record))
        for name, sealed in stored_files(manifest, encryption).items():
            try:
                with self._store.opened(place + name) as read:
                    received.write(name, sealed.size, read)
            except (NothingThere, NotAllowed) as error:
                if f"{place}{ENCRYPTION}" not in self._store.refused:
                    raise
                got = f"neither '{name}' nor '{ENCRYPTION}'"  # one of an encrypted bundle, perhaps
                raise NotAllowed(received.where, got, "credentials that may read both") from error


class FileStore:
    """Files below a URL."""

    def __init__(self, address: InStore) -> None:
        """Connect. Raises `MissingExtra` and `StoreError`."""
        self.where, self.lists = address.shown, not address.scheme.startswith("http")
        self.refused = set[str]()
        """The optional files that the store would neither give nor say to be absent."""
        extra = EXTRA_OF.get(address.scheme, "https")
        self._mend = CREDENTIALS.get(address.scheme)
        try:
            import fsspec
            from fsspec.core import url_to_fs

            fsspec.get_filesystem_class(address.scheme)
        except ImportError:
            raise MissingExtra(f"an address {address.scheme}://", extra) from None
        with self._naming_faults():
            self._fs, self._root = url_to_fs(address.url)
            self._fs.invalidate_cache()

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """A whole file; None where there is none. Raises `StoreError`."""
        try:
            with self.opened(name) as read:
                data = read(max_bytes + 1)
        except NothingThere:
            return None
        if len(data) > max_bytes:
            raise StoreError(self.where, f"'{name}' of more than {max_bytes} bytes")
        return data

    def read_optional(self, name: str, max_bytes: int) -> bytes | None:
        """As `read`, of a file that need not be there.

        Who may not list is told 403 for what is absent (S3 without ListBucket), so that counts as
        absent: a policy refuses the bundle without its signature, and a manifest's digests an
        encrypted one without its record.
        """
        try:
            return self.read(name, max_bytes)
        except NotAllowed:
            self.refused.add(name)
            log.debug("%s: '%s' may not be read, and counts as absent", self.where, name)
            return None

    @contextmanager
    def opened(self, name: str) -> Iterator[Callable[[int], bytes]]:
        """Give what reads a file from its beginning on. Raises `StoreError`."""
        how = {"cache_type": "readahead"} if self.lists else {}
        with self._naming_faults():
            file: Any = self._fs.open(
                f"{self._root}/{name}", "rb", block_size=BLOCK_BYTES if self.lists else 0, **how
            )

        def read(size: int) -> bytes:
            with self._naming_faults():
                data: bytes = file.read(size)
            return data

        with file:
            yield read

    def list(self) -> Iterator[str]:
        """The files down to the manifests of <name>/<version>, by their path below the URL."""
        with self._naming_faults():
            try:
                found = self._fs.find(self._root, maxdepth=3)
            except FileNotFoundError:
                found = []
        root = self._root.strip("/")
        for path in found:
            yield path.strip("/").removeprefix(root).lstrip("/")

    def write(self, name: str, data: Iterator[bytes]) -> None:
        """Write a file, in pieces. Raises `StoreError`."""
        try:
            with self._naming_faults(), self._fs.open(f"{self._root}/{name}", "wb") as file:
                for piece in data:
                    file.write(piece)
        except NothingThere as error:
            raise StoreError(self.where, "no such bucket or container", "one there is") from error

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        """Turn what fsspec and its libraries raise into `StoreError`, without their text."""
        try:
            yield
        except SeatrialError:
            raise
        except Exception as error:  # each store's library has errors of its own; raised again
            if self._is_absence(error):
                raise NothingThere(self.where, "nothing there", "a bundle's file") from error
            log.debug("%s: %r", self.where, type(error))
            status, kind = said_of(error)
            got = f"{kind} from its library" if status is None else f"{status} ({kind})"
            want = "a store that answers, and credentials that may read"
            fault = NotAllowed if is_refusal(error) else StoreError
            raise fault(self.where, got, want, self._mend) from error

    def _is_absence(self, error: Exception) -> bool:
        """Does it say that there is no such file, or no such bucket?

        fsspec raises `FileNotFoundError` for whatever goes wrong with a web server, with its cause.
        """
        if self.lists:
            return isinstance(error, FileNotFoundError) or said_of(error)[0] == 404
        cause = error.__cause__
        return isinstance(error, FileNotFoundError) and (
            cause is None or isinstance(cause, FileNotFoundError) or said_of(cause)[0] == 404
        )


def causes(error: BaseException) -> Iterator[tuple[BaseException, int | None]]:
    """An error, what it was raised from, and so on, each with the status that a store answered."""
    at: BaseException | None = error
    while at is not None:
        found = (getattr(at, name, None) for name in ("status", "status_code", "code"))
        yield at, next((status for status in found if isinstance(status, int)), None)
        at = at.__cause__


def said_of(error: BaseException) -> tuple[int | None, str]:
    """The status that a store answered, by the first of the causes that has one; its class.

    Without a status, the class is that of the error, or of the cause of a `FileNotFoundError`.
    """
    for each, status in causes(error):
        if status is not None:
            return status, type(each).__name__
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    return None, type(cause or error).__name__


def is_refusal(error: BaseException) -> bool:
    """Did a store answer that these credentials, or none, may not read?

    Each library says it in its own way: by `PermissionError`, by a status, or by a text.
    """
    return any(
        status in (401, 403)
        or isinstance(each, PermissionError)
        or (type(each) is OSError and str(each).startswith("Forbidden: "))  # gcsfs
        for each, status in causes(error)
    )


class NothingThere(StoreError):
    """There is no file of a name."""


class NotAllowed(StoreError):
    """The store does not say whether there is one: these credentials may not read it."""


def parsed(data: bytes, where: str) -> Manifest:
    """The manifest of a bundle. Raises `BundleError`."""
    with reading("E_BUNDLE_MANIFEST", where, "a manifest of schema 1"):
        return parse_manifest(data)


def pieces_of(data: bytes) -> Callable[[int], bytes]:
    """What reads bytes from their beginning on."""
    import io

    return io.BytesIO(data).read


def push_to_files(
    bundle: Bundle, address: InStore, tell: Callable[[str], None] = lambda _: None
) -> str:
    """Write a bundle below a URL, as <name>/<version>, its manifest last; return that place.

    The first signature beside it goes along, in the place of one that is there.

    A bundle of the same digest that is there already is left as it is. Raises `BundleError` if
    there is another, or the same one encrypted otherwise, or if a file is no longer as it was
    sealed, and `StoreError`.
    """
    store = FileStore(address)
    if not store.lists:
        raise StoreError(address.shown, "a web server", "oci://, s3://, gs:// or az://")
    place, digest = f"{bundle.name}/{bundle.version}", bundle.digest
    there = store.read(f"{place}/{MANIFEST}", MAX_MANIFEST_BYTES)
    if there is not None and sha256(there) != digest:
        raise BundleError(
            "E_BUNDLE_EXISTS",
            f"{address.shown}, {place}",
            f"{sha256(there)[:16]} there already, now {digest[:16]}",
            mend="a sealed bundle never changes: raise the version, or remove the old one",
        )
    own = None if bundle.encryption is None else bundle.encryption.to_json()
    if there is not None and store.read(f"{place}/{ENCRYPTION}", MAX_ENCRYPTION_BYTES) != own:
        got = "the same bundle, plain or encrypted otherwise,"
        mend = "remove the old one"
        raise BundleError("E_BUNDLE_EXISTS", f"{address.shown}, {place}", got, "none", mend)
    if signatures := read_signatures(bundle.path):
        store.write(f"{place}/{SIGNATURE_FILE}", iter(signatures[:1]))
    if there is None:
        for name, sealed in bundle.stored.items():
            tell(f"writing {name}")
            store.write(f"{place}/{name}", sealed_pieces(bundle, name, sealed.size))
        store.write(f"{place}/{MANIFEST}", iter((bundle.manifest.to_json(),)))
    return f"{address.shown}/{place}"
