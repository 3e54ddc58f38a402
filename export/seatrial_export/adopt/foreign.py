"""A foreign ONNX file, read with suspicion.

The file is whole, of standard operators, with its weights inside or beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper as external

from seatrial_contracts.errors import DeclarationError, GateError
from seatrial_export.gate.lint import STANDARD_DOMAINS, check_domains
from seatrial_export.graphs.read import nodes_of, opset_of

LEAST_OPSET = 7
"""onnxruntime runs operators from opset 7 on."""
MOST_BYTES = 2**31 - 1
"""A protobuf message holds no more."""
LOCALE = "C.UTF-8"
PICKLES = frozenset({".pkl", ".pickle", ".joblib"})


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read the model in a file, and bring its weights inside.

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
            where, f"{path.stat().st_size / 1e9:.1f} GB", "at most 2 GB, weights beside it included"
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
    bring_inside(model, path.resolve().parent)
    name_locales(model)
    return model


def check_graph(model: onnx.ModelProto) -> None:
    """Standard operators of a supported opset, put together as ONNX wants. Raises `GateError`."""
    check_domains(model)
    check_supported(model)
    check_structure(model)


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


def bring_inside(model: onnx.ModelProto, folder: Path) -> None:
    """Read weights that lie in other files of the model's folder.

    Raises `GateError` for any file that lies outside the folder or is missing.
    """
    step = "external data"
    mend = "keep the model's weights in its own folder, or save it with its weights inside"
    held = 0
    for tensor in [each for each in tensors_of(model) if external.uses_external_data(each)]:
        location = next(
            (entry.value for entry in tensor.external_data if entry.key == "location"), ""
        )
        place = PurePosixPath(location.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in location:
            raise GateError(step, f"weights '{tensor.name}' lie outside the model's folder", mend)
        if not (folder / place).resolve().is_relative_to(folder):
            raise GateError(
                step, f"weights '{tensor.name}' lie outside the model's folder, behind a link", mend
            )
        try:
            external.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError):
            raise GateError(
                step,
                f"the file '{place}' with weights '{tensor.name}' is missing, "
                "too short or no plain file",
                mend,
            ) from None
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
        held += len(tensor.raw_data)
        if held > MOST_BYTES:
            raise GateError(
                step,
                "more than 2 GB of weights",
                "a bundle's graph is one ONNX file; take a smaller or a quantised model",
            )


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that a model carries.

    These are weights and constants, those of subgraphs and functions too.
    """
    graphs = [model.graph]
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
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        said = str(error).strip().splitlines() or ["it is not valid"]
        raise GateError(
            "structure", f"not a valid ONNX graph: {said[0][:200]}", "export the model anew"
        ) from None
