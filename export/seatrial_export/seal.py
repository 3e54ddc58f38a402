"""Sealing: a candidate that passed the gate, written as one bundle.

The bundle holds the golden answers, the profile and the manifest too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seatrial_contracts.bundle import CONTRACT, MANIFEST, PROFILE, Bundle, write_bundle
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.golden import HELD_OUT, wire_row
from seatrial_contracts.manifest import data_name
from seatrial_contracts.promise import Promise
from seatrial_contracts.receipt import Receipt, now, this_machine
from seatrial_contracts.release_notes import NOTES
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.formats.format import Made
from seatrial_export.gate.candidate import Candidate
from seatrial_export.gate.run_steps import Progress
from seatrial_export.gate.strip import LEAKS, check_leaks
from seatrial_export.graphs.scratch import Scratch
from seatrial_export.graphs.weights import sealed_form
from seatrial_export.manifest import manifest_of
from seatrial_export.notes import notes_since
from seatrial_export.quantize.fastest import choose_fastest
from seatrial_export.quantize.make_variants import MadeVariant, make_variants
from seatrial_export.quantize.subject import Subject
from seatrial_export.reference_profile import profile_of
from seatrial_export.variants import parse_recipes

GRAPHS = "graphs/"


def seal(
    candidate: Candidate,
    out: Path,
    packages: Mapping[str, str],
    progress: Progress,
    source: Path | None = None,
    *,
    made: Sequence[Made] = (),
    since: Bundle | None = None,
    fastest: Promise | None = None,
    replace: bool = False,
) -> Bundle:
    """Write what passed the gate as `out`/name/version, with a receipt beside it.

    `packages` are the versions that made it. The variants declared, or the `fastest` that keeps
    this promise, are made and proven first. The fastest one is the default variant. `replace`
    is that of `write_bundle`. Raises what `make_variants` and `write_bundle` raise.
    """
    progress("sealing")
    declared = candidate.declared
    notes = {} if since is None else {NOTES: notes_since(since, candidate)}
    held_out = {} if candidate.held_out is None else candidate.held_out.to_files(HELD_OUT)
    files = {
        CONTRACT: candidate.sealed_contract.to_json(),
        PROFILE: profile_of(candidate).to_json(),
        **candidate.golden.to_files(),
        **held_out,
        **declared.front_files,
        **notes,
        **{each.variant.graph: each.data for each in made},
    }
    data: dict[str, Path] = {}
    for graph in candidate.graphs:
        files[graph.file], folder = sealed_form(graph.onnx)
        data |= {} if folder is None else {data_name(graph.file): candidate.data_path(graph)}
    manifest = manifest_of(candidate, packages, source)
    check_traces(declared, {MANIFEST: manifest.to_json(), **files})
    unwritten = Bundle(Path(), manifest, files, data)
    found = None
    if fastest is not None:
        subject = subject_of(declared, unwritten, candidate.scratch)
        taken = frozenset(each.variant.name for each in made)
        found = choose_fastest(subject, fastest, taken, progress)
    first = [found.made] if found is not None and found.made is not None else []
    quantised = [*first, *quantise(declared, unwritten, candidate.scratch, progress)]
    variants = (
        *(each.variant for each in first),
        *manifest.variants,
        *(each.variant for each in made),
        *(each.variant for each in quantised[len(first) :]),
    )
    files |= {each.variant.graph: each.graph for each in quantised}
    data |= {
        data_name(each.variant.graph): each.data for each in quantised if each.data is not None
    }
    manifest = manifest.model_copy(update={"variants": variants})
    bundle = write_bundle(Path(out), manifest, files, moved=data, replace=replace)
    Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=now(),
        machine=this_machine(dict(packages)),
        gate=tuple(candidate.gate),
        trials=(*candidate.trials, *(trial for each in quantised for trial in each.trials)),
        searches=() if found is None else found.searches,
        choice=None if found is None else found.choice,
        calibrations=declared.calibrations,
    ).write(bundle.path)
    return bundle


def check_traces(declared: ModelDeclaration, written: Mapping[str, bytes]) -> None:
    """Check the files for traces of this machine.

    Raises `GateError` for a file that holds a trace and is not waived, `DeclarationError` for a
    waiver of no file.
    """
    odd = [
        name
        for name in declared.waive
        if name.startswith(LEAKS) and name.removeprefix(LEAKS) not in written
    ]
    if odd:
        raise DeclarationError(
            f"{declared.noun} waive", odd[0], f"'{LEAKS}' and one of {', '.join(sorted(written))}"
        )
    for name, data in written.items():
        if LEAKS + name not in declared.waive:
            check_leaks(
                name, data, written_by_user=name != MANIFEST and not name.startswith(GRAPHS)
            )


def quantise(
    declared: ModelDeclaration, unwritten: Bundle, scratch: Scratch, progress: Progress
) -> list[MadeVariant]:
    """Make the variants declared, proven on the bundle as it will be written.

    Ranges are measured on the bundle's reference rows.
    """
    recipes = parse_recipes(
        declared.variants, [variant.name for variant in unwritten.manifest.variants]
    )
    if not recipes:
        return []
    return make_variants(subject_of(declared, unwritten, scratch), recipes, progress)


def subject_of(declared: ModelDeclaration, unwritten: Bundle, scratch: Scratch) -> Subject:
    """The bundle as it will be written, with the reference rows that ranges are measured on."""
    raw = declared.reference_rows or [sample.row for sample in declared.golden_samples]
    return Subject(unwritten, [wire_row(row) for row in raw], scratch)
