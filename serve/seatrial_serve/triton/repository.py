"""Writing a Triton model repository for sealed bundles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format

from seatrial_contracts.bundle import MANIFEST, Bundle
from seatrial_contracts.bundle_files import copy_data
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import data_name
from seatrial_serve.inference.engine import Engine, load_engine
from seatrial_serve.inference.load_gate import pass_load_gate
from seatrial_serve.inference.pace import Pace
from seatrial_serve.runtimes.runtime import RuntimeOptions
from seatrial_serve.runtimes.triton_naming import triton_version
from seatrial_serve.triton.config import (
    Config,
    Placing,
    ensemble_config,
    front_config,
    graph_config,
    newest,
    whole_config,
)
from seatrial_serve.triton.warm_up import add_warm_up, graph_tensors, raw_tensors

BUNDLE = "bundle"
"""The sealed bundle's folder beside a `model.py`."""
Files = dict[str, bytes | Path]
"""Name in a model's folder -> what the file holds, or the file on disk."""
MODEL = (
    '"""The {what} of a bundle, on Triton\'s Python backend."""\n\n'
    "from seatrial_serve.triton.{what} import TritonPythonModel as TritonPythonModel\n"
)


def write_repository(bundles: Iterable[Bundle], out: Path, placing: Placing) -> list[str]:
    """Write models for all bundles into `out`, and return their names.

    Each bundle passes its load gate here first.

    On onnxruntime a bundle becomes an ensemble of front and graph; on Python one model that opens
    the bundle, and its graph alone.

    Raises `BundleError` for an encrypted bundle, `DeclarationError` if a model is there already or
    two versions of it cannot stand together, `ModelError` if the gate does not pass.
    """
    by_name: dict[str, dict[int, Bundle]] = {}
    for bundle in bundles:
        bundle.refuse_encrypted("a Triton model repository")
        by_name.setdefault(bundle.name, {})[triton_version(bundle.version)] = bundle
    written: list[str] = []
    for name, versions in by_name.items():
        check_versions(name, versions, placing)
        engine = load_engine(newest(versions), RuntimeOptions())
        pace = pass_load_gate(engine).pace
        for config, files in models(versions, engine, pace, placing):
            write_model(out / config.name, config, files)
            written.append(config.name)
    return written


def check_versions(name: str, versions: dict[int, Bundle], placing: Placing) -> None:
    """One configuration stands for all versions of a model in Triton."""
    if len(versions) > 1 and placing.backend == "onnxruntime":
        raise DeclarationError(
            f"{len(versions)} versions of '{name}'",
            "an ensemble",
            "one version of each: an ensemble names its steps' versions",
            "write the versions with --backend python, or each into a repository of its own",
        )
    first, *rest = (
        (bundle.contract.inputs, bundle.contract.outputs, bundle.contract.limits)
        for bundle in versions.values()
    )
    if any(other != first for other in rest):
        raise DeclarationError(
            f"versions of '{name}'",
            "unlike contracts",
            "one contract: Triton has one for all versions",
        )


def models(
    versions: dict[int, Bundle], engine: Engine, pace: Pace, placing: Placing
) -> list[tuple[Config, Files]]:
    """Each model's configuration and its other files."""
    bundle = engine.bundle
    graph = graph_config(versions, placing, pace)
    graph_files: Files = {**add_warm_up(graph, graph_tensors(engine))}
    if placing.backend == "python":
        whole = whole_config(versions, placing, pace)
        files: Files = {**add_warm_up(whole, raw_tensors(bundle))}
        for number, each in versions.items():
            files |= python_model(number, "whole", each)
            graph_files |= python_model(number, "graph", each)
        return [(whole, files), (graph, graph_files)]
    number = triton_version(bundle.version)
    graph_files |= onnx_model(number, bundle)
    front = front_config(bundle, placing)
    return [
        (
            ensemble_config(bundle),
            {f"{number}/README": b"An ensemble: its steps are other models.\n"},
        ),
        (front, python_model(number, "front", bundle)),
        (graph, graph_files),
    ]


def onnx_model(number: int, bundle: Bundle) -> Files:
    """`model.onnx`; a folder of that name where the graph's weights lie outside of it.

    Triton's onnxruntime backend reads `model.onnx/model.onnx` then, with its weights beside it.
    """
    name = bundle.manifest.variants[0].graph
    graph, data = bundle.files[name], bundle.data.get(data_name(name))
    if data is None:
        return {f"{number}/model.onnx": graph}
    folder = f"{number}/model.onnx"
    return {f"{folder}/model.onnx": graph, f"{folder}/{data.name}": data}


def python_model(number: int, what: str, bundle: Bundle) -> Files:
    """`model.py` and the sealed bundle beside it, whose every byte is checked when it is opened."""
    sealed: Files = {**bundle.files, **bundle.data, MANIFEST: bundle.manifest.to_json()}
    return {f"{number}/model.py": MODEL.format(what=what).encode()} | {
        f"{number}/{BUNDLE}/{name}": data for name, data in sealed.items()
    }


def write_model(folder: Path, config: Config, files: Files) -> None:
    """A model's folder, new and whole. Raises `DeclarationError` where there is one."""
    if folder.exists():
        raise DeclarationError(
            f"model '{folder.name}'", "a folder of that name", "none", "write into an empty folder"
        )
    text = text_format.MessageToString(config)
    assert text_format.Parse(text, type(config)()) == config, "Triton reads it back as it was meant"
    for name, data in {**files, "config.pbtxt": text.encode()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, Path):
            copy_data(data, path)
        else:
            path.write_bytes(data)
