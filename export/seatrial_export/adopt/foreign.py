"""A foreign ONNX file, read with suspicion.

The file is whole, of standard operators, with its weights inside or beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError

from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_contracts.manifest import MAX_DATA_BYTES
from seatrial_contracts.plain_file import open_plain_file
from seatrial_export.gate.lint import STANDARD_DOMAINS, check_domains
from seatrial_export.graphs import weights
from seatrial_export.graphs.read import nodes_of, opset_of
from seatrial_export.graphs.weights import (
    Place,
    bring_inside,
    is_outside,
    is_settled,
    outside_of,
    put_outside,
    size_of,
    weight_bytes,
    weights_as_inputs,
)

LEAST_OPSET = 7
"""onnxruntime runs operators from opset 7 on."""
MOST_BYTES = 2**31 - 1
"""A protobuf message holds no more."""
STEP = "external data"
MEND = "keep the model's weights in its own folder, or save it with its weights inside"
LOCALE = "C.UTF-8"
PICKLES = frozenset({".pkl", ".pickle", ".joblib"})


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read the model in a file, and the weights in files beside it.

    Raises `DeclarationError` and `GateError`; nothing is run.
    """
    where = f"model '{path}'"
    if path.suffix in PICKLES:
        mend = "name the estimator in a Python file that fits or loads it: FILE.py:NAME"
        raise DeclarationError(where, "a pickle, which is a program", "an ONNX file", mend)
    if not path.is_file():
        raise DeclarationError(where, "no file", "an existing ONNX file")
    if path.stat().st_size > MOST_BYTES:
        raise DeclarationError(
            where,
            f"{path.stat().st_size / 1e9:.1f} GB",
            "at most 2 GB, which one ONNX file holds",
            "save the model with its weights as external data",
        )
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise DeclarationError(
            where, error.strerror or "an error", "a readable ONNX file"
        ) from None
    except DecodeError:
        raise DeclarationError(where, "a file that is no ONNX model", "an ONNX file") from None
    if not model.graph.node or not model.graph.output:
        raise DeclarationError(
            where, "a file without operators or outputs", "an ONNX model with at least one of each"
        )
    settle_weights(model, path.resolve().parent)
    name_locales(model)
    return model


def check_graph(model: onnx.ModelProto) -> None:
    """Standard operators of a supported opset, put together as ONNX wants. Raises `GateError`."""
    check_settled(model)
    check_domains(model)
    check_supported(model)
    check_structure(model)


def check_settled(model: onnx.ModelProto) -> None:
    """Check that every weight is inside, or where `read_onnx` found it. Raises `GateError`."""
    outside = [each for each in (*outside_of(model), *inner_tensors_of(model)) if is_outside(each)]
    loose = [tensor.name for tensor in outside if not is_settled(tensor)]
    if loose:
        raise GateError(
            STEP,
            f"weights outside the graph: {', '.join(loose[:3])}",
            "adopt the model by its file (Adoption.of_onnx), or load it with its weights",
        )


def name_locales(model: onnx.ModelProto) -> None:
    """Let StringNormalizer change the case of letters by a locale that every machine has.

    Without a locale, and by that of American English, onnxruntime loads the graph only where
    "en_US.UTF-8" is installed. "C.UTF-8" is part of glibc and maps the same letters.
    """
    for node in nodes_of(model):
        if node.op_type == "StringNormalizer":
            named = [each for each in node.attribute if each.name == "locale"]
            if all(each.s.decode("utf-8", "replace").startswith("en_US") for each in named):
                kept = [each for each in node.attribute if each.name != "locale"]
                del node.attribute[:]
                node.attribute.extend([*kept, onnx.helper.make_attribute("locale", LOCALE)])


def settle_weights(model: onnx.ModelProto, folder: Path) -> None:
    """Read weights that lie in other files of the model's folder.

    Few are brought inside. Of many, the graph's own stay where they are, each with the path of its
    file. Raises `GateError` for any file that lies outside the folder, is missing or too short, and
    for weights that share some of their bytes.
    """
    own = outside_of(model)
    inner = [each for each in inner_tensors_of(model) if is_outside(each)]
    check_apart([(tensor, settle(tensor, folder)) for tensor in (*own, *inner)])
    many = weight_bytes(model) >= weights.OUTSIDE_FROM_BYTES
    for tensor in inner if many else (*own, *inner):
        bring_inside(tensor)


def settle(tensor: onnx.TensorProto, folder: Path) -> Place:
    """Find a tensor in a file of the model's folder, whose path it has from then on.

    Raises `GateError`.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    location, shown = said.get("location", ""), f"weights '{tensor.name}'"
    place = PurePosixPath(location.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in location:
        raise GateError(STEP, f"{shown} lie outside the model's folder", MEND)
    if not (folder / place).resolve().is_relative_to(folder):
        raise GateError(STEP, f"{shown} lie outside the model's folder, behind a link", MEND)
    want = size_of(tensor)
    try:
        offset, length = int(said.get("offset") or 0), int(said.get("length") or want)
        with open_plain_file(folder / place, MAX_DATA_BYTES) as (_, size):
            pass
    except (OSError, ValueError):  # a NotPlainFile is one too
        raise GateError(
            STEP, f"the file '{place}' with {shown} is missing, too short or no plain file", MEND
        ) from None
    if length != want:
        sizes = f"{list(tensor.dims)} of its type take {want}"
        raise GateError(STEP, f"{shown} have {length} bytes in '{place}', where {sizes}", MEND)
    if offset < 0 or offset + length > size:
        cause = (
            f"the file '{place}' of {size} bytes is too short for {shown}, "
            f"at bytes {offset} to {offset + length}"
        )
        raise GateError(STEP, cause, MEND)
    found = Place((folder / place).resolve(), offset, length)
    put_outside(tensor, found)
    return found


def check_apart(placed: Sequence[tuple[onnx.TensorProto, Place]]) -> None:
    """Check that tensors share all of their bytes or none. Raises `GateError`."""
    ordered = sorted(placed, key=lambda each: each[1])
    for (one, first), (other, second) in pairwise(ordered):
        if first.path == second.path and second[1:] != first[1:]:
            end = first.offset + first.length
            if second.offset < end:
                cause = (
                    f"weights '{other.name}' begin at byte {second.offset} of "
                    f"'{second.path.name}', within weights '{one.name}', which end at {end}"
                )
                raise GateError(STEP, cause, MEND)


def inner_tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that a model carries but for the weights of its graph.

    These are constants, and the weights of subgraphs and functions.
    """
    graphs = []
    for node in nodes_of(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            graphs += [
                graph
                for graph in (attribute.g, *attribute.graphs)
                if graph.node or graph.initializer
            ]
    for graph in graphs:
        yield from graph.initializer
    for graph in (model.graph, *graphs):
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def check_supported(model: onnx.ModelProto) -> None:
    """The opset is one that onnxruntime has and onnx knows. Raises `GateError`."""
    newest, got = onnx.defs.onnx_opset_version(), opset_of(model)
    asked = {entry.domain for entry in model.opset_import}
    if got == 0 and asked <= STANDARD_DOMAINS - {"", "ai.onnx"}:
        return
    if not LEAST_OPSET <= got <= newest:
        raise GateError(
            "opset",
            f"the graph asks for opset {got}, supported are {LEAST_OPSET} to {newest}",
            "export the model anew at an opset in between, or convert it: "
            "onnx.version_converter.convert_version(model, 17)",
        )


def check_structure(model: onnx.ModelProto) -> None:
    """Check that the graph is whole.

    Every operator must be known, and every value made before it is used. Raises `GateError`.
    """
    try:
        onnx.checker.check_model(weights_as_inputs(model)[0])
    except (onnx.checker.ValidationError, ValueError) as error:
        said = str(error).strip().splitlines() or ["it is not valid"]
        raise GateError(
            "structure", f"not a valid ONNX graph: {said[0][:200]}", "export the model anew"
        ) from None
