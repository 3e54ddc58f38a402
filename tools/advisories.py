"""The locked versions held against deploy/image/advisories.toml, without a network.

python tools/advisories.py      exits with 1 where a locked version is within an affected range
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "deploy" / "image" / "advisories.toml"
LOCKS = [*sorted((ROOT / "deploy" / "image").glob("*.txt")), ROOT / "constraints.txt"]
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


class Advisory(NamedTuple):
    """A known vulnerability of a package."""

    id: str
    package: str
    affected: Sequence[str]
    fixed: str
    about: str

    def affects(self, version: str) -> bool:
        """Is a version within one of the ranges?"""
        return any(SpecifierSet(each).contains(version, prereleases=True) for each in self.affected)


def read_advisories(path: Path = LIST) -> list[Advisory]:
    """Those of the list."""
    listed = tomllib.loads(path.read_text("utf-8"))["advisory"]
    return [Advisory(**each) for each in listed]


def pins_of(lock: Path) -> dict[str, str]:
    """Package, as PEP 503 writes its name -> its locked version."""
    found = PIN.findall(lock.read_text("utf-8"))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def findings(advisories: Sequence[Advisory], pins: Mapping[str, str]) -> Iterator[str]:
    """What is known of locked versions, a line each."""
    for each in advisories:
        version = pins.get(each.package)
        if version is not None and each.affects(version):
            yield f"{each.package} {version}: {each.id}, {each.about}; take {each.fixed} or newer"


if __name__ == "__main__":
    known = read_advisories()
    told = [f"{lock.name}: {line}" for lock in LOCKS for line in findings(known, pins_of(lock))]
    print("\n".join(told) or f"{len(known)} advisories, none about a locked version")
    sys.exit(bool(told))
