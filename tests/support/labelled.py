"""A contract with a label and a number, and answers to it made by chance.

Tests of measures and promises use them.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

import seatrial as st

CLASSES = ("a", "b", "c")


class In(st.Row):
    x: float


class Out(st.Answer):
    word: Annotated[str, st.Label(*CLASSES)]
    size: float


CONTRACT = st.contract_from_rows(In, Out)


def answers(rows: int, seed: int = 0, noise: float = 0.0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(rows, 3)) * 2
    sizes = random.normal(size=rows)
    scores += np.random.default_rng(seed + 1).normal(size=scores.shape) * noise
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return [
        {"word": shares[i].astype(np.float32), "size": np.float32(sizes[i])} for i in range(rows)
    ]
