"""`seatrial quantize`: a new version of a bundle with faster or smaller graphs, each proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from seatrial.budget import EXAMPLES
from seatrial.quantizing import quantize
from seatrial.sealing import FORCE
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.rows_file import read_rows

if TYPE_CHECKING:
    from seatrial_contracts.bundle import Bundle
    from seatrial_contracts.cost import Search
    from seatrial_contracts.receipt import Receipt

SHOWN_NODES = 8


@click.command("quantize")
@click.argument("path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--variant",
    "wanted",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help="fp16, int8, int8_weights, int4_weights or int8_per_token (again for more); "
    "int8:calibration=percentile,percentile=99.9.  "
    "[default: int8 where the graph has convolutions, else int8_per_token]",
)
@click.option(
    "--budget",
    metavar="PROMISE",
    help=f"Keep as few nodes in fp32 as hold this: {EXAMPLES}; commas part several.",
)
@click.option(
    "--promise",
    metavar="PROMISE",
    help="What the variants promise, in place of their own defaults: cosine>=0.99, "
    "agreement>=0.98; with --budget, that is it.",
)
@click.option(
    "--version",
    metavar="X.Y.Z|next",
    help="Version of the new bundle; next: after the highest there.  [default: the next patch]",
)
@click.option("--force", is_flag=True, help=FORCE)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of bundles; the new one becomes OUT/NAME/VERSION.  [default: where BUNDLE lies]",
)
@click.option(
    "--rows",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Raw rows to measure ranges on, one JSON object a line, as a client sends them.  "
    "[default: the golden rows]",
)
@click.option(
    "--pipeline",
    "target",
    metavar="FILE.py:NAME",
    help="Measure ranges on the reference rows of this pipeline.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --budget: draw the curve of speed against error, as PNG.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Which rows candidates are measured on, where there are many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
def command(
    path: Path,
    wanted: tuple[str, ...],
    budget: str | None,
    promise: str | None,
    version: str | None,
    force: bool,
    out: Path | None,
    rows: Path | None,
    target: str | None,
    plot: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Make variants of a sealed model, prove each, and seal them as a new version.

    Each variant is proven on the bundle's golden and held-out rows. The bundle itself never
    changes. A variant that misses its promise, or lets rows of a batch depend on each other, is not
    sealed. With --budget the most sensitive nodes stay in fp32, as few as hold it; where none hold
    it, the nearest is shown, nothing is sealed, and the exit code is 1. A search that was stopped
    goes on where it was.

    \b
      seatrial quantize bundles/churn/1.0.0 --variant int8_dynamic
    """  # noqa: D301  (click's mark)
    if plot is not None and budget is None:
        raise DeclarationError("--plot", "no --budget", "a search to draw")
    if promise is not None and budget is not None:
        want = "one of them: a budget becomes the promise"
        raise DeclarationError("--promise", "--budget too", want)
    if rows is not None and target is not None:
        raise DeclarationError("--rows", "--pipeline too", "one of them")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        made = quantize(
            path,
            wanted,
            budget=budget,
            promise=promise,
            version=version,
            force=force,
            out=out,
            rows=None if rows is None else read_rows(rows),
            pipeline=target,
            seed=seed,
            progress=lambda what, done, of: progress.update(
                task, description=what, completed=done, total=of
            ),
        )
    for place, search in enumerate(made.searches):
        if plot is not None:
            draw(search, plot if place == 0 else plot.with_stem(f"{plot.stem}-{search.variant}"))
        if not as_json:
            show_search(search)
    if made.bundle is None:
        click.echo("nothing was sealed: no candidate holds the budget", err=True)
        raise click.exceptions.Exit(1)
    show(made.bundle, as_json)


def show_search(search: Search) -> None:
    """The curve of a search, the choice marked, and which nodes it keeps."""
    from seatrial_export.quantize.curve import curve_table

    Console().print(curve_table(search))
    point = search.points[search.nearest if search.chosen is None else search.chosen]
    more = len(point.keep) - SHOWN_NODES
    kept = ", ".join(point.keep[:SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")
    word = "nearest" if search.chosen is None else "chosen"
    click.echo(f"{word}: {len(point.keep)} of {search.nodes} nodes in fp32: {kept or 'none'}")


def draw(search: Search, path: Path) -> None:
    """The curve as a picture."""
    from seatrial_export.quantize.curve import plot_curve

    plot_curve(search, path)
    click.echo(f"curve {path}", err=True)


def show(bundle: Bundle, as_json: bool) -> None:
    """What was sealed: a line for each variant, and the labels that flipped."""
    receipt = bundle.receipts()[-1]
    if as_json:
        click.echo(receipt.model_dump_json(by_alias=True, indent=1))
        return
    Console().print(answers_table(receipt), costs_table(receipt))
    for trial in receipt.trials:
        if (trial.flipped and trial.batch_sizes == (1,)) or (trial.flipped and trial.held_out):
            rows = ", ".join(map(str, trial.flipped))
            click.echo(
                f"{trial.variant}: labels flipped at "
                f"{'held-out' if trial.held_out else 'golden'} rows {rows}"
            )
    click.echo(f"sealed {bundle.path}  {bundle.size_bytes / 1e6:.2f} MB  sha256:{bundle.digest}")
    click.echo(
        f"next: seatrial serve {bundle.path.parent.parent} "
        f"--variant {bundle.manifest.variants[-1].name}"
    )


def answers_table(receipt: Receipt) -> Table:
    """How far the answers of each variant are, to its golden rows and to its held-out ones."""
    table = Table(
        title=f"{receipt.name} {receipt.version}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("variant", "rows", "cosine", "least", "labels", "accuracy", "max error"):
        table.add_column(
            heading, justify="left" if heading in ("variant", "rows") else "right", no_wrap=True
        )
    for trial in receipt.trials:
        if trial.measures is not None and (trial.cost is not None or trial.held_out):
            measures = trial.measures
            close = (measures.cosine, measures.least_cosine, measures.agreement, measures.accuracy)
            table.add_row(
                trial.variant,
                f"{trial.rows} {'held-out' if trial.held_out else 'golden'}",
                *("-" if value is None else f"{value:.4f}" for value in close),
                f"{measures.max_error or 0:.1e}",
            )
    return table


def costs_table(receipt: Receipt) -> Table:
    """Tabulate the cost of each variant: its graph, its time beside fp32's, its memory.

    The table also holds the distance of a row among mates from that row alone.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    costs = [(trial.variant, trial.cost) for trial in receipt.trials if trial.cost is not None]
    sizes = sorted(costs[0][1].speed)
    for heading in (
        "variant",
        "MB",
        *(f"speed, {size}" for size in sizes),
        "peak MB",
        "among mates",
    ):
        table.add_column(heading, justify="left" if heading == "variant" else "right", no_wrap=True)
    for variant, cost in costs:
        peak = "-" if cost.peak_memory_bytes is None else f"{cost.peak_memory_bytes / 1e6:.0f}"
        mates = "-" if cost.batch_error is None else f"{cost.batch_error:.0e}"
        speeds = (f"{cost.speed[size]:.2f}x" for size in sizes)
        table.add_row(variant, f"{cost.size_bytes / 1e6:.2f}", *speeds, peak, mates)
    return table
