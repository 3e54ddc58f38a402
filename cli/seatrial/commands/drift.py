"""`seatrial drift`: how far is what comes now from what the model was trained on?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from seatrial.identity_option import identity_option

if TYPE_CHECKING:
    from seatrial.drift_sources import Seen
    from seatrial_contracts.drift import FieldDrift

FEW_ROWS = 200
"""The number of rows below which the table warns of few rows.

With fewer rows, the PSI of two samples of one population is often above a tenth, in ten bins:
`stability_by_chance`.
"""


@click.command("drift")
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("rows", metavar="[ROWS]", required=False)
@click.option(
    "--prometheus",
    metavar="URL",
    help="Read the counters of all servers of this version from a Prometheus.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="Of --prometheus: what the servers call the model (`seatrial serve --model-name`, an "
    "InferenceService).  [default: the bundle's name]",
)
@click.option(
    "--window",
    default="1h",
    show_default=True,
    help="How far back to look in Prometheus: 30m, 1h, 7d.",
)
@click.option(
    "--psi",
    default=0.2,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Most PSI that is no drift.",
)
@click.option(
    "--js",
    default=0.2,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Most Jensen-Shannon distance that is no drift.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a PNG: live against reference.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
@identity_option
def command(
    path: Path,
    rows: str | None,
    prometheus: str | None,
    model: str | None,
    window: str,
    psi: float,
    js: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare live values, field by field, with the reference rows of the sealed bundle.

    ROWS is a JSON row, a list of rows, the name of a .json or .jsonl file, or - for standard input:
    they are checked against the contract and run through the model here. With --prometheus, the
    counters of running servers are read instead. Exits with 1 where a field's PSI or Jensen-Shannon
    distance is above its limit.

    \b
      seatrial drift bundles/penguins/1.0.0 yesterday.jsonl --plot drift.png
      seatrial drift bundles/penguins/1.0.0 --prometheus http://127.0.0.1:9090 --window 6h
    """  # noqa: D301  (click's mark)
    from seatrial.drift_sources import drift_of_rows, drift_of_servers
    from seatrial.row_argument import read_rows
    from seatrial_contracts.bundle import open_bundle
    from seatrial_contracts.drift import drifts
    from seatrial_contracts.errors import DeclarationError

    if (rows is None) == (prometheus is None):
        raise click.UsageError("give rows, or --prometheus URL: one of them")
    bundle = open_bundle(path)
    if not bundle.profile.rows:
        want = "reference rows like those of training"
        raise DeclarationError(
            f"bundle {bundle.name} {bundle.version}",
            "no profile",
            want,
            "export it with reference=[...]",
        )
    if prometheus is not None:
        seen = drift_of_servers(bundle, prometheus, window, model)
        source = f"the last {window}"
    else:
        given = read_rows(str(rows))
        seen, source = drift_of_rows(bundle, given), f"{len(given)} rows"
    fields = list(drifts(bundle.profile, seen.live))
    above = [field.above(psi, js) for field in fields]
    title = f"{bundle.name} {bundle.version}: {source} against {bundle.profile.rows} reference rows"
    if as_json:
        found = [
            {**field.to_json(), "drifted": is_above}
            for field, is_above in zip(fields, above, strict=True)
        ]
        click.echo(
            json.dumps(
                {"fields": found, "refused": dict(seen.refused), "psi": psi, "js": js}, indent=1
            )
        )
    else:
        show(Console(), title, fields, above, seen)
    if plot is not None:
        from seatrial.drift_plot import plot_drift

        plot_drift(title, fields, above, plot)
    if any(above):
        raise click.exceptions.Exit(1)


def show(
    console: Console, title: str, fields: list[FieldDrift], above: list[bool], seen: Seen
) -> None:
    """The table for people."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("field")
    for heading in ("rows", "PSI", "by\nchance", "JS", "missing", "unseen", "drifted"):
        table.add_column(heading, justify="right")
    for field, is_above in zip(fields, above, strict=True):
        table.add_row(
            field.field,
            f"{field.rows:.0f}",
            f"{field.psi:.3f}",
            f"{field.by_chance:.3f}",
            f"{field.distance:.3f}",
            percent(field.missing),
            percent(field.unseen),
            "[red]YES" if is_above else "[green]no",
        )
    console.print(table)
    if seen.refused:
        console.print(
            "refused: "
            + ", ".join(f"{count} {code}" for code, count in sorted(seen.refused.items()))
        )
    if max(field.rows for field in fields) < FEW_ROWS:
        console.print(
            'few rows: "by chance" is the PSI that as many rows of the same population '
            "show on average"
        )


def percent(share: float | None) -> str:
    """A share as people read it; "-" where there can be none."""
    return "-" if share is None else f"{share:.1%}"
