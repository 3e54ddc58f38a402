"""`seatrial export`: from a pipeline file to a sealed bundle."""

from __future__ import annotations

from pathlib import Path

import click

from seatrial.exporting import export
from seatrial.sealing import gate_progress, sealing_options, show_sealed


@click.command("export")
@click.argument("target", metavar="FILE.py:NAME")
@click.option(
    "--format",
    "formats_wanted",
    multiple=True,
    metavar="NAME",
    help="Seal the model in this format too, beside ONNX: torchscript (again for more).",
)
@sealing_options
def command(
    target: str,
    out: Path,
    formats_wanted: tuple[str, ...],
    since: Path | None,
    allow_breaking: bool,
    fastest: str | None,
    as_json: bool,
) -> None:
    """Run the export gate on a pipeline and seal it as a bundle.

    FILE.py:NAME names an st.Pipeline in a file of yours, or a function without arguments that
    returns one (train in it, if you like). Each step of the gate that fails says what it found and
    how to mend it, and nothing is written.
    """
    with gate_progress(f"loading {target}") as progress:
        bundle = export(
            target,
            out,
            progress,
            formats=formats_wanted,
            since=since,
            allow_breaking=allow_breaking,
            fastest=fastest,
        )
    show_sealed(bundle, out, as_json=as_json)
