"""The highest version of each model that was ever served here: what a rollback is measured by."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from seatrial_contracts.errors import BundleError, DeclarationError
from seatrial_contracts.manifest import Sha256, check_version, version_key
from seatrial_contracts.plain_file import NotPlainFile
from seatrial_serve.process.private_cache import (
    NotPrivate,
    locked_private,
    read_private,
    replace_private,
)

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


PLACE = "$XDG_STATE_HOME/seatrial/versions"
ANYWAY = "or serve with --allow-rollback"
MEND = f"seal what it holds under a higher version, {ANYWAY}"


def state_folder() -> Path:
    """Where the user's programs keep state (XDG Base Directory Specification).

    Raises `DeclarationError` where neither the environment nor the system names such a folder.
    """
    home = os.environ.get("XDG_STATE_HOME")
    try:
        return Path(home or Path.home() / ".local" / "state") / "seatrial" / "versions"
    except RuntimeError:
        where, got = "the record of versions that were served", "no home folder of this user"
        raise DeclarationError(where, got, "a folder for it: XDG_STATE_HOME") from None


class SeenVersions:
    """What was served of each model: in this process, and in the user's state folder.

    A record that cannot be read or written is no empty one: it raises `BundleError` with
    E_ROLLBACK. The log says why, since the reason may hold a path.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: None for that of the user. Raises `DeclarationError` where there is none."""
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
        if version == seen.version:
            check_digest(name, digest, seen)
        elif not serves(seen.version, seen.digest):
            where, want = f"bundle {name} {version}", f"{seen.version} or a higher version"
            raise BundleError("E_ROLLBACK", where, f"{version} after {seen.version}", want, MEND)

    def highest(self, name: str) -> Seen | None:
        """The highest version that is known; None if there is none. Raises `BundleError`."""
        kept, own = self._read(name), self._known.get(name)
        if kept is None or own is None:
            return kept or own
        return max(kept, own, key=lambda seen: seen.key)

    def remember(self, name: str, version: str, digest: str) -> None:
        """Take in a version that is to be served now.

        A higher one that another process has taken in meanwhile stays. Raises `BundleError`, also
        where another process has taken in other bytes of this version.
        """
        now, seen = Seen(version=version, digest=digest), self.highest(name)
        if now != seen and (seen is None or now.key >= seen.key):
            try:
                with locked_private(self._folder):
                    seen = self.highest(name)
                    if seen is not None and seen.version == version:
                        check_digest(name, digest, seen)
                    if seen is None or now.key >= seen.key:
                        self._keep(name, now)
            except (NotPrivate, OSError) as error:
                log.error("the record of %s cannot be written: %s", name, reason_of(error))
                got = "a record of served versions that cannot be written"
                raise unusable(name, got, f"let the server write below {PLACE}") from None
        if seen is None or now.key >= seen.key:
            self._known[name] = now

    def replace(self, name: str, version: str, digest: str) -> None:
        """Take in a version that is served now, as the highest, though a higher one was seen.

        Whoever allows rollbacks does not need the record: one that cannot be written is logged.
        """
        self._known[name] = Seen(version=version, digest=digest)
        try:
            self._keep(name, self._known[name])
        except (NotPrivate, OSError) as error:
            log.warning("the record of %s is not written: %s", name, reason_of(error))

    def _keep(self, name: str, seen: Seen) -> None:
        replace_private(self._folder, f"{name}.json", seen.model_dump_json().encode())

    def _read(self, name: str) -> Seen | None:
        try:
            data = read_private(self._folder, f"{name}.json", MAX_RECORD_BYTES)
            return Seen.model_validate_json(data)
        except FileNotFoundError:
            return None
        except (NotPrivate, NotPlainFile, OSError, ValidationError) as error:
            log.error("the record of %s cannot be read: %s", name, reason_of(error))
            got = "a record of served versions that is damaged, or not the server's alone to write"
            mend = f"look into {PLACE}/{name}.json, and remove it if nothing newer was served"
            raise unusable(name, got, mend) from None


def check_digest(name: str, digest: str, seen: Seen) -> None:
    """Raise `BundleError` for other bytes of a version than those that were served as it."""
    if digest != seen.digest:
        where, want = f"bundle {name} {seen.version}", "that bundle or a higher version"
        got = f"digest {digest[:16]}, after {seen.digest[:16]} was served as this version"
        raise BundleError("E_ROLLBACK", where, got, want, MEND)


def unusable(name: str, got: str, mend: str) -> BundleError:
    """The error about a record that does not say what was served."""
    want = "a record that says which version is the highest"
    return BundleError("E_ROLLBACK", f"model {name}", got, want, f"{mend}; {ANYWAY}")


def reason_of(error: Exception) -> str:
    """Why, for the log."""
    if isinstance(error, ValidationError):
        return "no record of a version"
    return getattr(error, "strerror", None) or str(error)
