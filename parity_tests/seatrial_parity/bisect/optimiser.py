"""Is onnxruntime's optimiser at fault?

The graph runs at each level of optimisation, and the first value that a level spoils is named.
"""

from __future__ import annotations

from collections.abc import Mapping

from seatrial_contracts.compare import Tolerance
from seatrial_contracts.kinds.kind import Array
from seatrial_parity.bisect.departure import compare_values
from seatrial_parity.bisect.probed import LEVELS, Level, Probed


def blame_optimiser(probed: Probed, feeds: Mapping[str, Array], tolerance: Tolerance) -> str:
    """Name the level of optimisation that changes the answer, and the node where that begins.

    The text is empty where no level changes it.
    """
    plain = probed.answer(feeds, Level.ORT_DISABLE_ALL)
    for name, level in LEVELS.items():
        if agree(plain, probed.answer(feeds, level), tolerance):
            continue
        value = first_spoilt(probed, feeds, level, tolerance)
        node = probed.node_of[value]
        return (
            f"onnxruntime's optimisations of level '{name}' change the answer; "
            f"without them the graph gives another. It begins at node '{node.name or value}' "
            f"({node.op_type}), value '{value}'"
        )
    return ""


def first_spoilt(
    probed: Probed, feeds: Mapping[str, Array], level: object, tolerance: Tolerance
) -> str:
    """Find the first spoilt value, by halving.

    Each try optimises the graph anew with one value as its only output.
    """
    plain = probed.values(feeds)
    order = [name for name in probed.node_of if name in plain]
    answers = {value.name for value in probed.model.graph.output}
    low, high = 0, max(place for place, name in enumerate(order) if name in answers)
    while low < high:
        middle = (low + high) // 2
        name = order[middle]
        got = probed.answer(feeds, level, [name])
        low, high = (
            (middle + 1, high)
            if compare_values(plain[name], got[name], tolerance).passed
            else (low, middle)
        )
    return order[low]


def agree(one: Mapping[str, Array], other: Mapping[str, Array], tolerance: Tolerance) -> bool:
    """Are two answers of a graph alike?"""
    return all(compare_values(one[name], other[name], tolerance).passed for name in one)
