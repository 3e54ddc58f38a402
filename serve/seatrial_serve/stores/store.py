"""What a registry or object store holds at the moment, and how it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from seatrial_contracts.manifest import Manifest
from seatrial_serve.stores.address import InMlflow, InRegistry, InStore, Remote
from seatrial_serve.stores.received import ReceivedBundle, never

Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Offer:
    """A bundle that a store holds."""

    name: str
    version: str
    digest: str
    """SHA-256 of its manifest, in hexadecimal."""
    size: int
    """About how many bytes it takes, as the store says."""
    signatures: tuple[bytes, ...] = field(default=(), repr=False)
    """The signatures of it there, in the order of their trial."""
    encryption: str = ""
    """SHA-256 of its record, if it is encrypted there; else empty."""
    passed_over: bool = False
    """Is there one more signature, which could not be read this time?"""

    @property
    def key(self) -> str:
        """What it is kept under: a plain bundle and an encrypted one have one digest."""
        return key_of(self.digest, self.encryption)


def key_of(digest: str, encryption: str) -> str:
    """A bundle's digest, and the beginning of its record's if it is encrypted."""
    return f"{digest}-{encryption[:16]}" if encryption else digest


class Look(Protocol):
    """One look at a store. What it found does not change while its bundles are fetched."""

    @property
    def versions(self) -> Mapping[str, Sequence[str]]:
        """Model name -> its versions there, in any order."""
        ...

    @property
    def single(self) -> bool:
        """Does the address name one bundle, and not a folder of them?"""
        ...

    def selection(self, name: str) -> Mapping[str, bytes]:
        """`labels.json` and `variants.json` beside the versions of a model, where they are."""
        ...

    def offer(self, name: str, version: str) -> Offer:
        """What the store says of a version. Raises `StoreError` and `BundleError`."""
        ...

    def fetch(self, offer: Offer, received: ReceivedBundle) -> None:
        """Write all files of a bundle. Raises `StoreError`, `BundleError` and `OSError`."""
        ...


def look_at(address: Remote, stopped: Stopped = never) -> Look:
    """Look at a store.

    `stopped` is asked now and then while a bundle is fetched. Raises `StoreError` if the store
    cannot be asked or holds nothing there, `BundleError` if what is there is none, and
    `MissingExtra`.
    """
    if isinstance(address, InRegistry):
        from seatrial_serve.stores.in_registry import RegistryLook

        return RegistryLook(address, stopped)
    if isinstance(address, InMlflow):
        from seatrial_serve.stores.in_mlflow import MlflowLook

        return MlflowLook(address)
    from seatrial_serve.stores.in_files import FilesLook

    return FilesLook(address)


def mark_of(address: Remote, stopped: Stopped = never, *, signed: bool = False) -> str | None:
    """A text that is the same as long as the address holds the same; None if there is none.

    For a tag it is the digest of its manifest, which costs one request without a body; if `signed`,
    also those of its referrers, which costs one more. For an alias of MLflow's it is of the version
    and of where that lies. Raises as `look_at` does.
    """
    if isinstance(address, InStore):
        return None
    if isinstance(address, InMlflow):
        from seatrial_serve.stores.in_mlflow import mark_of_version

        return mark_of_version(address)
    from seatrial_serve.stores.registry import Registry

    with Registry(address, stopped) as registry:
        digest = address.digest or registry.digest_of(address.reference)
        if digest is None or not signed:
            return digest
        referrers = sorted(str(each.get("digest")) for each in registry.referrers(digest))
    return " ".join([digest, *referrers])


def fetch_into(look: Look, offer: Offer, folder: Path, where: str, stopped: Stopped) -> Manifest:
    """Fetch a bundle into an empty folder, verify every byte, and return its manifest.

    Raises `StoreError`, `BundleError` and `OSError`; what lies in the folder then is no bundle.
    """
    received = ReceivedBundle(folder, where, stopped)
    look.fetch(offer, received)
    return received.finish(offer.digest)
