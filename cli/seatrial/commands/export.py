"""`seatrial export`: from a pipeline file to a sealed bundle."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@click.command("export")
@click.argument("target", metavar="FILE.py:NAME")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bundles"),
    show_default=True,
    help="Folder of bundles; the new one becomes OUT/NAME/VERSION.",
)
@click.option(
    "--format",
    "formats_wanted",
    multiple=True,
    metavar="NAME",
    help="Seal the model in this format too, beside ONNX: torchscript (again for more).",
)
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="The version before: what changed since is sealed as RELEASE_NOTES.md, and breaking changes need a higher major version.",
)
@click.option("--allow-breaking", is_flag=True, help="Seal breaking changes under the same major version all the same.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object for machines: path, digest, size, batchable, warnings.",
)
def command(
    target: str, out: Path, formats_wanted: tuple[str, ...], since: Path | None, allow_breaking: bool, as_json: bool
) -> None:
    """Run the export gate on a pipeline and seal it as a bundle.

    FILE.py:NAME names an st.Pipeline in a file of yours, or a function without arguments that returns one (train in it, if you
    like). Each step of the gate that fails says what it found and how to mend it, and nothing is written.
    """
    from seatrial_contracts.bundle import open_bundle
    from seatrial_export.export import export_pipeline
    from seatrial_export.load_pipeline import load_pipeline

    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task(f"loading {target}")
        pipeline = load_pipeline(target)
        bundle = export_pipeline(
            pipeline,
            out,
            lambda step: progress.update(task, description=f"gate: {step}"),
            source=Path(target.rpartition(":")[0]),
            formats_wanted=formats_wanted,
            since=None if since is None else open_bundle(since),
            allow_breaking=allow_breaking,
        )
    warnings = [trial.finding for receipt in bundle.receipts() for trial in receipt.trials if trial.finding]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "path": str(bundle.path),
                    "digest": bundle.digest,
                    "size_bytes": bundle.size_bytes,
                    "batchable": bundle.manifest.batchable,
                    "warnings": warnings,
                }
            )
        )
        return
    click.echo(f"sealed {bundle.path}  {bundle.size_bytes / 1e6:.2f} MB  sha256:{bundle.digest}")
    for warning in dict.fromkeys(warnings):
        click.echo(f"warning: {warning}")
    click.echo(f"next: seatrial parity {bundle.path}   then: seatrial serve {out}")
