"""The highest version of each model that was ever served here: what a rollback is measured by."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from seatrial_contracts.errors import BundleError
from seatrial_contracts.manifest import Sha256, check_version, version_key
from seatrial_contracts.plain_file import NotPlainFile
from seatrial_serve.process.private_cache import NotPrivate, read_private, replace_private

log = logging.getLogger("seatrial.trust")
MAX_RECORD_BYTES = 4096


class Seen(BaseModel):
    """A version that was served, and the digest of its bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Annotated[str, AfterValidator(check_version)]
    digest: Sha256

    @property
    def key(self) -> tuple[int, ...]:
        """Orders versions by their numbers."""
        return version_key(self.version)


def state_folder() -> Path:
    """Where the user's programs keep state (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "seatrial" / "versions"


class SeenVersions:
    """What was served of each model: in this process, and in the user's state folder.

    If that folder cannot be used, a log line says so, and what other processes served before is not
    known here.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._known = folder or state_folder(), dict[str, Seen]()

    def check(
        self, name: str, version: str, digest: str, serves: Callable[[str, str], bool]
    ) -> None:
        """Raise `BundleError` with E_ROLLBACK for an older version, or another bundle of this one.

        `serves`: does a version, of this digest, take traffic here? An older one beside the highest
        is no rollback.
        """
        seen = self.highest(name)
        if seen is None or version_key(version) > seen.key:
            return
        where, want = f"bundle {name} {version}", f"{seen.version} or a higher version"
        mend = "seal what it holds under a higher version, or serve with --allow-rollback"
        if version == seen.version and digest != seen.digest:
            got = f"digest {digest[:16]}, after {seen.digest[:16]} was served as this version"
            raise BundleError("E_ROLLBACK", where, got, "that bundle or a higher version", mend)
        if version != seen.version and not serves(seen.version, seen.digest):
            raise BundleError("E_ROLLBACK", where, f"{version} after {seen.version}", want, mend)

    def highest(self, name: str) -> Seen | None:
        """The highest version that is known; None if there is none."""
        kept, own = self._read(name), self._known.get(name)
        if kept is None or own is None:
            return kept or own
        return max(kept, own, key=lambda seen: seen.key)

    def remember(self, name: str, version: str, digest: str) -> None:
        """Take in a version that is served now."""
        now, seen = Seen(version=version, digest=digest), self.highest(name)
        if seen is not None and now.key < seen.key:
            return
        self._known[name] = now
        if now != seen:
            self._keep(name, now)

    def replace(self, name: str, version: str, digest: str) -> None:
        """Take in a version that is served now, as the highest, though a higher one was seen."""
        self._known[name] = Seen(version=version, digest=digest)
        self._keep(name, self._known[name])

    def _keep(self, name: str, seen: Seen) -> None:
        try:
            replace_private(self._folder, f"{name}.json", seen.model_dump_json().encode())
        except (NotPrivate, OSError) as error:
            log.warning("which versions were served is not kept: %s", reason_of(error))

    def _read(self, name: str) -> Seen | None:
        try:
            data = read_private(self._folder, f"{name}.json", MAX_RECORD_BYTES)
            return Seen.model_validate_json(data)
        except FileNotFoundError:
            return None
        except (NotPrivate, NotPlainFile, OSError, ValidationError) as error:
            log.warning(
                "which versions of %s were served cannot be read: %s", name, reason_of(error)
            )
            return None


def reason_of(error: Exception) -> str:
    """Why, without a path of the user's."""
    if isinstance(error, ValidationError):
        return "no record of a version"
    return getattr(error, "strerror", None) or str(error)
