"""Bundles that MLflow keeps: as logged models, and as versions in its registry.

MLflow's own library asks the server and reads the artifacts, with MLflow's own settings.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from seatrial_contracts.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    SIGNATURE_FILE,
)
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import BundleError, DeclarationError, MissingExtra, StoreError
from seatrial_serve.stores.address import InMlflow, is_loopback
from seatrial_serve.stores.in_files import parsed, pieces_of
from seatrial_serve.stores.received import ReceivedBundle
from seatrial_serve.stores.store import Offer

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own variables where nobody set them. By default it tries a server for minutes."""
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)  # read while mlflow is imported

try:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
except ImportError as error:
    raise MissingExtra("an address mlflow:", "mlflow") from error

log = logging.getLogger("seatrial.stores")
BUNDLE_FOLDER = "data/bundle"
"""Where a logged model has its bundle."""
NO_BUNDLE = "a model that seatrial push logged"
ADOPT = "seatrial adopt makes a bundle of a model of another flavour"
RUNS = "runs:/"
NOT_THERE = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"})
"""What MLflow says of names that it does not know: the last one of aliases."""


class MlflowLook:
    """What an address of MLflow's stands for at this moment; files are read of that version."""

    single = True

    def __init__(self, address: InMlflow) -> None:
        """Ask for the version and its manifest.

        Raises `StoreError`, `DeclarationError` for an address without version or alias, and
        `BundleError` if the model holds no bundle.
        """
        self._files = ModelFiles(address)
        data = self._files.read(f"{BUNDLE_FOLDER}/{MANIFEST}", MAX_MANIFEST_BYTES)
        if data is None:
            got = f"a model without {BUNDLE_FOLDER}/{MANIFEST}"
            raise BundleError("E_BUNDLE_MISSING", address.shown, got, NO_BUNDLE, ADOPT)
        self._manifest_bytes, manifest = data, parsed(data, address.shown)
        size = sum(file.size for file in manifest.files.values())
        signature = self._files.read(f"{BUNDLE_FOLDER}/{SIGNATURE_FILE}", MAX_SIGNATURE_BYTES)
        signatures = () if signature is None else (signature,)
        self._offer = Offer(manifest.name, manifest.version, sha256(data), size, signatures)
        self.versions: Mapping[str, list[str]] = {manifest.name: [manifest.version]}

    def selection(self, name: str) -> Mapping[str, bytes]:  # noqa: ARG002  (the seam's signature)
        """MLflow keeps none: its aliases take the place of labels."""
        return {}

    def offer(self, name: str, version: str) -> Offer:  # noqa: ARG002  (the seam's signature)
        """The only one."""
        return self._offer

    def fetch(self, offer: Offer, received: ReceivedBundle) -> None:
        """Read file after file, as the manifest names them."""
        data = self._manifest_bytes
        received.write(MANIFEST, len(data), pieces_of(data))
        for name, sealed in received.manifest(offer.digest).files.items():
            place = f"{BUNDLE_FOLDER}/{name}"
            with self._files.fetched(place, sealed.size, received.folder.parent) as path:
                if path is None:
                    want = "the sealed bytes"
                    raise BundleError("E_BUNDLE_CHANGED", received.where, f"no '{name}'", want)
                with path.open("rb") as file:
                    received.write(name, path.stat().st_size, file.read)


class ModelFiles:
    """The artifacts of the model that an address stands for when this is made."""

    def __init__(self, address: InMlflow) -> None:
        """Ask for the version of an alias. Raises `StoreError` and `DeclarationError`."""
        self.where = address.shown
        check_servers(address)
        root, self._within = pinned_uri(address), ""
        if root.startswith(RUNS):  # a run lists the models that it logged by their names
            run, _, self._within = root.removeprefix(RUNS).partition("/")
            root = f"{RUNS}{run}"
        with naming_faults(self.where):
            self._repository: Any = get_artifact_repository(root)
        self._sizes: dict[str, dict[str, int | None]] = {}

    def read(self, place: str, max_bytes: int) -> bytes | None:
        """A whole file; None where there is none. Raises `StoreError`."""
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                self.fetched(place, max_bytes, Path(folder)) as path,
            ):
                return None if path is None else path.read_bytes()
        except OSError as error:
            got = error.strerror or "an error"
            want = "room in this machine's folder of temporary files"
            raise StoreError(self.where, got, want) from error

    @contextmanager
    def fetched(self, place: str, max_bytes: int, beside: Path) -> Iterator[Path | None]:
        """Give a copy of a file, in a temporary folder below `beside`; None where there is none.

        Raises `StoreError`, also for a file of more than `max_bytes` bytes.
        """
        parent, name = str(PurePosixPath(place).parent), PurePosixPath(place).name
        sizes = self.sizes(parent)
        if name not in sizes:
            yield None
            return
        if (size := sizes[name]) is not None and size > max_bytes:
            raise StoreError(self.where, f"'{place}' of {size} bytes", f"at most {max_bytes}")
        with tempfile.TemporaryDirectory(prefix=".part.", dir=beside) as folder:
            yield self._download(place, folder)

    def sizes(self, folder: str) -> Mapping[str, int | None]:
        """Name of each file in a folder -> its size, where the store says it."""
        if folder not in self._sizes:
            with naming_faults(self.where):
                found = self._repository.list_artifacts(self._inner(folder)) or []
            self._sizes[folder] = {
                PurePosixPath(each.path).name: each.file_size for each in found if not each.is_dir
            }
        return self._sizes[folder]

    def download(self, folder: Path) -> Path:
        """Copy the whole model into a folder; return it. Raises `StoreError`."""
        return self._download("", str(folder))

    def _download(self, place: str, folder: str) -> Path:
        with naming_faults(self.where):
            return Path(self._repository.download_artifacts(self._inner(place), folder))

    def _inner(self, place: str) -> str:
        """The path below the repository's root."""
        return "/".join(filter(None, (self._within, place)))


def registered_version(address: InMlflow) -> Any:
    """MLflow's `ModelVersion` that an address with a name stands for now.

    Raises `StoreError`, and `DeclarationError` for a name alone.
    """
    check_servers(address)
    client = MlflowClient()
    with naming_faults(address.shown):
        if address.version is not None:
            return client.get_model_version(address.name, address.version)
        if address.alias is not None:
            return client.get_model_version_by_alias(address.name, address.alias)
    want = f"mlflow:{address.uri}/VERSION or mlflow:{address.uri}@ALIAS"
    raise DeclarationError(f"address '{address.shown}'", "neither version nor alias", want)


def pinned_uri(address: InMlflow) -> str:
    """MLflow's URI of what the address stands for now. Raises `StoreError`."""
    if address.name is None:
        return address.uri
    return f"models:/{address.name}/{registered_version(address).version}"


def mark_of_version(address: InMlflow) -> str | None:
    """A text that is the same as long as the address stands for one version's artifacts.

    A run's artifacts may change: there is none for them. Raises `StoreError`.
    """
    if address.name is not None:
        told = registered_version(address)
        return sha256(f"{told.version} {told.source}".encode())
    if not address.uri.startswith("models:"):
        return None
    check_servers(address)
    with naming_faults(address.shown):
        model = MlflowClient().get_logged_model(address.uri.removeprefix("models:/"))
    return sha256(f"{model.model_id} {model.artifact_location}".encode())


def check_servers(address: InMlflow) -> None:
    """Raise `DeclarationError` for plain HTTP to another machine."""
    for server in (mlflow.get_tracking_uri(), mlflow.get_registry_uri()):
        parts = urlsplit(server)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            want = "https://, or a tunnel to this machine: passwords would go in the clear"
            raise DeclarationError(
                f"address '{address.shown}'", "plain HTTP to another machine", want
            )


@contextmanager
def naming_faults(where: str) -> Iterator[None]:
    """Turn what MLflow and the libraries of its artifact stores raise into `StoreError`.

    Their text is left out: it may hold credentials.
    """
    from seatrial_serve.stores.registry import cause_of

    try:
        yield
    except (StoreError, DeclarationError, BundleError):
        raise
    except Exception as error:  # each artifact store's library has errors of its own; raised again
        code = error.error_code if isinstance(error, MlflowException) else ""
        log.debug("%s: %r", where, type(error))
        if code in NOT_THERE:
            want = "a version, alias or run that is there"
            raise StoreError(where, "nothing there, says MLflow", want) from error
        got = " ".join(filter(None, (cause_of(error), code)))
        want = "a server and an artifact store that answer, and credentials that may read"
        raise StoreError(where, f"{got} from MLflow's library", want) from error
