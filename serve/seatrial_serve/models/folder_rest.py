"""When a watched folder rests: nothing in it has changed for a moment.

Whoever copies into the folder has then probably finished.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path

from seatrial_contracts.bundle import MANIFEST
from seatrial_serve.process.clock import now_s

log = logging.getLogger("seatrial.watch")
REST_S = 1.0
"""A copy over a network or from a slow disk pauses for less, as a rule.

If it pauses longer, the next change is another try.
"""


@dataclass
class Sight:
    """How a folder looked, since when, and whether it was tried in that state."""

    state: Hashable
    since_s: float
    tried: bool = False


class FolderRest:
    """Compares each folder with how it looked the last time.

    The caller looks again while `moving` is true.
    """

    def __init__(self, rest_s: float = REST_S, clock: Callable[[], float] = now_s) -> None:
        """`rest_s`: seconds without a change."""
        self.rest_s, self._clock = rest_s, clock
        self._sights: dict[Path, Sight] = {}
        self._moving: set[Path] = set()
        self.look_waits = False
        """Will the caller look again anyway?"""

    @property
    def moving(self) -> bool:
        """Did anything change a moment ago, so that it may rest soon?"""
        return bool(self._moving)

    def look_anew(self) -> None:
        """Begin to look at all folders once more, and forget those that are gone.

        Other threads may still be looking.
        """
        self.look_waits = False
        self._moving.clear()
        for folder in [folder for folder in list(self._sights) if not os.path.lexists(folder)]:
            self._sights.pop(folder, None)

    def wait_for(self, folder: Path) -> None:
        """A folder is not looked at now: the caller shall look again."""
        self._moving.add(folder)

    def may_try(self, bundle: Path, wanted: str) -> bool:
        """Return whether a bundle may be loaded now, as `wanted`.

        It may if it holds a manifest, rests, and was not tried so already.

        A folder without a manifest is not waited for: the manifest's arrival is a change of its
        own. Blocking.
        """
        files = dict(files_of(bundle))
        state, sight = (wanted, tuple(sorted(files.items()))), self._sights.get(bundle)
        if sight is None or (sight.tried and sight.state != state):
            log.info(
                "%s/%s is loaded once it rests, with its manifest", bundle.parent.name, bundle.name
            )
        return self._may_try(bundle, state, whole=MANIFEST in files)

    def may_tell(self, folder: Path, text: str) -> bool:
        """Return whether what is wrong with a folder may be reported now.

        It may if the folder has been wrong so for a while, and if that was not reported already.
        """
        return self._may_try(folder, text, whole=True)

    def forget(self, folder: Path) -> None:
        """Nothing is wrong with a folder any more."""
        self._sights.pop(folder, None)

    def _may_try(self, folder: Path, state: Hashable, *, whole: bool) -> bool:
        now, sight = self._clock(), self._sights.get(folder)
        if sight is None or sight.state != state:
            sight = self._sights[folder] = Sight(state, now)
        rests = now - sight.since_s >= self.rest_s
        if not rests:
            self._moving.add(folder)
        if not (rests and whole) or sight.tried:
            return False
        sight.tried = True
        return True


def files_of(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Return the plain files below a folder, with size and time of change.

    Sizes are in bytes, times in nanoseconds. Files that vanish meanwhile are left out.
    """
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            try:
                status = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield str(path.relative_to(folder)), (status.st_size, status.st_mtime_ns)
