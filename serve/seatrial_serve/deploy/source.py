"""Which bundle is deployed, under which names, and from which registry its replicas get it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seatrial_contracts.bundle import Bundle, open_bundle
from seatrial_contracts.canonical import sha256
from seatrial_contracts.errors import DeclarationError
from seatrial_serve.stores.address import InMlflow, InRegistry, InStore, read_address
from seatrial_serve.stores.artifact import make_artifact
from seatrial_serve.stores.layer import Layer
from seatrial_serve.stores.resolve import open_address

OBJECT_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
MOST_CHARS = 40
"""Of an object's name: with what is added to it, it has to stay within 63 (RFC 1035)."""


@dataclass(frozen=True)
class Source:
    """A verified bundle, and the address that its replicas read."""

    bundle: Bundle
    pinned: InRegistry
    """By the digest of its index: the same bytes on every replica, wherever the tag moves."""
    push_to: str
    """The address that the bundle is to be pushed to; empty if it came from a registry."""

    @property
    def name(self) -> str:
        """The name of its objects: RFC 1035's labels have neither dots nor underscores."""
        return object_name(self.bundle.name)

    @property
    def reference(self) -> str:
        """Its address as container runtimes write it: without a scheme."""
        return self.pinned.shown.removeprefix("oci://")


def object_name(name: str) -> str:
    """A model's name as one of Kubernetes' objects. Raises `DeclarationError` if it cannot be."""
    found = re.sub(r"[._]+", "-", name.lower())
    if not OBJECT_NAME.fullmatch(found) or len(found) > MOST_CHARS:
        want = f"letters, digits and '-', a letter first, at most {MOST_CHARS} characters"
        raise DeclarationError(f"model '{name}' as an object of Kubernetes", found, want)
    return found


def open_source(text: str, registry: str | None) -> Source:
    """The bundle of a path or of an address in a registry.

    A bundle of this machine gets the address that it has once it is pushed below `registry`
    (`oci://HOST/PATH`), since the same bundle gives the same digest. Raises `DeclarationError` for
    a bundle of this machine without a registry, and for one in an object store or in MLflow, which
    the container image does not read; what `open_address` raises is passed on.
    """
    address = read_address(text)
    where, want = f"bundle '{address.shown}'", "a path, or oci://HOST/NAME:TAG"
    if isinstance(address, (InMlflow, InStore)):
        got = "an object store" if isinstance(address, InStore) else "MLflow's registry"
        raise DeclarationError(where, got, want, "push it to a registry")
    if isinstance(address, InRegistry):
        pinned = pin(address)
        return Source(open_address(pinned.shown), pinned, "")
    if registry is None:
        mend = "--registry oci://HOST/PATH says where replicas find it"
        raise DeclarationError(where, "a path alone", "a registry as well", mend)
    return with_address(open_bundle(address.path), registry)


def with_address(bundle: Bundle, registry: str) -> Source:
    """A bundle of this machine, with the address that `seatrial push` gives it there."""
    text = f"{registry.rstrip('/')}/{bundle.name.lower()}:{bundle.version}"
    address = read_address(text)
    if not isinstance(address, InRegistry):
        raise DeclarationError("--registry", registry, "oci://HOST/PATH")
    digest = make_artifact(bundle, Layer(bundle)).index.digest
    return Source(bundle, address.pinned(digest), address.shown)


def pin(address: InRegistry) -> InRegistry:
    """The address by the digest that its tag has now. Raises `StoreError`."""
    if address.digest is not None:
        return address.pinned(address.digest)
    from seatrial_serve.stores.registry import Registry

    with Registry(address) as asked:
        return address.pinned(f"sha256:{sha256(asked.manifest(address.reference).data)}")


def each_once(sources: list[Source]) -> None:
    """Raises `DeclarationError` if two bundles would have objects of one name."""
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(source.name, source)
        if other is not source:
            got = f"{other.bundle.name} {other.bundle.version} and {source.bundle.name}"
            raise DeclarationError(
                f"objects '{source.name}'", f"{got} {source.bundle.version}", "one bundle"
            )


def written_by(target: str, bundle: Bundle) -> str:
    """The first line of each file."""
    return (
        f"Written by `seatrial deploy {target}` from {bundle.name} {bundle.version}; do not edit."
    )
