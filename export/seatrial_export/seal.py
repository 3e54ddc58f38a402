"""Sealing: what passed the gate, its golden answers, the profile and the manifest, written as one bundle."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seatrial_contracts.bundle import CONTRACT, MANIFEST, PROFILE, Bundle, write_bundle
from seatrial_contracts.difference import compare_contracts, may_replace
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.golden import HELD_OUT, wire_row
from seatrial_contracts.manifest import Manifest, Prepare, Variant
from seatrial_contracts.moved import Answered, compare_answers
from seatrial_contracts.notes import NOTES, write_notes
from seatrial_contracts.receipt import Receipt, now, this_machine
from seatrial_contracts.sample import check_samples
from seatrial_export.declared import Declared
from seatrial_export.gate.lint import opset_of
from seatrial_export.gate.sealable import Sealable
from seatrial_export.gate.steps import Progress
from seatrial_export.gate.strip import LEAKS, check_leaks
from seatrial_export.profile import profile_of
from seatrial_export.quantize.make_variants import MadeVariant, make_variants
from seatrial_export.quantize.subject import Subject
from seatrial_export.variants import parse_recipes

GRAPHS = "graphs/"
GRAPH, PREPARE_GRAPH = "graphs/fp32.onnx", "graphs/prepare.onnx"


class Made(NamedTuple):
    """One more graph of a bundle: what the manifest says of it, and its bytes."""

    variant: Variant
    data: bytes


def check_declared(
    declared: Declared, since: Bundle | None = None, *, allow_breaking: bool = False, formats: Sequence[str] = ()
) -> None:
    """What can be told before the gate: samples, promise, rows that must be refused, variants, the version before.

    Raises `DeclarationError`, and `Refusal` for a golden or held-out row that the contract refuses.
    """
    check_proof(declared)
    check_refusals(declared)
    parse_recipes(declared.variants, ["fp32", *formats])
    _ = declared.encoded_golden, declared.encoded_held_out
    if since is not None:
        check_may_follow(since, declared, allow_breaking=allow_breaking)


def seal(
    candidate: Sealable, out: Path, packages: Mapping[str, str], progress: Progress, source: Path | None = None, *,
    made: Sequence[Made] = (), since: Bundle | None = None,
) -> Bundle:  # fmt: skip
    """Write what passed the gate as `out`/name/version, with a receipt beside it; `packages` are the versions that made it.

    The variants declared are made and proven first. Raises what `make_variants` and `write_bundle` raise.
    """
    progress("sealing")
    declared = candidate.declared
    notes = {} if since is None else {NOTES: notes_since(since, candidate)}
    held_out = {} if candidate.held_out is None else candidate.held_out.to_files(HELD_OUT)
    files = {
        CONTRACT: declared.contract.to_json(), PROFILE: profile_of(candidate).to_json(), **candidate.golden.to_files(), **held_out, **declared.front_files, **notes,
        GRAPH: candidate.model.onnx.SerializeToString(deterministic=True), **{each.variant.graph: each.data for each in made},
    }  # fmt: skip
    if candidate.prepare is not None:
        files[PREPARE_GRAPH] = candidate.prepare.onnx.SerializeToString(deterministic=True)
    manifest = manifest_of(candidate, packages, source)
    check_traces(declared, {MANIFEST: manifest.to_json(), **files})
    quantised = quantise(declared, manifest, files, progress)
    variants = (*manifest.variants, *(each.variant for each in made), *(each.variant for each in quantised))
    files |= {each.variant.graph: each.graph for each in quantised}
    bundle = write_bundle(Path(out), manifest.model_copy(update={"variants": variants}), files)
    Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=now(),
        machine=this_machine(dict(packages)),
        trials=(*candidate.trials, *(trial for each in quantised for trial in each.trials)),
        calibrations=declared.calibrations,
    ).write(bundle.path)
    return bundle


def check_traces(declared: Declared, written: Mapping[str, bytes]) -> None:
    """Raise `GateError` for a file that holds a trace of this machine and is not waived, `DeclarationError` for a waiver of no file."""
    odd = [name for name in declared.waive if name.startswith(LEAKS) and name.removeprefix(LEAKS) not in written]
    if odd:
        raise DeclarationError(f"{declared.noun} waive", odd[0], f"'{LEAKS}' and one of {', '.join(sorted(written))}")
    for name, data in written.items():
        if LEAKS + name not in declared.waive:
            check_leaks(name, data, written_by_user=name != MANIFEST and not name.startswith(GRAPHS))


def check_may_follow(old: Bundle, declared: Declared, *, allow_breaking: bool) -> None:
    """Raise `DeclarationError` where this is another model, or breaks under the same major version what clients rely on."""
    if old.name != declared.name:
        raise DeclarationError("the version before", f"bundle '{old.name}'", f"one of '{declared.name}'")
    differences = compare_contracts(old.contract, declared.contract)
    if not allow_breaking and not may_replace(old.version, declared.version, differences):
        want = "a higher major version, or what clients rely on kept"
        raise DeclarationError(
            f"version {declared.version} after {old.version}",
            f"a breaking change, {differences[0]}",
            want,
            "or pass --allow-breaking",
        )


def notes_since(old: Bundle, candidate: Sealable) -> bytes:
    """What changed since a version: contracts, and the answers to its golden rows."""
    declared = candidate.declared
    differences = compare_contracts(old.contract, declared.contract)
    now = [answered(candidate, row) for row in old.golden.rows]
    moved = compare_answers(declared.contract, old.golden.answers, now)
    return write_notes(declared.name, old.version, declared.version, differences, moved).encode()


def answered(candidate: Sealable, row: Any) -> Answered:
    """The reference's answer to a raw row, or the code that it is refused with."""
    return candidate.declared.front.refusal_code(row) or candidate.answer([row])[0]


def quantise(
    declared: Declared, manifest: Manifest, files: Mapping[str, bytes], progress: Progress
) -> list[MadeVariant]:
    """The variants declared, proven on the bundle as it will be written; ranges are measured on its reference rows."""
    recipes = parse_recipes(declared.variants, [variant.name for variant in manifest.variants])
    if not recipes:
        return []
    raw = declared.reference or [sample.row for sample in declared.golden_samples]
    subject = Subject(Bundle(Path(), manifest, files), [wire_row(row) for row in raw])
    return make_variants(subject, recipes, progress)


def check_proof(declared: Declared) -> None:
    """Raise `DeclarationError` for a truth or slice that is none, and for a promise that no row can show to be kept."""
    check_samples(declared.golden_samples, declared.contract, f"{declared.noun} golden")
    check_samples(declared.held_out_samples, declared.contract, f"{declared.noun} held_out")
    if declared.promise is not None:
        samples = (*declared.golden_samples, *declared.held_out_samples)
        declared.promise.check(declared.contract, truths={name for sample in samples for name in sample.truth or {}})


def check_refusals(declared: Declared) -> None:
    """Raise `DeclarationError` where a row that must be refused is not, or otherwise than said."""
    for place, refused in enumerate(declared.refused):
        code = declared.front.refusal_code(wire_row(refused.row))
        if code != refused.code:
            got = code or "a row that the contract takes"
            raise DeclarationError(
                f"{declared.noun} refused[{place}]", got, f"a row that is refused with {refused.code}"
            )


def manifest_of(candidate: Sealable, packages: Mapping[str, str], source: Path | None) -> Manifest:
    """The manifest, but for its files. No time, host, user or path: same inputs, same bytes."""
    declared = candidate.declared
    prepare = (
        Prepare(graph=PREPARE_GRAPH, inputs=declared.prepare_inputs, outputs=declared.prepared_specs)
        if candidate.prepare
        else None
    )
    return Manifest(
        schema=1, name=declared.name, version=declared.version, batchable=candidate.batchable, opset=opset_of(candidate.model.onnx),
        variants=(Variant(name="fp32", graph=GRAPH, promise=declared.whole_promise),), prepare=prepare, origin=declared.origin, waivers=dict(declared.waive), git_commit=git_commit(source),
        made_with={"python": ".".join(platform.python_version_tuple()[:2]), **packages}, files={},
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
