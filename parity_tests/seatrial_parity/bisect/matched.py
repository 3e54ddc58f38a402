"""Matching the values of a sealed graph to those of a fresh export.

Values match by place where the nodes are the same, else by the names that survive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from seatrial_parity.bisect.probed import Probed

NUMBERED = re.compile(r"_?val_\d+")
"""The exporter counts what no traced node names, so a change further up shifts these names."""


@dataclass(frozen=True)
class Matched:
    """`names` maps a value of the sealed graph to the fresh export's name for it."""

    names: Mapping[str, str]
    how: str
    """For people."""
    same_nodes: bool


def match(sealed: Probed, fresh: Probed) -> Matched:
    """Match values node by node where both graphs have the same operators in the same order.

    Otherwise values match by name.
    """
    pairs = list(zip(sealed.nodes, fresh.nodes, strict=False))
    same = len(sealed.nodes) == len(fresh.nodes) and all(
        one.op_type == other.op_type and len(one.output) == len(other.output)
        for one, other in pairs
    )
    if same:
        names = {
            mine: its
            for one, other in pairs
            for mine, its in zip(one.output, other.output, strict=True)
            if mine and its
        }
        return Matched(
            names, f"all {len(pairs)} nodes are those of a fresh export", same_nodes=True
        )
    kept = {
        name: name
        for name, node in sealed.node_of.items()
        if name in fresh.node_of and trusted(name, node, fresh.node_of[name])
    }
    how = (
        f"the graph's nodes are not those of a fresh export: {len(kept)} "
        f"of its {len(sealed.node_of)} values matched by name"
    )
    return Matched(kept, how, same_nodes=False)


def trusted(name: str, node: onnx.NodeProto, other: onnx.NodeProto) -> bool:
    """Whether two values of one name may be taken for the same.

    A numbered name is only trusted where one operator makes both values of the same inputs.
    """
    return NUMBERED.fullmatch(name) is None or (
        node.op_type == other.op_type and node.input[:1] == other.input[:1]
    )


def differences(
    node: onnx.NodeProto, other: onnx.NodeProto, sealed: Probed, fresh: Probed
) -> tuple[str, ...]:
    """List the sealed node's differences from the fresh export's: operator, attributes, weights."""
    found = []
    if node.op_type != other.op_type:
        found.append(f"the operator: {node.op_type}, a fresh export has {other.op_type}")
    mine, its = ({each.name: each for each in one.attribute} for one in (node, other))
    odd = sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
    if odd and node.op_type == other.op_type:
        found.append(f"attributes: {', '.join(odd)}")
    for name, twin in zip(node.input, other.input, strict=False):
        said = weight_difference(name, twin, sealed, fresh)
        if said:
            found.append(said)
    return tuple(found)


def all_differences(sealed: Probed, fresh: Probed, matched: Matched) -> tuple[str, ...]:
    """Those of every node, where nodes are the same: what the golden rows do not show."""
    pairs = zip(sealed.nodes, fresh.nodes, strict=True) if matched.same_nodes else ()
    found = (said for node, other in pairs for said in differences(node, other, sealed, fresh))
    return tuple(dict.fromkeys(found))


def weight_difference(name: str, twin: str, sealed: Probed, fresh: Probed) -> str:
    """Describe how a weight differs from the fresh export's.

    The text is empty where the weight does not differ, or where either value is no weight.
    """
    if name not in sealed.weights or twin not in fresh.weights:
        return ""
    mine, its = sealed.weights[name], fresh.weights[twin]
    shown = name.removeprefix("_")
    if mine.dtype != its.dtype or mine.shape != its.shape:
        return (
            f"weight {shown}: {mine.dtype}{list(mine.shape)}, "
            f"a fresh export has {its.dtype}{list(its.shape)}"
        )
    if mine.dtype.kind not in "fiu" or bool((mine == its).all()):
        return ""
    apart = abs(mine.astype(float) - its.astype(float))
    return (
        f"weight {shown}: {int((apart > 0).sum())} of {mine.size} numbers, "
        f"by up to {apart.max():.2e}"
    )
