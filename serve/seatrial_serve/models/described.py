"""What is known of a version that is not loaded: what its manifest and its contract say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seatrial_contracts.bundle import CONTRACT, Bundle, folder_bundle
from seatrial_contracts.contract import Contract
from seatrial_contracts.identities import Identities
from seatrial_serve.models.entry import Entry
from seatrial_serve.models.scan import entry_manifest
from seatrial_serve.models.served_model import ServedModel


@dataclass(frozen=True, eq=False)
class Described:
    """A version by its bundle, of which no graph was read."""

    name: str
    """What clients call it."""
    bundle: Bundle
    variant: str
    """Which graph answers once it is loaded."""

    @property
    def version(self) -> str:
        """The version of its bundle."""
        return self.bundle.version

    @cached_property
    def contract(self) -> Contract:
        """What it takes and answers, read and verified at the first look, which blocks.

        Raises a `SeatrialError`.
        """
        return self.bundle.contract

    @property
    def contract_sha256(self) -> str:
        """Which contract it is, if its file is verified as it is read; empty if nobody knows."""
        sealed = CONTRACT in self.bundle.manifest.files
        return self.bundle.verified_sha256(CONTRACT) if sealed else ""

    @property
    def most_body_bytes(self) -> int:
        """The length of the longest body that it takes. Blocking. Raises a `SeatrialError`."""
        return self.bundle.bare_contract.max_body_bytes


KnownModel = ServedModel | Described
"""A version that is loaded, or that will be at its first request."""


def loaded(model: KnownModel) -> ServedModel:
    """The model of a request, which is loaded by the time that it is asked."""
    assert isinstance(model, ServedModel)
    return model


def described(
    entry: Entry, identities: Identities | None = None, variant: str | None = None
) -> Described:
    """What is known of a version by its manifest: its contract is read when it is looked at.

    `identities`: see `open_bundle`; `variant`: what the server serves where it can. Blocking.
    Raises what `entry_manifest` and `folder_bundle` raise.
    """
    manifest = entry_manifest(entry)
    bundle = folder_bundle(entry.path, manifest, identities)
    return Described(entry.name, bundle, variant or entry.variant or manifest.variants[0].name)
