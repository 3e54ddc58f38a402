"""Taking the author's machine out of the graph: the exporter writes source lines, paths and scopes into every node."""

from __future__ import annotations

import getpass
import os
import socket
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from seatrial_contracts.errors import GateError
from seatrial_export.gate.sealable import Sealable

COMMON_WORDS = frozenset(
    {"root", "user", "admin", "runner", "ubuntu", "debian", "localhost", "home", "model", "test", "build"}
)


def strip(candidate: Sealable) -> None:
    """Remove notes of every sort, then make sure that no trace of this machine is left."""
    for graph in candidate.graphs:
        strip_model(graph.onnx)
        check_leaks(graph.onnx.SerializeToString(deterministic=True))


def strip_model(model: onnx.ModelProto) -> None:
    """Clear `metadata_props` and `doc_string` everywhere in the model, and who made it (the manifest says)."""
    clear_notes(model)
    for field in ("producer_name", "producer_version", "domain"):
        model.ClearField(field)
    for function in model.functions:
        clear_notes(function)
        strip_nodes(function.node)
    strip_graph(model.graph)


def strip_graph(graph: onnx.GraphProto) -> None:
    """A graph, its values, weights and nodes."""
    graph.name = "graph"
    clear_notes(graph)
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            clear_notes(value)
    strip_nodes(graph.node)


def strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    """Nodes and the graphs inside them."""
    for node in nodes:
        clear_notes(node)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for graph in (
                (attribute.g, *attribute.graphs)
                if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
                else ()
            ):
                strip_graph(graph)


def clear_notes(thing: Any) -> None:
    """The notes of one protobuf message, where it has any."""
    for field in ("doc_string", "metadata_props"):
        if field in thing.DESCRIPTOR.fields_by_name:
            thing.ClearField(field)


def local_traces() -> set[str]:
    """What would tell of this machine: its folders, its name, its user."""
    folders = {str(Path.cwd()), str(Path.home()), sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")}
    words = {socket.gethostname(), getpass.getuser(), os.environ.get("USER", "")}
    return {folder for folder in folders if len(folder) > 4} | {
        word for word in words if len(word) > 4 and word.lower() not in COMMON_WORDS
    }


def check_leaks(data: bytes, traces: set[str] | None = None) -> None:
    """Raise `GateError` where bytes to be sealed hold a trace of this machine."""
    for trace in local_traces() if traces is None else traces:
        if trace.encode() in data:
            raise GateError(
                "local traces",
                "the graph holds a path, user or host name of this machine",
                "look for it in node and parameter names, and in strings that forward keeps",
            )
