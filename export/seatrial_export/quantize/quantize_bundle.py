"""From a sealed bundle to a new one with more variants in it; the old one stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seatrial_contracts.bundle import Bundle, write_bundle
from seatrial_contracts.cost import Search
from seatrial_contracts.manifest import Manifest, data_name
from seatrial_contracts.receipt import Receipt, now, this_machine
from seatrial_contracts.release_notes import NOTES
from seatrial_export.gate.independence import TOLERANCE
from seatrial_export.gate.run_steps import Progress, silent
from seatrial_export.quantize.make_variants import MadeVariant, make_variants
from seatrial_export.quantize.prove import prove
from seatrial_export.quantize.subject import FP32, Subject
from seatrial_export.tool_versions import tool_versions
from seatrial_export.variants.recipe import Recipe


def quantize_bundle(
    subject: Subject,
    recipes: Sequence[Recipe],
    out: Path,
    version: str,
    progress: Progress = silent,
    searches: Sequence[Search] = (),
    *,
    replace: bool = False,
) -> Bundle:
    """Seal the bundle with these variants added, with a receipt beside it.

    The bundle is written as `out`/name/`version`; `replace` is that of `write_bundle`. Raises
    `DeclarationError`, `GateError` and `BundleError`; then nothing is written.
    """
    old = subject.bundle
    old.refuse_encrypted("a quantised bundle")
    made = make_variants(subject, recipes, progress)
    progress("fp32: proving")
    trials = prove(subject, old.manifest.variant(FP32), subject.fp32_graph, TOLERANCE)
    progress("sealing")
    moved = {data_name(each.variant.graph): each.data for each in made if each.data is not None}
    bundle = write_bundle(out, *with_variants(old, made, version), old.data, moved, replace=replace)
    Receipt(
        schema=1,
        digest=bundle.digest,
        name=bundle.name,
        version=bundle.version,
        made_at=now(),
        machine=this_machine(tool_versions()),
        trials=(*trials, *(trial for each in made for trial in each.trials)),
        searches=tuple(searches),
    ).write(bundle.path)
    return bundle


def with_variants(
    old: Bundle, made: Sequence[MadeVariant], version: str
) -> tuple[Manifest, dict[str, bytes]]:
    """Make manifest and files of the new bundle, but for weights outside of graphs.

    The notes of the old bundle are about the version before it, and are left out.
    """
    manifest = old.manifest.model_copy(update={
        "version": version, "variants": (*old.manifest.variants, *(each.variant for each in made)),
        "made_with": {**old.manifest.made_with, **tool_versions()},
    })  # fmt: skip
    files = {name: data for name, data in old.files.items() if name != NOTES}
    return manifest, files | {each.variant.graph: each.graph for each in made}
