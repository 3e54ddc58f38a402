"""Taking the author's machine out of the graph.

The exporter writes source lines, paths and scopes into every node.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from seatrial_contracts.errors import GateError
from seatrial_export.gate.candidate import Candidate

LEAKS = "local traces "
"""What the waiver of a file begins with; the file's name in the bundle comes after it."""
COMMON_WORDS = frozenset(
    {
        "root",
        "user",
        "admin",
        "runner",
        "ubuntu",
        "debian",
        "localhost",
        "home",
        "model",
        "test",
        "build",
    }
)


def strip(candidate: Candidate) -> None:
    """Remove notes of every sort.

    `check_leaks` makes sure that no trace of this machine is left when all is sealed.
    """
    for graph in candidate.graphs:
        strip_model(graph.onnx)


def strip_model(model: onnx.ModelProto) -> None:
    """Clear `metadata_props` and `doc_string` everywhere in the model, and its producer.

    The manifest names the producer.
    """
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


def folders_here() -> set[str]:
    """Absolute paths that would be traces of this machine.

    The paths are the folder of the export, the user's home, and Python's packages.
    """
    folders = {
        str(Path.cwd()),
        str(Path.home()),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("stdlib"),
    }
    return {folder for folder in folders if len(folder) > 4}


def names_here() -> set[str]:
    """Names of this machine and its user."""
    words = {socket.gethostname(), getpass.getuser(), os.environ.get("USER", "")}
    return {word for word in words if len(word) > 4 and word.lower() not in COMMON_WORDS}


def check_leaks(file: str, data: bytes, *, written_by_user: bool = False) -> None:
    """Raise `GateError` where bytes to be sealed hold a trace of this machine.

    A trace is one of the machine's folders, its name, or its user. A name counts as a whole part of
    a path, beside a slash or an `@`, and only in text that seatrial and the exporter write: the
    user's own words (`written_by_user`: rows, tokenizers, notes) may well hold it.
    """
    found = next((folder for folder in sorted(folders_here()) if folder.encode() in data), None)
    if found is None and not written_by_user:
        found = next(
            (part.decode() for name in sorted(names_here()) if (part := as_part(name, data))), None
        )
    if found is not None:
        raise GateError(
            "local traces",
            f"'{file}' holds '{found}', a path, user or host name of this machine",
            "look for it in node and parameter names, in strings that forward keeps, and in rows; "
            f"if it may be sealed, say waive={{'local traces {file}': 'why'}}",
        )


def as_part(name: str, data: bytes) -> bytes | None:
    """The name with what stands beside it, where it is a whole part of a path or of `user@host`."""
    word = re.escape(name.encode())
    found = re.search(rb"[/\\@]" + word + rb"(?![\w.-])|(?<![\w.-])" + word + rb"[/\\@]", data)
    return found and found[0]
