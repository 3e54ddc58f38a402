"""V2's classification extension: the best classes of an output in place of its tensor.

Each is a text, `score:index:label`, or `score:index` where the contract names no classes.
"""

from __future__ import annotations

import numpy as np

from seatrial_contracts.contract import Contract
from seatrial_contracts.element_types import FLOATS
from seatrial_contracts.errors import Refusal
from seatrial_contracts.kinds.classes import best_of
from seatrial_contracts.kinds.kind import Array
from seatrial_contracts.kinds.label import Label
from seatrial_contracts.kinds.mapped_kind import MappedKind
from seatrial_serve.v2.message import Wanted


def check_classification(contract: Contract, wanted: Wanted) -> None:
    """Raise `Refusal` where the output has no classes, or not as many as are wanted."""
    if wanted.best is None:
        return
    where, most = f"output '{wanted.name}'", class_count(contract, wanted.name)
    if most is None:
        raise Refusal(
            "E_UNSUPPORTED",
            where,
            "'classification' of an output without classes",
            "a label, or one row of floats of fixed length",
        )
    if wanted.best > most:
        got, want = f"classification {wanted.best}", f"a whole number from 1 to {most}"
        raise Refusal("E_PARAMETER", where, got, want)


def class_count(contract: Contract, name: str) -> int | None:
    """How many scores a row of this output has; None where these are no classes' scores."""
    tensor = contract.client_tensors[name]
    mapped = isinstance(contract.answered.get(name), MappedKind)
    fixed = len(tensor.shape) == 1 and tensor.datatype in FLOATS and not mapped
    return tensor.shape[0] if fixed else None


def classified(contract: Contract, wanted: Wanted, scores: Array) -> Array:
    """The best of each row of `scores`, shape `(rows, classes)`, as texts, `(rows, best)`.

    Scores are written in the fewest digits that read back as the same number.
    """
    kind = contract.answered[wanted.name]
    names = kind.classes if isinstance(kind, Label) else None
    texts = np.empty((len(scores), wanted.best or 0), object)
    for row, values in enumerate(scores):
        best = best_of(values, wanted.best or 0)
        texts[row] = [
            f"{score}:{place}" if names is None else f"{score}:{place}:{names[place]}"
            for place, score in zip(best.tolist(), values[best], strict=True)
        ]
    return texts
