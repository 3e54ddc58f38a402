"""Recall: how many of a vector's nearest neighbours stay so when vectors change."""

from __future__ import annotations

import numpy as np

from seatrial_contracts.compare import Array

NEIGHBOURS = 10
LEAST_ROWS = 2 * NEIGHBOURS + 1
"""With fewer rows, a random order would find about half of the neighbours, or all of them."""
TIE = 1e-6
"""Cosines that are nearer to each other than this are equal: float32's own rounding."""
MOST_ROWS = 2048
"""The first so many rows are looked at: each is compared with each."""


def recall_at_10(want: Array, got: Array) -> float | None:
    """Mean share of each row's 10 nearest other rows by `want` that are among the 10 by `got`.

    Both have shape `(rows, ...)`, which is flattened to vectors and compared by cosine. A neighbour
    as near by `want` as the tenth counts as one of the ten. None: there are too few rows, or a
    vector is not finite.
    """
    want, got = (np.asarray(each, np.float64)[:MOST_ROWS] for each in (want, got))
    rows = len(want)
    if rows < LEAST_ROWS or not (np.isfinite(want).all() and np.isfinite(got).all()):
        return None
    truth, found = cosines(want), cosines(got)
    nearest = np.argpartition(-found, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    tenth = -np.partition(-truth, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    near = np.take_along_axis(truth, nearest, 1) >= tenth[:, None] - TIE
    return float(near.mean())


def cosines(vectors: Array) -> Array:
    """Of each vector with each other, `(rows, rows)`; a vector is no neighbour of itself."""
    flat = vectors.reshape(len(vectors), -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    units = flat / np.where(norms == 0, 1, norms)
    found: Array = units @ units.T
    np.fill_diagonal(found, -np.inf)
    return found
