"""`seatrial export`: from a pipeline file to a sealed bundle."""

from __future__ import annotations

import click

from seatrial.exporting import export
from seatrial.sealing import Sealing, gate_progress, sealing_options, show_sealed


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
def command(target: str, formats_wanted: tuple[str, ...], sealing: Sealing) -> None:
    """Run the export gate on a pipeline and seal it as a bundle.

    FILE.py:NAME names an st.Pipeline in a file of yours, or a function without arguments that
    returns one (train in it, if you like). Each step of the gate that fails says what it found and
    how to mend it, and nothing is written.

    \b
      seatrial export churn.py:pipeline
      seatrial export churn.py:pipeline --version next --since bundles/churn/1.0.0
    """  # noqa: D301  (click's mark)
    with gate_progress(f"loading {target}") as progress:
        bundle = export(
            target,
            sealing.out,
            progress,
            formats=formats_wanted,
            since=sealing.since,
            allow_breaking=sealing.allow_breaking,
            fastest=sealing.budget,
            version=sealing.version,
            force=sealing.force,
        )
    show_sealed(bundle, sealing.out, as_json=sealing.as_json)
