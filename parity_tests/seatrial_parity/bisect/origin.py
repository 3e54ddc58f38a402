"""The origin of a graph's value in the user's model: modules and line.

Origins are read off the exporter's notes before they are stripped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from torch import fx

SCOPES = "pkg.torch.onnx.name_scopes"
FRAME = re.compile(r'File "([^"]+)", line (\d+)')
NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
"""torch's word for nodes that it made itself, such as those that read a size."""
TEMPERATURE = "the temperatures fitted at export"
COPIES = frozenset({"aten.clone.default", "aten.alias.default", "aten.detach.default"})
"""What dropout and its like leave in a model that is not in training: nothing is computed there."""


@dataclass(frozen=True)
class Origin:
    """One node of the traced model.

    `modules` are all that went into the node, as where a batch norm is folded into a convolution.
    """

    modules: tuple[str, ...]
    """Paths from the pipeline's own names: `model.encoder.layers.3.attention`."""
    operation: str = ""
    """torch's name of what is computed: `aten.linear.default`."""
    line: str = ""
    """The innermost line of the user's own code: `pipeline.py:62`."""

    def __str__(self) -> str:
        said = ", ".join(filter(None, (self.operation, self.line)))
        return " and ".join(self.modules) + (f" ({said})" if said else "")


def origins_of(
    root: str, proto: onnx.ModelProto, nodes: Mapping[str, fx.Node]
) -> dict[str, Origin]:
    """Value -> its origin, for the values of a fresh export.

    `root` is the name of the traced module, empty where that is the one around the user's, with the
    temperatures; `nodes` are those of the traced program, by name.
    """
    noted = [(name, node.output) for node in proto.graph.node if (name := traced_name(node))]
    standing = {name for name, _ in noted}
    known = {name: origin_of(root, nodes[name], standing) for name in standing & nodes.keys()}
    return {value: known[name] for name, outputs in noted if name in known for value in outputs}


def traced_name(node: onnx.NodeProto) -> str:
    """The traced node that a graph's node belongs to.

    The node is the last of the scopes that the exporter noted; empty where the exporter noted none.
    """
    noted = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "['']")
    return str(ast.literal_eval(noted)[-1])


def origin_of(root: str, node: fx.Node, standing: Collection[str]) -> Origin:
    """The origin of a traced node and of those folded into it.

    `standing` are the nodes that the graph has nodes of its own for.
    """
    folded = [
        each for each in reversed(folded_into(node, standing)) if str(each.target) not in COPIES
    ] + [node]
    paths = dict.fromkeys(path for each in folded if (path := module_path(root, each)))
    return Origin(tuple(paths) or (root or TEMPERATURE,), str(maker(node).target), user_line(node))


def folded_into(node: fx.Node, standing: Collection[str]) -> list[fx.Node]:
    """Traced nodes before this one that left no node in the graph, nearest first."""
    found: list[fx.Node] = []
    waiting = list(node.all_input_nodes)
    while waiting:
        each = maker(waiting.pop(0))
        if each.op == "call_function" and each.name not in standing and each not in found:
            found.append(each)
            waiting += each.all_input_nodes
    return found


def maker(node: fx.Node) -> fx.Node:
    """The node itself or, where it only picks one of several outputs, the one that made them."""
    while node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem":
        node = node.all_input_nodes[0]
    return node


def module_path(root: str, node: fx.Node) -> str:
    """The innermost module that a traced node belongs to.

    The path is empty where torch made the node itself.
    """
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    if not paths or NO_MODULE in stack:
        return ""
    return f"{root}.{paths[-1]}".strip(".")


def user_line(node: fx.Node) -> str:
    """The innermost line outside of installed packages."""
    frames = FRAME.findall(node.meta.get("stack_trace") or "")
    own = [(name, line) for name, line in frames if "site-packages" not in name]
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""
