"""How much memory a version is said to take."""

from __future__ import annotations

from support.toys import toy_manifest

from seatrial_contracts.manifest import SealedFile
from seatrial_serve.engines.footprint import footprint

MIB = 2**20
SEALED = {"graphs/toy.fake": SealedFile(sha256="0" * 64, size=MIB)}
MANIFEST = toy_manifest().model_copy(update={"files": SEALED})


def test_a_version_takes_what_the_process_grew_by_and_at_least_what_it_loads() -> None:
    assert footprint(MANIFEST, None) == 1.5 * MIB  # assumed, before anything was measured
    assert footprint(MANIFEST, None, 3 * MIB) == 3 * MIB
    assert footprint(MANIFEST, None, 10) == MIB
