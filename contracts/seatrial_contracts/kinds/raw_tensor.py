"""What clients send of an input over V2 and gRPC: one tensor, and what must be said beside it."""

from __future__ import annotations

from typing import NamedTuple

LENGTH, PRESENT, TOKEN_IDS = "length", "present", "token_ids"
"""What the tensors beside a field's own are called.

They say how much of a row counts, and whether it is there, or hold token ids in a text's place.
"""


class RawTensor(NamedTuple):
    """A V2 tensor of an input, with the rows first."""

    name: str
    datatype: str
    row_shape: tuple[int | None, ...]
    """Without the rows, None where a size varies."""
    optional: bool
    """May a request leave it out?"""
    want: str
    """What it holds, for messages."""
