"""What is known of a version that is not loaded: what its manifest and its contract say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seatrial_contracts.bundle import Bundle, folder_bundle
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
        """What it takes and answers."""
        return self.bundle.contract


KnownModel = ServedModel | Described
"""A version that is loaded, or that will be at its first request."""


def loaded(model: KnownModel) -> ServedModel:
    """The model of a request, which is loaded by the time that it is asked."""
    assert isinstance(model, ServedModel)
    return model


def described(
    entry: Entry, identities: Identities | None = None, variant: str | None = None
) -> Described:
    """What is known of a version by its manifest and its contract, which is read and verified.

    `identities`: see `open_bundle`; `variant`: what the server serves where it can. Blocking.
    Raises what `entry_manifest` raises.
    """
    manifest = entry_manifest(entry)
    bundle = folder_bundle(entry.path, manifest, identities)
    found = Described(entry.name, bundle, variant or entry.variant or manifest.variants[0].name)
    _ = found.contract
    return found
