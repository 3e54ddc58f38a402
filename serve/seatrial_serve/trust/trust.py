"""Trust in a bundle before it is loaded: who signed it, and that it is no step back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.manifest import Manifest
from seatrial_serve.trust.check import check_signature
from seatrial_serve.trust.policy import TrustPolicy, read_policy
from seatrial_serve.trust.seen import SeenVersions
from seatrial_serve.trust.signed import Signed


class Trust:
    """A policy, and what was served before."""

    def __init__(
        self,
        policy: Path,
        serves: Callable[[str, str, str], bool],
        *,
        allow_rollback: bool = False,
        seen: SeenVersions | None = None,
    ) -> None:
        """Read the policy once, so that a wrong one is told at start.

        `serves`: does a version of a model, by its name here, and of this digest take traffic, and
        is it still there? Raises `DeclarationError`.
        """
        self._policy, self._serves, self._allow_rollback = policy, serves, allow_rollback
        self._seen = seen or SeenVersions()
        required_policy(policy)

    def check(self, folder: Path) -> Signed:
        """Who signed the bundle in a folder.

        The policy is read anew: what was revoked meanwhile counts no more. Raises `BundleError`,
        and `DeclarationError` for a policy that cannot be read now.
        """
        return check_signature(folder, required_policy(self._policy))

    def check_same(self, manifest: Manifest, signed: Signed) -> None:
        """Raise `BundleError` unless a manifest is the signed one."""
        if manifest.digest != signed.digest:
            where = f"bundle {manifest.name} {manifest.version}"
            got = "another manifest than the one whose signature was verified"
            raise BundleError("E_BUNDLE_CHANGED", where, got, "a bundle that rests")

    def check_opened(self, name: str, bundle: Bundle, signed: Signed) -> None:
        """Is an opened bundle the signed one, and no older than what was served?

        `name`: what clients call the model. Raises `BundleError`.
        """
        self.check_same(bundle.manifest, signed)
        if not self._allow_rollback:
            self._seen.check(
                bundle.name, bundle.version, bundle.digest, partial(self._serves, name)
            )

    def remember(self, bundle: Bundle) -> None:
        """Take in what is to be served now.

        Raises `BundleError` where the record of it cannot be written, unless rollbacks are allowed.
        """
        take_in = self._seen.replace if self._allow_rollback else self._seen.remember
        take_in(bundle.name, bundle.version, bundle.digest)


def required_policy(path: Path) -> TrustPolicy:
    """The policy that `--require-signature` names, as it is now.

    Raises `DeclarationError` that names the setting.
    """
    try:
        return read_policy(path)
    except DeclarationError as error:
        raise DeclarationError(f"setting 'require_signature', {error}") from None
