"""What every format of a model has: the files that it adds to a bundle, and what they are proven by."""

from __future__ import annotations

from typing import NamedTuple

from seatrial_contracts.manifest import Variant


class Made(NamedTuple):
    """One more graph of a bundle: what the manifest says of it, and its bytes."""

    variant: Variant
    data: bytes
