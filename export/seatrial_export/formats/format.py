"""The parts of every format of a model: the files that it adds to a bundle, and their proof."""

from __future__ import annotations

from typing import NamedTuple

from seatrial_contracts.manifest import Variant


class Made(NamedTuple):
    """One more graph of a bundle: what the manifest says of it, and its bytes."""

    variant: Variant
    data: bytes
