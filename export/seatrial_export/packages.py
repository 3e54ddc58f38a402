"""Model packages of onnxruntime, `NAME.ortpackage`: written from bundles, and read.

onnxruntime's own library has the format (schema 1.0): a manifest, components, variants with one
execution provider each, and shared assets that are named by their content. Of a bundle, each graph
is a variant, and everything else is one shared asset, from which the bundle comes back whole.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime as ort

from seatrial_contracts.bundle import MANIFEST, Bundle, open_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import ONNX, Manifest, data_name

SUFFIX = ".ortpackage"
CPU = "CPUExecutionProvider"
EXECUTOR, FOLDER = "ort", "models"
WEIGHTS_ELSEWHERE = "session.model_external_initializers_file_folder_path"
SEALED = "seatrial"
"""In the manifest's further metadata: the shared asset that holds the rest of a bundle."""
MODEL, PREPARE = "model", "prepare"
"""Components of a bundle: its graph, and the graph of one row before it."""
MEND_FILE = "adopt the ONNX file of one of them: seatrial adopt PATH/model.onnx"


class Package(NamedTuple):
    """What a package holds for us: a bundle of ours, or one graph of others."""

    name: str
    graph: Path | None
    """The ONNX file, where it is no bundle of ours."""


def library(where: str) -> Any:
    """The library of model packages that onnxruntime has.

    Raises `DeclarationError` where this onnxruntime has none.
    """
    found = getattr(ort, "ModelPackage", None)
    if found is None:
        got = f"onnxruntime {ort.__version__}, which has no library of model packages"
        raise DeclarationError(where, got, "onnxruntime 1.32 or later")
    return found


def graphs_of(manifest: Manifest) -> dict[tuple[str, str], str]:
    """Component and variant -> the sealed file that is its graph, the default variant first."""
    found = {
        (MODEL, variant.name): variant.graph
        for variant in manifest.variants
        if variant.format == ONNX
    }
    if manifest.prepare is not None:
        found[(PREPARE, "fp32")] = manifest.prepare.graph
    return found


def write_package(bundle: Bundle, target: Path) -> Path:
    """Write a bundle as a package, whole or not at all.

    Raises `BundleError` for an encrypted bundle, `DeclarationError` where there is something
    already, or nothing can be written.
    """
    bundle.refuse_encrypted("a model package")
    where = f"package '{target.name}'"
    if target.suffix != SUFFIX:
        raise DeclarationError(where, f"'{target.suffix}'", f"a folder called NAME{SUFFIX}")
    if target.exists():
        raise DeclarationError(where, "a folder of that name", "none", "write a new one")
    kind = library(where)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".ortpackage-", dir=target.parent) as folder:
            made = Path(folder) / "package"
            fill(kind(), bundle, Path(folder) / "sealed", made)
            made.rename(target)
    except OSError as error:
        got = error.strerror or "no place to write to"
        raise DeclarationError(where, got, "a writable folder with room") from None
    return target


def fill(package: Any, bundle: Bundle, sealed: Path, made: Path) -> None:
    """Make the package's folder, with `sealed` as the place of its shared asset meanwhile."""
    graphs = graphs_of(bundle.manifest)
    kept = {name: data for name, data in bundle.files.items() if name not in graphs.values()}
    for name, data in {**kept, MANIFEST: bundle.manifest.to_json()}.items():
        (sealed / name).parent.mkdir(parents=True, exist_ok=True)
        (sealed / name).write_bytes(data)
    package.set_metadata(bundle.name, bundle.version, None)
    asset = package.add_shared_asset(str(sealed))
    package.set_additional_metadata_json(
        "manifest", json=json.dumps({SEALED: {"bundle": asset, "digest": bundle.digest}})
    )
    components = dict.fromkeys(component for component, _ in graphs)
    for component in components:
        package.set_component_inline(component, '{"variants": {}}')
    package.commit(str(made))
    for (component, variant), file in graphs.items():
        place = made / FOLDER / component / variant
        place.mkdir(parents=True)
        (place / Path(file).name).write_bytes(bundle.files[file])
        weights = bundle.data.get(data_name(file))
        if weights is not None:
            shutil.copyfile(weights, place / Path(data_name(file)).name)
    for component in components:
        package.set_component_external(component, f"{FOLDER}/{component}")
    for (component, variant), file in graphs.items():
        body = json.dumps({"ep": CPU, "device": "cpu"})
        package.set_variant(component, variant, body)
        named = json.dumps({"model_file": Path(file).name})
        package.set_variant_executor_info_inline(component, variant, EXECUTOR, named)
    package.commit()


def read_package(path: Path) -> Package:
    """What a package holds.

    Raises `DeclarationError` for a folder that is no package, and for one whose model is not to be
    found.
    """
    where = f"package '{path.name}'"
    package, info = opened(path, where)
    if sealed_in(info) is not None:
        return Package(path.stem, None)
    components = info["components"]
    if len(components) != 1:
        names = ", ".join(each["name"] for each in components)
        got = f"{len(components)} components ({names})"[:200]
        raise DeclarationError(where, got, "one", MEND_FILE)
    variants = components[0]["variants"]
    fit = [each for each in variants if each["ep"] in (None, CPU)]
    if not fit:
        providers = ", ".join(sorted({str(each["ep"]) for each in variants})) or "no provider"
        raise DeclarationError(where, f"variants for {providers}"[:200], f"one for {CPU}")
    graph = graph_of(package, fit[0], where)
    return Package(info["package_name"] or path.stem, graph)


def opened(path: Path, where: str) -> tuple[Any, Any]:
    """The package, and what onnxruntime's library says is in it. Raises `DeclarationError`."""
    kind = library(where)
    if not path.is_dir():
        raise DeclarationError(where, "no folder", "an existing package")
    try:
        package = kind.open(str(path))
        return package, package.get_info()
    except Exception as error:  # onnxruntime's own kinds
        got = f"a folder that onnxruntime does not open: {str(error)[:200]}"
        raise DeclarationError(where, got, "a package of schema 1") from None


def graph_of(package: Any, variant: Any, where: str) -> Path:
    """The ONNX file of a variant. Raises `DeclarationError`."""
    try:
        info = json.loads(variant["executor_info"][EXECUTOR])
        file, options = info["model_file"], info.get("session_options") or {}
        place = package.resolve_string_ref(
            file, base_dir=variant["variant_directory"], must_exist=True
        )
    except Exception as error:  # onnxruntime's own kinds, and JSON of any form
        got = f"variant '{variant['name']}' without a model file ({type(error).__name__})"
        raise DeclarationError(
            where, got, f'executor_info "{EXECUTOR}" with a model_file'
        ) from None
    if WEIGHTS_ELSEWHERE in options:
        got = f"variant '{variant['name']}', whose weights lie in another folder"
        raise DeclarationError(where, got, "weights beside their model", MEND_FILE)
    return Path(place)


def sealed_in(info: Any) -> str | None:
    """The shared asset that holds the rest of a bundle of ours; None where there is none."""
    try:
        said = json.loads(info["additional_metadata_json"] or "{}")
        asset = said[SEALED]["bundle"]
    except (ValueError, KeyError, TypeError):
        return None
    return asset if isinstance(asset, str) else None


def restore(path: Path, out: Path) -> Bundle:
    """The bundle that a package was written from, as `out`/name/version: to the byte, or not.

    Raises `DeclarationError`, and `BundleError` where a byte of it is another one.
    """
    where = f"package '{path.name}'"
    package, info = opened(path, where)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=out) as folder:
        made = Path(folder) / "bundle"
        try:
            asset = Path(package.resolve_asset_uri(sealed_in(info)))
            manifest = Manifest.model_validate_json((asset / MANIFEST).read_bytes())
        except Exception as error:  # onnxruntime's own kinds, a damaged manifest
            got = f"no shared asset of its bundle ({type(error).__name__})"
            raise DeclarationError(where, got, "a whole package") from None
        shutil.copytree(asset, made)
        graphs = graphs_of(manifest)
        for component in info["components"]:
            for variant in component["variants"]:
                name = graphs.get((component["name"], variant["name"]))
                if name is not None:
                    graph, weights = graph_of(package, variant, where), data_name(name)
                    (made / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(graph, made / name)
                    if weights in manifest.files:
                        shutil.copyfile(graph.parent / Path(weights).name, made / weights)
        bundle = open_bundle(made)
        target = out / bundle.name / bundle.version
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            made.rename(target)
    there = open_bundle(target)
    if there.digest != bundle.digest:
        got = f"another bundle of this version there already, {there.digest[:16]}"
        raise DeclarationError(f"bundle {bundle.name} {bundle.version}", got, "none, or the same")
    return there
