"""From an address to one verified bundle on this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from seatrial_contracts.bundle import Bundle, folder_bundle, open_bundle, verify_stored
from seatrial_contracts.errors import BundleError, DeclarationError, StoreError
from seatrial_contracts.signature_files import add_signatures, put_signatures
from seatrial_serve.stores.address import Address, Folder, Remote, is_pinned, read_address
from seatrial_serve.stores.cache import DAMAGED, BundleCache, KeptBundle, cache_from_environment
from seatrial_serve.stores.received import never
from seatrial_serve.stores.remembered import Remembered, RememberedBundle, recall, remember
from seatrial_serve.stores.store import Look, Offer, fetch_into, look_at

Check = Callable[[Path], str | None]
"""What is done with a bundle's folder before it is opened.

It gives the digest of the bundle that it is about, so that no other is opened; None: of whichever.
"""


def unchecked(_: Path) -> None:
    """Nothing is done."""


def open_address(
    text: str,
    cache: BundleCache | None = None,
    check: Check = unchecked,
    *,
    signed: bool = False,
) -> Bundle:
    """The verified bundle of an address: a path, or one in a store, which is cached.

    A pinned address that the cache holds needs no registry. `signed`: its registry is asked for
    signatures all the same, and those in the cache count where it is down.

    `check` is called with its folder before the bundle is opened; what it raises is raised.

    Raises `DeclarationError` for an address that is none or holds several bundles, `StoreError` if
    the store cannot be asked, `BundleError` and `MissingExtra`.
    """
    address = read_address(text)
    if isinstance(address, Folder):
        return open_bundle(address.path, digest=check(address.path))
    cache = cache or cache_from_environment()
    if not signed and (known := open_pinned(cache, address, check)):
        return known
    try:
        look = look_at(address)
    except StoreError:
        if signed and (known := open_pinned(cache, address, check)):
            return known
        raise
    offer = only_offer(look, address)

    def fetch(into: Path) -> object:
        return fetch_into(look, offer, into, address.shown, never)

    found = open_kept(cache, offer, fetch, check)
    if is_pinned(address):
        one = RememberedBundle(name=offer.name, version=offer.version, key=offer.key)
        what = Remembered(
            address=address.shown, single=True, mark=None, bundles=(one,), selections={}
        )
        remember(address.shown, what)
    return found


def open_pinned(cache: BundleCache, address: Remote, check: Check) -> Bundle | None:
    """The bundle of an address by digest, if the cache holds it and its disk did not damage it."""
    known = recall(address.shown) if is_pinned(address) else None
    kept = None
    if known is not None and len(known.bundles) == 1:
        kept = cache.find(known.bundles[0].key, known.bundles[0].name, known.bundles[0].version)
    return None if kept is None else open_whole(kept, check)


def open_kept(
    cache: BundleCache, offer: Offer, fetch: Callable[[Path], object], check: Check = unchecked
) -> Bundle:
    """The verified bundle of an offer; what the disk damaged is fetched once more.

    `check`: see `open_address`.
    """
    found = open_whole(keep_signed(cache, offer, fetch), check)
    if found is None:
        kept = keep_signed(cache, offer, fetch)
        found = replace(open_bundle(kept.path, digest=check(kept.path)), hold=kept)
    return found


def open_whole(kept: KeptBundle, check: Check) -> Bundle | None:
    """The verified bundle, which stays in the cache as long as it is referred to.

    One that its disk damaged is removed; None then. Raises `BundleError`.
    """
    try:
        return replace(open_bundle(kept.path, digest=check(kept.path)), hold=kept)
    except BundleError as error:
        if error.code not in DAMAGED:
            raise
    kept.discard()
    return None


def keep_signed(cache: BundleCache, offer: Offer, fetch: Callable[[Path], object]) -> KeptBundle:
    """The bundle of an offer in the cache, with its signatures. Raises as `BundleCache.keep`."""
    kept = cache.keep(offer, fetch)
    add_signatures(kept.path, offer.signatures)
    return kept


def only_offer(look: Look, address: Address) -> Offer:
    """The one bundle that an address holds. Raises `DeclarationError` where there are several."""
    found = [(name, version) for name, all_ in look.versions.items() for version in all_]
    if len(found) > 1:
        some = ", ".join(f"{name}/{version}" for name, version in sorted(found)[:4])
        got = f"{len(found)} bundles: {some}"
        raise DeclarationError(f"address '{address.shown}'", got, "the address of one of them")
    return look.offer(*found[0])


def pull(address: Remote, folder: Path) -> tuple[Bundle, bool]:
    """Fetch a bundle into `folder`/name/version; return it, and whether it was there already.

    The bundle appears there by one rename, once it is whole and verified. Raises `BundleError` if
    another bundle of that version is there or the folder cannot be written, and what
    `open_address` raises.
    """
    look = look_at(address)
    offer = only_offer(look, address)
    where = f"writing bundle {offer.name} {offer.version}"
    target = folder / offer.name / offer.version
    if target.exists() or target.is_symlink():
        there = same_or_raise(target, offer)
        add_signatures(there.path, offer.signatures)
        return there, True
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{offer.version}.", dir=target.parent))
        try:
            manifest = fetch_into(look, offer, temporary, address.shown, never)
            put_signatures(temporary, offer.signatures)
            temporary.chmod(0o755)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        got, want = error.strerror or "an error", "a writable folder with room"
        raise BundleError("E_BUNDLE_WRITE", where, got, want) from error
    return folder_bundle(target, manifest), False


def same_or_raise(target: Path, offer: Offer) -> Bundle:
    """The bundle that is there, if it is the one that is offered. Raises `BundleError`."""
    there = folder_bundle(target, verify_stored(target))
    if there.digest != offer.digest:
        raise BundleError(
            "E_BUNDLE_EXISTS",
            f"bundle {offer.name} {offer.version}",
            f"{there.digest[:16]} there already, {offer.digest[:16]} at the address",
            mend="a sealed bundle never changes: pull into another folder, or remove the old one",
        )
    return there
