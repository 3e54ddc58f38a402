"""`seatrial inspect`: what is in a bundle."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from seatrial.identity_option import identity_option
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import MissingExtra
from seatrial_contracts.manifest import data_name
from seatrial_contracts.needs import Needs


@click.command("inspect")
@click.argument("address", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option(
    "--measure",
    is_flag=True,
    help="Load and try it here as the server would, "
    "and show what its batches cost on this machine.",
)
@identity_option
def command(address: str, as_json: bool, measure: bool) -> None:
    """Verify a bundle and show its contract, variants, receipts and provenance.

    BUNDLE is a folder <bundles>/<name>/<version>, or an address in a store: oci://HOST/NAME:TAG,
    s3:// or the like. Every byte is checked against the manifest first.

    \b
      seatrial inspect bundles/churn/1.0.0
      seatrial inspect bundles/churn/1.0.0 --measure
    """  # noqa: D301  (click's mark)
    from seatrial_serve.stores.resolve import open_address

    bundle = open_address(address, signed=True)
    if as_json:
        click.echo(json.dumps(facts(bundle), indent=1))
        return
    console = Console()
    console.print(
        f"[bold]{bundle.name} {bundle.version}[/]  sha256:{bundle.digest}", highlight=False
    )
    console.print(
        f"{bundle.size_bytes / 1e6:.2f} MB in {len(bundle.manifest.files)} sealed files, "
        f"{'batchable' if bundle.manifest.batchable else 'never batched'}, "
        f"{len(bundle.golden.rows)} golden rows, {len(bundle.golden.refusals)} refusals",
        highlight=False,
    )
    console.print(signature_line(bundle), highlight=False)
    if bundle.encryption is not None:
        console.print("encrypted: each sealed file lies there as an age file", highlight=False)
    console.print(fields_table(bundle))
    console.print(variants_table(bundle))
    show_receipts(console, bundle)
    made = ", ".join(f"{name} {version}" for name, version in bundle.manifest.made_with.items())
    console.print(str(bundle.manifest.origin), highlight=False)
    console.print(
        f"made with {made}; git commit {bundle.manifest.git_commit or 'unknown'}", highlight=False
    )
    for step, reason in bundle.manifest.waivers.items():
        console.print(f"[yellow]waived[/] {step}: {reason}")
    if measure:
        show_pace(console, bundle)


def signature_line(bundle: Bundle) -> str:
    """Whom the signatures beside a bundle name, which nobody verified here."""
    from seatrial_contracts.signature_files import read_signatures, signature_name
    from seatrial_serve.trust.signature import parse_signature

    signatures = read_signatures(bundle.path)
    if not signatures:
        return "unsigned"
    by = []
    for number, data in enumerate(signatures, 1):
        signature = parse_signature(data, f"{bundle.shown}, {signature_name(number)}")
        key = signature.verification_material.public_key
        hint = key.hint if key is not None else None
        by.append(f"key {hint}" if hint is not None else signature.method)
    named = " and by ".join(by)
    return f"signed by {named}, which was not verified: seatrial verify BUNDLE SIGNERS"


def show_pace(console: Console, bundle: Bundle) -> None:
    """Show the load gate's measures.

    These are batches of the golden row of middling length, and the line through them that the
    server plans by.
    """
    try:
        from seatrial_serve.inference.engine import load_engine
        from seatrial_serve.inference.load_gate import pass_load_gate
        from seatrial_serve.runtimes.runtime import RuntimeOptions
    except ImportError:
        raise MissingExtra("seatrial inspect --measure", "serve") from None
    pace = pass_load_gate(load_engine(bundle, RuntimeOptions())).pace
    table = Table(title=f"batches here, rows of padded length {pace.length}", title_justify="left")
    for heading in ("rows", "ms", "rows/s"):
        table.add_column(heading, justify="right")
    for rows, seconds in pace.seconds.items():
        table.add_row(
            f"{rows}{' *' if rows == pace.best_rows else ''}",
            f"{seconds * 1e3:.3g}",
            f"{rows / seconds:,.0f}",
        )
    console.print(table)
    base_s, unit_s = pace.line
    console.print(
        f"* the largest that pays; a batch takes {base_s * 1e3:.3g} ms "
        f"and {unit_s * 1e3:.3g} ms for each row x padded length",
        highlight=False,
    )


def facts(bundle: Bundle) -> dict[str, Any]:
    """All of it, as JSON values."""
    return {
        "path": str(bundle.path),
        "digest": bundle.digest,
        "size_bytes": bundle.size_bytes,
        "encrypted": bundle.encryption is not None,
        "manifest": bundle.manifest.model_dump(mode="json", by_alias=True),
        "contract": bundle.contract.model_dump(mode="json", by_alias=True),
        "receipts": [
            receipt.model_dump(mode="json", by_alias=True) for receipt in bundle.receipts()
        ],
    }


def fields_table(bundle: Bundle) -> Table:
    """Inputs and outputs."""
    table = Table(title="contract", title_justify="left")
    for heading in ("", "field", "kind", "V2 datatype", "takes"):
        table.add_column(heading)
    for role, fields in (("in", bundle.contract.inputs), ("out", bundle.contract.outputs)):
        for field in fields:
            missing = " or null" if field.kind.nullable else ""
            default = getattr(field, "default", None)
            takes = field.kind.want() + missing
            takes += "" if default is None else f"; {default} where it is left out"
            table.add_row(role, field.name, field.kind.name, field.kind.datatype, takes)
    return table


def variants_table(bundle: Bundle) -> Table:
    """The graphs."""
    table = Table(title="variants", title_justify="left")
    for heading in ("variant", "graph", "MB", "promises", "needs"):
        table.add_column(heading)
    for variant in bundle.manifest.variants:
        promise = variant.promise or bundle.contract.tolerance
        size = bundle.manifest.graph_bytes(variant.graph) / 1e6
        weights = data_name(variant.graph)
        table.add_row(
            variant.name,
            variant.graph + (f"\n{weights}" if weights in bundle.manifest.files else ""),
            f"{size:.2f}",
            str(promise),
            "-" if variant.needs is None else needed(variant.needs),
        )
    return table


def needed(needs: Needs) -> str:
    """What opens a graph, in a few words."""
    return f"onnxruntime {needs.onnxruntime} ({needs})"


def show_receipts(console: Console, bundle: Bundle) -> None:
    """The parity table of each receipt, and the machine it was made on."""
    from seatrial_parity.report.table import parity_table, words

    for receipt in bundle.receipts():
        console.print(parity_table(receipt))
        if receipt.choice is not None:
            console.print(words(f"fastest within {receipt.choice.budget}: {receipt.choice.told}"))
        machine = receipt.machine
        console.print(
            words(
                f"{receipt.made_at}, claimed by a machine of {machine.cores} cores "
                f"of {machine.processor} "
                f"({', '.join(machine.instruction_sets) or 'no vector sets known'})"
            )
        )
