"""Sealing: the gate, the golden answers, the profile and the manifest, written as one bundle."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seatrial_contracts.bundle import CONTRACT, PROFILE, Bundle, write_bundle
from seatrial_contracts.canonical import readable_json
from seatrial_contracts.difference import Difference, compare_contracts, may_replace
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.golden import HELD_OUT, wire_row
from seatrial_contracts.manifest import Manifest, Prepare, Variant
from seatrial_contracts.moved import Answered, compare_answers
from seatrial_contracts.notes import NOTES, write_notes
from seatrial_contracts.receipt import Receipt, now, this_machine
from seatrial_contracts.sample import check_samples
from seatrial_export.formats import Made, formats
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.gate import Progress, pass_export_gate, silent
from seatrial_export.gate.strip import check_leaks
from seatrial_export.pipeline import Pipeline
from seatrial_export.profile import profile_of
from seatrial_export.quantize.make_variants import MadeVariant, make_variants
from seatrial_export.quantize.subject import Subject
from seatrial_export.tools import tool_versions
from seatrial_export.variants import parse_recipes

GRAPH, PREPARE_GRAPH = "graphs/fp32.onnx", "graphs/prepare.onnx"


def export_pipeline(
    pipeline: Pipeline, out: Path, progress: Progress = silent, source: Path | None = None, *,
    formats_wanted: Sequence[str] = (), since: Bundle | None = None, allow_breaking: bool = False,
) -> Bundle:  # fmt: skip
    """Take a pipeline through the export gate and seal it as `out`/name/version, with a receipt beside it.

    `source` is the user's file: the git commit of its folder, where there is one, goes into the manifest. `formats_wanted` are
    those beside ONNX, each a further variant that answers as the model does, or nothing is sealed. `since` is the version before:
    the notes of what changed are sealed too, and a breaking change under the same major version is refused, unless
    `allow_breaking`. Raises `GateError`, `DeclarationError` and `BundleError`.
    """
    check_proof(pipeline)
    check_refusals(pipeline)
    parse_recipes(pipeline.variants, ["fp32", *formats_wanted])
    differences = [] if since is None else differences_since(since, pipeline, allow_breaking=allow_breaking)
    candidate = pass_export_gate(pipeline, progress)
    pipeline = candidate.pipeline
    made = make_formats(candidate, formats_wanted, progress)
    progress("sealing")
    held_out = {} if candidate.held_out is None else candidate.held_out.to_files(HELD_OUT)
    notes = {} if since is None else {NOTES: notes_since(since, pipeline, differences)}
    files = {
        CONTRACT: pipeline.contract.to_json(), PROFILE: readable_json(profile_of(pipeline)), **candidate.golden.to_files(), **held_out, **pipeline.front_files, **notes,
        GRAPH: candidate.model.onnx.SerializeToString(deterministic=True), **{each.variant.graph: each.data for each in made},
    }  # fmt: skip
    if candidate.prepare is not None:
        files[PREPARE_GRAPH] = candidate.prepare.onnx.SerializeToString(deterministic=True)
    for data in files.values():
        check_leaks(data)
    manifest = manifest_of(candidate, source)
    quantised = quantise(pipeline, manifest, files, progress)
    variants = (*manifest.variants, *(each.variant for each in made), *(each.variant for each in quantised))
    files |= {each.variant.graph: each.graph for each in quantised}
    bundle = write_bundle(Path(out), manifest.model_copy(update={"variants": variants}), files)
    Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=now(),
        machine=this_machine(tool_versions()),
        trials=(*candidate.trials, *(trial for each in quantised for trial in each.trials)),
        calibrations=pipeline.calibrations,
    ).write(bundle.path)
    return bundle


def differences_since(old: Bundle, pipeline: Pipeline, *, allow_breaking: bool) -> list[Difference]:
    """What changed in the contract since a version. Raises `DeclarationError` where that must not take its place."""
    if old.name != pipeline.name:
        raise DeclarationError("the version before", f"bundle '{old.name}'", f"one of '{pipeline.name}'")
    differences = compare_contracts(old.contract, pipeline.contract)
    if not allow_breaking and not may_replace(old.version, pipeline.version, differences):
        want = "a higher major version, or what clients rely on kept"
        raise DeclarationError(
            f"version {pipeline.version} after {old.version}",
            f"a breaking change, {differences[0]}",
            want,
            "or pass --allow-breaking",
        )
    return differences


def notes_since(old: Bundle, pipeline: Pipeline, differences: Sequence[Difference]) -> bytes:
    """The notes of what changed since a version: contracts, and the answers to its golden rows."""
    now = [answered(pipeline, row) for row in old.golden.rows]
    moved = compare_answers(pipeline.contract, old.golden.answers, now)
    return write_notes(pipeline.name, old.version, pipeline.version, differences, moved).encode()


def answered(pipeline: Pipeline, row: Any) -> Answered:
    """The training side's answer to a raw row, or the code that it is refused with."""
    code = pipeline.front.refusal_code(row)
    return code or pipeline.answer_encoded(pipeline.front.encode_row(pipeline.contract.validate_row(row)))


def make_formats(candidate: Candidate, wanted: Sequence[str], progress: Progress) -> list[Made]:
    """Each format beside ONNX. Raises `DeclarationError` for one that nobody makes."""
    known = formats()
    for name in wanted:
        if name not in known:
            raise DeclarationError("--format", name, f"one of {', '.join(known)}", "ONNX is always made")
    made = []
    for name in dict.fromkeys(wanted):
        progress(name)
        made.append(known[name](candidate))
    return made


def quantise(
    pipeline: Pipeline, manifest: Manifest, files: Mapping[str, bytes], progress: Progress
) -> list[MadeVariant]:
    """The pipeline's variants, proven on the bundle as it will be written; ranges are measured on its reference rows."""
    recipes = parse_recipes(pipeline.variants, [variant.name for variant in manifest.variants])
    if not recipes:
        return []
    raw = pipeline.reference or [sample.row for sample in pipeline.golden_samples]
    subject = Subject(Bundle(Path(), manifest, files), [wire_row(row) for row in raw])
    return make_variants(subject, recipes, progress)


def check_proof(pipeline: Pipeline) -> None:
    """Raise `DeclarationError` for a truth or slice that is none, and for a promise that no row can show to be kept; `Refusal` for a held-out row."""
    check_samples(pipeline.golden_samples, pipeline.contract, "pipeline golden")
    check_samples(pipeline.held_out_samples, pipeline.contract, "pipeline held_out")
    _ = pipeline.encoded_held_out
    if pipeline.promise is not None:
        samples = (*pipeline.golden_samples, *pipeline.held_out_samples)
        pipeline.promise.check(pipeline.contract, truths={name for sample in samples for name in sample.truth or {}})


def check_refusals(pipeline: Pipeline) -> None:
    """Raise `DeclarationError` where a row that must be refused is not, or otherwise than said."""
    for place, refused in enumerate(pipeline.refused):
        code = pipeline.front.refusal_code(wire_row(refused.row))
        if code != refused.code:
            got = code or "a row that the contract takes"
            raise DeclarationError(f"pipeline refused[{place}]", got, f"a row that is refused with {refused.code}")


def manifest_of(candidate: Candidate, source: Path | None) -> Manifest:
    """The manifest, but for its files. No time, host, user or path: same inputs, same bytes."""
    pipeline = candidate.pipeline
    prepare = (
        Prepare(graph=PREPARE_GRAPH, inputs=pipeline.prepare_inputs, outputs=pipeline.prepared_specs)
        if candidate.prepare
        else None
    )
    return Manifest(
        schema=1, name=pipeline.name, version=pipeline.version, batchable=candidate.batchable, opset=pipeline.opset,
        variants=(Variant(name="fp32", graph=GRAPH, promise=pipeline.whole_promise),), prepare=prepare, waivers=dict(pipeline.waive), git_commit=git_commit(source),
        made_with={"python": ".".join(platform.python_version_tuple()[:2]), **tool_versions()}, files={},
    )  # fmt: skip


def git_commit(source: Path | None) -> str | None:
    """The commit of the folder that a file lies in; None where it is in no repository, or git is not there."""
    if source is None:
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=source.resolve().parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
